"""Pages show and write themselves, and nothing of it touches matplotlib's settings, its backend or pyplot."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import polars as pl

from dynamics.analysis.drawing import (
    assign_shades,
    draw_intervals,
    draw_quartiles,
    interval_bars,
    label_round_ticks,
    label_ticks,
    make_table,
    spread_bars,
)
from dynamics.analysis.figures import Page, new_axes, style, write_page
from dynamics.analysis.intervals import Estimate


def page_of(caption: str = "a < b") -> Page:
    with style():
        figure, ax = new_axes(1, 1, (3, 2))
        ax.plot([1, 2], [3, 4])
    return Page(figure, caption, {"numbers": pl.DataFrame({"a": [1]})})


def test_a_page_shows_picture_and_caption_in_a_notebook():
    page = page_of()
    assert page._repr_png_().startswith(b"\x89PNG") and page._repr_png_() == page._repr_png_()
    shown = page._repr_html_()
    assert 'src="data:image/png;base64,' in shown and "<figcaption>a &lt; b</figcaption>" in shown


def test_a_page_is_written_the_same_twice(tmp_path):
    first = [file.read_bytes() for file in write_page(page_of(), tmp_path / "one", "page")]
    second = [file.read_bytes() for file in write_page(page_of(), tmp_path / "two", "page")]
    assert first == second and len(first) == 4


def test_the_style_ends_with_its_context():
    before = dict(matplotlib.rcParams)
    with style():
        assert matplotlib.rcParams["figure.constrained_layout.use"] and dict(matplotlib.rcParams) != before
    assert dict(matplotlib.rcParams) == before


def test_pages_need_neither_pyplot_nor_a_backend(tmp_path):
    """In a process of its own, as tests may import pyplot."""
    program = f"""
import sys
from pathlib import Path
from dynamics.analysis.figures import Page, new_axes, style, write_page
import dynamics.analysis.rate_pages, dynamics.analysis.activation_pages, dynamics.analysis.view_gallery
with style():
    figure, ax = new_axes(1, 1, (3, 2))
    ax.plot([1, 2], [3, 4])
page = Page(figure, "")
assert page._repr_png_()
write_page(page, Path({str(tmp_path)!r}), "page")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_bars_reach_from_quantile_to_quantile_and_over_the_interval():
    median, bars = spread_bars(np.array([[0.0], [1.0], [3.0], [7.0], [20.0]]), 0.25)
    assert (median.tolist(), bars.tolist()) == ([3.0], [[2.0], [4.0]])
    assert spread_bars(np.array([[0.0], [1.0], [5.0]]), 0)[1].tolist() == [[1.0], [4.0]]
    assert interval_bars([1.0, 2.0], [0.5, np.nan], [1.25, np.nan]).tolist() == [[0.5, 0.0], [0.25, 0.0]]


def test_medians_and_estimates_are_drawn_where_they_are():
    _, ax = new_axes(1, 1, (3, 2))
    assert draw_quartiles(ax, [1, 2], np.array([[1.0, 4.0], [3.0, 6.0]])).tolist() == [2.0, 5.0]
    draw_intervals(ax, [1], [Estimate(2.0, 1.0, 4.0)])
    draw_intervals(ax, [1], make_table([(5.0, 4.0, 7.0)], "slope, low, high"))
    lines = [container[0].get_ydata().tolist() for container in ax.containers]
    assert lines == [[2.0, 5.0], [2.0], [5.0]]


def test_shades_and_ticks():
    shades = assign_shades([1, 2, 3])
    assert [s.place for s in shades] == [-0.5, 0, 0.5] and len({s.color for s in shades}) == 3
    assert assign_shades([1])[0].place == 0
    _, ax = new_axes(1, 1, (3, 2))
    ax.set(xscale="log", xlim=(1, 100))
    label_ticks(ax, [2, 20])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["2", "20"]
    for limits, ticks in (((700, 6000), ["1000", "2000", "5000"]), ((2100, 4900), ["1000", "2000", "5000"])):
        ax.set_xlim(limits)
        label_round_ticks(ax)  # where fewer than two would be seen, all stays
        assert [t.get_text() for t in ax.get_xticklabels()] == ticks


def test_words_that_experiments_write_with_have_one_meaning():
    """`dynamics.analysis.words` gathers modules; a name that two of them define would hide one of the two."""
    import ast
    from collections import Counter
    from pathlib import Path

    import dynamics.analysis.words as an

    trees = [ast.parse(file.read_text()) for file in Path(an.__file__).parent.glob("*.py")]
    defined = [node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert not [name for name, count in Counter(defined).items() if count > 1]
    assert {"judge", "compare", "at_most", "Page", "new_axes", "Study"} <= set(dir(an))
