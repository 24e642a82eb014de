"""Laws without a preferred direction (and a grid, which has one), drawn one row a key.

So growing the number of samples, or padding the input dimension, leaves the rows and coordinates that were there as
they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Hyper
from dynamics.data.closed_forms import BALL, GAUSSIAN, SPHERE, ClosedForms, radial_forms, sphere_patch_forms
from dynamics.data.law import LAWS, DataSpec, Law, Source, draw_direction
from dynamics.errors import require


def build_isotropic_law(
    radius: Callable[[jax.Array, Any, Hyper, DataSpec, Any], jax.Array],
    closed_forms: Callable[[DataSpec], ClosedForms],
    **more: Any,
) -> Law:
    """Return the law of radius * a uniform direction, where radius(key, dim, hyper, data, dtype) -> ()."""

    def source(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
        dim = hyper["data.input_dim"]

        def row(key, index, num_samples):
            towards = draw_direction(jax.random.fold_in(key, 0), dim, data.input_dim, dtype)
            return radius(jax.random.fold_in(key, 1), dim, hyper, data, dtype) * towards, jnp.int32(0)

        return Source(row)

    return Law(source, closed_forms=closed_forms, **more)


def _uniform(key: jax.Array, dtype: Any) -> jax.Array:
    return jax.random.uniform(key, (), dtype)


def _ball_radius(key, dim, hyper, data, dtype):
    return _uniform(key, dtype) ** (1 / jnp.asarray(dim, dtype))


def _unit_radius(key, dim, hyper, data, dtype):
    return jnp.ones((), dtype)


def _radial_radius(key, dim, hyper, data, dtype):
    """Return 1 - V^(1/alpha) without cancellation where it is small."""
    return -jnp.expm1(jnp.log1p(-_uniform(key, dtype)) / hyper["data.alpha"])


def _chi_radius(key, dim, hyper, data, dtype):
    """Return the norm of N(0, I_dim), from so many normals."""
    z = jax.random.normal(key, (data.input_dim,), dtype)
    return jnp.linalg.norm(jnp.where(jnp.arange(data.input_dim) < dim, z, 0))


def _patch_radius(key, dim, hyper, data, dtype):
    """Return |Z| with |Z|^2 ~ Beta(m/2, (D - m)/2)."""
    own, rest = (jax.random.gamma(jax.random.fold_in(key, i), size / 2, dtype=dtype) for i, size in _split(data))
    return jnp.sqrt(own / (own + rest))


def _split(data: DataSpec) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, data.input_dim), (1, data.ambient_dim - data.input_dim)


def _check_patch(data: DataSpec) -> None:
    allowed = f"must be above data.input_dim = {data.input_dim}"
    require(data.ambient_dim > data.input_dim, "data.ambient_dim", data.ambient_dim, allowed)


def _grid(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
    def row(key, index, num_samples):
        """Equally spaced points of [-1, 1] on the first coordinate; a single point stands at 1."""
        steps = jnp.maximum(jnp.asarray(num_samples, dtype) - 1, 1)
        position = jnp.where(jnp.asarray(num_samples) == 1, 1.0, -1 + 2 * index.astype(dtype) / steps).astype(dtype)
        return jnp.where(jnp.arange(data.input_dim) == 0, position, 0).astype(dtype), jnp.int32(0)

    return Source(row)


LAWS.add("uniform_ball", build_isotropic_law(_ball_radius, lambda data: BALL, pads=True))
LAWS.add("sphere", build_isotropic_law(_unit_radius, lambda data: SPHERE, pads=True))
LAWS.add("radial", build_isotropic_law(_radial_radius, lambda data: radial_forms(data.alpha), pads=True), uses=("alpha",))
LAWS.add("gaussian", build_isotropic_law(_chi_radius, lambda data: GAUSSIAN))
LAWS.add(
    "sphere_patch",
    build_isotropic_law(_patch_radius, lambda data: sphere_patch_forms(data.ambient_dim), check=_check_patch),
    uses=("ambient_dim",),
)
LAWS.add("grid", Law(_grid, pads=True, endless=False))
