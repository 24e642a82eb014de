"""Claims: what a paper says, what was measured, and a control on which the same check must not hold."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dynamics.analysis.bounds import HOLDS, INCONCLUSIVE, Bound, as_estimate
from dynamics.analysis.controls import REJECTED, Evidence, judge_control, summarize_control


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the claims table.

    verdict: that of the check, but `inconclusive` where its control is not rejected
    control_kind: `null`, `neighbour` or `treatment` (`controls.py`); empty in older files
    control_outcome: `rejected` if the check fails on the control, as it must; `not rejected` if it holds there or tells
        nothing; `says nothing` if the control could not have come out otherwise
    seeds: how many the interval rests on, 0 where the number has no sampling error; level: what the interval attains
    left_out: runs that had diverged (ranked as worst) or had no value (dropped)
    catches: the smallest deviation that the check would have caught, in words; margin: the same as a number
    post_hoc: what was chosen after results had been seen; empty if nothing was
    theorem: the name of a statement that is checked in many experiments, whose rows are shown as one
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
    control_low: float = math.nan
    control_high: float = math.nan
    control_kind: str = ""
    seeds: int = 0
    level: float = math.nan
    left_out: int = 0
    catches: str = ""
    margin: float = math.nan
    post_hoc: str = ""
    theorem: str = ""
    seconds: float = math.nan

    @property
    def paper(self) -> str:
        """The source up to its year: `Liang et al. 2025`."""
        found = re.match(r".*?\b\d{4}[a-z]?\b", self.source)
        return found[0] if found else self.source


def judge(
    *,
    id: str,
    source: str,
    statement: str,
    expects: Bound,
    evidence: Evidence,
    catches: str = "",
    margin: float | None = None,
    post_hoc: str = "",
    theorem: str = "",
) -> Claim:
    """Return the claim with its verdict: the same bound is applied to what was measured and to the control.

    `holds` is believed only if the control is rejected: a check that does not fail where it must cannot tell the two
    apart. catches, margin: the smallest deviation that would have been caught, by default the smallest shift of the
    interval out of the bound; post_hoc: a sentence on what was chosen after results had been seen.
    """
    verdict, outcome = expects.judge(evidence.measured), judge_control(expects, evidence)
    seen, control = as_estimate(evidence.measured), summarize_control(evidence.control)
    reach = expects.find_margin(evidence.measured) if margin is None else margin
    return Claim(
        id=id,
        source=source,
        statement=statement,
        prediction=str(expects),
        measured=seen.value,
        low=seen.low,
        high=seen.high,
        verdict=INCONCLUSIVE if verdict == HOLDS and outcome != REJECTED else verdict,
        control=evidence.control_text,
        control_measured=control.value,
        control_low=control.low,
        control_high=control.high,
        control_outcome=outcome,
        control_kind=evidence.control_kind,
        seeds=seen.seeds or 0,
        level=seen.level,
        left_out=seen.left_out,
        catches=catches or ("" if math.isnan(reach) else f"a shift of {reach:.2g}"),
        margin=reach,
        post_hoc=post_hoc,
        theorem=theorem,
    )


def judge_from(source: str, **shared: Any) -> partial[Claim]:
    """Return `judge` for claims of one source; shared: other arguments that they have in common, such as `post_hoc`."""
    return partial(judge, source=source, **shared)


def sort_by_paper(claims: Sequence[Claim], first: str = "Liang") -> list[Claim]:
    """Return the claims by paper, those of `first` before the others; the order within a paper stays."""
    return sorted(claims, key=lambda claim: (not claim.paper.startswith(first), claim.paper))
