"""Rates: slopes of log error against log n, with honest intervals, for every setting, dimension and stopping time.

A setting is a panel at one learning rate and weight decay. Diverged runs keep their place: a seed that diverged at some
n is left out of the fit at that step, and `count_diverged` tells how many runs that were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate, over_seeds
from dynamics.analysis.bounds import UNKNOWN
from dynamics.analysis.drawing import make_table
from dynamics.study.tables import Study

ERROR = "clean_train_error"


def inverse_variances(log_values: np.ndarray) -> np.ndarray:
    """Return the inverse variances per column of (S, N) log values, shrunk towards their mean as if by four more seeds.

    The variance of a handful of seeds is itself noisy; shrinking keeps one lucky column from ruling the fit.
    """
    count = log_values.shape[0]
    if count < 2:
        return np.ones(log_values.shape[1])
    variance = log_values.var(axis=0, ddof=1)
    pooled = variance.mean()
    shrunk = (4 * pooled + (count - 1) * variance) / (count + 3)
    return 1 / shrunk if pooled > 0 else np.ones_like(shrunk)


def median_slope(n: np.ndarray, values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the bootstrap statistic, index (R, S) -> (R,): weighted least-squares slope of log median over seeds
    against log n."""
    x, y = np.log(np.asarray(n, float)), np.log(values)
    w = inverse_variances(y)
    centred = x - np.average(x, weights=w)
    lever = w * centred / np.sum(w * centred**2)
    return lambda index: np.median(y[index], axis=1) @ lever


def fit_slope(n: np.ndarray, values: np.ndarray) -> Estimate:
    """Return slope over n (N,) of positive values (S, N), one row a seed; the interval is a bootstrap over seeds.

    NaN without a seed or with fewer than two n.
    """
    if len(n) < 2 or not len(values):
        return UNKNOWN
    return over_seeds(median_slope(n, values), len(values))


def fit_trend(positions: np.ndarray, statistics: list[Callable[[np.ndarray], np.ndarray]], num_seeds: int) -> Estimate:
    """Return the least-squares trend of several statistics of the same seeds over `positions` (of slopes over d, say)."""
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
    """Return which rows (S,) of values (S, ...) are finite and positive throughout, and so have logarithms."""
    return np.all(np.isfinite(values) & (values > 0), axis=tuple(range(1, values.ndim)))


def read_seed_table(study: Study, metric: str, step: int) -> tuple[np.ndarray, np.ndarray]:
    """(n (N,), values (S, N)) of a metric at a step, over the seeds that have a positive finite value at every n."""
    values, (_, n) = at_step(study, step).grid(metric, "seed", "num_samples")
    return np.array(n), values[find_whole_seeds(values)]


def read_levels(part: Study, step: int) -> np.ndarray:
    """Return errors (S,) at the largest n at a step, not finite for a seed that diverged; one d."""
    values, _ = at_step(part, step).grid(ERROR, "seed", "num_samples")
    return values[:, -1]


def tabulate_slopes(study: Study, metrics: list[str], steps: list[int] | None = None) -> pl.DataFrame:
    """Return slopes for every setting, dimension, metric and stopping time (those of `steps` that its runs have;
    default: all).

    Columns: panel, learning_rate, weight_decay, input_dim, metric, step, time = learning_rate * step, slope, low, high,
    num_seeds in the fit, num_diverged runs left out. A cell of one n is absent; one without a whole seed has slope NaN.
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
                    lost = count_diverged(cell, metric, step)
                    rows.append((panel, rate, decay, d, metric, step, rate * step, *fit_slope(n, values), len(values), lost))
    keys = ["panel", "learning_rate", "weight_decay", "input_dim"]
    names = ", ".join(keys) + ", metric, step, time, slope, low, high, num_seeds, num_diverged"
    return make_table(rows, names).sort(keys, maintain_order=True)
