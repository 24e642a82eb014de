"""Claims: what a paper says, what was measured, and a negative control on which the same check must not hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dynamics.analysis.bootstrap import Estimate
from dynamics.errors import InputError

HOLDS, FAILS, INCONCLUSIVE = "holds", "fails", "inconclusive"
T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """What a check saw: an estimate and what follows from it."""

    verdict: str
    estimate: Estimate


@dataclass(frozen=True)
class Claim:
    """One row of the claims table. The verdict is that of the check; a control on which it holds too makes it inconclusive.

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
    control_verdict: str
    seconds: float = math.nan

    @property
    def paper(self) -> str:
        """The source up to its year: `Liang et al. 2025`."""
        found = re.match(r".*?\b\d{4}[a-z]?\b", self.source)
        return found[0] if found else self.source


def judge(
    id: str,
    source: str,
    statement: str,
    prediction: str,
    check: Callable[[T], Finding],
    on: T,
    control: T,
    control_text: str,
) -> Claim:
    """Apply one check to the thing and to its negative control.

    A check that also holds on the control cannot tell the two apart, so its `holds` is not believed.
    """
    seen, against = check(on), check(control)
    verdict = INCONCLUSIVE if seen.verdict == HOLDS and against.verdict == HOLDS else seen.verdict
    return Claim(
        id,
        source,
        statement,
        prediction,
        seen.estimate.value,
        seen.estimate.low,
        seen.estimate.high,
        verdict,
        control_text,
        against.estimate.value,
        against.verdict,
    )


def within(estimate: Estimate, low: float, high: float) -> Finding:
    """Holds if the whole interval lies in [low, high], fails if it lies outside, else inconclusive.

    An estimate without an interval (a single seed, a resample that is not a number) is inconclusive.
    """
    if estimate.low >= low and estimate.high <= high:
        return Finding(HOLDS, estimate)
    if estimate.high < low or estimate.low > high:
        return Finding(FAILS, estimate)
    return Finding(INCONCLUSIVE, estimate)


def exact(value: float, low: float, high: float) -> Finding:
    """`within` for a number without sampling error: it holds or it fails; NaN fails."""
    return Finding(HOLDS if low <= value <= high else FAILS, Estimate(value, value, value))


def write_claims(claims: list[Claim], path: Path) -> None:
    """As JSON, numbers that are not finite as null."""

    def clean(value):
        return None if isinstance(value, float) and not np.isfinite(value) else value

    rows = [{k: clean(v) for k, v in asdict(c).items()} for c in claims]
    path.write_text(json.dumps(rows, indent=1) + "\n")


def by_paper(claims: list[Claim], first: str = "Liang") -> list[Claim]:
    """The claims sorted by paper, those of `first` before the others; the order within a paper stays."""
    return sorted(claims, key=lambda c: (not c.paper.startswith(first), c.paper))


PREFACE = """A claim that fails or is inconclusive stays, with what was seen.

An interval is 95 %, by bootstrap over seeds, or a point where the number has no sampling error. The negative control is the
same check on something that it must not hold for. Seconds of computing are those of the claim's experiment, all its claims
together. Written by `make claims`; do not edit."""


def markdown(claims: list[Claim]) -> str:
    """The claims as a page: a count of verdicts and one table a paper, whatever came out."""
    counts = ", ".join(f"{sum(c.verdict == v for c in claims)} {v}" for v in (HOLDS, FAILS, INCONCLUSIVE))
    lines = ["# Claims", "", f"{len(claims)} claims: {counts}. {PREFACE}"]
    header = ["id", "source", "statement", "prediction", "measured", "interval", "verdict", "negative control", "seconds"]
    for paper in dict.fromkeys(c.paper for c in by_paper(claims)):
        lines += ["", f"## {paper}", "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
        lines += [_markdown_row(c) for c in claims if c.paper == paper]
    return "\n".join(lines) + "\n"


def _markdown_row(c: Claim) -> str:
    source = c.source.removeprefix(c.paper).lstrip(",; ") or c.paper
    control = f"{c.control}: {number(c.control_measured)}, {c.control_verdict}"
    cells = [f"`{c.id}`", source, c.statement, c.prediction, number(c.measured), interval(c), f"**{c.verdict}**", control]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in [*cells, number(c.seconds)]) + " |"


def number(value: float) -> str:
    """Three significant digits, `-` for what is not a number."""
    return "-" if math.isnan(value) else f"{value:.3g}"


def interval(claim: Claim) -> str:
    return "-" if math.isnan(claim.low) else f"[{number(claim.low)}, {number(claim.high)}]"


def read_claims(path: Path) -> list[Claim]:
    """The claims of a file that `write_claims` made."""

    def restore(value: Any) -> Any:
        return np.nan if value is None else value

    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text())
        return [Claim(**{name: restore(value) for name, value in row.items()}) for row in rows]
    except (ValueError, TypeError, AttributeError):
        raise InputError("claims", str(path), "is not a file of claims") from None
