"""Learning-rate schedules by name: the rate of step t, a share of `optimizer.learning_rate`;
from optax where it can be.

With the learning rate eta, w = warmup_steps, p = period and T the run's steps, the first w steps of any schedule but
the constant one rise linearly, eta t / w for t = 0, 1, ...; from then on

    warmup         eta
    cosine         eta (f + (1 - f) (1 + cos(pi (t - w) / (T - w))) / 2), f = final_fraction   (Loshchilov and Hutter 2017)
    step           eta g^floor((t - w) / p), g = decay_factor
    inverse_sqrt   eta / sqrt(1 + (t - w) / p)   (Zhai et al. 2022 with the time scale p)

All these numbers are swept scalars, traced like the learning rate. optax's schedules compare theirs in Python, so they
are called on a time of their own in which the traced number is 1. Where a run is measured after t steps, its learning
rate is that of the step which starts there, number t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import jax
import jax.numpy as jnp
import optax

from dynamics.core.checked_fields import CheckedFields
from dynamics.core.dynamics import Hyper
from dynamics.core.registry import Registry
from dynamics.core.spec import added_field, check_options
from dynamics.errors import choose, require

CONSTANT = "constant"


@dataclass(frozen=True)
class Schedule:
    """A schedule that configs may name.

    share(hyper, time, horizon): the share of the learning rate `time` () steps after the warm-up, which leaves
        `horizon` () steps of the run; hyper: the run's scalars, those of the schedule as `optimizer.schedule.<name>`
    uses: the fields of `ScheduleSpec` that it reads
    """

    share: Callable[[Hyper, jax.Array, jax.Array], jax.Array]
    uses: tuple[str, ...] = ("warmup_steps",)


SCHEDULES: Registry[Schedule] = Registry("schedule", "optimizer.schedule", lambda: ScheduleSpec)


@dataclass(frozen=True)
class ScheduleSpec(CheckedFields):
    """The learning-rate schedule: the factor on the learning rate as a function of the step.

    >>> import dynamics as dyn
    >>> decaying = dyn.Schedule(kind="step", decay_factor=0.5, period=100.0)
    >>> dyn.Training(optimizer=dyn.Optimizer(schedule=decaying)).optimizer.schedule.decay_factor
    0.5
    """

    kind: str = added_field(CONSTANT, choices=SCHEDULES, doc="how the learning rate goes with the steps")
    warmup_steps: float = added_field(0.0, at_least=0, doc="length of the linear rise from 0 that comes first", unit="steps")
    final_fraction: float = added_field(0.0, at_least=0, at_most=1, doc="share of the rate that a cosine ends with")
    decay_factor: float = added_field(0.1, above=0, doc="factor on the rate after every period")
    period: float = added_field(1000.0, above=0, doc="between two drops, or the time scale of inverse_sqrt", unit="steps")

    def check(self, steps: int) -> None:
        """Raise `InputError` for a number that no schedule of this kind may have in a run of so many steps."""
        choose("optimizer.schedule.kind", self.kind, SCHEDULES)
        check_options(self, "optimizer.schedule")
        used = SCHEDULES.entry(self.kind).used_fields(self)
        for own in fields(self):
            users = [kind for kind in SCHEDULES if own.name in SCHEDULES.entry(kind).used_fields(self)]
            allowed = f"is of optimizer.schedule.kind = {' or '.join(users)}; leave it out"
            value = getattr(self, own.name)
            fits = own.name in used | SCHEDULES.common or value == own.default
            require(fits, f"optimizer.schedule.{own.name}", value, allowed)
        warm = self.warmup_steps
        require(warm < steps, "optimizer.schedule.warmup_steps", warm, f"must be less than steps = {steps}")
        if self.kind == "warmup":
            require(warm > 0, "optimizer.schedule.warmup_steps", warm, "must be above 0 for optimizer.schedule.kind = warmup")


def _cosine(hyper: Hyper, time: jax.Array, horizon: jax.Array) -> jax.Array:
    return jnp.asarray(optax.cosine_decay_schedule(1.0, 1, hyper["optimizer.schedule.final_fraction"])(time / horizon))


def _step(hyper: Hyper, time: jax.Array, horizon: jax.Array) -> jax.Array:
    return hyper["optimizer.schedule.decay_factor"] ** jnp.floor(time / hyper["optimizer.schedule.period"])


def _inverse_sqrt(hyper: Hyper, time: jax.Array, horizon: jax.Array) -> jax.Array:
    return jax.lax.rsqrt(1 + time / hyper["optimizer.schedule.period"])


SCHEDULES.update(
    {
        CONSTANT: Schedule(lambda hyper, time, horizon: jnp.ones_like(time), ()),
        "warmup": Schedule(lambda hyper, time, horizon: jnp.ones_like(time)),
        "cosine": Schedule(_cosine, ("warmup_steps", "final_fraction")),
        "step": Schedule(_step, ("warmup_steps", "decay_factor", "period")),
        "inverse_sqrt": Schedule(_inverse_sqrt, ("warmup_steps", "period")),
    }
)


def scheduled_rate(kind: str, hyper: Hyper, step: jax.Array, steps: int) -> jax.Array:
    """Return the learning rate () of step number `step` (), the first being 0, of a run of so many `steps`."""
    rate = hyper["optimizer.learning_rate"]
    if kind == CONSTANT:
        return rate
    warmup, time = hyper["optimizer.schedule.warmup_steps"], step.astype(rate.dtype)
    rise = optax.linear_schedule(0.0, 1.0, 1)(time / jnp.maximum(warmup, 1))
    share = SCHEDULES[kind].share(hyper, jnp.maximum(time - warmup, 0), steps - warmup)
    return rate * jnp.where(time < warmup, rise, share)
