"""Rates: slopes of log error against log n, with honest intervals, for every setting, dimension and stopping time.

A setting is a panel at one learning rate and weight decay. A run that diverged has an infinite error: the median over
seeds ranks it as worst, and `count_diverged` tells how many runs that were. Liang et al. 2025 fit by ordinary least
squares, and so do the figures and the claims; tables have the weighted fit beside it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from dynamics.analysis.bounds import UNKNOWN
from dynamics.analysis.drawing import make_table
from dynamics.analysis.intervals import Estimate, Statistic, over_seeds
from dynamics.study.tables import Study

ERROR = "clean_train_error"


def inverse_variances(log_values: np.ndarray) -> np.ndarray:
    """Return the inverse variances per column of (S, N) log values, shrunk towards their mean as if by four more seeds.

    The variance of a handful of seeds is itself noisy; shrinking keeps one lucky column from ruling the fit. Runs that
    diverged do not count.
    """
    count = log_values.shape[0]
    if count < 2:
        return np.ones(log_values.shape[1])
    seen = np.ma.masked_invalid(log_values)
    variance = np.ma.filled(seen.var(axis=0, ddof=1), np.nan)
    pooled = float(np.nanmean(variance)) if np.isfinite(variance).any() else 0.0
    shrunk = (4 * pooled + (count - 1) * np.where(np.isnan(variance), pooled, variance)) / (count + 3)
    return 1 / shrunk if pooled > 0 else np.ones_like(shrunk)


def slope_lever(n: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the vector (N,) whose product with values at n is their least-squares slope against log n."""
    x = np.log(np.asarray(n, float))
    w = np.ones_like(x) if weights is None else weights
    centred = x - np.average(x, weights=w)
    return w * centred / np.sum(w * centred**2)


def median_slope(n: np.ndarray, values: np.ndarray, *, weighted: bool = False) -> Statistic:
    """Return the statistic of seeds, index (R, m) -> (R,): least-squares slope of log median over seeds against log n.

    Ordinary least squares, as in Liang et al. 2025; weighted=True: by `inverse_variances`. A run that diverged has the
    value inf, which a median ranks as worst.
    """
    y = np.log(values)
    lever = slope_lever(n, inverse_variances(y) if weighted else None)

    def slope(index: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.median(y[index], axis=1) @ lever

    return slope


def fit_slope(n: np.ndarray, values: np.ndarray, *, weighted: bool = False) -> Estimate:
    """Return slope over n (N,) of positive values (S, N), one row a seed: inf where a run diverged, NaN where unknown.

    A seed with a NaN is dropped. NaN without a seed or with fewer than two n. See `median_slope`.
    """
    known = values[find_whole_seeds(values)] if len(values) else values
    left_out = len(values) - len(known) + int(np.isinf(known).any(axis=1).sum()) if len(values) else 0
    if len(n) < 2 or not len(known):
        return replace(UNKNOWN, left_out=left_out)
    return over_seeds(median_slope(n, known, weighted=weighted), len(known), left_out=left_out)


def fit_trend(positions: np.ndarray, statistics: list[Statistic], num_seeds: int) -> Estimate:
    """Return the least-squares trend of several statistics of the same seeds over `positions`
    (of slopes over d, say)."""
    x = np.asarray(positions, float) - np.mean(positions)
    return over_seeds(lambda index: np.stack([s(index) for s in statistics], axis=1) @ (x / np.sum(x**2)), num_seeds)


class Setting(NamedTuple):
    """The part of a study at one panel, learning rate and weight decay."""

    panel: str
    learning_rate: float
    weight_decay: float
    part: Study


def list_settings(study: Study) -> list[Setting]:
    """In the order of the study's panels and axes."""
    keys = study.runs.select("panel", "optimizer.learning_rate", "optimizer.weight_decay").unique(maintain_order=True)
    return [Setting(p, eta, wd, study.select(panel=p, learning_rate=eta, weight_decay=wd)) for p, eta, wd in keys.iter_rows()]


def list_common_steps(study: Study) -> list[int]:
    """Return the steps at which every run was due to be recorded, whether or not it had diverged by then."""
    specs = {study.specs[run] for run in study.runs["run"]}
    schedules = [set(record.schedule(steps)) for record, steps in {(s.record, s.steps) for s in specs}]
    return sorted(set.intersection(*schedules)) if schedules else []


def list_stopping_times(study: Study) -> list[int]:
    """Return the common steps of the later training, from a twentieth of it on."""
    steps = list_common_steps(study)
    return [s for s in steps if s >= steps[-1] / 20]


def at_step(study: Study, step: int) -> Study:
    """Return the study with the records of one step only."""
    return replace(study, records=study.records.filter(pl.col("step") == step))


def count_diverged(study: Study, metric: str, step: int) -> int:
    """Return how many runs have no finite value of a metric at a step: their state overflowed, or the metric did."""
    return len(study.runs) - len(at_step(study, step).records.filter(pl.col(metric).is_finite()))


def find_whole_seeds(values: np.ndarray) -> np.ndarray:
    """Return which rows (S,) of values (S, ...) are positive throughout, and so have logarithms; inf (diverged) is."""
    return np.all(values > 0, axis=tuple(range(1, values.ndim)))


def lay_out(study: Study, metric: str, *axes: str) -> tuple[np.ndarray, list[list[Any]]]:
    """Return `Study.grid` of an error, with inf where a run that was asked for has no finite value: it diverged."""
    values, levels = study.grid(metric, *axes)
    names = [study.column(axis) for axis in axes]
    places = [{level: i for i, level in enumerate(own)} for own in levels]
    lost = ~np.isfinite(values)
    asked = np.zeros_like(lost)
    for where in study.runs.select(names).iter_rows():
        asked[tuple(place[w] for place, w in zip(places, where, strict=True))] = True
    return np.where(lost & asked, np.inf, values), levels


def read_seed_table(study: Study, metric: str, step: int) -> tuple[np.ndarray, np.ndarray]:
    """(n (N,), values (S, N)) of a metric at a step, over the seeds that have a positive value at every n; inf:
    diverged."""
    values, (_, n) = lay_out(at_step(study, step), metric, "seed", "num_samples")
    return np.array(n), values[find_whole_seeds(values)]


def read_levels(part: Study, step: int) -> np.ndarray:
    """Return errors (S,) at the largest n at a step, inf for a seed that diverged; one d."""
    values, _ = lay_out(at_step(part, step), ERROR, "seed", "num_samples")
    return values[:, -1]


def tabulate_slopes(study: Study, metrics: list[str], steps: list[int] | None = None) -> pl.DataFrame:
    """Return slopes for every setting, dimension, metric and stopping time (those of `steps` that its runs have;
    default: all).

    Columns: panel, learning_rate, weight_decay, input_dim, metric, step, time = learning_rate * step; slope, low, high
    by ordinary least squares, the level of that interval; the same by weighted least squares; num_seeds in the fit and
    num_diverged runs. A cell of one n is absent; one without a whole seed has slope NaN.
    """
    rows = []
    for panel, rate, decay, part in list_settings(study):
        for d in part.values("input_dim"):
            cell = part.select(input_dim=d)
            if len(cell.values("num_samples")) < 2:
                continue
            due = list_stopping_times(cell) if steps is None else [s for s in steps if s in list_common_steps(cell)]
            for metric in metrics:
                for step in due:
                    n, values = read_seed_table(cell, metric, step)
                    fit, other = fit_slope(n, values), fit_slope(n, values, weighted=True)
                    lost = count_diverged(cell, metric, step)
                    own = (panel, rate, decay, d, metric, step, rate * step)
                    rows.append((*own, *fit, fit.level, *other, len(values), lost))
    keys = ["panel", "learning_rate", "weight_decay", "input_dim"]
    fits = "slope, low, high, level, weighted_slope, weighted_low, weighted_high"
    names = f"{', '.join(keys)}, metric, step, time, {fits}, num_seeds, num_diverged"
    return make_table(rows, names).sort(keys, maintain_order=True)
