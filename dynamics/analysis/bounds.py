"""What a claim expects of a number: each bound is written once,
and both the check and the printed prediction come of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from dynamics.analysis.intervals import FEWEST_SEEDS, Estimate

HOLDS, FAILS, INCONCLUSIVE = "holds", "fails", "inconclusive"
UNKNOWN = Estimate(math.nan, math.nan, math.nan)


class Violated(NamedTuple):
    """An estimate whose side condition is broken: whatever its bounds, the expectation fails."""

    estimate: Estimate


Measured = Estimate | Violated | float


def require_also(measured: Estimate | float, condition: bool) -> Measured:
    """Return what was measured, marked as violated where a side condition does not hold."""
    return measured if condition else Violated(as_estimate(measured))


def as_estimate(measured: Measured) -> Estimate:
    """Return the estimate of what was measured; a plain number has no sampling error and so is its own interval."""
    if isinstance(measured, Violated):
        return measured.estimate
    return measured if isinstance(measured, Estimate) else Estimate(float(measured), float(measured), float(measured))


@dataclass(frozen=True)
class Bound:
    """An interval that a quantity is expected in, with the words that print it.

    quantity: what is measured, in words; low, high: the ends; open: whether the ends themselves are outside
    wording: how the bound is printed after the quantity
    """

    quantity: str
    low: float
    high: float
    wording: str
    open: bool = False

    def __str__(self) -> str:
        return f"{self.quantity} {self.wording}".strip()

    def judge(self, measured: Measured) -> str:
        """Return `holds`, `fails` or `inconclusive`.

        An estimate holds if its whole interval lies inside, fails if the whole interval lies outside, and is
        inconclusive else, as it is without an interval (a single seed, a subset without a value) and wherever it rests
        on fewer than five seeds. A plain number holds or fails; NaN fails.
        """
        if isinstance(measured, Violated):
            return FAILS
        if isinstance(measured, Estimate) and measured.seeds is not None and measured.seeds < FEWEST_SEEDS:
            return INCONCLUSIVE
        if not isinstance(measured, Estimate):
            return HOLDS if self.low < measured < self.high or (not self.open and measured in (self.low, self.high)) else FAILS
        if self.open:
            inside = measured.low > self.low and measured.high < self.high
            outside = measured.high <= self.low or measured.low >= self.high
        else:
            inside = measured.low >= self.low and measured.high <= self.high
            outside = measured.high < self.low or measured.low > self.high
        return HOLDS if inside else FAILS if outside else INCONCLUSIVE

    def find_margin(self, measured: Measured) -> float:
        """Return the smallest shift of what was measured with which the bound would hold no longer;
        NaN if it does not hold."""
        if self.judge(measured) != HOLDS:
            return math.nan
        seen = as_estimate(measured)
        return min(seen.low - self.low, self.high - seen.high)


def within(low: float, high: float, *, of: str, open: bool = False) -> Bound:
    """Return the bound that a claim's value must lie in [low, high], or strictly inside."""
    return Bound(of, low, high, f"in ({low:.6g}, {high:.6g})" if open else f"in [{low:.6g}, {high:.6g}]", open)


def above(low: float, *, of: str) -> Bound:
    """Return the bound that a claim's value must lie strictly above `low`; of: what the value is."""
    return Bound(of, low, math.inf, f"> {low:.6g}", open=True)


def at_least(low: float, *, of: str) -> Bound:
    """Return the bound that a claim's value must be at least `low`; of: what the value is."""
    return Bound(of, low, math.inf, f">= {low:.6g}")


def below(high: float, *, of: str) -> Bound:
    """Return the bound that a claim's value must lie strictly below `high`; of: what the value is."""
    return Bound(of, -math.inf, high, f"< {high:.6g}", open=True)


def at_most(high: float, *, of: str) -> Bound:
    """Return the bound that a claim's value must be at most `high`; of: what the value is."""
    return Bound(of, -math.inf, high, f"<= {high:.6g}")


def near(centre: float, tolerance: float, *, of: str, relative: bool = False) -> Bound:
    """Return the bound that a claim's value must lie within a tolerance of the centre, or within that share of it."""
    reach = tolerance * abs(centre) if relative else tolerance
    width = f"{100 * tolerance:.6g} %" if relative else f"{tolerance:.6g}"
    return Bound(of, centre - reach, centre + reach, f"within {width} of {centre:.6g}")


def equal_up_to(tolerance: float, *, of: str) -> Bound:
    """Return the differences that rounding may leave: at most `tolerance` in size. `of` names the difference."""
    return Bound(of, -tolerance, tolerance, f"zero up to {tolerance:.6g}")


def ordered(*, of: str) -> Bound:
    """Return the least steps of a sequence that rises throughout; the smallest step between neighbours is measured."""
    return Bound(f"least step of {of}", 0.0, math.inf, "> 0", open=True)
