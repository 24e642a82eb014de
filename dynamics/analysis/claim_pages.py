"""Claims as the page docs/claims.md: a table a paper, theorems that many experiments check as one row,
details beneath."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dynamics.analysis.claims import Claim, sort_by_paper
from dynamics.study.claim_list import (
    VERDICTS,
    count_verdicts,
    describe_claim,
    describe_details,
    drop,
    format_number,
)

PREFACE = """A claim that fails or is inconclusive stays, with what was seen.

In brackets is the interval over seeds (docs/statistics.md); a number alone has no sampling error. A claim `holds` if its
whole interval lies within the prediction, it rests on at least five seeds, and the same check is rejected on the claim's
control. The tables of details say what intervals and controls rest on: seeds, the level that the interval attains, runs
that diverged or were left out, the kind of the control (a null, a neighbour or another treatment), the smallest
deviation that the check would have caught, and what was chosen after results had been seen. Seconds of computing are those
of the claim's experiment, all its claims together. Written by `make claims`; do not edit."""


def format_markdown(claims: Sequence[Claim]) -> str:
    """Return the claims as a page: a count of verdicts, and for each paper what came out, whatever it was."""
    lines = ["# Claims", "", f"{count_verdicts(claims)} {PREFACE}"]
    papers = list(dict.fromkeys(claim.paper for claim in sort_by_paper(claims)))
    for paper in papers:
        own = [claim for claim in claims if claim.paper == paper]
        lines += ["", f"## {paper}", "", *_format_table([_mark(describe_claim(c), c) for c in own if not c.theorem])]
        theorems = [claim for claim in own if claim.theorem]
        if theorems:
            lines += ["", "### Theorems that many experiments check", "", *_format_table(roll_up(theorems))]
    lines += ["", "# Details"]
    for paper in papers:
        details = [_detail(claim) for claim in claims if claim.paper == paper]
        lines += ["", f"## {paper}: intervals and controls", "", *_format_table(details)]
    return "\n".join(lines) + "\n"


def roll_up(claims: Sequence[Claim]) -> list[dict[str, str]]:
    """Return one row a theorem: experiments by verdict, where the slack is least,
    and the experiment that catches most."""
    rows = []
    for theorem in dict.fromkeys(claim.theorem for claim in claims):
        own = [claim for claim in claims if claim.theorem == theorem]
        worst = _least(own, lambda claim: claim.measured)
        sharpest = _least(own, lambda claim: claim.margin)
        verdicts = [claim.verdict for claim in own]
        rows.append(
            {
                "theorem": theorem,
                "prediction": own[0].prediction,
                "experiments": ", ".join(f"{verdicts.count(v)} {v}" for v in VERDICTS if v in verdicts),
                "least slack": f"{format_number(worst.measured)} in `{worst.id}`",
                "smallest deviation caught": f"{sharpest.catches or '-'} in `{sharpest.id}`",
            }
        )
    return rows


def _least(claims: Sequence[Claim], value: Callable[[Claim], float]) -> Claim:
    return min(claims, key=lambda claim: math.inf if math.isnan(value(claim)) else value(claim))


def _mark(cells: dict[str, str], claim: Claim) -> dict[str, str]:
    return {**drop(cells, "control"), "id": f"`{claim.id}`", "verdict": f"**{claim.verdict}**"}


def _detail(claim: Claim) -> dict[str, str]:
    cells = describe_details(claim)
    source = claim.source.removeprefix(claim.paper).lstrip(",; ") or claim.paper
    seen = describe_claim(claim)["measured"]
    return {
        "id": f"`{claim.id}`",
        "source": source,
        "measured": f"{seen}, {claim.verdict}",
        **drop(drop(cells, "id"), "source"),
    }


def _format_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    cells = [[str(cell).replace("|", "\\|") for cell in row.values()] for row in rows]
    return [f"| {' | '.join(line)} |" for line in ([*rows[0]], ["---"] * len(rows[0]), *cells)]
