"""One look for every figure, and how a figure is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import polars as pl

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

# Okabe and Ito's eight colours, told apart with any colour vision.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]

STYLE: dict[Any, Any] = {
    "axes.prop_cycle": plt.cycler(color=COLORS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 160,
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Page:
    """What `figure(study)` returns: the picture, its caption from the numbers, tables to write beside it as CSV.

    shown: what the command line prints of them, by title.
    """

    figure: Figure
    caption: str
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    shown: dict[str, pl.DataFrame] = field(default_factory=dict)


@contextmanager
def style() -> Iterator[None]:
    with plt.rc_context(STYLE):
        yield


def write_page(page: Page, folder: Path, name: str) -> list[Path]:
    """`<name>.pdf`, `<name>.png`, `<name>.caption.txt` and one CSV a table; the same study gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.pdf", folder / f"{name}.png", folder / f"{name}.caption.txt"]
    with style():
        page.figure.savefig(written[0], metadata={"CreationDate": None})
        page.figure.savefig(written[1], metadata={"Software": None})
    plt.close(page.figure)
    written[2].write_text(page.caption + "\n")
    for table, frame in page.tables.items():
        written.append(folder / f"{table}.csv")
        frame.write_csv(written[-1])
    return written
