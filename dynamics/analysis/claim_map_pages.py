"""Maps of claims as pictures, and as a page that has them all with a sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from dynamics.analysis.bounds import FAILS, HOLDS, INCONCLUSIVE
from dynamics.analysis.claim_maps import JudgedMap
from dynamics.analysis.claims import Claim
from dynamics.analysis.figures import Page, new_axes, style
from dynamics.study.claim_list import format_number

SHADES = {HOLDS: "#8fd0b8", INCONCLUSIVE: "#e8e8e8", FAILS: "#f0a97d"}  # paler than the suite's colours, to be written on
PANELS_A_ROW = 3
PREFACE = """# Maps of claims

Where a statement holds and where it does not, when what its source leaves open is varied. Each cell is the whole study of
the experiment at that setting, judged by the same bound and control as the claim itself: green where it holds, orange where
it fails, grey where it cannot be told (the interval straddles the bound, or the control is not rejected). The number is what
was measured, or that half of the runs diverged. The setting that is shipped has a frame. A map is a file in `configs/maps/`;
`make maps` computes and draws them all and writes this page, `dynamics map NAME` one of them.
"""


def draw_map(judged: JudgedMap) -> Page:
    """Return the page of a map: a panel a claim, rows and columns the settings of its axes."""
    asked = judged.asked
    names, labels = list(asked.axes), [list(settings) for settings in asked.axes.values()]
    if len(labels) == 1:
        names, labels = ["", *names], [[""], *labels]
    longest = max(map(len, labels[0]))
    size = (max(3.4, 0.08 * longest + 0.78 * len(labels[1]) + 0.4), 1.15 + 0.36 * len(labels[0]))
    columns = min(len(asked.claims), PANELS_A_ROW)
    rows = -(-len(asked.claims) // columns)
    with style():
        figure, all_axes = new_axes(rows, columns, (size[0] * columns, size[1] * rows), squeeze=False)
        for axes in all_axes.flat[len(asked.claims) :]:
            axes.remove()
        for axes, claim in zip(all_axes.flat, asked.claims, strict=False):
            cells = {(("",) * (2 - len(cell)) + cell): own[claim] for cell, own in judged.claims.items()}
            _draw_claim(axes, [[cells.get((row, column)) for column in labels[1]] for row in labels[0]])
            first = next(iter(cells.values()))
            axes.set_title(f"{claim}\n{fill(first.prediction, 46)}", fontsize=8)
            axes.set_xticks(range(len(labels[1])), [_break_label(label) for label in labels[1]])
            axes.set_yticks(range(len(labels[0])), labels[0])
            axes.set_xlabel(names[1])
            axes.set_ylabel(names[0])
            if judged.shipped is not None:
                row, column = ("",) * (2 - len(judged.shipped)) + judged.shipped
                corner = labels[1].index(column) - 0.5, labels[0].index(row) - 0.5
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, lw=1.6, clip_on=False))
    return Page(
        figure, f"{asked.experiment} ({asked.size}): {asked.found or 'where its claims hold'}", {asked.name: tabulate(judged)}
    )


def _draw_claim(axes: Axes, claims: Sequence[Sequence[Claim | None]]) -> None:
    """Fill a panel: a claim's verdict is its cell's colour, and its cell is empty where it could not be judged."""
    verdicts = list(SHADES)
    shades = np.array([[verdicts.index(claim.verdict) if claim else np.nan for claim in row] for row in claims])
    axes.imshow(shades, cmap=ListedColormap(list(SHADES.values())), vmin=0, vmax=len(verdicts) - 1, aspect="auto")
    for row, own in enumerate(claims):
        for column, claim in enumerate(own):
            text = "-" if claim is None else "diverged" if np.isinf(claim.measured) else format_number(claim.measured)
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _break_label(label: str) -> str:
    """Return the label in lines of at most 12 characters, broken at spaces and after underscores."""
    return fill(label.replace("_", "_ "), 12, break_long_words=False).replace("_ ", "_")


def tabulate(judged: JudgedMap) -> pl.DataFrame:
    """Return one row a cell and claim: its settings, what was measured, its interval, verdict,
    and what came of its control."""
    rows = [
        {
            **dict(zip(judged.asked.axes, cell, strict=True)),
            "claim": name,
            **{word: getattr(claim, word) for word in ("measured", "low", "high", "verdict", "control_outcome", "seeds")},
        }
        for cell, own in judged.claims.items()
        for name, claim in own.items()
    ]
    return pl.DataFrame(rows)


def format_page(maps: Sequence[JudgedMap], pictures: Path) -> str:
    """Return the page of all maps; `pictures` is where theirs lie, as seen from the page."""
    lines = [PREFACE]
    for judged in maps:
        asked = judged.asked
        first = next(iter(judged.claims.values()))
        statements = first if judged.shipped is None else judged.claims.get(judged.shipped, first)
        lines += [f"## {asked.experiment}: {', '.join(asked.claims)}", ""]
        lines += [f"* `{name}` ({claim.source}): {claim.statement}" for name, claim in statements.items()]
        lines += ["", fill(asked.found, 120), "", f"![{asked.name}]({(pictures / f'{asked.name}.png').as_posix()})", ""]
    return "\n".join(lines)
