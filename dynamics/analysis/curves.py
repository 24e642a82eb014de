"""Quantities against the step, over the seeds of a part of a study: training curves,
and the sharpness with its edge."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from dynamics.analysis.figures import COLORS
from dynamics.analysis.seed_values import one_run_a_seed
from dynamics.study.tables import Study

LABELS = {
    "train_loss": "training loss (noisy labels)",
    "clean_train_error": "clean in-sample error",
    "excess_risk": "excess risk (fresh samples)",
    "sharpness": "sharpness",
}


class Band(NamedTuple):
    """Steps (T,), and least, median and greatest value over seeds at each."""

    step: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray


def measure_band(part: Study, metric: str | pl.Expr) -> Band:
    """Of a recorded metric, or an expression in such, at every recorded step but 0; values that are not finite are left
    out. Raises `InputError` if two runs have one seed: a band is over seeds alone."""
    one_run_a_seed(part)
    value = pl.col(metric) if isinstance(metric, str) else metric
    seen = part.records.unique(["run", "step"]).filter(pl.col("step") > 0).select("step", value.alias("value"))
    seen = seen.filter(pl.col("value").is_finite())
    value = pl.col("value")
    table = seen.group_by("step").agg(low=value.min(), middle=value.median(), high=value.max()).sort("step")
    return Band(*(table[name].to_numpy() for name in ("step", "low", "middle", "high")))


def draw_band(ax: Axes, part: Study, metric: str | pl.Expr, label: str, color: str, **line: Any) -> None:
    """Draw the median over seeds as a line, from the least to the greatest as a band."""
    seen = measure_band(part, metric)
    ax.fill_between(seen.step, seen.low, seen.high, color=color, alpha=0.2, lw=0)
    ax.plot(seen.step, seen.middle, color=color, label=label, **line)


def draw_training(ax: Axes, part: Study, metrics: tuple[str, ...] = ("train_loss", "clean_train_error")) -> None:
    """Draw losses and errors against the step, both logarithmic."""
    for metric, color in zip(metrics, COLORS, strict=False):
        draw_band(ax, part, metric, LABELS.get(metric, metric), color)
    ax.set(xlabel="step", ylabel="mean square", xscale="log", yscale="log")
    ax.legend(loc="best")


def draw_sharpness(ax: Axes, part: Study, *, label: str = "sharpness", color: str = COLORS[2], edge: bool = True) -> None:
    """Draw the Hessian's top eigenvalue against the step, and the edge 2 / eta."""
    draw_band(ax, part, "sharpness", label, color)
    for rate in part.values("learning_rate") if edge else []:
        ax.axhline(2 / rate, color="0.3", ls=":", label=f"$2/\\eta = {2 / rate:.3g}$")
    ax.set(title="sharpness", xlabel="step", ylabel="$\\lambda_{\\max}$", xscale="log", yscale="log")
    ax.legend(loc="best")
