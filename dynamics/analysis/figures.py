"""One look for every figure, and how a figure is made, shown and written. No plotting backend is asked for."""

from __future__ import annotations

import base64
import html
import io
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from dynamics.study.style import COLORS, style

__all__ = ["COLORS", "MARKERS", "Page", "new_axes", "new_figure", "style", "write_page"]

MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]


@dataclass(frozen=True)
class Page:
    """What `figure(study)` returns: the picture, its caption from the numbers, tables to write beside it as CSV.

    shown: what the command line prints of them, by title. In a notebook a page shows its picture and caption.
    """

    figure: Figure
    caption: str
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    shown: dict[str, pl.DataFrame] = field(default_factory=dict)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with style():
            self.figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self._repr_png_()).decode()
        return (
            f'<figure><img src="data:image/png;base64,{picture}" style="max-width: 100%">'
            f"<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        )


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, which no window and no pyplot state knows of."""
    return Figure(figsize=(width, height))


def new_axes(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes (rows, columns); a single row or column comes as a vector, as from pyplot."""
    figure = new_figure(*size)
    return figure, figure.subplots(rows, columns, **options)


def write_page(page: Page, folder: Path, name: str) -> list[Path]:
    """Write `<name>.pdf`, `.png`, `.caption.txt` and one CSV a table; the same study gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.pdf", folder / f"{name}.png", folder / f"{name}.caption.txt"]
    with style():
        page.figure.savefig(written[0], metadata={"CreationDate": None})
        page.figure.savefig(written[1], metadata={"Software": None})
    if "matplotlib.pyplot" in sys.modules:  # an experiment may have used it
        sys.modules["matplotlib.pyplot"].close(page.figure)
    written[2].write_text(page.caption + "\n")
    for table, frame in page.tables.items():
        written.append(folder / f"{table}.csv")
        frame.write_csv(written[-1])
    return written
