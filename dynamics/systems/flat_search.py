"""A search of the flat set for the net that generalises worst: gradient ascent on the gap under exact constraints.

Maximise   gap(theta) = E (f - y)^2 - (1/n) sum (f(x_i) - y_i)^2
subject to lambda_max(Hessian of (1/2n) sum (f - y)^2) <= 2 / eta   and   |f| <= M on the ball,

the quantity that Theorem 3.5 of Liang et al. 2025 bounds by about M^2 n^(-1/(2d+4)), M = max(D, |f|_inf, 1), |y| <= D.
Without the bound on |f| the gap is unbounded over the flat set. Labels are noise around f_0 = 0, cut off at +-D, and
D = M = `bound`.

An outer iteration takes `ascent_steps` steps of Adam on an augmented Lagrangian with a fresh population batch each,
then shrinks the point into the flat set, checks it with the true Hessian and on points that were not optimised over,
and keeps it if it is feasible and better on a validation sample. What is reported is seen on a third, independent
sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from jax import lax

from dynamics.core.dynamics import Cost, Dynamics, Hyper
from dynamics.core.spec import RunSpec
from dynamics.curvature.hessian import hessian_sharpness
from dynamics.data.law import draw_inputs, parameter_free_forms
from dynamics.data.problem import DataSpec, Problem, Samples, TargetSpec, draw_problem
from dynamics.errors import choose, require
from dynamics.measures.activation import activation_statistics
from dynamics.measures.stability_checks import path_norms
from dynamics.measures.view import RunData, View, prepare_run_data
from dynamics.models.base import Batch
from dynamics.models.model_spec import ModelSpec, resolve_width
from dynamics.models.two_layer import TwoLayer
from dynamics.stability.flat_ascent import (
    TINY,
    apply_jacobian_transpose,
    ascend_to_peaks,
    clipped_noise_variance,
    power_iteration_step,
    rayleigh_quotient,
    scale_network_output,
)
from dynamics.systems import register
from dynamics.systems.flat_search_starts import HALF, STARTS
from dynamics.systems.flat_search_state import (
    FeasibleNet,
    FlatnessCheck,
    FlatSearchData,
    SearchState,
    augmented_lagrangian_term,
    choose_better,
    evaluate_network,
    is_feasible,
)

AIM = 0.99  # of 2 / eta, so that a point does not fail its check by a rounding error
ROUNDS = 3  # of looking and shrinking, the last of which must find the point feasible
CLIMB_STEPS = 20  # of the ascent over inputs to where |f| is largest
POWER_STEPS = 100  # for the top eigenvector of the start
SETTLE = 10  # outer iterations after which the ascent's rate starts to fall, like one over the root of their number
MOST = 10.0  # times the penalty: where multipliers are cut off


@register.system
@dataclass(frozen=True)
class FlatSearchSpec(RunSpec):
    """A search for the network of largest generalisation gap among flat ones.

    start: from the GD solution at this learning rate (`descent`), the empty-cap net (`caps`) or a fresh net (`random`).

    steps: outer iterations, each of `ascent_steps` steps of Adam at `ascent_rate` on `batch_size` fresh inputs a step.
    learning_rate: the eta of the flat set, in theory units. descent_steps: of the GD that `descent` starts from. bound:
    D = M.
    penalty: weight of the squared violations. num_check: fresh points of the sphere from which |f| is climbed. Of the
    data.num_test fresh inputs one half is for choosing the best point, the other for what is reported.
    """

    data: DataSpec = field(default_factory=lambda: DataSpec(noise_std=0.5, num_test=20000))
    model: ModelSpec = field(default_factory=ModelSpec)
    start: str = "caps"
    learning_rate: float = 0.4
    bound: float = 1.0
    ascent_rate: float = 0.01
    ascent_steps: int = 50
    penalty: float = 3.0
    batch_size: int = 1024
    descent_steps: int = 5000
    num_check: int = 256

    system: ClassVar[str] = "flat_search"
    system_version: ClassVar[int] = 2  # with the eigenvalues (`dynamics.measures.eigenvalues`)
    shape_fields: ClassVar[tuple[str, ...]] = ("data.input_dim", "data.num_samples", "model.width")

    @property
    def paddable(self) -> tuple[str, ...]:
        return self.shape_fields

    def resolve(self) -> FlatSearchSpec:
        require(self.data.num_samples >= 1, "data.num_samples", self.data.num_samples, "must be at least 1")
        model = replace(self.model, width=resolve_width(self.model.width, self.data.num_samples))
        return replace(self, data=self.data.resolve(), model=model)

    def check(self) -> None:
        super().check()
        self.data.check()
        choose(
            "data.law",
            self.data.law,
            {name: forms for name, forms in parameter_free_forms().items() if math.isfinite(forms.radius)},
        )
        self.model.check(self.data.grid)
        choose("start", self.start, STARTS)
        require(self.model.kind == "two_layer", "model.kind", self.model.kind, "must be two_layer: the flat set is the paper's")
        require(self.model.activation == "relu", "model.activation", self.model.activation, "must be relu")
        require(
            self.model.parametrization == "standard", "model.parametrization", self.model.parametrization, "must be standard"
        )
        require(
            0 < self.learning_rate < 2, "learning_rate", self.learning_rate, "must be in (0, 2): every net has sharpness >= 1"
        )
        require(self.bound >= 1, "bound", self.bound, "must be at least 1: the theorem's M is max(D, |f|, 1)")
        require(self.ascent_rate > 0, "ascent_rate", self.ascent_rate, "must be above 0")
        require(
            self.data.num_test >= 2, "data.num_test", self.data.num_test, "must be at least 2: one half validates, one tests"
        )
        require(self.penalty > 0, "penalty", self.penalty, "must be above 0")
        for name in ("ascent_steps", "batch_size", "num_check"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        require(self.descent_steps >= 0, "descent_steps", self.descent_steps, "must be at least 0")

    def unused_fields(self) -> dict[str, str]:
        drawn = ("model.init", "model.init_scale") if self.start == "caps" else ()
        descended = () if self.start == "descent" else ("descent_steps",)
        always = dict.fromkeys(("data.shuffle_parts", "model.gradient"), "system")
        return {**super().unused_fields(), **always, **dict.fromkeys((*drawn, *descended), "start")}

    def dynamics(self) -> Dynamics:
        return build_flat_search(self)

    def cost(self) -> Cost:
        """Counts products only; the descent of `init` is spread over the steps."""
        n, d, k = self.data.num_samples, self.data.input_dim, int(self.model.width)
        per_sample = k * (4 * (d + 1) + 4)
        ascent = self.ascent_steps * (self.batch_size + self.num_check + 2 * n) * per_sample
        descent = self.descent_steps * n * per_sample / self.steps if self.start == "descent" else 0
        verify = ROUNDS * (4 * n * n * k + 60 * n * per_sample) + self.num_check * 20 * per_sample
        itemsize = 8 if self.precision == "float64" else 4
        parameters = k * (d + 2) + 1
        samples = n + self.data.num_test
        return Cost(
            ascent + descent + verify,
            self.data.num_test * per_sample + verify,
            itemsize * (8 * parameters + 2 * samples * (d + 4)),
            itemsize * (6 * max(n, self.batch_size + self.num_check) * k + 42 * parameters + 2 * samples * (d + 4)),
        )


def build_flat_search(spec: FlatSearchSpec) -> Dynamics:
    """Return the dynamics of a flat search; every scalar comes through `hyper`."""
    dtype = jnp.dtype(spec.precision)
    model = spec.model.build(spec.data.grid, dtype)
    law = parameter_free_forms()[spec.data.law]
    adam = optax.scale_by_adam()

    def fresh(key: jax.Array, hyper: Hyper, count: int) -> tuple[jax.Array, jax.Array]:
        """Inputs (count, d) of the law, and the points of the ball's surface behind them."""
        x = hyper["data.scale"] * draw_inputs(
            spec.data.law, key, count, hyper["data.input_dim"], (count, spec.data.input_dim), dtype
        )
        norm = jnp.linalg.norm(x, axis=1, keepdims=True)
        return x, hyper["data.scale"] * law.radius * x / jnp.maximum(norm, TINY)

    def peaks(params: TwoLayer, run: RunData, points: jax.Array) -> jax.Array:
        """Return points where |f| may be largest: the training inputs, and the peaks that ascent finds.

        Ascent starts from the given points and from every neuron's direction.
        """
        radius = run.hyper["data.scale"] * law.radius
        norm = jnp.linalg.norm(params.hidden[1:], axis=0)
        ridge = radius * (params.hidden[1:] / jnp.maximum(norm, TINY)).T
        found = ascend_to_peaks(lambda x: evaluate_network(params, x), jnp.concatenate([points, ridge]), radius, CLIMB_STEPS)
        return jnp.concatenate([found, run.problem.train.inputs])

    def look(params: TwoLayer, run: RunData, vector: jax.Array, key: jax.Array) -> FlatnessCheck:
        """The check: true Hessian (its guess is the kernel's eigenvector lifted) and |f| on fresh points."""
        view = View(model, params, run, HALF)
        top = hessian_sharpness(
            view.loss, params, gradient=view.loss_gradient, guess=apply_jacobian_transpose(params, run.train, vector)
        )
        _, surface = fresh(key, run.hyper, spec.num_check)
        largest = jnp.max(jnp.abs(evaluate_network(params, peaks(params, run, surface))))
        return FlatnessCheck((top.value + top.residual) * run.hyper["learning_rate"] / 2, largest)

    def gap(params: TwoLayer, run: RunData, batch: Batch) -> jax.Array:
        """E (f - y)^2 - (1/n) sum (f - y)^2, the first over a batch whose labels are f_0."""
        risk = jnp.sum(batch.weights * (model.apply(params, batch) - batch.labels) ** 2)
        variance = clipped_noise_variance(run.hyper["data.noise_std"], run.hyper["bound"])
        return risk + variance - View(model, params, run, HALF).mean_square

    def offer(best: FeasibleNet, params: TwoLayer, run: RunData, validation: Batch, vector: jax.Array, key: jax.Array):
        """Shrink the point into the flat set, check it there, and keep it if it is feasible and better.

        Returns the best point, the shrunk one, what the check saw before it was shrunk, and whether it is feasible.
        """
        floor, bound = run.hyper["learning_rate"] / 2, run.hyper["bound"]  # `floor`: the zero net's edge

        def tighten(i, carry):
            params, _, first, _ = carry
            seen = look(params, run, vector, jax.random.fold_in(key, i))
            inside = is_feasible(seen, bound)
            flatter = (AIM - floor) / jnp.maximum(seen.edge - floor, AIM - floor)
            factor = jnp.where(inside, 1, jnp.minimum(flatter, AIM * bound / jnp.maximum(seen.sup_norm, AIM * bound)))
            first = jax.tree.map(lambda a, b: jnp.where(i == 0, a, b), seen, first)
            return scale_network_output(params, factor), seen, first, inside

        nothing = FlatnessCheck(jnp.full((), jnp.inf, dtype), jnp.full((), jnp.inf, dtype))
        carry = (params, nothing, nothing, jnp.bool_(False))
        params, seen, first, inside = lax.fori_loop(0, ROUNDS, tighten, carry)
        return choose_better(best, FeasibleNet(params, gap(params, run, validation), seen), bound), params, first, inside

    def excess(seen: FlatnessCheck, bound: jax.Array) -> FlatnessCheck:
        """Relative violations of what is aimed at."""
        return FlatnessCheck(seen.edge / AIM - 1, seen.sup_norm / (AIM * bound) - 1)

    def lagrangian(params: TwoLayer, state: SearchState, run: RunData, x: jax.Array, far: jax.Array) -> jax.Array:
        hyper, train = run.hyper, run.problem.train
        bound, penalty = hyper["bound"], hyper["penalty"]
        values = evaluate_network(params, x)
        magnitude = jnp.abs(jnp.concatenate([values, evaluate_network(params, far)]))
        risk = jnp.mean(jnp.minimum(values**2, bound**2))  # no reward beyond the bound
        fit = jnp.sum(train.weights * (evaluate_network(params, train.inputs) - train.labels) ** 2)
        edge = rayleigh_quotient(params, run.train, state.vector) * hyper["learning_rate"] / 2
        violations = excess(FlatnessCheck(edge, jnp.max(magnitude)), bound)
        price = jax.tree.map(lambda v, p: augmented_lagrangian_term(v, p, penalty), violations, state.prices)
        return fit - risk + price.edge + price.sup_norm + penalty * jnp.mean(jnp.maximum(magnitude / bound - 1, 0) ** 2)

    def ascend(state: SearchState, run: RunData, key: jax.Array, num_steps: jax.Array) -> SearchState:
        high = peaks(state.params, run, run.problem.train.inputs)
        rate = run.hyper["ascent_rate"] / jnp.sqrt(1 + state.iteration.astype(dtype) / SETTLE)

        def move(t, state):
            x, surface = fresh(jax.random.fold_in(key, t), run.hyper, spec.batch_size)
            vector = power_iteration_step(state.params, run.train, power_iteration_step(state.params, run.train, state.vector))
            state = state._replace(vector=vector)
            far = jnp.concatenate([high, surface[: spec.num_check]])
            slope = jax.grad(lagrangian)(state.params, state, run, x, far)
            update, rule = adam.update(slope, state.rule)
            params = jax.tree.map(lambda p, u: p - rate * u, state.params, update)
            return state._replace(params=params, rule=rule)

        return lax.fori_loop(0, num_steps, move, state)

    def init(key: jax.Array, hyper: Hyper) -> tuple[FlatSearchData, SearchState]:
        data_key, start_key = (jax.random.fold_in(key, i) for i in range(2))
        problem = draw_problem(spec.data, TargetSpec(kind="zero"), data_key, hyper, dtype)
        (x, y, clean, weights), test = problem.train, problem.test
        count = spec.data.num_test // 2
        test, validation = (Samples(*(leaf[part] for leaf in test)) for part in (slice(count), slice(count, 2 * count)))
        test, validation = (part._replace(weights=jnp.full(count, 1 / count, dtype)) for part in (test, validation))
        train = Samples(x, jnp.clip(y, -hyper["bound"], hyper["bound"]), clean, weights)
        run = prepare_run_data(model, Problem(train, test), hyper, key)
        held_out = model.prepare(validation.inputs, validation.clean, validation.weights)

        params = STARTS[spec.start](model, law, start_key, run, spec.descent_steps)
        vector = lax.fori_loop(0, POWER_STEPS, lambda _, v: power_iteration_step(params, run.train, v), jnp.sqrt(weights))
        zero, none = jax.tree.map(jnp.zeros_like, params), jnp.zeros((), dtype)
        trivial = FeasibleNet(
            zero, gap(zero, run, held_out), FlatnessCheck(hyper["learning_rate"] / 2, none)
        )  # feasible on any data
        free = FlatnessCheck(none, none)
        state = SearchState(trivial, params, adam.init(params), vector, free, free, free, jnp.int32(0), jnp.int32(0))
        return FlatSearchData(run, held_out, params), state

    def step(state: SearchState, scene: FlatSearchData, key: jax.Array) -> SearchState:
        """Take one outer iteration; the first offers the start as it is, and ascent begins where that was shrunk to."""
        run, hyper, begins = scene.run, scene.run.hyper, state.iteration == 0
        state = ascend(state, run, jax.random.fold_in(key, 0), jnp.where(begins, 0, spec.ascent_steps))
        offered = offer(state.best, state.params, run, scene.validation, state.vector, jax.random.fold_in(key, 1))
        best, shrunk, seen, inside = offered
        dearer = jax.tree.map(
            lambda price, v: jnp.clip(price + hyper["penalty"] * v, 0, MOST * hyper["penalty"]),
            state.prices,
            excess(seen, hyper["bound"]),
        )

        def at_first(one, other):
            return jax.tree.map(lambda a, b: jnp.where(begins, a, b), one, other)

        return state._replace(
            best=best,
            params=at_first(shrunk, state.params),
            prices=at_first(state.prices, dearer),
            seen=seen,
            start_seen=at_first(seen, state.start_seen),
            rejected=state.rejected + ~inside,
            iteration=state.iteration + 1,
        )

    def observe(state: SearchState, scene: FlatSearchData) -> dict[str, jax.Array]:
        run, best = scene.run, state.best
        view = View(model, best.params, run, HALF)
        return {
            "gap": gap(best.params, run, run.test),
            "validation_gap": best.score,
            "excess_risk": view.excess_risk,
            "train_error": view.mean_square,
            "edge": best.seen.edge,
            "sup_norm": best.seen.sup_norm,
            "alive_fraction": activation_statistics(view)["alive_fraction"],
            **path_norms(view),
            "rejected": state.rejected,
            "start_gap": gap(scene.start, run, run.test),
            "start_edge": state.start_seen.edge,
            "start_sup_norm": state.start_seen.sup_norm,
            "ascent_gap": gap(state.params, run, run.test),
            "ascent_edge": state.seen.edge,
            "ascent_sup_norm": state.seen.sup_norm,
        }

    return Dynamics(init, step, observe)
