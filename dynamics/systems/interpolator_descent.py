"""Gradient descent from a flat interpolator of the data, built in closed form (`theory/flat_interpolators.py`) and
perturbed.

The loss is (1/2n) sum (f - y)^2, and the learning rate edge_ratio times 2 / lambda, with lambda the built net's exact
largest
curvature: below 1 the net is a stable minimum, above 1 it is not. Where data are not on spheres only the samples that
stand out are memorised; the others are ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Cost, Dynamics, Hyper
from dynamics.core.spec import RunSpec
from dynamics.curvature.paired import top_eigenpairs_of_both
from dynamics.data.law import LAWS, draw_samples
from dynamics.data.patchwise import count_patches
from dynamics.data.problem import DataSpec, Problem, Samples
from dynamics.data.views import ViewSpec
from dynamics.errors import choose, require
from dynamics.measures.eigenvalues import residual_sharpness
from dynamics.measures.view import RunData, View, prepare_run_data
from dynamics.models.base import Model
from dynamics.models.losses import FACTORS
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import TwoLayer
from dynamics.systems import register
from dynamics.theory.flat_interpolators import (
    SCALINGS,
    build_isolating_neurons,
    choose_best_patches,
    kernel_diagonal,
    kernel_top_eigenvalue,
    patch_sharpness_bound,
    standout_margins,
)

HALF = FACTORS["half"]
LAWS_OF = {"sphere": ("sphere", "uniform_ball", "radial"), "patch": ("patch_spheres",)}
CONSTRUCTIONS = dict.fromkeys(f"{kind}_{scaling}" for kind in LAWS_OF for scaling in SCALINGS)
MEMORISED = 1e-6  # times the bound: a residual this small counts as none


@register.system
@dataclass(frozen=True)
class InterpolationSpec(RunSpec):
    """construction: `sphere` or `patch`, _, and how its pairs are scaled: `paper` or `optimal`.

    labels: `random`, +-bound U^label_spread with U uniform (1: uniform on [-bound, bound], 0: +-bound), its signs
    alternating so that no offset would help; or `linear`, x_1 plus normal noise of data.noise_std, cut off at +-bound
    margin: where a kink lies, from 0 at the nearest other sample to 1 at its own; below 0 neurons are on for several
    pair_scale: of (w, b), and one over it of v
    perturbation: what is added to every parameter before the first step is uniform within it

    No fresh samples are drawn, whatever data.num_test is.
    """

    data: DataSpec = field(default_factory=lambda: DataSpec(law="sphere"))
    construction: str = "sphere_paper"
    labels: str = "random"
    label_spread: float = 1.0
    bound: float = 1.0
    margin: float = 0.5
    pair_scale: float = 1.0
    edge_ratio: float = 0.9
    perturbation: float = 0.0

    system: ClassVar[str] = "interpolation"
    system_version: ClassVar[int] = 2  # with the eigenvalues (`dynamics.measures.eigenvalues`)
    shape_fields: ClassVar[tuple[str, ...]] = ("data.input_dim", "data.num_samples")

    @property
    def paddable(self) -> tuple[str, ...]:
        return self.shape_fields if LAWS[self.data.law].pads else ("data.num_samples",)

    @property
    def shared(self) -> bool:
        """Return whether neurons are filters shared by patches."""
        return self.construction.startswith("patch")

    @property
    def scaling(self) -> str:
        return self.construction.split("_")[1]

    @property
    def patches(self) -> int:
        """Return J, the number of patches."""
        return count_patches(self.data) if self.shared else 1

    def network(self) -> Model:
        """Return the model at the spec's shapes, with one neuron a sample."""
        model = ModelSpec(width=self.data.num_samples)
        if self.shared:
            model = ModelSpec("convolutional", self.data.num_samples, views=ViewSpec("disjoint", self.data.patch_dim))
        return model.build(self.data.grid, jnp.dtype(self.precision))

    def check(self) -> None:
        super().check()
        self.data.check()
        choose("construction", self.construction, CONSTRUCTIONS)
        choose("labels", self.labels, LABELS)
        choose("data.law", self.data.law, dict.fromkeys(LAWS_OF["patch" if self.shared else "sphere"]))
        for name in ("bound", "pair_scale", "edge_ratio"):
            require(getattr(self, name) > 0, name, getattr(self, name), "must be above 0")
        for name in ("label_spread", "perturbation"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "must be at least 0")
        require(self.margin < 1, "margin", self.margin, "must be below 1, where a sample's own neuron is off")
        require(self.data.scale == 1, "data.scale", self.data.scale, "must be 1")

    def unused_fields(self) -> dict[str, str]:
        of_other_labels = {"random": "data.noise_std", "linear": "label_spread"}[self.labels]
        never = dict.fromkeys(("data.num_test", "data.shuffle_parts"), "system")
        return {**super().unused_fields(), **never, of_other_labels: "labels"}

    def derived_columns(self) -> dict[str, Any]:
        return {"patches": self.patches}

    def dynamics(self) -> Dynamics:
        return build_interpolator_descent(self)

    def cost(self) -> Cost:
        """Counts products only; a record takes two times as many Lanczos steps as are usual, of two products each."""
        n, d, itemsize = self.data.num_samples, self.data.input_dim, 8 if self.precision == "float64" else 4
        step = n * n * (4.0 * (d + self.patches) + 4 * self.patches)
        parameters = n * (d + 2) + 1
        return Cost(step, 40 * step, itemsize * 6.0 * parameters, itemsize * (8.0 * n * n * self.patches + 66 * parameters))


class InterpolatorProblem(NamedTuple):
    """What stays fixed in a descent from a constructed interpolator.

    run: problem and scalars as a training run keeps them; net: as it was built; curvature (): its exact lambda if every
    neuron is on for one sample; standing (): the share of samples that stand out; rate (): the learning rate.
    """

    run: RunData
    net: TwoLayer
    curvature: jax.Array
    standing: jax.Array
    rate: jax.Array


class DescentState(NamedTuple):
    """The state of the descent: params, where it is."""

    params: TwoLayer


Label = Callable[[jax.Array, jax.Array, jax.Array, Hyper], jax.Array]  # key, which sample, its inputs, scalars -> ()


def draw_random_label(key: jax.Array, index: jax.Array, x: jax.Array, hyper: Hyper) -> jax.Array:
    """Return a label +-bound U^label_spread, U uniform, whose sign alternates with the sample's index."""
    size = jax.random.uniform(key, (), x.dtype) ** hyper["label_spread"]
    return hyper["bound"] * jnp.where(index % 2 == 0, size, -size)


def linear_label_of(key: jax.Array, index: jax.Array, x: jax.Array, hyper: Hyper) -> jax.Array:
    """Return the label x_1 plus normal noise, clipped to +-bound."""
    noisy = x[0] + hyper["data.noise_std"] * jax.random.normal(key, (), x.dtype)
    return jnp.clip(noisy, -hyper["bound"], hyper["bound"])


LABELS: dict[str, Label] = {"random": draw_random_label, "linear": linear_label_of}


def build_interpolator_descent(spec: InterpolationSpec) -> Dynamics:
    """Return the dynamics of descent from an interpolator at the spec's shapes; every scalar comes through `hyper`."""
    dtype, model, label = jnp.dtype(spec.precision), spec.network(), LABELS[spec.labels]
    count, num = spec.data.num_samples, spec.patches

    def draw(key: jax.Array, hyper: Hyper) -> Samples:
        source = LAWS[spec.data.law].source(jax.random.fold_in(key, 0), spec.data, hyper, dtype)
        x, _ = draw_samples(source, jax.random.fold_in(key, 1), hyper["data.num_samples"], count)
        index = jnp.arange(count, dtype=jnp.int32)
        y = jax.vmap(lambda i, x: label(jax.random.fold_in(jax.random.fold_in(key, 2), i), i, x, hyper))(index, x)
        used = index < hyper["data.num_samples"]
        y = jnp.where(used, y, 0)
        return Samples(x, y, y, used.astype(dtype) / hyper["data.num_samples"].astype(dtype))

    def perturbed(key: jax.Array, net: TwoLayer, hyper: Hyper) -> TwoLayer:
        """Noise on all weights that are meant, one key a neuron; the first is the offset's."""
        height, width = net.hidden.shape
        there = net.readout != 0
        inputs = height - 1 if spec.shared else hyper["data.input_dim"]
        keys = jax.vmap(lambda k: jax.random.fold_in(key, k))(jnp.arange(width + 1))
        drawn = jax.vmap(lambda k: jax.random.uniform(k, (height + 1,), dtype, -1, 1), out_axes=1)(keys)
        hidden = jnp.where((jnp.arange(height) <= inputs)[:, None] & there, drawn[1:, 1:], 0)
        noise = TwoLayer(hidden, jnp.where(there, drawn[0, 1:], 0), drawn[0, 0])
        return jax.tree.map(lambda p, z: p + hyper["perturbation"] * z, net, noise)

    def init(key: jax.Array, hyper: Hyper) -> tuple[InterpolatorProblem, DescentState]:
        samples = draw(jax.random.fold_in(key, 0), hyper)
        x, y, _, weights = samples
        used = weights > 0
        points, gap = choose_best_patches(x.reshape(count, num, -1), used) if spec.shared else (x, standout_margins(x, used))
        net = build_isolating_neurons(points, gap, y, spec.scaling, num, margin=hyper["margin"], pair_scale=hyper["pair_scale"])
        radius = jnp.linalg.norm(points, axis=1)
        diagonal = kernel_diagonal(jnp.where(gap > 0, y, 0), spec.scaling, num, radius, hyper["pair_scale"])
        curvature = (kernel_top_eigenvalue(diagonal, used) / hyper["data.num_samples"]).astype(dtype)
        key, hyper = jax.random.fold_in(key, 1), {**hyper, "model.width": hyper["data.num_samples"]}
        run = prepare_run_data(model, Problem(samples, samples), hyper, key)
        standing, rate = jnp.sum(jnp.where(gap > 0, weights, 0)), 2 * hyper["edge_ratio"] / curvature
        return InterpolatorProblem(run, net, curvature, standing, rate), DescentState(perturbed(key, net, hyper))

    def step(state: DescentState, fixed: InterpolatorProblem, key: jax.Array) -> DescentState:
        assert model.squared_gradient is not None  # both models have one
        slope = model.squared_gradient(state.params, fixed.run.train, HALF)
        return DescentState(jax.tree.map(lambda p, g: p - fixed.rate * g, state.params, slope))

    def observe(state: DescentState, fixed: InterpolatorProblem) -> dict[str, jax.Array]:
        """train_loss; its gauss_newton_sharpness, sharpness (the larger lanczos_residual of both) and
        residual_sharpness.

        exact_sharpness, bound_sharpness: what the built net should have, and what it should not exceed
        edge: eta lambda / 2; interpolation_error: the largest |f(x_i) - y_i|
        memorised_share: of samples where that is at most MEMORISED * bound
        rounding: epsilon max_k |v_k| (|w_k| + |b_k|), by about which an exact net is off
        largest_activation: of how many samples (patches) a neuron is on for; used_width: neurons that are not all zeros
        distance: the largest |parameter - its value in the built net|
        standing_share: of samples that stand out from others
        """
        run, params = fixed.run, state.params
        view = View(model, params, run, HALF)
        weights, n = view.train.weights, run.hyper["data.num_samples"]
        offset = TwoLayer(jnp.zeros_like(params.hidden), jnp.zeros_like(params.readout), jnp.ones((), dtype))
        tops = top_eigenpairs_of_both(
            model, params, view.train, HALF, view.loss_gradient, offset
        )  # flat nets curve most along the offset
        error = jnp.where(weights > 0, jnp.abs(view.residual), 0)
        radius = 1.0 if spec.shared else view.radius
        sizes = jnp.abs(params.readout) * (jnp.linalg.norm(params.hidden[1:], axis=0) + jnp.abs(params.hidden[0]))
        return {
            "train_loss": view.train_loss,
            "gauss_newton_sharpness": tops.value[0],
            "sharpness": tops.value[1],
            "lanczos_residual": jnp.max(tops.residual),
            **residual_sharpness(view),
            "exact_sharpness": fixed.curvature,
            "bound_sharpness": patch_sharpness_bound(n, run.hyper["bound"], num, spec.scaling, radius),
            "edge": fixed.rate * tops.value[1] / 2,
            "interpolation_error": jnp.max(error),
            "memorised_share": jnp.sum(jnp.where(error <= MEMORISED * run.hyper["bound"], weights, 0)),
            "rounding": jnp.finfo(dtype).eps * jnp.max(sizes),
            "largest_activation": jnp.round(jnp.max(view.rate) * n * num),
            "used_width": jnp.sum(jnp.any(params.hidden != 0, axis=0), dtype=jnp.int32),
            "distance": jnp.max(jnp.stack([jnp.max(jnp.abs(p - q)) for p, q in zip(params, fixed.net, strict=True)])),
            "standing_share": fixed.standing,
        }

    return Dynamics(init, step, observe)
