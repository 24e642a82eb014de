"""Claims of a study in their order, as text and as HTML; what a claim's row says, wherever it is printed."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any

from dynamics.core.show import html_table, text_table

VERDICTS = ("holds", "fails", "inconclusive")


class ClaimList(tuple[Any, ...]):
    """Claims in their order, shown as a table with verdicts."""

    def __repr__(self) -> str:
        columns = ("id", "prediction", "measured", "interval", "verdict", "negative control")
        return f"{count_verdicts(self)}\n{text_table([{c: row[c] for c in columns} for row in map(describe_claim, self)])}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(count_verdicts(self))}</p>{html_table(map(describe_claim, self))}"


def describe_claim(claim: Any) -> dict[str, str]:
    """Return the cells of a claim's row by column."""
    return {
        "id": claim.id,
        "source": claim.source,
        "statement": claim.statement,
        "prediction": claim.prediction,
        "measured": format_number(claim.measured),
        "interval": "-" if math.isnan(claim.low) else f"[{format_number(claim.low)}, {format_number(claim.high)}]",
        "verdict": claim.verdict,
        "negative control": f"{claim.control}: {format_number(claim.control_measured)}, {claim.control_outcome}",
        "seconds": format_number(claim.seconds),
    }


def count_verdicts(claims: Iterable[Any]) -> str:
    """Return how many claims there are, and how many of each verdict."""
    verdicts = [claim.verdict for claim in claims]
    return f"{len(verdicts)} claims: " + ", ".join(f"{verdicts.count(v)} {v}" for v in VERDICTS) + "."


def format_number(value: float) -> str:
    """Return three significant digits, `-` for what is not a number."""
    return "-" if math.isnan(value) else f"{value:.3g}"
