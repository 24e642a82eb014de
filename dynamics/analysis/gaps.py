"""Generalisation gaps over n and d, |excess risk + sigma^2 - training error|, and how much of the noise a net has
memorised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from dynamics.analysis.drawing import assign_shades, draw_quartiles, label_ticks, make_table
from dynamics.analysis.intervals import Estimate, greatest_over_seeds, least_over_seeds
from dynamics.analysis.seed_values import trend_of_logs
from dynamics.analysis.slope_groups import draw_guide, take_absolute
from dynamics.analysis.slopes import at_step, find_whole_seeds, lay_out, list_common_steps
from dynamics.study.tables import Study
from dynamics.theory.geometry_exponents import PATCH_CANDIDATES

GAP = "generalization_gap"
STYLES = ("--", "-.", ":", "-")


def take_gaps(study: Study) -> Study:
    """Return the study with the gap's sign taken away, as in Liang et al. 2026b; where it changes sign its logarithm
    has a pole."""
    return take_absolute(study, GAP)


def read_gaps(parts: Sequence[Study], step: int | None = None) -> list[np.ndarray]:
    """Return gaps (S, D, N) over seeds, d and n of parts of one grid, at a step (the last common one); only seeds whole
    in all. inf where a run diverged."""
    found, seeds = [], sorted(set.intersection(*(set(part.values("seed")) for part in parts)))
    for part in parts:
        at = list_common_steps(part)[-1] if step is None else step
        values, _ = lay_out(at_step(take_gaps(part.select(seed=seeds)), at), GAP, "seed", "input_dim", "num_samples")
        found.append(values)
    whole = np.all([find_whole_seeds(values) for values in found], axis=0)
    return [values[whole] for values in found]


def largest_ratio(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Return the largest ratio over cells of the second's median over seeds to the first's, both (S, ...), seeds
    resampled together."""

    def ratios(index: np.ndarray) -> np.ndarray:
        return (np.median(second[index], axis=1) / np.median(first[index], axis=1)).reshape(len(index), -1)

    return greatest_over_seeds(ratios, len(first))


def trend_in_dim(part: Study, n: int | None = None) -> Estimate:
    """Return d log gap / d log d at one n (the largest), by least squares on log medians over seeds."""
    n = part.values("num_samples")[-1] if n is None else n
    (values,) = read_gaps([part.select(num_samples=n)])
    return trend_of_logs(values[..., 0], part.values("input_dim"))


def least_median(values: np.ndarray) -> Estimate:
    """Return the least median over seeds of values (S, ...)."""
    return least_over_seeds(lambda i: np.median(values[i], axis=1).reshape(len(i), -1), len(values))


def tabulate_trends(parts: Mapping[str, Study]) -> pl.DataFrame:
    """Return a table with a row for each part and n: `trend_in_dim` at the last common step."""
    rows = [(name, n, *trend_in_dim(part, n)) for name, part in parts.items() for n in part.values("num_samples")]
    return make_table(rows, "group, num_samples, trend, low, high")


def tabulate_candidates(dims: Sequence[int], patch_dim: int) -> pl.DataFrame:
    """Return the exponents under discussion, a row each and a column a dimension."""
    rows = {f"d = {d}": [exponent(d, patch_dim) for exponent in PATCH_CANDIDATES.values()] for d in dims}
    return pl.DataFrame({"exponent": list(PATCH_CANDIDATES), **rows})


def draw_candidates(ax: Axes, dim: int, patch_dim: int, at: float = 0.5) -> None:
    """Draw guides of all four candidate exponents through one point; none of them is asserted."""
    for (name, exponent), line in zip(PATCH_CANDIDATES.items(), STYLES, strict=True):
        value = exponent(dim, patch_dim)
        draw_guide(ax, value, f"{name}: $-{value:.3f}$", style=line, at=at)


def draw_over_dims(ax: Axes, part: Study, *, open_markers: bool = False, label: str = "") -> None:
    """Draw median gap with quartiles against d, a colour for each n, at the last common step."""
    (values,), dims = read_gaps([part]), part.values("input_dim")
    for i, (n, color, marker, place) in enumerate(assign_shades(part.values("num_samples"))):
        if not len(values):
            continue
        look: dict[str, Any] = {"mfc": "white", "ls": "--"} if open_markers else {"ls": "-"}
        x = np.array(dims) * 1.04**place
        draw_quartiles(ax, x, values[:, :, i], color=color, marker=marker, label=f"{label}$n = {n}$", **look)
    ax.set(xlabel="$d$", ylabel="gap", xscale="log", yscale="log")
    label_ticks(ax, dims)


def add_memorised(study: Study) -> Study:
    """Return the study with `memorised` = (clean + sigma^2 - train) / 2 sigma^2 in its records, the share of the noise
    that is fitted.

    Of plain mean squares over the training samples: with labels y = f_0 + e it is (1/n) sum (f - f_0) e / sigma^2, up
    to the deviation of (1/n) sum e^2 from sigma^2, which runs of one seed share. 0: the noise is ignored; 1: it is
    interpolated, whatever else the net does. sigma > 0.
    """
    variance, train = pl.col("data.noise_std") ** 2, pl.col("train_loss") / pl.col("loss_factor")
    share = (pl.col("clean_train_error") + variance - train) / (2 * variance)
    return replace(study, records=study.records.with_columns(memorised=share))
