"""Training as a dynamics: problem + model + loss + update rule + measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.dynamics import Cost, Dynamics, Hyper
from dynamics.core.spec import RunSpec, option
from dynamics.data.law import LAWS
from dynamics.data.problem import TARGETS, DataSpec, TargetSpec, draw_problem
from dynamics.errors import InputError, choose, require
from dynamics.measures.needs import TRAINING_SAMPLES
from dynamics.measures.table import DEFAULT, MEASURES, MeasureNames, MeasureSpec, check_measures, common_padding, keeps_start
from dynamics.measures.view import RuleInForce, RunData, View, prepare_run_data
from dynamics.models import stepping
from dynamics.models.activations import ACTIVATIONS
from dynamics.models.base import Batch, Model
from dynamics.models.losses import LOSSES, LossSpec, mean_loss, resolve_loss_spec
from dynamics.models.model_spec import MODELS, ModelSpec, resolve_width
from dynamics.models.parametrization import STANDARD
from dynamics.optimizers.averaging import NO_AVERAGE
from dynamics.optimizers.layer_rates import FAMILIES
from dynamics.optimizers.rules import RULES, OptimizerSpec
from dynamics.optimizers.schedules import CONSTANT, scheduled_rate
from dynamics.optimizers.update_rule import Rule
from dynamics.systems import minibatches, register, training_cost

NORMS = ("gradient_norm", "weight_norm")
DEFAULT_MEASURES = ("train_loss", "clean_train_error", "excess_risk", "generalization_gap", *NORMS)
AVERAGE = "average_"  # before the columns of the averaged parameters
DEFAULT_OF_CLASSES = ("train_loss", "test_loss", "accuracy", "clean_accuracy", *NORMS)


@register.system
@dataclass(frozen=True)
class TrainingSpec(RunSpec):
    """A network trained on a regression or classification problem.

    data, target: what is learned; model: by what; loss, optimizer: how; measures: what is seen of it, by name. Sweep it
    with `dyn.sweep`, whose axes are dotted paths such as `optimizer.learning_rate`.

    >>> import dynamics as dyn
    >>> spec = dyn.Training(data=dyn.Data(num_samples=64), model=dyn.Model(width="4n"), steps=100)
    >>> spec.resolve().model.width
    256
    """

    data: DataSpec = field(default_factory=DataSpec)
    target: TargetSpec = field(default_factory=TargetSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    loss: LossSpec = field(default_factory=LossSpec)
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    measures: list[str] = option([DEFAULT], choices=MeasureNames(), doc="what records hold")  # noqa: RUF009 (copied)
    measure_options: MeasureSpec = field(default_factory=MeasureSpec)

    system: ClassVar[str] = "training"
    shape_fields: ClassVar[tuple[str, ...]] = ("data.input_dim", "data.num_samples", "model.width")

    @property
    def paddable(self) -> tuple[str, ...]:
        padding, activation = common_padding(self.measured), ACTIVATIONS.get(self.model.activation)
        homogeneous, rule = activation is not None and activation.flat_at_zero, RULES.get(self.optimizer.kind)
        if padding == "none" or (rule is not None and not rule.pads):
            return ()
        if self.outputs or (padding == "homogeneous" and not homogeneous):
            return ("data.num_samples",)
        pads = LAWS[self.data.law].pads and self.target.pads
        return tuple(size for size in self.model.pads if pads or size != "data.input_dim")

    @property
    def outputs(self) -> int:
        """Return how many outputs the network has, 0 for a scalar."""
        return self.target.outputs(self.data)

    @property
    def measured(self) -> tuple[str, ...]:
        """Return the measures by name, `default` being those for the loss that is descended."""
        kind = LOSSES.get(self.loss.kind)
        usual = DEFAULT_OF_CLASSES if kind is not None and kind.of_classes else DEFAULT_MEASURES
        if self.optimizer.is_online:
            usual = tuple(name for name in usual if TRAINING_SAMPLES not in MEASURES[name].needs)
        return tuple(dict.fromkeys(own for name in self.measures for own in (usual if name == DEFAULT else (name,))))

    @property
    def loss_factor(self) -> float:
        """Return the loss's factor, see `LossSpec.factor`."""
        return self.loss.factor(self.outputs)

    def network(self, hyper: Hyper | None = None) -> Model:
        """Return the model at the spec's shapes; hyper: the run's scalars, which a kind with swept fields needs."""
        return self.model.build(self.data.grid, jnp.dtype(self.precision), self.outputs, hyper)

    def shared_arrays(self) -> dict[str, np.ndarray]:
        return self.data.shared_arrays()

    def resolve(self) -> TrainingSpec:
        require(self.data.num_samples >= 1, "data.num_samples", self.data.num_samples, "must be at least 1")
        model = replace(self.model, width=resolve_width(self.model.width, self.data.num_samples))
        measures = list(self.measured) if DEFAULT in self.measures else self.measures
        return replace(self, data=self.data.resolve(), model=model, measures=type(self.measures)(measures))

    def check(self) -> None:
        super().check()
        target = TARGETS.get(self.target.kind)
        self.data.check(flips=target is not None and target.of_parts)
        self.target.check(self.data)
        self.model.check(self.data.grid, self.outputs)
        self.loss.check(self.outputs)
        if self.loss.of_classes:
            self.check_classes()
        self.optimizer.check(self.data.num_samples, self.steps, self.precision)
        if self.model.parametrization != STANDARD and self.optimizer.kind not in FAMILIES:
            allowed = f"has one learning rate for all layers; model.parametrization = {self.model.parametrization} wants"
            raise InputError("optimizer.kind", self.optimizer.kind, f"{allowed} one of {', '.join(sorted(FAMILIES))}")
        endless = LAWS[self.data.law].has_fresh_samples or not self.optimizer.is_online
        finite = f"data.law = {self.data.law} has finitely many samples; choose epoch or replacement"
        require(endless, "optimizer.sampling", self.optimizer.sampling, finite)
        check_measures(self.measured, self)

    def check_classes(self) -> None:
        """Raise `InputError` for labels that a loss of classes has no minimum for."""
        kind, noise = self.loss.kind, self.data.noise_std
        shares = TARGETS[self.target.kind].are_shares(self.data)
        require(shares, "target.kind", self.target.kind, f"loss.kind = {kind} wants labels that are shares of classes: one_hot")
        allowed = (
            f"loss.kind = {kind} has no minimum with noise added to its labels: set it to 0; data.flip_probability flips them"
        )
        require(noise == 0, "data.noise_std", noise, allowed)
        rule, allowed = self.optimizer.kind, f"adds noise to labels that are values; those of loss.kind = {kind} are classes"
        require(not choose("optimizer.kind", rule, RULES).of_values, "optimizer.kind", rule, allowed)

    def unused_fields(self) -> dict[str, str]:
        unused, loss = super().unused_fields(), self.loss.kind
        unused |= self.optimizer.unused_fields()
        if self.optimizer.weight_decay == 0:
            unused["optimizer.decay"] = "optimizer.weight_decay"
        if self.data.shuffle_parts and LAWS[self.data.law].num_parts(self.data) < 2:
            unused["data.shuffle_parts"] = "data.law"
        elif not TARGETS[self.target.kind].reads_parts:
            unused["data.shuffle_parts"] = "target.kind"
        if self.model.gradient != "closed_form":
            unused |= {"model.gradient": "loss.kind"} if loss != "squared" else {}
            unused |= {"model.gradient": "model.kind"} if self._has_no_closed_form() else {}
        return unused

    def _has_no_closed_form(self) -> bool:
        """Return whether the network's gradient comes from automatic differentiation anyway."""
        narrow = replace(self, model=replace(self.model, width=1))  # its width may be unresolved
        return narrow.network().squared_gradient is None

    def warnings(self) -> list[str]:
        o, limit = self.optimizer, 1 / self.loss_factor
        has_bias = MODELS[self.model.kind].output_bias(self.model)  # which alone has curvature 2 * factor
        biased = has_bias and self.loss.kind == "squared"
        stays = o.schedule.kind in (CONSTANT, "warmup")
        if o.kind == "gd" and o.batch_size == 0 and biased and stays and o.learning_rate >= limit:
            return [
                f"optimizer.learning_rate = {o.learning_rate!r}: full-batch GD with the {self.loss.normalization} loss"
                f" cannot settle at or above {limit:g} (the output bias alone has sharpness {2 * self.loss_factor:g})"
            ]
        return []

    def view(self, state: TrainState, fixed: RunData, *, average: bool = False) -> View:
        """Return what measures see of a run in this state; its learning rate is that of the step which starts there.

        average: of the average of its parameters, which a run with an `optimizer.average` has
        """
        rate = scheduled_rate(self.optimizer.schedule.kind, fixed.hyper, state.step, self.steps)
        model = self.network(fixed.hyper)
        params, rule = state.rule.mean if average else state.params, RuleInForce(self.optimizer, state.rule, state.step)
        return View(model, params, fixed, self.loss_factor, self.loss, rate, self.measure_options, rule)

    def derived_columns(self) -> dict[str, Any]:
        return {"loss_factor": self.loss_factor}

    def dynamics(self) -> Dynamics:
        return build_training(self)

    def cost(self) -> Cost:
        """Return the estimated cost of one run, see `training_cost`."""
        return training_cost.estimate_cost(self)

    def flops_per_check(self) -> float:
        watched = [name for name in self.measured if name == self.stop.measure]  # one that gives several is not told apart
        return (replace(self, measures=tuple(watched)) if watched else self).cost().flops_per_record  # type: ignore[arg-type]


class TrainState(NamedTuple):
    """The state of a training run: params; the rule's state; step, how many were taken."""

    params: Any
    rule: Any
    step: jax.Array


def build_training(spec: TrainingSpec) -> Dynamics:
    """Return the dynamics of a training run at the spec's shapes and kinds; its scalars come through `hyper`."""
    dtype = jnp.dtype(spec.precision)
    factor = spec.loss_factor
    closed_form = spec.model.gradient == "closed_form" and spec.loss.kind == "squared"
    measures = [MEASURES[name] for name in spec.measured]
    compares = keeps_start(spec.measured)
    schedule, averages = spec.optimizer.schedule.kind, spec.optimizer.average != NO_AVERAGE
    backend = choose_backend(spec) if closed_form else stepping.PLAIN

    def rule(model: Model, hyper: Hyper, params: Any) -> Rule:
        decays = model.is_weight(params) if spec.optimizer.decay == "weights" else jax.tree.map(jnp.ones_like, params)
        rates = None if model.layer_rates is None else model.layer_rates[FAMILIES[spec.optimizer.kind]]
        return spec.optimizer.rule(hyper, decays, rates)

    def gradient(model: Model, hyper: Hyper, params: Any, batch: Batch) -> Any:
        closed = stepping.fused_gradient if backend == stepping.GRADIENT else model.squared_gradient
        if closed_form and closed is not None:
            return closed(params, batch, factor)
        descended = resolve_loss_spec(spec.loss, hyper)
        return jax.grad(lambda p: mean_loss(descended, factor, model.apply, p, batch))(params)

    def init(key: jax.Array, hyper: Hyper) -> tuple[RunData, TrainState]:
        data_key, model_key, order_key = (jax.random.fold_in(key, i) for i in range(3))
        problem = draw_problem(spec.data, spec.target, data_key, hyper, dtype)
        model = spec.network(hyper)
        params = model.init(model_key, hyper)
        fixed = prepare_run_data(model, problem, hyper, minibatches.choose_key(spec, data_key, order_key))
        fixed = fixed._replace(start=params if compares else None)
        return fixed, TrainState(params, rule(model, hyper, params).init(params), jnp.int32(0))

    def step(state: TrainState, fixed: RunData, key: jax.Array) -> TrainState:
        model = spec.network(fixed.hyper)
        batch = minibatches.draw_batch(spec, model, fixed, state.step, dtype)
        hyper = {**fixed.hyper, "optimizer.learning_rate": scheduled_rate(schedule, fixed.hyper, state.step, spec.steps)}
        update = rule(model, hyper, state.params).update

        def slope(params: Any, relabel: Callable[[jax.Array], jax.Array] | None = None) -> Any:
            own = batch if relabel is None else batch._replace(labels=relabel(batch.labels))
            return gradient(model, hyper, params, own)

        params, rule_state = update(state.params, state.rule, slope, step=state.step, key=key)
        return TrainState(params, rule_state, state.step + 1)

    def observe(state: TrainState, fixed: RunData) -> dict[str, jax.Array]:
        view = spec.view(state, fixed)
        seen: dict[str, jax.Array] = {"loss_factor": jnp.asarray(factor, dtype)}
        for measure in measures:
            seen |= measure(view)
        if averages:
            view = spec.view(state, fixed, average=True)
            seen |= {AVERAGE + column: value for measure in measures for column, value in measure(view).items()}
        return seen

    def leap(state: TrainState, fixed: RunData, steps: jax.Array) -> TrainState:
        rate, clip, decay = (fixed.hyper[f"optimizer.{name}"] for name in ("learning_rate", "clip_norm", "weight_decay"))
        params = stepping.descend(state.params, fixed.train, factor, steps, (rate, clip, decay), spec.optimizer.decay)
        return TrainState(params, state.rule, state.step + steps)

    undefined = tuple(column for measure in measures for column in measure.undefined)
    undefined += tuple(AVERAGE + column for column in undefined if averages)
    return Dynamics(init, step, observe, leap if backend == stepping.DESCEND else None, undefined)


def choose_backend(spec: TrainingSpec) -> str:
    """Return the fastest backend for the steps of this run; `plain` where no kernel supports it."""
    layered = spec.model.kind == "two_layer" and spec.model.activation == "relu" and not spec.outputs
    layered = layered and spec.model.parametrization == STANDARD
    if not layered or spec.precision != "float32" or spec.optimizer.batch_size:
        return stepping.PLAIN
    closed = spec.network().squared_gradient
    assert closed is not None
    data, o = spec.data, spec.optimizer
    descends = o.kind == "gd" and o.schedule.kind == CONSTANT and o.average == NO_AVERAGE
    return stepping.choose_backend(data.num_samples, int(spec.model.width), data.input_dim, closed, descends=descends)
