"""Claims of a study in their order, as text and as HTML; what a claim's row and its details say, wherever printed."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any

from dynamics.core.show import html_table, text_table

VERDICTS = ("holds", "fails", "inconclusive")


class ClaimList(tuple[Any, ...]):
    """Claims in their order, shown as a table with verdicts; in a notebook with a second one of what they rest on."""

    def __repr__(self) -> str:
        return f"{count_verdicts(self)}\n{text_table([drop(describe_claim(claim), 'statement') for claim in self])}"

    def _repr_html_(self) -> str:
        main, details = html_table(map(describe_claim, self)), html_table(map(describe_details, self))
        count = f"<p>{html.escape(count_verdicts(self))}</p>"
        return f"{count}{main}<details><summary>intervals and controls</summary>{details}</details>"


def describe_claim(claim: Any) -> dict[str, str]:
    """Return the cells of a claim's row by column: what is claimed, predicted and measured, and the verdict."""
    return {
        "id": claim.id,
        "statement": claim.statement,
        "prediction": claim.prediction,
        "measured": format_interval(claim.measured, claim.low, claim.high),
        "verdict": claim.verdict,
        "control": f"{claim.control}: {claim.control_outcome}",
    }


def describe_details(claim: Any) -> dict[str, str]:
    """Return the cells of a claim's details by column: what its interval and its control rest on."""
    kind = f"{claim.control_kind}: " if claim.control_kind else ""
    seen = format_interval(claim.control_measured, claim.control_low, claim.control_high)
    return {
        "id": claim.id,
        "source": claim.source,
        "seeds": str(claim.seeds) if claim.seeds else "-",
        "level": f"{100 * claim.level:.3g} %" if math.isfinite(claim.level) else "-",
        "left out": str(claim.left_out) if claim.left_out else "-",
        "control": f"{kind}{claim.control}",
        "on the control": f"{seen}, {claim.control_outcome}",
        "catches": claim.catches or "-",
        "chosen after seeing results": claim.post_hoc or "-",
        "seconds": format_number(claim.seconds),
    }


def drop(cells: dict[str, str], column: str) -> dict[str, str]:
    """Return the cells without one column."""
    return {name: cell for name, cell in cells.items() if name != column}


def count_verdicts(claims: Iterable[Any]) -> str:
    """Return how many claims there are, and how many of each verdict."""
    verdicts = [claim.verdict for claim in claims]
    return f"{len(verdicts)} claims: " + ", ".join(f"{verdicts.count(v)} {v}" for v in VERDICTS) + "."


def format_interval(value: float, low: float, high: float) -> str:
    """Return a number with its interval in brackets, or alone where that is a point or missing."""
    alone = math.isnan(low) or low == value == high
    return format_number(value) + ("" if alone else f" [{format_number(low)}, {format_number(high)}]")


def format_number(value: float) -> str:
    """Return three significant digits, `-` for what is not a number."""
    return "-" if math.isnan(value) else f"{value:.3g}"
