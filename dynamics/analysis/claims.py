"""Claims: what a paper says, what was measured, and a negative control on which the same check must not hold."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from dynamics.analysis.bounds import FAILS, HOLDS, INCONCLUSIVE, Bound, Measured, as_estimate

REJECTED, NOT_REJECTED = "rejected", "not rejected"
EXCHANGED = "the two exchanged"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the claims table.

    verdict: that of the check, but `inconclusive` if it holds on the control too
    control_outcome: `rejected` if the check fails on the control, as it must, else `not rejected`
    seconds: of computing that the claim's experiment took, compiling included; filled in when the study is known.
    """

    id: str
    source: str
    statement: str
    prediction: str
    measured: float
    low: float
    high: float
    verdict: str
    control: str
    control_measured: float
    control_outcome: str
    seconds: float = math.nan

    @property
    def paper(self) -> str:
        """The source up to its year: `Liang et al. 2025`."""
        found = re.match(r".*?\b\d{4}[a-z]?\b", self.source)
        return found[0] if found else self.source


class Evidence(NamedTuple):
    """What one statistic says of the thing itself and of its negative control."""

    measured: Measured
    control: Measured
    control_text: str


def compare(statistic: Callable[..., Measured], on: Any, *, control: Mapping[str, Any], **options: Any) -> Evidence:
    """Apply one statistic, with the same options, to the thing and to its negative control, given as {name: control}.

    A tuple (not a named one) is passed as several arguments.
    """
    ((name, other),) = control.items()

    def apply(part: Any) -> Measured:
        return statistic(*part, **options) if type(part) is tuple else statistic(part, **options)

    return Evidence(apply(on), apply(other), name)


def exchange(statistic: Callable[..., Measured], first: Any, second: Any, **options: Any) -> Evidence:
    """Return the statistic of (first, second), with that of (second, first) as the negative control."""
    return compare(statistic, (first, second), control={EXCHANGED: (second, first)}, **options)


def judge(*, id: str, source: str, statement: str, expects: Bound, evidence: Evidence) -> Claim:
    """Return the claim with its verdict: the same bound is applied to what was measured and to the control.

    A bound that holds on the control too cannot tell the two apart, so its `holds` is not believed.
    """
    verdict, against = expects.judge(evidence.measured), expects.judge(evidence.control)
    seen = as_estimate(evidence.measured)
    return Claim(
        id=id,
        source=source,
        statement=statement,
        prediction=str(expects),
        measured=seen.value,
        low=seen.low,
        high=seen.high,
        verdict=INCONCLUSIVE if verdict == against == HOLDS else verdict,
        control=evidence.control_text,
        control_measured=as_estimate(evidence.control).value,
        control_outcome=REJECTED if against == FAILS else NOT_REJECTED,
    )


def judge_from(source: str) -> partial[Claim]:
    """Return `judge` for claims of one source."""
    return partial(judge, source=source)


def sort_by_paper(claims: Sequence[Claim], first: str = "Liang") -> list[Claim]:
    """Return the claims by paper, those of `first` before the others; the order within a paper stays."""
    return sorted(claims, key=lambda claim: (not claim.paper.startswith(first), claim.paper))
