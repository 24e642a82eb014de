"""Rates: slopes of log error against log n, with honest intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate, over_seeds
from dynamics.study import Study


def weights(log_values: np.ndarray) -> np.ndarray:
    """Inverse variances per column of (S, N) log values, shrunk towards their mean as if by four more seeds.

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
    """The statistic index (R, S) -> (R,): weighted least-squares slope of log median over seeds against log n."""
    x, y = np.log(np.asarray(n, float)), np.log(values)
    w = weights(y)
    centred = x - np.average(x, weights=w)
    lever = w * centred / np.sum(w * centred**2)
    return lambda index: np.median(y[index], axis=1) @ lever


def fit_slope(n: np.ndarray, values: np.ndarray) -> Estimate:
    """Slope over n (N,) of positive values (S, N), one row a seed; the interval is a bootstrap over seeds."""
    return over_seeds(median_slope(n, values), len(values))


def trend(positions: np.ndarray, statistics: list[Callable[[np.ndarray], np.ndarray]], num_seeds: int) -> Estimate:
    """Least-squares trend of several statistics of the same seeds over `positions` (of slopes over d, say)."""
    x = np.asarray(positions, float) - np.mean(positions)
    return over_seeds(lambda index: np.stack([s(index) for s in statistics], axis=1) @ (x / np.sum(x**2)), num_seeds)


def seed_table(study: Study, metric: str, step: int) -> tuple[np.ndarray, np.ndarray]:
    """(n (N,), values (S, N)) of a metric at a step, over the seeds that have a positive finite value at every n."""
    at = study.records.filter(pl.col("step") == step)
    n = np.array(at["data.num_samples"].unique().sort())
    pivot = at.pivot(on="data.num_samples", index="seed", values=metric, aggregate_function="first", sort_columns=True)
    values = pivot.sort("seed").drop("seed").select([str(v) for v in n]).to_numpy().astype(float)
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(values).all(axis=1) & (values > 0).all(axis=1)
    return n, values[whole]


def common_steps(study: Study, candidates: list[int]) -> list[int]:
    """Those of the candidate steps at which every run was recorded."""
    seen = study.records.group_by("step").agg(pl.col("run").n_unique()).filter(pl.col("run") == study.runs["run"].n_unique())
    return [s for s in candidates if s in set(seen["step"])]


def slope_table(study: Study, metrics: list[str], steps: list[int]) -> pl.DataFrame:
    """Slopes for every panel, learning rate, weight decay, dimension, metric and stopping time.

    Columns: panel, learning_rate, weight_decay, input_dim, metric, step, slope, low, high, num_seeds. A cell where
    fewer than two n or no seed is left is absent.
    """
    keys = ["panel", "optimizer.learning_rate", "optimizer.weight_decay", "data.input_dim"]
    rows = []
    for values in study.runs.select(keys).unique(maintain_order=True).sort(keys).iter_rows():
        part = study.select(**dict(zip(keys, values, strict=True)))
        for metric in metrics:
            for step in common_steps(part, steps):
                n, table = seed_table(part, metric, step)
                if len(n) > 1 and len(table):
                    fit = fit_slope(n, table)
                    rows.append((*values, metric, step, fit.value, fit.low, fit.high, len(table)))
    names = ["panel", "learning_rate", "weight_decay", "input_dim", "metric", "step", "slope", "low", "high", "num_seeds"]
    return pl.DataFrame(rows, schema=names, orient="row")
