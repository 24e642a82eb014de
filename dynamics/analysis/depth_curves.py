"""What experiments on depth have in common: saved depths and their curves, spectra of points,
and how both are drawn."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dynamics.core.spec import freeze
from dynamics.stability.half_space_depth import THRESHOLDS, concentration_curve
from dynamics.study.reload import restart
from dynamics.study.tables import Study
from dynamics.systems.depth_search import DepthSpec

BLOCK = 4096  # samples whose products are summed at once


def load_depths(part: Study) -> list[np.ndarray]:
    """Return the depths (Q,) that each run of the part ended with, in the order of seeds; the study must have kept
    final states."""
    runs = part.runs.unique("run").sort("seed")["run"]
    return [part.store.final(run)["depth"] for run in runs]


def load_curves(part: Study) -> np.ndarray:
    """Return Psi on `THRESHOLDS` of each run, (S, 201)."""
    return np.array([concentration_curve(depths) for depths in load_depths(part)])


def draw_samples(spec: DepthSpec) -> np.ndarray:
    """The whole samples (n, d) whose views a run's depths are counted among, drawn anew."""
    data = replace(spec.data, num_test=1)
    return _samples(freeze(DepthSpec(seed=spec.seed, precision=spec.precision, data=data)))


@lru_cache(maxsize=16)
def _samples(spec: DepthSpec) -> np.ndarray:
    fixed, _ = restart(spec)
    return np.asarray(fixed.cloud.reference)


def view_covariance(samples: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return covariance (m, m) of a random view of a random sample: samples (n, d), views (L, m); all views of all
    samples count."""
    mean, second = samples.mean(axis=0, dtype=float), np.zeros((samples.shape[1],) * 2)
    for block in np.array_split(samples, -(-len(samples) // BLOCK)):
        second += block.T.astype(float) @ block
    middle = np.mean([mean[view] for view in seen], axis=0)
    return np.mean([second[np.ix_(view, view)] for view in seen], axis=0) / len(samples) - np.outer(middle, middle)


def cumulate_energy(covariance: np.ndarray) -> np.ndarray:
    """Return shares (m,) of the variance that the first 1, 2, ...,
    m principal components of a covariance (m, m) have."""
    values = np.cumsum(np.maximum(np.linalg.eigvalsh(covariance)[::-1], 0))
    return values / values[-1]


def count_components(energies: np.ndarray, share: float = 0.9) -> int:
    """Return how many principal components it takes for this share of the variance; one reached up to rounding is
    reached."""
    return int(np.searchsorted(energies, share - 1e-12)) + 1


def find_elbow(points: np.ndarray, share: float = 0.9) -> int:
    """Return how many principal components of points (N, m) it takes for this share of the variance."""
    return count_components(cumulate_energy(np.atleast_2d(np.cov(np.asarray(points, float).T))), share)


def draw_curve(ax: Axes, curves: np.ndarray, label: str, color: Any, **line: Any) -> None:
    """Draw the median of Psi (S, 201) over seeds as a line, from the least to the greatest as a band."""
    ax.fill_between(THRESHOLDS, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.2, lw=0)
    ax.plot(THRESHOLDS, np.median(curves, axis=0), color=color, label=label, **line)


def frame_curves(ax: Axes, title: str) -> None:
    """Set the labels and limits of an axis of curves Psi(T)."""
    ax.set(title=title, xlabel="$T$", ylabel=r"$\Psi(T)=P(\mathrm{depth}\geq T)$", xlim=(0, 0.5), ylim=(0, 1.02))
