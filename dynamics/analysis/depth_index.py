"""The depth of a run's inputs, known before it trains, beside what training made of it; rank correlations over laws."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import stats

from dynamics.analysis.bootstrap import Estimate
from dynamics.analysis.bounds import UNKNOWN
from dynamics.analysis.drawing import make_table
from dynamics.core.spec import RunSpec
from dynamics.stability.half_space_depth import concentration_curve, concentration_curve_area, depth_by_directions
from dynamics.study.reload import restart
from dynamics.study.tables import Study

RANDOM_DIRECTIONS = 256
MOST_POINTS = 2000  # of the reference


def own_directions(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Sigma^-1 (x - mean) of every point (n, d), mean and covariance Sigma those of the reference (N, d); rows (n, d).

    For an elliptical law this is the direction whose half-space at x is the lightest. Sigma's pseudo-inverse where it
    is singular.
    """
    centred = reference - reference.mean(axis=0)
    return (points - reference.mean(axis=0)) @ np.linalg.pinv(centred.T @ centred / len(centred), hermitian=True)


def bound_depths(points: np.ndarray, reference: np.ndarray, seed: int = 0) -> np.ndarray:
    """Upper bounds (n,) on the depth of points (n, d) in the reference (N, d): random directions and each point's own."""
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


def correlate_ranks(table: pl.DataFrame, index: str, metric: str, num_resamples: int = 4000) -> Estimate:
    """Return Spearman's correlation over laws of the medians over seeds; the interval resamples laws, and seeds within
    each."""
    groups = [own.select(index, metric).to_numpy() for _, own in table.group_by("panel", maintain_order=True)]
    groups = [own[np.isfinite(own).all(axis=1)] for own in groups]
    groups = [own for own in groups if len(own)]
    if len(groups) < 4:
        return UNKNOWN
    rng = np.random.default_rng(0)
    sizes = [len(own) for own in groups]
    values = np.full((num_resamples, len(groups), max(sizes), 2), np.nan)
    counts = np.empty((num_resamples, len(groups)), int)
    for resample in range(num_resamples):
        for place, law in enumerate(rng.integers(len(groups), size=len(groups))):
            values[resample, place, : sizes[law]] = groups[law][rng.integers(sizes[law], size=sizes[law])]
            counts[resample, place] = sizes[law]
    low, high = np.nanquantile(_correlate_medians(values, counts), [0.025, 0.975])
    filled = [np.pad(own, ((0, max(sizes) - len(own)), (0, 0)), constant_values=np.nan) for own in groups]
    return Estimate(float(_correlate_medians(np.stack(filled)[None], np.array([sizes]))[0]), float(low), float(high))


def _correlate_medians(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation (R,) of the medians over seeds of values (R, laws, seeds, 2).

    counts: how many seeds (R, laws) are valid, the first ones; NaN where either side is the same for all laws.
    """
    ordered = np.sort(values, axis=2)  # NaN last
    middle = [np.take_along_axis(ordered, place[:, :, None, None], axis=2) for place in ((counts - 1) // 2, counts // 2)]
    medians = (middle[0] + middle[1])[:, :, 0] / 2
    ranks = stats.rankdata(medians, axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    products = np.einsum("rla,rlb->rab", centred, centred) * (1 / (centred.shape[1] - 1))
    spread = np.sqrt(products[:, [0, 1], [0, 1]])
    with np.errstate(invalid="ignore"):
        correlations = np.clip(products[:, 0, 1] / spread[:, 0] / spread[:, 1], -1, 1)
    return np.where(np.ptp(medians, axis=1).all(axis=1), correlations, np.nan)
