"""Parameters seen against a problem: what every measure looks at."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Hyper
from dynamics.curvature.gauss_newton import gauss_newton_sharpness, lift
from dynamics.curvature.hessian import sharpness
from dynamics.curvature.lanczos import TopEigenpair
from dynamics.data.problem import Problem, Samples
from dynamics.models.base import Batch, Model, Neurons, UnitLayout
from dynamics.models.losses import FACTORS, loss, squares
from dynamics.models.two_layer import TwoLayer, two_layer


class RunData(NamedTuple):
    """What a training run keeps: its swept scalars, its problem (plain and as the model likes it), its shuffling key."""

    hyper: Hyper
    problem: Problem
    train: Batch
    clean: jax.Array
    test: Batch
    order: jax.Array


def prepare_run_data(model: Model, problem: Problem, hyper: Hyper, order: jax.Array) -> RunData:
    """The problem in the layout that the model likes, beside the plain one; of `hyper` what is the run's own."""
    (x, y, clean, weights), test = problem.train, problem.test
    return RunData(
        {name: value for name, value in hyper.items() if jnp.ndim(value) == 0},
        problem,
        model.prepare(x, y, weights),
        model.prepare(x, clean, weights).labels,
        model.prepare(test.inputs, test.clean, test.weights),
        order,
    )


class View:
    """Parameters of a run seen against what the run keeps. Quantities that several measures need are computed once.

    Curvatures are those of the loss that is descended, factor * mean (f - y)^2 unless `kind` says otherwise.
    """

    def __init__(self, model: Model, params: Any, fixed: RunData, factor: float, kind: str = "squared"):
        self.model, self.params, self.factor, self.kind = model, params, factor, kind
        self.hyper, self.problem, self.train, self.clean, self.test, _ = fixed

    @cached_property
    def prediction(self) -> jax.Array:
        return self.model.apply(self.params, self.train)

    @cached_property
    def residual(self) -> jax.Array:
        """f(x_i) - y_i, in the model's layout."""
        return self.prediction - self.train.labels

    @cached_property
    def mean_square(self) -> jax.Array:
        """(1/n) sum (f(x_i) - y_i)^2 on the noisy labels, whatever the loss's normalisation."""
        return jnp.sum(self.train.weights * squares(self.residual, self.train.weights))

    @cached_property
    def train_loss(self) -> jax.Array:
        """The loss that is descended."""
        return self.factor * self.mean_square if self.kind == "squared" else self.loss(self.params)

    @cached_property
    def test_prediction(self) -> jax.Array:
        return self.model.apply(self.params, self.test)

    @cached_property
    def excess_risk(self) -> jax.Array:
        """Mean of (f - f_0)^2 over fresh samples."""
        return jnp.sum(self.test.weights * squares(self.test_prediction - self.test.labels, self.test.weights))

    def loss(self, params: Any) -> jax.Array:
        return loss(self.kind, self.factor, self.model.apply, params, self.train)

    def loss_gradient(self, params: Any) -> Any:
        """Gradient of the loss, in closed form where the model has one."""
        if self.model.squared_gradient is not None:
            return self.model.squared_gradient(params, self.train, self.factor)
        return jax.grad(self.loss)(params)

    @cached_property
    def gradient(self) -> Any:
        return self.loss_gradient(self.params)

    @cached_property
    def radius(self) -> jax.Array:
        """R, the largest norm of what a neuron sees of a training input."""
        x, _, _, weights = self.problem.train
        return jnp.max(jnp.where(weights > 0, self.model.seen_norm(x), 0))

    @cached_property
    def gauss_newton(self) -> TopEigenpair:
        """Top eigenpair of the Gauss-Newton matrix, its vector over samples."""
        return gauss_newton_sharpness(self.model, self.params, self.train, self.factor)

    @cached_property
    def sharpness(self) -> TopEigenpair:
        """Top eigenpair of the Hessian. Where gradients are cheap Gauss-Newton's top eigenvector is the guess."""
        guess = None
        if self.model.squared_gradient is not None:
            guess = lift(self.model, self.params, self.train, self.gauss_newton.vector)
        return sharpness(self.loss, self.params, gradient=self.loss_gradient, guess=guess)

    @cached_property
    def neurons(self) -> Neurons:
        """The network's units, N of them."""
        assert self.model.neurons is not None  # TrainingSpec.check sees to it
        return self.model.neurons(self.params)

    @property
    def layout(self) -> UnitLayout:
        assert self.model.layout is not None
        return self.model.layout

    @cached_property
    def used(self) -> jax.Array:
        """Which units are meant and not padding, (N,)."""
        return jnp.asarray(self.layout.index) < self.hyper["model.width"]

    @cached_property
    def rate(self) -> jax.Array:
        """The share of what a unit sees of the data (inputs, patches) that it is on for, (N,)."""
        return self.half_spaces[0, 0, 0] / self.layout.mass

    @cached_property
    def half_spaces(self) -> jax.Array:
        """For w_i and w_i r_i: their sums of (1, x_i) over either side of each unit's kink, (2 sides, 2, D, N);
        `Model.half_spaces`."""
        assert self.model.half_spaces is not None  # TrainingSpec.check sees to it
        w = self.train.weights
        return self.model.half_spaces(self.params, self.train, jnp.stack([w, w * self.residual]))


def view(
    params: TwoLayer, inputs: jax.Array, labels: jax.Array, *, normalization: str = "half", activation: str = "relu"
) -> View:
    """A two-layer net with these parameters seen against plain data, so that every measure can be asked of any net.

    params: hidden (d + 1, K) with the biases in row 0, readout (K,), offset (); inputs (n, d); labels (n,), taken for clean
    and for fresh samples too. `half` is the theory's loss, (1/2n) sum (f - y)^2.
    """
    params = jax.tree.map(jnp.asarray, params)
    x, y = jnp.asarray(inputs), jnp.asarray(labels)
    (rows, width), count = params.hidden.shape, len(x)
    model = two_layer(rows - 1, width, activation, "torch_default", params.hidden.dtype)
    samples = Samples(x, y, y, jnp.full(count, 1 / count, x.dtype))
    sizes = {"data.input_dim": rows - 1, "data.num_samples": count, "model.width": width}
    hyper = {"data.noise_std": jnp.zeros((), x.dtype), "optimizer.learning_rate": jnp.asarray(math.nan, x.dtype)}
    hyper |= {name: jnp.int32(size) for name, size in sizes.items()}
    return View(
        model, params, prepare_run_data(model, Problem(samples, samples), hyper, jax.random.key(0)), FACTORS[normalization]
    )
