"""Neurons of finished runs as a table, and the scatter of activation rate against norm in which shattering shows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from dynamics.analysis.figures import COLORS
from dynamics.analysis.seed_values import first_seed
from dynamics.measures.stability_checks import weighted_paths
from dynamics.study.reload import views
from dynamics.study.tables import Study


def tabulate_neurons(study: Study, *, initial: bool = False) -> pl.DataFrame:
    """Return one row a neuron of every run's final network (`save_final` must have kept it), or of the initial one.

    Columns: run, neuron, rate (share of the training inputs it is active on), weight_norm |w|, readout v, path |v| |w|,
    weight (the empirical g at its kink; 0 where w = 0), offset t = -b / |w| (NaN where w = 0), radius R of the inputs.
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


def draw_neurons(ax: Axes, table: pl.DataFrame, column: str = "weight_norm", *, color: str = COLORS[0]) -> None:
    """Draw activation rate (%) against a norm, one dot a neuron; dots are drawn as pixels,
    so thousands stay small in a pdf.

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


def draw_clouds(
    cloud: Axes, rates: Axes, parts: Mapping[str, Study], *, column: str = "weight_norm", with_median: bool = False
) -> None:
    """Draw the neurons of the first seed of each part, a colour a part, and how their rates are distributed.

    with_median: the legend tells the median rate of the alive
    """
    for (title, part), color in zip(parts.items(), COLORS, strict=False):
        table = tabulate_neurons(first_seed(part))
        draw_neurons(cloud, table.filter(pl.col("path") > 0) if column == "path" else table, column, color=color)
        cloud.plot([], [], "o", color=color, label=title)
        alive = 100 * table.filter(pl.col("rate") > 0)["rate"].to_numpy()
        label = f"{title}: {np.median(alive):.0f} % in the median" if with_median else title
        rates.ecdf(alive, color=color, label=label)
    cloud.set(title="neurons", ylabel="weight norm $\\|w_k\\|$", yscale="log")
    rates.set(title="rates of the alive", xlabel="activation rate (%)", ylabel="share of neurons below", xlim=(-3, 103))
    rates.legend(loc="lower right")
