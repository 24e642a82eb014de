"""Decorators that register how networks are trained and measured; see `register` for what they share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from dynamics.core.checked_arguments import check_arguments
from dynamics.core.registry import Registry, origin_of
from dynamics.errors import require
from dynamics.measures.table import MEASURES, PADDINGS, Measure, Work
from dynamics.models.losses import LOSSES, Loss
from dynamics.optimizers.rules import RULES, RuleKind, chain
from dynamics.optimizers.schedules import SCHEDULES, Schedule
from dynamics.optimizers.update_rule import Rule

F = TypeVar("F", bound=Callable[..., Any])
Fields = Mapping[str, Any]


def register_piece(
    registry: Registry[Any], make: Callable[[F], Any], name: str | None, uses: Any, fields: Fields | None, version: int
) -> Callable[[F], F]:
    """Return the decorator that registers what `make` builds from a function and returns the function unchanged."""
    label = f"register.{registry.kind}"

    def decorate(function: F) -> F:
        require(callable(function), label, function, "decorates a function")
        called = getattr(function, "__name__", "") if name is None else name
        origin = origin_of(function)
        registry.add(called, make(function), uses=uses, fields=fields, origin=origin, version=version)
        return function

    return decorate


@check_arguments("register.optimizer", decorator=True)
def optimizer(
    name: str | None = None,
    *,
    uses: Sequence[str] = ("clip_norm",),
    fields: Fields | None = None,
    gradients: int = 1,
    scheduled: bool = True,
    pads: bool = False,
    version: int = 1,
) -> Callable[[F], F]:
    """Register an update rule, `optimizer.kind=<name>`.

    The function is called as `rule(spec, hyper, mask)` at every step: `spec` is the `OptimizerSpec`, with fields of
    one's own, swept ones as arrays; `hyper["optimizer.learning_rate"]` is the rate in force at that step, whatever the
    schedule; `mask` is shaped like the parameters, 1 where weight decay acts. It returns a transformation of optax,
    which is put between clipping and decay on one side and the learning rate on the other, like the suite's; or a
    `Rule`, whose `update(params, state, gradient, *, step, key)` does everything itself and may ask for several
    gradients, also on other labels: `gradient(params, relabel)` has `relabel(labels)` in their place.

    gradients: how many gradients a step asks for; scheduled: whether the learning rate may change from step to step
    pads: whether its numbers stay where samples, inputs or neurons are padded by zeros, so that runs of several sizes
        can share a program: not so if it draws noise of their shape

        @dyn.register.optimizer(fields={"mix": dyn.option(0.99, at_least=0, below=1)})
        def lion(spec, hyper, mask):
            return optax.scale_by_lion(b1=0.9, b2=spec.mix)
    """

    require(gradients >= 1, "register.optimizer gradients", gradients, "must be at least 1")

    def make(function: F) -> RuleKind:
        def build(spec: Any, hyper: Any, mask: Any) -> Rule:
            made = function(spec, hyper, mask)
            return made if isinstance(made, Rule) else chain(hyper, mask, made)

        return RuleKind(build, tuple(uses), gradients, scheduled, pads)

    return register_piece(RULES, make, name, uses, fields, version)


@check_arguments("register.schedule", decorator=True)
def schedule(
    name: str | None = None, *, uses: Sequence[str] = ("warmup_steps",), fields: Fields | None = None, version: int = 1
) -> Callable[[F], F]:
    """Register a learning-rate schedule, `optimizer.schedule.kind=<name>`.

    The function is called as `share(hyper, time, horizon)` and returns the share of the learning rate that is in force
    `time` steps after the warm-up, which leaves `horizon` steps of the run; `hyper["optimizer.schedule.<field>"]` is a
    swept scalar.

        @dyn.register.schedule(fields={"power": dyn.option(0.5, above=0)})
        def polynomial(hyper, time, horizon):
            return (1 - time / horizon) ** hyper["optimizer.schedule.power"]
    """
    return register_piece(SCHEDULES, lambda function: Schedule(function, tuple(uses)), name, uses, fields, version)


@check_arguments("register.loss", decorator=True)
def loss(
    name: str | None = None,
    *,
    uses: Sequence[str] = (),
    fields: Fields | None = None,
    several_outputs: bool = False,
    of_classes: bool = False,
    version: int = 1,
) -> Callable[[F], F]:
    """Register a loss, `loss.kind=<name>`, which gradients of networks descend by automatic differentiation.

    The function is called as `each(prediction, labels, spec)` and returns the loss at every sample, (n,): prediction
    and labels are (n,), or (n, C) for C outputs; `spec` is the `LossSpec`, with fields of one's own, swept ones as
    arrays. The loss that is descended is the mean over samples, times the factor of `loss.normalization` where `uses`
    names that.

    several_outputs: whether it is for targets of several outputs alone
    of_classes: whether labels must be shares of classes, so that noise flips them and is not added

        @dyn.register.loss(fields={"delta": dyn.option(1.0, above=0)})
        def huber(prediction, labels, spec):
            return optax.losses.huber_loss(prediction, labels, delta=spec.delta)
    """

    def make(function: F) -> Loss:
        return Loss(lambda f, y, weights, spec: function(f, y, spec), tuple(uses), several_outputs, of_classes)

    return register_piece(LOSSES, make, name, uses, fields, version)


@check_arguments("register.measure", decorator=True)
def measure(
    name: str | None = None,
    *,
    needs: Sequence[str] = (),
    cost: float = 0.0,
    padding: str = "none",
    undefined: Sequence[str] = (),
    fields: Fields | None = None,
    version: int = 1,
) -> Callable[[F], F]:
    """Register a measure, `measures=[<name>]`.

    The function is called at every record as `measure(view)` with a `View` and returns a scalar, which becomes the
    column `<name>`, or a dict of columns. Fields of one's own are set as `measure_options.<field>`: swept ones are
    `view.hyper["measure_options.<field>"]`, others `view.options.<field>`.

    needs: what a run must have, names of `dynamics.measures.needs.NEEDS`; a run without it is refused. With `start` it
        keeps its first parameters, and `view.initial` is the view of them
    cost: what it takes, in full-batch gradients, for the plan
    padding: under which padding its numbers stay, see `Measure`; by default runs with it are not padded at all
    undefined: its columns that may be NaN because there is no value; NaN in another is told in the run's status

        @dyn.register.measure(needs=("one_hidden_layer",), fields={"floor": dyn.option(0.1, at_least=0)})
        def large_readouts(view):
            return jnp.mean(jnp.abs(view.neurons.readout) > view.hyper["measure_options.floor"])
    """
    require(cost >= 0 and math.isfinite(cost), "register.measure cost", cost, "must be at least 0")
    require(padding in PADDINGS, "padding", padding, f"choose one of {', '.join(PADDINGS)}")

    def make(function: F) -> Measure:
        column = name or function.__name__

        def columns(view: Any) -> dict[str, Any]:
            seen = function(view)
            return seen if isinstance(seen, dict) else {column: seen}

        return Measure(columns, tuple(needs), (Work(f"measure {column}", cost),) if cost else (), padding, tuple(undefined))

    return register_piece(MEASURES, make, name, (), fields, version)
