"""One look for every figure, and how a figure is made, shown and written. No plotting backend is asked for."""

from __future__ import annotations

import base64
import html
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.image import imread, imsave

from dynamics.study.style import COLORS, style

__all__ = ["COLORS", "MARKERS", "Page", "new_axes", "new_figure", "style", "write_page"]

MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]


@dataclass(frozen=True)
class Page:
    """What `figure(study)` returns: the picture, its caption from the numbers, tables to write beside it as CSV.

    shown: what the command line prints of them, by title. In a notebook a page shows its picture and caption.
    further: pictures below the first, each a page of its own in a PDF
    """

    figure: Figure
    caption: str
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    shown: dict[str, pl.DataFrame] = field(default_factory=dict)
    further: tuple[Figure, ...] = ()

    def stack(self, pages: Mapping[str, Page]) -> Page:
        """Return pages below one another as one, each with its label; their tables have the label in a first column."""
        for label, page in pages.items():
            above = page.figure.get_suptitle()
            page.figure.suptitle(f"{label}: {above}" if above else label, x=0.01, ha="left", fontsize=10, weight="bold")
        first, *others = (page.figure for page in pages.values())
        caption = "\n\n".join(f"{label}: {page.caption}" for label, page in pages.items())
        tables, shown = ({label: getattr(page, kind) for label, page in pages.items()} for kind in ("tables", "shown"))
        return Page(first, caption, _join_tables(tables), _join_tables(shown), tuple(others))

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with style():
            if not self.further:
                self.figure.savefig(buffer, format="png", metadata={"Software": None})
                return buffer.getvalue()
            pictures = [_rasterize(figure) for figure in (self.figure, *self.further)]
        width = max(picture.shape[1] for picture in pictures)
        rows = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=1.0) for p in pictures]
        imsave(buffer, np.concatenate(rows), format="png", metadata={"Software": ""})
        return buffer.getvalue()

    def write_pdf(self, path: Path) -> None:
        """Write the pictures as a PDF, each on a page of its own."""
        if not self.further:
            self.figure.savefig(path, metadata={"CreationDate": None})
            return
        with PdfPages(path, metadata={"CreationDate": None}) as pages:
            for figure in (self.figure, *self.further):
                pages.savefig(figure)

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self._repr_png_()).decode()
        return (
            f'<figure><img src="data:image/png;base64,{picture}" style="max-width: 100%">'
            f"<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        )


def _rasterize(figure: Figure) -> np.ndarray:
    """Return the picture as it is saved, (height, width, 4)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    return imread(buffer)


def _join_tables(parts: Mapping[str, Mapping[str, pl.DataFrame]]) -> dict[str, pl.DataFrame]:
    """Return the tables of several parts by name, those of one name below one another with their part's label."""
    names = dict.fromkeys(name for tables in parts.values() for name in tables)
    return {
        name: pl.concat(
            [tables[name].select(pl.lit(label).alias("part"), pl.all()) for label, tables in parts.items() if name in tables],
            how="diagonal_relaxed",
        )
        for name in names
    }


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
        page.write_pdf(written[0])
        written[1].write_bytes(page._repr_png_())
    for figure in (page.figure, *page.further) if "matplotlib.pyplot" in sys.modules else ():  # an experiment may have used it
        sys.modules["matplotlib.pyplot"].close(figure)
    written[2].write_text(page.caption + "\n")
    for table, frame in page.tables.items():
        written.append(folder / f"{table}.csv")
        frame.write_csv(written[-1])
    return written
