"""Errors against n (or another axis) in several groups of runs: curves with fitted slopes, and what is claimed of the
slopes.

A group is a part of a study: one law, one dimension, one architecture. Seeds are taken as wholes, the same ones in
every group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from dynamics.analysis.bounds import UNKNOWN
from dynamics.analysis.drawing import draw_power, draw_quartiles, label_ticks, make_table
from dynamics.analysis.figures import COLORS, MARKERS
from dynamics.analysis.intervals import Estimate, greatest_over_seeds
from dynamics.analysis.seed_values import median_over_seeds, ratio_over_seeds, stack_seeds, strip_math, values_by_seed
from dynamics.analysis.slopes import at_step, find_whole_seeds, fit_slope, fit_trend, lay_out, list_common_steps, median_slope
from dynamics.study.tables import Study

Groups = Mapping[str, Study]


def take_absolute(study: Study, metric: str) -> Study:
    """Return the study with a metric's sign taken away: of a gap, say, whose logarithm is wanted."""
    return replace(study, records=study.records.with_columns(pl.col(metric).abs()))


def read_seeds(part: Study, metric: str, step: int | None = None, axis: str = "num_samples") -> tuple[np.ndarray, np.ndarray]:
    """(positions (N,), values (S, N)) at a step (the last common one), over the seeds with a positive value at every
    one; inf where a run diverged."""
    step = list_common_steps(part)[-1] if step is None else step
    values, (_, positions) = lay_out(at_step(part, step), metric, "seed", axis)
    return np.array(positions, float), values[find_whole_seeds(values)]


def draw_against(
    ax: Axes, groups: Groups, metric: str, *, axis: str = "num_samples", label: str = "$n$", ylabel: str = ""
) -> None:
    """Draw median with quartiles against the axis and the fitted line, a colour a group, slopes in the legend;
    logarithmic."""
    places = np.linspace(-0.5, 0.5, len(groups)) if len(groups) > 1 else [0.0]
    ticks: set[float] = set()
    for i, ((name, part), place) in enumerate(zip(groups.items(), places, strict=True)):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        x, values = read_seeds(part, metric, axis=axis)
        ticks |= set(x)
        if not len(values):
            ax.plot([], [], marker, color=color, label=f"{name}: no whole seed")
            continue
        slope = fit_slope(x, values).value
        middle = draw_quartiles(ax, x * 1.05**place, values, fmt=marker, color=color, label=f"{name}: {slope:+.2f}")
        if np.isfinite(slope):
            draw_power(ax, x, middle, slope, color=color)
    ax.set(xlabel=label, ylabel=ylabel or metric.replace("_", " "), xscale="log", yscale="log")
    label_ticks(ax, sorted(ticks))


def draw_guide(ax: Axes, exponent: float, label: str, *, style: str = "--", at: float = 0.5) -> None:
    """Draw a line of slope -exponent across the axes' limits, through the middle of what is drawn: a guide, not a
    prediction."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    x = np.array([left, right])
    y = np.exp(np.log(low) + at * (np.log(high) - np.log(low))) * (x / np.sqrt(left * right)) ** -exponent
    ax.plot(x, y, style, color="0.55", lw=1, label=label, zorder=0)
    ax.set(xlim=(left, right), ylim=(low, high))


def fit_slopes(groups: Groups, metric: str, steps: Sequence[int] | None = None, axis: str = "num_samples") -> pl.DataFrame:
    """Return a table with one row per group and stopping time (the last common step unless given): slope, interval,
    number of seeds in the fit."""
    rows = []
    for name, part in groups.items():
        due = [list_common_steps(part)[-1]] if steps is None else [s for s in steps if s in list_common_steps(part)]
        for step in due:
            x, values = read_seeds(part, metric, step, axis)
            rows.append((strip_math(name), metric, step, *fit_slope(x, values), len(values)))
    return make_table(rows, "group, metric, step, slope, low, high, num_seeds")


def draw_times(ax: Axes, table: pl.DataFrame, label: str = "${}$", **look: Any) -> None:
    """Draw the slopes of `fit_slopes` against the stopping time, a colour a group."""
    for name, color in zip(table["group"].unique(maintain_order=True), COLORS, strict=False):
        own = table.filter(group=name)
        ax.plot(own["step"], own["slope"], **{"marker": "o", "color": color, "label": label.format(name), **look})
    ax.set(title="slope against stopping time", xlabel="step", ylabel="slope", xscale="log")


def read_together(groups: Groups, metric: str, axis: str = "num_samples") -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return positions and values (S, N) of every group at its last common step, over the seeds that are whole in all
    of them; inf where a run diverged."""
    found = []
    for part in groups.values():
        values, (seeds, positions) = lay_out(at_step(part, list_common_steps(part)[-1]), metric, "seed", axis)
        found.append((np.array(positions, float), values, seeds, find_whole_seeds(values)))
    shared = set.intersection(*({s for s, whole in zip(seeds, fine, strict=True) if whole} for _, _, seeds, fine in found))
    rows = [[seeds.index(s) for s in sorted(shared)] for _, _, seeds, _ in found]
    return [x for x, *_ in found], [values[own] for (_, values, *_), own in zip(found, rows, strict=True)]


def spread_of_slopes(groups: Groups, metric: str) -> Estimate:
    """Return the greatest minus least slope over the groups; unknown for a single one."""
    positions, values = read_together(groups, metric)
    if len(values) < 2 or not len(values[0]):
        return UNKNOWN
    statistics = [median_slope(x, v) for x, v in zip(positions, values, strict=True)]

    def differences(index: np.ndarray) -> np.ndarray:
        slopes = np.stack([s(index) for s in statistics], axis=1)
        return (slopes[:, :, None] - slopes[:, None]).reshape(len(index), -1)

    return greatest_over_seeds(differences, len(values[0]), left_out=count_lost(groups, values))


def trend_of_slopes(groups: Groups, along: Sequence[float], metric: str) -> Estimate:
    """Return the least-squares trend of |slope| (as -slope) over one number a group."""
    positions, values = read_together(groups, metric)
    if not len(values[0]):
        return UNKNOWN
    slopes = [median_slope(x, v) for x, v in zip(positions, values, strict=True)]
    steep = -fit_trend(np.asarray(along), slopes, len(values[0]))
    return replace(steep, left_out=count_lost(groups, values))


def count_lost(groups: Groups, values: Sequence[np.ndarray]) -> int:
    """Return how many seeds `read_together` has dropped, and in how many of the others a run diverged."""
    asked = max(part.runs["seed"].n_unique() for part in groups.values())
    diverged = np.any([np.isinf(own).any(axis=1) for own in values], axis=0)
    return asked - len(values[0]) + int(diverged.sum())


def level_ratio(first: Study, second: Study, metric: str) -> Estimate:
    """Return the median of the second over median of the first at the largest position of each,
    seeds taken together."""
    groups = {"first": first, "second": second}
    _, (a, b) = read_together(groups, metric)
    return replace(ratio_over_seeds(b[:, -1], a[:, -1]), left_out=count_lost(groups, (a, b)))


def ratio_at_common_step(first: Study, second: Study, metric: str = "clean_train_error") -> Estimate:
    """Return the median over seeds of the second's metric over the first's, at the last step that both have recorded;
    seeds are paired. inf where a run of either diverged: the ratio may be anything."""
    step = max(set(list_common_steps(first)) & set(list_common_steps(second)))

    def read(part: Study) -> np.ndarray:
        seen = at_step(part, step).records.unique("run").select("run", value=pl.col(metric).fill_null(np.nan))
        return values_by_seed(part, seen)["value"].to_numpy()

    a, b = stack_seeds((first, second), read).T
    with np.errstate(invalid="ignore"):
        return median_over_seeds(np.where(np.isinf(a) | np.isinf(b), np.inf, b / a))
