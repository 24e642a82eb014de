"""Claims as the page docs/claims.md."""

from __future__ import annotations

from collections.abc import Sequence

from dynamics.analysis.claims import Claim, sort_by_paper
from dynamics.study.claim_list import count_verdicts, describe_claim

PREFACE = """A claim that fails or is inconclusive stays, with what was seen.

An interval is 95 %, by bootstrap over seeds, or a point where the number has no sampling error. The negative control is the
same check on something that it must not hold for: it should be rejected. Seconds of computing are those of the claim's
experiment, all its claims together. Written by `make claims`; do not edit."""


def format_markdown(claims: Sequence[Claim]) -> str:
    """Return the claims as a page: a count of verdicts and one table a paper, whatever came out."""
    lines = ["# Claims", "", f"{count_verdicts(claims)} {PREFACE}"]
    header = ["id", "source", "statement", "prediction", "measured", "interval", "verdict", "negative control", "seconds"]
    for paper in dict.fromkeys(claim.paper for claim in sort_by_paper(claims)):
        lines += ["", f"## {paper}", "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
        lines += [_markdown_row(claim) for claim in claims if claim.paper == paper]
    return "\n".join(lines) + "\n"


def _markdown_row(claim: Claim) -> str:
    cells = describe_claim(claim)
    cells["id"], cells["verdict"] = f"`{claim.id}`", f"**{claim.verdict}**"
    cells["source"] = claim.source.removeprefix(claim.paper).lstrip(",; ") or claim.paper
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells.values()) + " |"
