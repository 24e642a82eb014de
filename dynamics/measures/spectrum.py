"""Spectra of the loss's Hessian, of its Gauss-Newton part and of the Fisher matrix: both ends, sums, density, layers.

All are of exactly the loss that is descended, of any model, and without weight decay. Random signs are drawn from the
run's own key, the same at every record, so that what changes from record to record is the matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from dynamics.core.options import option
from dynamics.curvature.eigenpairs import bottom_eigenpairs, default_products, top_eigenpairs
from dynamics.curvature.lanczos import TopEigenpair, top_eigenpair
from dynamics.curvature.matrices import layer_blocks, restrict_product
from dynamics.curvature.spectral_density import SpectralDensity, estimate_density
from dynamics.curvature.trace_estimates import MatrixMoments, estimate_moments
from dynamics.errors import require
from dynamics.measures.needs import MeasuredRun
from dynamics.measures.table import MEASURES, Measure, Work
from dynamics.measures.view import View
from dynamics.measures.view_products import build_product, flat_params

Columns = dict[str, jax.Array]
OPTIONS = {
    "top_k": option(5, at_least=1, at_most=100, doc="how many eigenvalues of an end of the spectrum"),
    "trace_probes": option(8, at_least=2, at_most=10000, doc="random directions for what the sketch of a trace leaves over"),
    "trace_sketch": option(8, at_least=0, at_most=1000, doc="columns of the sketch of a trace (Hutch++), 0 for none"),
    "density_probes": option(4, at_least=2, at_most=10000, doc="random directions of a spectral density"),
    "density_products": option(40, at_least=1, at_most=1000, doc="products with each of them, nodes of its quadrature"),
    "density_points": option(200, at_least=2, at_most=100000, doc="points of the grid that a density is told on"),
    "density_broadening": option(
        0.01, above=0, at_most=1, static=True, doc="width of a node, as a share of the spectrum's length"
    ),
}


def random_key(view: View, use: int) -> jax.Array:
    """Return a key of the run for one use, the same at every record."""
    return jax.random.fold_in(jax.random.fold_in(view.order, 0x5EC7), use)


def check_size(name: str, value: int, size: int) -> None:
    """Raise `InputError` for an option that asks for more than the net has parameters."""
    require(value <= size, f"measure_options.{name}", value, f"must be at most {size}, the number of parameters")


def ends(view: View, matrix: str, name: str, find: Callable[..., TopEigenpair]) -> Columns:
    """k eigenvalues of an end, outermost first, each with its residual, and whether all of them have converged."""
    flat, count = flat_params(view), view.options.top_k
    check_size("top_k", count, flat.size)
    starts = jnp.zeros((count, flat.size), flat.dtype).at[0].set(ravel_pytree(view.gradient)[0])
    found = find(build_product(view, matrix), starts)
    columns = {f"{name}_{i + 1}": found.value[i] for i in range(count)}
    columns |= {f"{name}_residual_{i + 1}": found.residual[i] for i in range(count)}
    return {**columns, f"{name}_converged": jnp.all(found.converged)}


def moments(view: View, matrix: str) -> MatrixMoments:
    """Trace and Frobenius norm, from the same products."""
    flat, options = flat_params(view), view.options
    check_size("trace_sketch", options.trace_sketch, flat.size)

    def compute() -> MatrixMoments:
        product, key = build_product(view, matrix), random_key(view, 1)
        return estimate_moments(product, flat.size, key, options.trace_probes, options.trace_sketch, flat.dtype)

    return view.once(f"moments of {matrix}", compute)


def trace(view: View, matrix: str) -> Columns:
    found, name = moments(view, matrix), f"{matrix}_trace"
    return {name: found.trace, f"{name}_error": found.trace_error}


def frobenius(view: View, matrix: str) -> Columns:
    (norm, error), name = moments(view, matrix).frobenius, f"{matrix}_frobenius"
    return {name: norm, f"{name}_error": error}


def density(view: View) -> SpectralDensity:
    """The Hessian's density of eigenvalues with the view's options."""
    flat, o = flat_params(view), view.options
    shape = (o.density_probes, o.density_products, flat.dtype, o.density_broadening, o.density_points)
    return estimate_density(build_product(view, "hessian"), flat.size, random_key(view, 2), *shape)


def spectral_density(view: View) -> Columns:
    """The Hessian's density of eigenvalues, which integrates to 1, with its standard error, at the points of a grid."""
    found = density(view)
    name = "spectral_density"
    columns = {name: found.density, f"{name}_error": found.error, f"{name}_at": found.grid}
    return {**columns, f"{name}_width": found.width}


def layer_sharpness(view: View) -> Columns:
    """The largest eigenvalue of every layer's diagonal block of the Hessian, with residuals."""
    flat, slope = flat_params(view), ravel_pytree(view.gradient)[0]
    product, columns = build_product(view, "hessian"), {}
    for name, (start, size) in layer_blocks(view.params).items():
        own = restrict_product(product, start, size, flat.size)
        found = top_eigenpair(own, slope[start : start + size], 64)
        columns |= {f"sharpness_{name}": found.value, f"sharpness_{name}_residual": found.residual}
    return columns


def _ends_work(matrix: str, end: str) -> Callable[[MeasuredRun], tuple[Work, ...]]:
    def cost(run: MeasuredRun) -> tuple[Work, ...]:
        k = run.measure_options.top_k
        return (Work(f"{end} of the {matrix}", 20 + 8 * k, True, default_products(k) + k + 5),)

    return cost


def _moments_work(matrix: str) -> Callable[[MeasuredRun], tuple[Work, ...]]:
    def cost(run: MeasuredRun) -> tuple[Work, ...]:
        probes, sketch = run.measure_options.trace_probes, run.measure_options.trace_sketch
        return (Work(f"moments of the {matrix}", probes + 2 * sketch, True, 2 * sketch + 5),)

    return cost


def _density_work(run: MeasuredRun) -> tuple[Work, ...]:
    probes, products = run.measure_options.density_probes, run.measure_options.density_products
    return (Work("density of the Hessian", probes * products, True, products + 10),)


def _pick(*names: str) -> dict:
    return {name: OPTIONS[name] for name in names}


for _matrix in ("hessian", "gauss_newton", "fisher"):
    MEASURES.add(
        f"{_matrix}_top",
        Measure(lambda view, m=_matrix: ends(view, m, f"{m}_top", top_eigenpairs), (), _ends_work(_matrix, "top")),
        fields=_pick("top_k"),
    )
    for _name, _function in (("trace", trace), ("frobenius", frobenius)):
        MEASURES.add(
            f"{_matrix}_{_name}",
            Measure(lambda view, m=_matrix, f=_function: f(view, m), (), _moments_work(_matrix)),
            fields=_pick("trace_probes", "trace_sketch"),
        )
MEASURES.add(
    "hessian_bottom",
    Measure(lambda view: ends(view, "hessian", "hessian_bottom", bottom_eigenpairs), (), _ends_work("hessian", "bottom")),
    fields=_pick("top_k"),
)
MEASURES.add(
    "spectral_density",
    Measure(spectral_density, (), _density_work),
    fields=_pick("density_probes", "density_products", "density_points", "density_broadening"),
)
MEASURES.add("layer_sharpness", Measure(layer_sharpness, (), (Work("Lanczos on layers", 60, holds_products=True),)))
