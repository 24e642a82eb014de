"""The goal at which a run ends: a measure falls below, or rises above, a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from dynamics.core.checked_fields import CheckedFields
from dynamics.core.options import added_field
from dynamics.errors import InputError, require, suggest

MOST_CHECKS = 1_000_000
GOAL = ("stop.below", "stop.above")  # the swept scalars of a goal, which no dynamics sees


@dataclass(frozen=True)
class StopSpec(CheckedFields):
    """When a run ends before its last step: once a measure that it records passes a goal.

    measure: the record that is watched; empty for a run that takes all its steps
    below, above: the goal, one of the two; both are swept, so that many goals share a program
    checks: how many checks in a row must pass
    every: steps between two checks, from step 0 on; 0 checks at the recorded steps, which costs nothing

    The state is frozen where the run stops: later records repeat what is seen there, `stopped_at` is the step, and the
    run's status is `reached`. NaN passes no check.

    >>> import dynamics as dyn
    >>> halve = dyn.Dynamics(lambda key, h: (h, h["x0"]), lambda x, h, key: x / 2, lambda x, h: {"x": x})
    >>> goals = {"x0": 8.0, "stop.below": [3.0, 0.6]}
    >>> study = dyn.sweep(halve, goals, schedule=(0, 10), stop=dyn.Stop("x", every=1))
    >>> study.runs.select("status", "stopped_at").rows(), study.final["x"].to_list()
    ([('reached', 2), ('reached', 4)], [2.0, 0.5])
    """

    measure: str = added_field("", doc="recorded number that ends the run once it passes the goal; empty for none")
    below: float = added_field(-math.inf, placeholder=-math.inf, doc="the goal is passed below this; -inf for never")
    above: float = added_field(math.inf, infinite=True, doc="the goal is passed above this; inf for never")
    checks: int = added_field(1, at_least=1, at_most=MOST_CHECKS, doc="how many checks in a row must pass")
    every: int = added_field(0, at_least=0, doc="steps between two checks; 0 for the recorded steps", unit="steps")

    place: ClassVar[str] = "stop"

    def __bool__(self) -> bool:
        """Return whether there is a goal."""
        return bool(self.measure)

    def check(self, steps: int) -> None:
        """Raise `InputError` for a goal that is none, or that a run of so many steps never comes to check."""
        if not self:
            default = StopSpec()
            for name in ("below", "above", "checks", "every"):
                value = getattr(self, name)
                allowed = "has no effect without stop.measure, the record that is to pass the goal"
                require(value == getattr(default, name), f"stop.{name}", value, allowed)
            return
        for name in ("below", "above"):
            require(not math.isnan(getattr(self, name)), f"stop.{name}", math.nan, "must be a number")
        require(self.below < math.inf, "stop.below", self.below, "is passed at once; must be finite")
        require(self.above > -math.inf, "stop.above", self.above, "is passed at once; must be finite")
        low, high = self.below > -math.inf, self.above < math.inf
        require(low or high, "stop.measure", self.measure, "needs a goal: give one of stop.below and stop.above")
        require(not (low and high), "stop.above", self.above, f"stands beside stop.below = {self.below:g}: give one of them")
        require(self.checks >= 1, "stop.checks", self.checks, "must be at least 1")
        require(0 <= self.every <= steps, "stop.every", self.every, f"must be from 0 to steps = {steps}")

    def check_measure(self, observed: Mapping[str, Any]) -> None:
        """Raise `InputError` unless the measure is a number among what is observed, shapes and types by name."""
        known = sorted(name for name, seen in observed.items() if not seen.shape and jnp.issubdtype(seen.dtype, jnp.number))
        if self.measure in observed and self.measure not in known:
            raise InputError("stop.measure", self.measure, f"is no single number; choose one of {', '.join(known)}")
        allowed = f"is not recorded; choose one of {', '.join(known)}{suggest(self.measure, known)}"
        require(self.measure in known, "stop.measure", self.measure, allowed)
