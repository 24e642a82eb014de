"""Controls: something on which a claim's check could hold, but must not. Three kinds, each a keyword of `compare`.

null        labels or laws permuted, the effect taken out
neighbour   the next exponent, the next dimension, a constant off by a stated factor
treatment   another treatment, known to lack the effect
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dynamics.analysis.bounds import FAILS, HOLDS, Bound, Measured, as_estimate
from dynamics.analysis.intervals import Estimate
from dynamics.errors import require

REJECTED, NOT_REJECTED, SAYS_NOTHING = "rejected", "not rejected", "says nothing"
NULL, NEIGHBOUR, TREATMENT = "null", "neighbour", "treatment"
MOST_PERMUTATIONS = 200
FALSE_ALARMS = 0.05  # the share of permutations on which a check may hold


class Nulls(NamedTuple):
    """What one statistic says of many data sets from which the effect was taken out."""

    estimates: tuple[Measured, ...]


class Evidence(NamedTuple):
    """What one statistic says of the thing itself and of its control."""

    measured: Measured
    control: Measured | Nulls
    control_text: str
    control_kind: str


def compare(
    statistic: Callable[..., Measured],
    on: Any,
    *,
    null: Mapping[str, Any] | None = None,
    neighbour: Mapping[str, Any] | None = None,
    treatment: Mapping[str, Any] | None = None,
    **options: Any,
) -> Evidence:
    """Apply one statistic, with the same options, to the thing and to one control, given as kind={what it is: control}.

    A tuple (not a named one) is passed as several arguments. Raises `InputError` unless one kind with one control is
    given, for a control that is the very thing that is measured, and for the thing with its parts exchanged.
    """
    given = {NULL: null, NEIGHBOUR: neighbour, TREATMENT: treatment}
    named = [(kind, text, other) for kind, controls in given.items() for text, other in (controls or {}).items()]
    require(len(named) == 1, "control", [text for _, text, _ in named], f"must be one, as one of {', '.join(given)}")
    ((kind, text, other),) = named
    require(not _is_same(on, other), "control", text, "is the very thing that is measured")
    is_mirrored = type(on) is type(other) is tuple and len(on) > 1 and _is_same(on, other[::-1])
    require(not is_mirrored, "control", text, "is the claim read backwards: give something on which it could hold")

    def apply(part: Any) -> Measured:
        return statistic(*part, **options) if type(part) is tuple else statistic(part, **options)

    return Evidence(apply(on), apply(other), text, kind)


def shift_neighbour(measured: Measured, by: float, text: str) -> Evidence:
    """Return the evidence whose control is what was measured, less a shift: as seen from the next exponent, say.

    It is rejected if the measurement is precise enough to tell the prediction from its neighbour.
    """
    return Evidence(measured, as_estimate(measured) - by, text, NEIGHBOUR)


def scale_neighbour(measured: Measured, by: float, text: str) -> Evidence:
    """Return the evidence whose control is what was measured, times a factor > 0: a constant that is off by it."""
    return Evidence(measured, as_estimate(measured) * by, text, NEIGHBOUR)


def permute(
    statistic: Callable[[np.ndarray], Measured], table: np.ndarray, text: str = "labels permuted within every seed"
) -> Evidence:
    """Return the evidence of values (S, P, ...), a row a seed and a column a label,
    against tables with each row permuted.

    What a seed shares stays together, what the labels tell is taken out. The control is rejected if the check holds on
    at most 5 % of the permutations.
    """
    rng = np.random.default_rng(0)
    tables = [
        np.stack([row[rng.permutation(len(row))] for row in table]) for _ in range(MOST_PERMUTATIONS if len(table) else 0)
    ]
    return Evidence(statistic(table), Nulls(tuple(map(statistic, tables))), text, NULL)


def judge_control(bound: Bound, evidence: Evidence) -> str:
    """Return `rejected`, `not rejected` or `says nothing` of a control, the same bound being applied to it."""
    if isinstance(evidence.control, Nulls):
        if not np.isfinite([as_estimate(estimate).value for estimate in evidence.control.estimates]).any():
            return SAYS_NOTHING
        share = np.mean([bound.judge(estimate) == HOLDS for estimate in evidence.control.estimates])
        return REJECTED if share <= FALSE_ALARMS else NOT_REJECTED
    if is_fixed(evidence.measured, evidence.control):
        return SAYS_NOTHING
    return REJECTED if bound.judge(evidence.control) == FAILS else NOT_REJECTED


def summarize_control(control: Measured | Nulls) -> Estimate:
    """Return the estimate that stands for a control in the table: of many,
    the median and the central 95 % of their values."""
    if not isinstance(control, Nulls):
        return as_estimate(control)
    values = np.array([as_estimate(estimate).value for estimate in control.estimates])
    values = values[np.isfinite(values)]
    low, middle, high = np.quantile(values, [0.025, 0.5, 0.975]) if len(values) else [math.nan] * 3
    return Estimate(float(middle), float(low), float(high))


def is_fixed(measured: Measured, control: Measured) -> bool:
    """Return whether a control could not have come out otherwise, as far as its numbers tell.

    It is not a number, it is exactly 0 or 1 without spread, or it is the measurement itself.
    """
    seen, other = as_estimate(measured), as_estimate(control)
    if not math.isfinite(other.value):
        return True
    is_point = other.low == other.value == other.high
    return (is_point and other.value in (0.0, 1.0)) or tuple(seen) == tuple(other)


def _is_same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return isinstance(one, str | int | float) and one == other
