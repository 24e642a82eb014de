"""The depth of a run's inputs, known before it trains, beside what training made of it; rank correlations over laws."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import stats

from dynamics.analysis.bounds import UNKNOWN
from dynamics.analysis.drawing import make_table
from dynamics.analysis.intervals import LEVEL, Estimate
from dynamics.core.spec import RunSpec
from dynamics.stability.half_space_depth import concentration_curve, concentration_curve_area, depth_by_directions
from dynamics.study.reload import restart
from dynamics.study.tables import Study

RANDOM_DIRECTIONS = 256
MOST_POINTS = 2000  # of the reference
FEWEST_LAWS = 6  # with fewer a correlation of ranks has no interval to speak of


def own_directions(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Sigma^-1 (x - mean) of every point (n, d), mean and covariance Sigma those of the reference (N, d); rows (n, d).

    For an elliptical law this is the direction whose half-space at x is the lightest. Sigma's pseudo-inverse where it
    is singular.
    """
    centred = reference - reference.mean(axis=0)
    return (points - reference.mean(axis=0)) @ np.linalg.pinv(centred.T @ centred / len(centred), hermitian=True)


def bound_depths(points: np.ndarray, reference: np.ndarray, seed: int = 0) -> np.ndarray:
    """Upper bounds (n,) on the depth of points (n, d) in the reference (N, d):
    random directions and each point's own."""
    points, reference = np.asarray(points, float), np.asarray(reference, float)
    drawn = np.random.default_rng(seed).normal(size=(RANDOM_DIRECTIONS, points.shape[1]))
    own = own_directions(points, reference)
    ahead = np.mean(reference @ own.T >= np.sum(points * own, axis=1) * (1 - 1e-9), axis=0)
    return np.minimum(depth_by_directions(points, reference, drawn), ahead)


class Index(NamedTuple):
    """What is known of a run's inputs before it trains: int Psi and mean depth of the training inputs among fresh ones.

    effective_rank: exp of the entropy of the covariance's spectrum, a simpler index to compare with
    """

    depth_area: float
    mean_depth: float
    effective_rank: float


@cache  # figure and claims ask for the same runs
def measure_index(spec: RunSpec) -> Index:
    """Return the shatterability index of one run's law, from inputs drawn anew; no trained parameter is used."""
    fixed, _ = restart(spec)
    train, fresh = (np.asarray(part.inputs, float) for part in fixed.problem)
    depth = bound_depths(train, fresh[:MOST_POINTS], spec.seed)
    spectrum = np.clip(np.linalg.eigvalsh(np.cov(fresh.T)), 1e-12, None)
    share = spectrum / spectrum.sum()
    area = float(concentration_curve_area(concentration_curve(depth)))
    return Index(area, float(np.mean(depth)), float(np.exp(-np.sum(share * np.log(share)))))


def tabulate_indices(study: Study, metrics: list[str]) -> pl.DataFrame:
    """Return a table with one row per run: panel, seed, the fields of `Index`, and metrics at the end (NaN where a run
    has none)."""
    ends = {row["run"]: row for row in study.final.unique(["run", "panel"]).iter_rows(named=True)}
    rows = []
    for run in study.runs.unique(["run", "panel"], maintain_order=True).iter_rows(named=True):
        measured = [ends[run["run"]][metric] if run["run"] in ends else np.nan for metric in metrics]
        rows.append((run["panel"], run["seed"], *measure_index(study.specs[run["run"]]), *measured))
    names = ", ".join(["panel", "seed", *Index._fields, *metrics])
    return make_table(rows, names).sort("panel", "seed", maintain_order=True)


def correlate_ranks(table: pl.DataFrame, index: str, metric: str) -> Estimate:
    """Return Spearman's correlation over laws of the medians over seeds; unknown for fewer than six laws.

    The interval is over laws, not seeds, and so is `seeds`: Fisher's transform with the variance of Bonett and Wright
    (2000). For normal pairs it covers 93 to 97 % with eight laws and more unless the true correlation exceeds .9; with
    six or seven and a correlation of .8 it covers 92 %. A perfect order counts as the next one below it,
    so that it has an interval.
    """
    known = table.filter(pl.col(index).is_finite() & pl.col(metric).is_finite())
    medians = known.group_by("panel", maintain_order=True).agg(pl.col(index, metric).median())
    count = len(medians)
    lost = table["panel"].n_unique() - count
    if count < FEWEST_LAWS or min(medians[index].n_unique(), medians[metric].n_unique()) < 2:
        return replace(UNKNOWN, left_out=lost)
    first, second = (stats.rankdata(medians[column]) for column in (index, metric))
    value = float(np.corrcoef(first, second)[0, 1])
    within = float(np.clip(value, -1, 1)) * (1 - 12 / (count * (count**2 - 1)) if abs(value) > 1 - 1e-9 else 1)
    reach = stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt((1 + within**2 / 2) / (count - 3))
    low, high = np.tanh(np.arctanh(within) - reach), np.tanh(np.arctanh(within) + reach)
    return Estimate(value, min(float(low), value), max(float(high), value), count, LEVEL, lost)
