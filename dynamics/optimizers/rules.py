"""Update rules by name: optax transformations built with traced hyperparameters, and the few rules optax lacks.

A rule may ask for the gradient wherever it likes and on labels of its own, so rules that look ahead (SAM, Runge-Kutta)
or add noise need no special path. It finds the learning rate that is in force at its step under
`optimizer.learning_rate`, whatever the schedule.

Order of operations, PyTorch's: the gradient is clipped to the global norm `clip_norm`; then `weight_decay` times
the parameters is added (to all of them, or to weights alone, as `decay` says; for `adamw` decoupled, after the
preconditioner); then the rule's own update times the learning rate. Conventions inside a rule are optax's, which are
PyTorch's too but for RMSProp: with v <- beta2 v + (1 - beta2) g^2 from v = 0, `rmsprop` takes g / sqrt(v + epsilon),
and `torch_rmsprop` takes PyTorch's g / (sqrt(v) + epsilon), whose usual decay is beta2 = 0.99.

Flows go `learning_rate` further in time at every step: `gradient_flow` by one Runge-Kutta step, `adaptive_flow` and
`stiff_flow` by as many as keep `tolerance`, the second where learning_rate * sharpness is large (`adaptive_steps`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from dynamics.core.checked_fields import CheckedFields
from dynamics.core.dynamics import Hyper
from dynamics.core.registry import Registry
from dynamics.core.spec import added_field, check_options, option
from dynamics.core.usage import fill_in
from dynamics.errors import choose, require
from dynamics.optimizers.adaptive_steps import CHEBYSHEV, DORMAND_PRINCE, Method, begin, integrate
from dynamics.optimizers.averaging import AVERAGES, NO_AVERAGE, UNIFORM, average_parameters
from dynamics.optimizers.layer_rates import LAYER_RATES, scale_by_learning_rate, scale_leaves
from dynamics.optimizers.schedules import CONSTANT, ScheduleSpec
from dynamics.optimizers.update_rule import Rule

EPOCH, REPLACEMENT, FRESH = "epoch", "replacement", "fresh"  # where a minibatch comes from


@dataclass(frozen=True)
class RuleKind:
    """An update rule that configs may name.

    build(spec, hyper, mask): the rule of a run; spec is the `OptimizerSpec`, swept fields of one's own as arrays; hyper
        holds the run's scalars; mask (shaped like the parameters) is 1 where weight decay acts, else 0
    uses: the fields of `OptimizerSpec` that it reads besides `COMMON`
    gradients: how many gradients a step asks for
    scheduled: whether the learning rate may change from step to step
    pads: whether its numbers stay where samples, inputs or neurons are padded: not if it draws noise of their shape
    of_values: whether it is for losses of values alone: noise that is added to shares of classes leaves no shares
    """

    build: Callable[[OptimizerSpec, Hyper, Any], Rule]
    uses: tuple[str, ...] = ("clip_norm",)
    gradients: int = 1
    scheduled: bool = True
    pads: bool = True
    of_values: bool = False


BATCHES, AVERAGING = ("batch_size", "sampling"), ("average", "average_decay", "average_start")
COMMON = ("learning_rate", "weight_decay", "decay", "schedule", *BATCHES, *AVERAGING)
RULES: Registry[RuleKind] = Registry("optimizer", "optimizer", lambda: OptimizerSpec, common=COMMON)


@dataclass(frozen=True)
class OptimizerSpec(CheckedFields):
    """The update rule and its parameters; each rule declares which of these fields it uses.

    >>> import dynamics as dyn
    >>> dyn.Optimizer(kind="adam", learning_rate=0.01).beta2
    0.999
    """

    kind: str = option("gd", choices=RULES, doc="rule by which the parameters are updated")
    learning_rate: float = option(0.1, above=0, doc="step size eta")
    weight_decay: float = option(0.0, at_least=0, doc="factor of the parameters that is added to the gradient")
    decay: str = option("all", choices=("all", "weights"), doc="whether biases decay too, as is PyTorch's habit")
    clip_norm: float = option(math.inf, above=0, infinite=True, doc="largest norm of the gradient; inf for no clipping")
    momentum: float = option(0.9, at_least=0, below=1, doc="factor of the last update in the next")
    beta1: float = option(0.9, at_least=0, below=1, doc="decay of the mean of gradients")
    beta2: float = option(0.999, at_least=0, below=1, doc="decay of the mean of squared gradients")
    epsilon: float = option(1e-8, above=0, doc="added to the root of the mean of squares, or under it (rmsprop)")
    batch_size: int = option(0, at_least=0, doc="samples a step; 0 for all")
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    sampling: str = added_field(
        EPOCH,
        choices=(EPOCH, REPLACEMENT, FRESH),
        doc="a batch's samples: without replacement within an epoch, with replacement, or new ones of the law every step",
    )
    label_noise: float = added_field(0.1, at_least=0, doc="standard deviation of what is added to the labels at every step")
    inverse_temperature: float = added_field(1e4, above=0, infinite=True, doc="beta of the measure exp(-beta L); inf: no noise")
    radius: float = added_field(0.05, at_least=0, doc="rho, how far up the gradient the next one is taken")
    normalized: bool = added_field(True, doc="whether that is rho in length, whatever the gradient's, or rho times it")
    average: str = added_field(
        NO_AVERAGE, choices=AVERAGES, doc="average of the parameters that is measured too: exponential (ema) or uniform"
    )
    average_decay: float = added_field(0.999, at_least=0, below=1, doc="decay of the exponential average")
    average_start: float = added_field(0.0, at_least=0, doc="steps before the average begins", unit="steps")
    tolerance: float = added_field(1e-3, above=0, below=1, doc="relative error that a flow may have for its adaptive steps")

    def check(self, num_samples: int, steps: int, precision: str = "float64") -> None:
        """Raise `InputError` for a value that is not allowed in a run of so many steps on so many samples."""
        rule, batch = choose("optimizer.kind", self.kind, RULES), self.batch_size
        check_options(self, "optimizer")
        fits = batch <= num_samples or self.sampling != EPOCH
        require(fits, "optimizer.batch_size", batch, f"must be from 0 to n = {num_samples}")
        self.schedule.check(steps)
        if not rule.scheduled:
            allowed = f"optimizer.kind = {self.kind} takes steps of one length; choose {CONSTANT}"
            require(self.schedule.kind == CONSTANT, "optimizer.schedule.kind", self.schedule.kind, allowed)
        if self.kind in FLOWS:
            least = FLOWS[self.kind].least_tolerance(float(jnp.finfo(precision).eps))
            allowed = f"must be at least {least:.2g} with optimizer.kind = {self.kind} and precision = {precision}"
            require(self.tolerance >= least, "optimizer.tolerance", self.tolerance, allowed)

    def rule(self, hyper: Hyper, mask: Any, layer_rates: Any = None) -> Rule:
        """Return the rule of a run with these scalars; mask: see `RuleKind`.

        layer_rates: factors on the learning rate that broadcast to the parameters, None for one rate
        """
        if layer_rates is not None:
            hyper = {**hyper, LAYER_RATES: layer_rates}
        built = RULES[self.kind].build(fill_in(self, "optimizer", hyper), hyper, mask)
        if self.average == NO_AVERAGE:
            return built
        return average_parameters(built, self.average, hyper)

    @property
    def is_online(self) -> bool:
        """Whether every step has new samples of the law, so that the training samples are none of the steps'."""
        return self.batch_size > 0 and self.sampling == FRESH

    def unused_fields(self) -> dict[str, str]:
        """Return the fields by path without use at these choices, each with the path of the field that makes it so."""
        unused = {"optimizer.sampling": "optimizer.batch_size"} if self.batch_size == 0 else {}
        without = {NO_AVERAGE: ("average_decay", "average_start"), UNIFORM: ("average_decay",)}.get(self.average, ())
        return unused | {f"optimizer.{name}": "optimizer.average" for name in without}


def from_optax(transform: optax.GradientTransformation) -> Rule:
    """Return the rule that asks for one gradient, at the parameters, and hands it to optax."""

    def update(params, state, gradient, *, step, key):
        updates, state = transform.update(gradient(params), state, params)
        return optax.apply_updates(params, updates), state

    return Rule(transform.init, update)


def _decay(coefficient: jax.Array, mask: Any) -> optax.GradientTransformation:
    """Return optax's weight decay with an array for a mask, so that part of a leaf may be spared."""
    return optax.stateless(lambda updates, params: jax.tree.map(lambda u, p, m: u + coefficient * m * p, updates, params, mask))


def chain(hyper: Hyper, mask: Any, core: optax.GradientTransformation, *, decoupled: bool = False) -> Rule:
    """Return the rule that clips, adds weight decay (after `core` if `decoupled`), applies `core` and scales."""
    clip = optax.clip_by_global_norm(hyper["optimizer.clip_norm"])
    decay = _decay(hyper["optimizer.weight_decay"], mask)
    rate = scale_by_learning_rate(hyper)
    return from_optax(optax.chain(clip, core, decay, rate) if decoupled else optax.chain(clip, decay, core, rate))


def _trace(hyper: Hyper, nesterov: bool) -> optax.GradientTransformation:
    return optax.trace(hyper["optimizer.momentum"], nesterov)


def _adam(hyper: Hyper) -> optax.GradientTransformation:
    return optax.scale_by_adam(hyper["optimizer.beta1"], hyper["optimizer.beta2"], hyper["optimizer.epsilon"])


def gradient_flow(spec: OptimizerSpec, hyper: Hyper, mask: Any) -> Rule:
    """Return the flow d theta/dt = -grad L by the classical fourth-order Runge-Kutta method, step `learning_rate`.

    Weight decay belongs to the flow, clipping does not exist for it. Stable while learning_rate * sharpness < 2.78.
    """
    h, decay = hyper["optimizer.learning_rate"], hyper["optimizer.weight_decay"]

    def update(params, state, gradient, *, step, key):
        def velocity(p):
            descent = jax.tree.map(lambda g, q, m: -(g + decay * m * q), gradient(p), p, mask)
            return scale_leaves(descent, hyper.get(LAYER_RATES))

        def move(scale, k):
            return jax.tree.map(lambda p, v: p + scale * v, params, k)

        k1 = velocity(params)
        k2 = velocity(move(h / 2, k1))
        k3 = velocity(move(h / 2, k2))
        k4 = velocity(move(h, k3))
        return move(h / 6, jax.tree.map(lambda a, b, c, d: a + 2 * b + 2 * c + d, k1, k2, k3, k4)), state

    return Rule(lambda params: (), update)


FLOWS = {"adaptive_flow": DORMAND_PRINCE, "stiff_flow": CHEBYSHEV}


def _adaptive(method: Method) -> Callable[[OptimizerSpec, Hyper, Any], Rule]:
    """Return the builder of the flow d theta/dt = -grad L by adaptive steps that keep `tolerance`,
    see `adaptive_steps`.

    A step of the run takes it `learning_rate` further in time. A state whose step is given up is NaN: the run diverged.
    """

    def build(spec: OptimizerSpec, hyper: Hyper, mask: Any) -> Rule:
        time, decay, tolerance = (hyper[f"optimizer.{name}"] for name in ("learning_rate", "weight_decay", "tolerance"))

        def update(params, state, gradient, *, step, key):
            flat, unravel = ravel_pytree(params)

            def velocity(y):
                point = unravel(y)
                descent = jax.tree.map(lambda g, q, m: -(g + decay * m * q), gradient(point), point, mask)
                return ravel_pytree(scale_leaves(descent, hyper.get(LAYER_RATES)))[0]

            flat, pace = integrate(method, velocity, flat, time, tolerance, state)
            return unravel(flat), pace

        return Rule(lambda params: begin(ravel_pytree(params)[0], time), update)

    return build


MOMENTUM, ADAM, RMS = ("clip_norm", "momentum"), ("clip_norm", "beta1", "beta2", "epsilon"), ("clip_norm", "beta2", "epsilon")


def _rms(hyper: Hyper, eps_in_sqrt: bool) -> optax.GradientTransformation:
    return optax.scale_by_rms(hyper["optimizer.beta2"], hyper["optimizer.epsilon"], eps_in_sqrt=eps_in_sqrt)


RULES.update(
    {
        "gd": RuleKind(lambda spec, h, m: chain(h, m, optax.identity())),
        "momentum": RuleKind(lambda spec, h, m: chain(h, m, _trace(h, nesterov=False)), MOMENTUM),
        "nesterov": RuleKind(lambda spec, h, m: chain(h, m, _trace(h, nesterov=True)), MOMENTUM),
        "adam": RuleKind(lambda spec, h, m: chain(h, m, _adam(h)), ADAM),
        "adamw": RuleKind(lambda spec, h, m: chain(h, m, _adam(h), decoupled=True), ADAM),
        "rmsprop": RuleKind(lambda spec, h, m: chain(h, m, _rms(h, eps_in_sqrt=True)), RMS),
        "torch_rmsprop": RuleKind(lambda spec, h, m: chain(h, m, _rms(h, eps_in_sqrt=False)), RMS),
        "signgd": RuleKind(lambda spec, h, m: chain(h, m, optax.scale_by_sign())),
        "gradient_flow": RuleKind(gradient_flow, (), gradients=4, scheduled=False),
        "adaptive_flow": RuleKind(_adaptive(DORMAND_PRINCE), ("tolerance",), gradients=7, scheduled=False),
        "stiff_flow": RuleKind(_adaptive(CHEBYSHEV), ("tolerance",), gradients=12, scheduled=False),
    }
)
