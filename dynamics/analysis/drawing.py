"""Marks that figures have in common: medians with quartiles, estimates with intervals, shades, ticks, legends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import NullLocator

from dynamics.analysis.figures import MARKERS


def make_table(rows: Sequence[Sequence[Any]], names: str) -> pl.DataFrame:
    """Return rows as a table whose columns are named in one string, separated by commas."""
    return pl.DataFrame(rows, schema=names.split(", "), orient="row")


class Shade(NamedTuple):
    """How one of several ordered values is drawn: colour, marker,
    and its place beside the others (from -1/2 to 1/2)."""

    value: Any
    color: Any
    marker: str
    place: float


def assign_shades(values: Sequence[Any], end: float = 0.88, scale: str = "viridis") -> list[Shade]:
    """Return a colour of the scale, up to `end`, and a marker for each value."""
    colors = [to_rgb(color) for color in matplotlib.colormaps[scale](np.linspace(0, end, len(values)))]
    places = np.linspace(-0.5, 0.5, len(values)) if len(values) > 1 else [0.0]
    return [Shade(*row) for row in zip(values, colors, (MARKERS * len(values))[: len(values)], places, strict=True)]


def quartile_bars(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median (N,) over the rows of (S, N), and error bars (2, N) from quartile to quartile."""
    return spread_bars(values, 0.25)


def spread_bars(values: np.ndarray, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the median (N,) over the rows of (S, N),
    and error bars (2, N) between the quantiles `tail` and 1 - `tail`.

    Infinite values (runs that diverged) count in the ranks; what is then not finite is NaN and not drawn.
    """
    with np.errstate(invalid="ignore"):
        low, median, high = np.quantile(values, [tail, 0.5, 1 - tail], axis=0)
        bars = np.stack([median - low, high - median])
    median = np.where(np.isfinite(median), median, np.nan)
    return median, np.where(np.isfinite(bars) | np.isnan(values).any(axis=0), bars, 0.0)


def draw_quartiles(ax: Axes, x: Any, values: np.ndarray, *, tail: float = 0.25, **look: Any) -> np.ndarray:
    """Draw the median over seeds of values (S, N) with bars from quartile to quartile; returns the median (N,)."""
    median, spread = spread_bars(values, tail)
    ax.errorbar(x, median, yerr=spread, **{"lw": 1, **look})
    return median


def draw_power(ax: Axes, x: np.ndarray, values: np.ndarray, exponent: float, **look: Any) -> None:
    """Draw the power of x with this exponent through the middle of the values, in logarithms."""
    ax.plot(x, np.exp(np.mean(np.log(values)) + exponent * (np.log(x) - np.mean(np.log(x)))), "-", **look)


def interval_bars(value: Any, low: Any, high: Any) -> np.ndarray:
    """Return error bars (2, N); a value without an interval has none."""
    value = np.asarray(value, float)
    return np.nan_to_num(np.stack([value - np.asarray(low, float), np.asarray(high, float) - value]))


def draw_intervals(ax: Axes, x: Any, table: pl.DataFrame | Sequence[Any], value: str = "slope", **look: Any) -> None:
    """Draw estimates with their intervals: the columns `value`, low, high of a table, or a list of estimates."""
    if isinstance(table, pl.DataFrame):
        columns = [table[name].to_numpy() for name in (value, "low", "high")]
    else:
        columns = list(np.array([tuple(row) for row in table], float).T)
    ax.errorbar(x, columns[0], yerr=interval_bars(*columns), **look)


def label_ticks(ax: Axes, ticks: Sequence[Any]) -> None:
    """Put the ticks of the horizontal axis at these values and nowhere else."""
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.xaxis.set_minor_locator(NullLocator())


def label_round_ticks(ax: Axes) -> None:
    """Put the ticks of a logarithmic horizontal axis at 1, 2 and 5 times powers of ten,
    if two to nine of these are seen."""
    low, high = ax.get_xlim()
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [tick for power in powers for tick in (10.0**power, 2 * 10.0**power, 5 * 10.0**power) if low <= tick <= high]
    if 2 <= len(ticks) <= 9:
        label_ticks(ax, ticks)


def mark_level(ax: Axes, level: float, **look: Any) -> None:
    """Draw a faint dotted line at a level, behind everything else."""
    ax.axhline(level, **{"color": "0.6", "lw": 0.8, "ls": ":", "zorder": 0, **look})


def share_limits(axes: Sequence[Axes]) -> None:
    """Give all the same vertical axis."""
    for ax in axes[1:]:
        ax.sharey(axes[0])
    axes[0].autoscale(axis="y")


def place_below(ax: Axes, columns: int = 2, **look: Any) -> None:
    """Put the legend below the axis."""
    ax.legend(**{"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "ncols": columns, "columnspacing": 1, **look})


def place_beside(ax: Axes, **look: Any) -> None:
    """Put the legend to the right of the axis."""
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), **look)
