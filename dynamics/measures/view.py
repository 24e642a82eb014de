"""`View`: parameters of a network beside the data of its run, which every measure is a function of."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Hyper
from dynamics.curvature.gauss_newton import gauss_newton_sharpness, lift_eigenvector
from dynamics.curvature.hessian import hessian_sharpness
from dynamics.curvature.lanczos import TopEigenpair
from dynamics.curvature.tangent_kernels import tangent_kernel
from dynamics.data.problem import Problem, Samples
from dynamics.errors import choose, require
from dynamics.models.base import Batch, Model, Neurons, UnitLayout
from dynamics.models.losses import FACTORS, LossSpec, mean_loss, resolve_loss_spec, squared_norms
from dynamics.models.two_layer import ACTIVATIONS, TwoLayer, build_two_layer


class RunData(NamedTuple):
    """What stays constant during a training run.

    hyper: its swept scalars and true sizes; problem: its samples in the plain layout; order: the key of its minibatches
    train, test: the samples in the model's layout, those to test on with clean labels
    clean: the clean training labels in the same layout
    start: the parameters that the run began with, if a measure compares with them
    """

    hyper: Hyper
    problem: Problem
    train: Batch
    clean: jax.Array
    test: Batch
    order: jax.Array
    start: Any = None


def prepare_run_data(model: Model, problem: Problem, hyper: Hyper, order: jax.Array) -> RunData:
    """Return the problem in the model's layout beside the plain one, and of `hyper` the scalars,
    without shared arrays."""
    (x, y, clean, weights), test = problem.train, problem.test
    return RunData(
        {name: value for name, value in hyper.items() if jnp.ndim(value) == 0},
        problem,
        model.prepare(x, y, weights),
        model.prepare(x, clean, weights).labels,
        model.prepare(test.inputs, test.clean, test.weights),
        order,
    )


class RuleInForce(NamedTuple):
    """The rule of the run that is looked at: spec, an `OptimizerSpec`; state, the rule's own; step,
    how many it took."""

    spec: Any
    state: Any
    step: jax.Array


class View:
    """A network's parameters beside the data of its run; what several measures need is computed once.

    factor, descended: of the loss that is descended, whose curvatures are meant: factor * mean (f - y)^2, or another
        loss by its name or spec
    options: what is set of fields that registered measures brought with them (static ones; swept ones are in `hyper`)
    learning_rate: of the step that starts at these parameters; the run's own unless given, as a schedule does
    rule: the rule that trains the network, None where none is known
    """

    def __init__(
        self,
        model: Model,
        params: Any,
        fixed: RunData,
        factor: float,
        descended: str | LossSpec = "squared",
        learning_rate: jax.Array | None = None,
        options: Any = None,
        rule: RuleInForce | None = None,
    ):
        self.model, self.params, self.factor, self.options, self.rule = model, params, factor, options, rule
        self.hyper, self.problem, self.train, self.clean, self.test, self.order, self._start = fixed
        self._fixed = fixed
        self.descended = resolve_loss_spec(descended, self.hyper)
        self.squared = self.descended.kind == "squared"
        self._learning_rate = learning_rate
        self._known: dict[str, Any] = {}

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return what `compute` returns, computed once for all measures that ask for it by this name."""
        if name not in self._known:
            self._known[name] = compute()
        return self._known[name]

    @property
    def learning_rate(self) -> jax.Array:
        """The learning rate of the step that starts at these parameters; `InputError` if none was given."""
        given = self._learning_rate is not None or "optimizer.learning_rate" in self.hyper
        require(given, "learning_rate", None, "what is compared with 2 / eta needs one: give learning_rate=0.1")
        return self.hyper["optimizer.learning_rate"] if self._learning_rate is None else self._learning_rate

    @cached_property
    def initial(self) -> View:
        """The view of the parameters that the run began with, for measures with the need `start`."""
        allowed = "the run does not keep its first parameters: register the measure with needs=('start',)"
        require(self._start is not None, "initial", None, allowed)
        return View(self.model, self._start, self._fixed, self.factor, self.descended, self._learning_rate, self.options)

    @cached_property
    def prediction(self) -> jax.Array:
        """f(x_i) at the training samples, in the model's layout."""
        return self.model.apply(self.params, self.train)

    @cached_property
    def residual(self) -> jax.Array:
        """f(x_i) - y_i, in the model's layout."""
        return self.prediction - self.train.labels

    @cached_property
    def mean_square(self) -> jax.Array:
        """(1/n) sum (f(x_i) - y_i)^2 on the noisy labels, whatever the loss's normalisation."""
        return jnp.sum(self.train.weights * squared_norms(self.residual, self.train.weights))

    @cached_property
    def train_loss(self) -> jax.Array:
        """The loss that is descended."""
        return self.factor * self.mean_square if self.squared else self.loss(self.params)

    @cached_property
    def test_prediction(self) -> jax.Array:
        """f at the fresh samples, in the model's layout."""
        return self.model.apply(self.params, self.test)

    @cached_property
    def excess_risk(self) -> jax.Array:
        """Mean of (f - f_0)^2 over fresh samples."""
        return jnp.sum(self.test.weights * squared_norms(self.test_prediction - self.test.labels, self.test.weights))

    def loss(self, params: Any) -> jax.Array:
        """The loss that is descended, at any parameters."""
        return mean_loss(self.descended, self.factor, self.model.apply, params, self.train)

    def loss_gradient(self, params: Any) -> Any:
        """Gradient of the loss, in closed form where the model has one."""
        if self.model.squared_gradient is not None and self.squared:
            return self.model.squared_gradient(params, self.train, self.factor)
        return jax.grad(self.loss)(params)

    @cached_property
    def gradient(self) -> Any:
        """Gradient of the loss at the view's parameters."""
        return self.loss_gradient(self.params)

    @cached_property
    def radius(self) -> jax.Array:
        """R, the largest norm of what a neuron sees of a training input: of the input itself,
        or of one of its patches."""
        x, _, _, weights = self.problem.train
        return jnp.max(jnp.where(weights > 0, self.model.seen_norm(x), 0))

    @cached_property
    def gauss_newton(self) -> TopEigenpair:
        """Top eigenpair of the Gauss-Newton matrix, its vector over samples."""
        return gauss_newton_sharpness(self.model, self.params, self.train, self.factor)

    @cached_property
    def tangent_kernel(self) -> jax.Array:
        """The kernel <df(x)/dtheta, df(x')/dtheta> between training samples in the model's layout;
        of C outputs the mean."""
        return tangent_kernel(self.model, self.params, self.train)

    @cached_property
    def test_tangent_kernel(self) -> jax.Array:
        """The same between fresh samples (rows) and training samples (columns)."""
        return tangent_kernel(self.model, self.params, self.train, self.test)

    @cached_property
    def sharpness(self) -> TopEigenpair:
        """Top eigenpair of the Hessian. Where gradients are cheap,
        Lanczos starts from Gauss-Newton's top eigenvector."""
        guess = None
        if self.model.squared_gradient is not None and self.squared:
            guess = lift_eigenvector(self.model, self.params, self.train, self.gauss_newton.vector)
        return hessian_sharpness(self.loss, self.params, gradient=self.loss_gradient, guess=guess)

    @cached_property
    def neurons(self) -> Neurons:
        """Incoming and outgoing weights of the network's N units."""
        assert self.model.neurons is not None  # the need `one_hidden_layer`
        return self.model.neurons(self.params)

    @property
    def layout(self) -> UnitLayout:
        """Which filter, position and readout weight each unit uses."""
        assert self.model.layout is not None  # the need `one_hidden_layer`
        return self.model.layout

    @cached_property
    def used(self) -> jax.Array:
        """Whether a unit belongs to the network and is not padding, (N,)."""
        return jnp.asarray(self.layout.index) < self.hyper["model.width"]

    @cached_property
    def rate(self) -> jax.Array:
        """The share of the inputs (or patches) that a unit is active on, (N,)."""
        return self.half_spaces[0, 0, 0] / self.layout.mass

    @cached_property
    def half_spaces(self) -> jax.Array:
        """Sums of w_i (1, x_i) and of w_i r_i (1, x_i) over either side of each unit's kink, (2 sides, 2, D, N).

        See `Model.half_spaces`.
        """
        assert self.model.half_spaces is not None  # the need `one_hidden_layer`
        w = self.train.weights
        return self.model.half_spaces(self.params, self.train, jnp.stack([w, w * self.residual]))


def view(
    params: TwoLayer,
    inputs: jax.Array,
    labels: jax.Array,
    *,
    normalization: str = "half",
    activation: str = "relu",
    learning_rate: float | None = None,
) -> View:
    """Return the view of a two-layer net with these parameters on plain data; `measure` is the checked, compiled way.

    params: hidden (d + 1, K) with the biases in row 0, readout (K,), offset (); inputs (n, d); labels (n,), taken for
        clean and for fresh samples too
    normalization: `half` is the theory's loss, (1/2n) sum (f - y)^2
    learning_rate: in units of that loss; what compares with 2 / eta raises `InputError` without it

    Nothing is compiled as a whole, so that a function that is (`jax.jit`) may call it. Raises `InputError` for 64-bit
    arrays outside of `jax.enable_x64(True)`, which would be cast to 32 bits.
    """
    choose("normalization", normalization, dict.fromkeys(("mse", "half")))
    choose("activation", activation, ACTIVATIONS)
    given = (*params, inputs, labels)
    params, x, y = jax.tree.map(jnp.asarray, params), jnp.asarray(inputs), jnp.asarray(labels)
    for name, before, after in zip((*TwoLayer._fields, "inputs", "labels"), given, (*params, x, y), strict=True):
        narrowed = before.dtype == "float64" != after.dtype
        require(not narrowed, name, str(before.dtype), "has 64 bits; cast it, or call this in jax.enable_x64(True)")
    (rows, width), count = params.hidden.shape, len(x)
    model = build_two_layer(rows - 1, width, activation, "torch_default", params.hidden.dtype)
    samples = Samples(x, y, y, jnp.full(count, 1 / count, x.dtype))
    sizes = {"data.input_dim": rows - 1, "data.num_samples": count, "model.width": width}
    hyper = {"data.noise_std": jnp.zeros((), x.dtype)}
    if learning_rate is not None:
        hyper["optimizer.learning_rate"] = jnp.asarray(learning_rate, x.dtype)
    hyper |= {name: jnp.int32(size) for name, size in sizes.items()}
    return View(
        model, params, prepare_run_data(model, Problem(samples, samples), hyper, jax.random.key(0)), FACTORS[normalization]
    )
