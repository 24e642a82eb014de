"""Neurons of finished runs as a table, and the scatter of activation rate against norm in which shattering shows."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from dynamics.analysis.figures import COLORS
from dynamics.measures.stability_checks import weighted_paths
from dynamics.study.reload import views
from dynamics.study.tables import Study


def neuron_table(study: Study, *, initial: bool = False) -> pl.DataFrame:
    """One row a neuron of every run's final network (`save_final` must have kept it), or of the initial one.

    Columns: run, neuron, rate (share of the training inputs it is active on), weight_norm |w|, readout v, path |v| |w|, weight
    (the empirical g at its kink; 0 where w = 0), offset t = -b / |w| (NaN where w = 0), radius R of the inputs.
    """
    frames = []
    for run, view in views(study, initial=initial):
        hidden, readout = (np.asarray(part, float) for part in view.neurons)
        norm = np.linalg.norm(hidden[1:], axis=0)
        path, _, weighted = (np.asarray(part, float) for part in weighted_paths(view))
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = {
                "run": np.full(len(norm), run),
                "neuron": np.arange(len(norm)),
                "rate": np.asarray(view.rate, float),
                "weight_norm": norm,
                "readout": readout,
                "path": path,
                "weight": np.where(path > 0, weighted / path, 0.0),
                "offset": np.where(norm > 0, -hidden[0] / norm, np.nan),
                "radius": np.full(len(norm), float(view.radius)),
            }
        frames.append(pl.DataFrame(columns))
    return pl.concat(frames)


def scatter(ax: Axes, table: pl.DataFrame, column: str = "weight_norm", *, color: str = COLORS[0]) -> None:
    """Activation rate (%) against a norm, one dot a neuron; dots are drawn as pixels, so thousands stay small in a pdf.

    The fewer the neurons the larger and more opaque the dots. Dead neurons stand at rate 0.
    """
    count = max(len(table), 1)
    size, alpha = np.clip(4000 / count, 2, 14), np.clip(600 / count, 0.12, 0.8)
    ax.scatter(
        100 * table["rate"].to_numpy(),
        table[column].to_numpy(),
        s=size,
        alpha=alpha,
        color=color,
        linewidths=0,
        rasterized=True,
    )
    ax.set(xlabel="activation rate (%)", xlim=(-3, 103))
