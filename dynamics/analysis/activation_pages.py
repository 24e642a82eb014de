"""Shattering over an axis of a study: scatters of its neurons, and its statistics against the axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics.analysis.bootstrap import Estimate, over_seeds
from dynamics.analysis.claims import Finding, within
from dynamics.analysis.figures import COLORS, MARKERS, Page
from dynamics.analysis.neuron_tables import neuron_table, scatter
from dynamics.study.tables import Study


def median(values: np.ndarray) -> Estimate:
    """Median over seeds (S,) and its interval; NaN if there is none."""
    if not len(values):
        return Estimate(math.nan, math.nan, math.nan)
    return over_seeds(lambda index: np.median(values[index], axis=1), len(values))


def final_values(part: Study, metric: str) -> np.ndarray:
    """A metric at the last step, one value a run in the order of the seeds, runs that diverged left out."""
    values = part.final.unique("run").sort("seed")[metric].to_numpy()
    return values[np.isfinite(values)]


def late_values(part: Study, metric: pl.Expr, share: float = 0.25) -> np.ndarray:
    """Mean over the records of the last `share` of the steps (the last one at least), one value a run in the order of seeds."""
    is_late = (pl.col("step") > pl.col("steps") * (1 - share)) | (pl.col("step") == pl.col("steps"))
    late = part.records.filter(is_late).unique(["run", "step"])
    means = late.group_by("run").agg(pl.col("seed").first(), metric.mean().alias("value")).sort("seed")["value"].to_numpy()
    return means[np.isfinite(means)]


def at_start(study: Study) -> Study:
    """The study as if it had ended at step 0: a control for what training is said to have done."""
    begin = study.records.filter(pl.col("step") == 0)
    return replace(study, records=begin.with_columns(steps=pl.lit(0, begin.schema["steps"])))


def positive(values: np.ndarray) -> Finding:
    """The median over seeds (S,) is above zero, interval and all."""
    return within(median(values), np.nextafter(0, 1), np.inf)


def negative(values: np.ndarray) -> Finding:
    """The median over seeds (S,) is below zero, interval and all."""
    return within(median(values), -np.inf, -np.nextafter(0, 1))


def difference(larger: Study, smaller: Study, metric: str) -> np.ndarray:
    """A final metric of one part minus that of another, over the seeds they share, (S,)."""
    a, b = (part.final.unique("run").select("seed", metric) for part in (larger, smaller))
    both = a.join(b, on="seed", suffix="_other").sort("seed")
    values = (both[metric] - both[f"{metric}_other"]).to_numpy()
    return values[np.isfinite(values)]


def relative_to_start(study: Study, metric: str) -> Study:
    """The study with a metric divided by the run's own value at step 0."""
    start = study.records.filter(pl.col("step") == 0).unique("run").select("run", pl.col(metric).alias("_start"))
    records = study.records.join(start, on="run", how="left").with_columns(pl.col(metric) / pl.col("_start"))
    return replace(study, records=records.drop("_start"))


EDGE = pl.col("sharpness") * pl.col("optimizer.learning_rate") / 2  # eta lambda_max / 2: 1 at the edge of stability


class Curve(NamedTuple):
    """A statistic to draw against the axis: its column, its label."""

    metric: str
    label: str


SURVIVAL = [
    Curve("alive_fraction", "alive (active on some sample)"),
    Curve("outside_fraction", "kink outside the data"),
    Curve("sparse_fraction", "of the alive: active on at most 10 %"),
]
ERRORS = [Curve("train_loss", "training loss"), Curve("clean_train_error", "clean in-sample error")]
CORRELATIONS = [
    Curve("rate_weight_norm_correlation", "rate and $\\|w\\|$"),
    Curve("rate_path_correlation", "rate and $|v|\\,\\|w\\|$"),
]


def draw_curves(ax: Axes, groups: Sequence[Study], positions: Sequence[float], curves: list[Curve]) -> None:
    """Medians over seeds at the end of training with 95 % intervals, against the positions of the groups."""
    for curve, color, marker in zip(curves, COLORS, MARKERS, strict=False):
        estimates = [median(final_values(part, curve.metric)) for part in groups]
        value, low, high = np.array(estimates).T
        bars = np.nan_to_num(np.clip([value - low, high - value], 0, None))
        ax.errorbar(positions, value, yerr=bars, color=color, marker=marker, capsize=2, label=curve.label)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=1)


def scatter_grid(
    groups: Mapping[str, Study], columns: int, summaries: int = 0, share: Literal["all", "row"] = "all"
) -> tuple[Figure, list[Axes]]:
    """One scatter a group, of the neurons of its first seed; below it `summaries` empty panels, returned.

    Norms have one axis for all panels or one for each row, logarithmic where they spread over more than a factor of thirty.
    """
    rows = math.ceil(len(groups) / columns)
    fig = plt.figure(figsize=(3.3 * columns, 2.7 * rows + (3 if summaries else 0)))
    heights = [2.7 * rows, 3.0] if summaries else [1.0]
    upper, *lower = fig.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    axes = upper.subplots(rows, columns, sharex=True, sharey=share, squeeze=False)
    for ax, (title, part) in zip(axes.flat, groups.items(), strict=False):
        first = part.select(seed=part.values("seed")[0])
        table = neuron_table(first).filter(pl.col("weight_norm") > 0)
        scatter(ax, table)
        dead = 100 * (1 - median(final_values(part, "alive_fraction")).value)
        ax.set(title=f"{title}: {dead:.0f} % dead", xlabel="", ylabel="")
    for together in [axes.ravel()] if share == "all" else axes:
        drawn = [ax.dataLim for ax in together if ax.collections]
        if max(lim.y1 for lim in drawn) > 30 * min(lim.y0 for lim in drawn):
            together[0].set_yscale("log")
        else:
            together[0].set_ylim(0, None)
    for ax in axes.flat[len(groups) :]:
        ax.set_visible(False)
    for ax in axes.flat[max(len(groups) - columns, 0) : len(groups)]:
        ax.tick_params(labelbottom=True)
    upper.supxlabel("activation rate (% of the training inputs)", fontsize=9)
    upper.supylabel("weight norm $\\|w_k\\|$", fontsize=9)
    return fig, list(lower[0].subplots(1, summaries, squeeze=False)[0]) if summaries else []


def describe(study: Study) -> str:
    """What a caption says of the networks and the scatters; what varies is left to the caption."""
    run, seeds = study.runs.row(0, named=True), study.values("seed")

    def stated(column: str, text: str) -> str:
        values = study.values(column)
        return f"{text}{', '.join(f'{v:g}' for v in values)}"

    return (
        f"Two-layer {run['model.activation']} networks, {stated('model.width', 'width ')}, {stated('num_samples', 'n = ')}, "
        f"{stated('input_dim', 'd = ')}, {run['data.law']} inputs, {run['target.kind']} target, noise "
        f"{run['data.noise_std']:g}; GD {stated('learning_rate', 'with eta = ')} ({run['loss.normalization']} loss), "
        f"{stated('steps', 'steps ')}. Scatters show the first of {len(seeds)} seeds, one dot a neuron, dead neurons at "
        "rate 0; the share of dead neurons is the median over seeds."
    )


def statistics(groups: Mapping[str, Study], metrics: Sequence[str]) -> pl.DataFrame:
    """One row a group and metric: median over seeds at the end of training, interval, number of seeds."""
    rows = []
    for title, part in groups.items():
        for metric in metrics:
            values = final_values(part, metric)
            rows.append((title.replace("$", "").replace("\\", ""), metric, *median(values), len(values)))
    return pl.DataFrame(rows, schema=["group", "metric", "median", "low", "high", "num_seeds"], orient="row")


def axis_page(
    study: Study, groups: Mapping[str, Study], positions: Sequence[float], label: str, *, scale: str = "linear"
) -> Page:
    """A scatter a group; below, survival, errors and rank correlations against the axis that tells the groups apart."""
    columns = 4 if len(groups) == 4 else 3
    fig, lower = scatter_grid(groups, columns=columns, summaries=3)
    titles = ["which neurons are left", "errors", "rank correlation over the alive"]
    for ax, title, curves in zip(lower, titles, (SURVIVAL, ERRORS, CORRELATIONS), strict=True):
        draw_curves(ax, list(groups.values()), positions, curves)
        ax.set(title=title, xlabel=label, xscale=scale)
        ax.set_xticks(positions, [f"{p:g}" for p in positions])
        ax.minorticks_off()
    lower[0].set(ylabel="share", ylim=(-0.03, 1.03))
    lower[1].set(ylabel="mean square", ylim=(0, None))
    lower[2].set(ylim=(-1.05, 1.05))
    lower[2].axhline(0, color="0.8", lw=0.8, zorder=0)
    table = statistics(groups, [c.metric for c in (*SURVIVAL, *ERRORS, *CORRELATIONS)])
    shown = table.pivot(on="group", index="metric", values="median")
    below = (
        " Below: medians over seeds at the end with 95 % bootstrap intervals. Alive: active on some training input; a kink is "
        "outside if |b| / |w| is at least the largest input norm."
    )
    return Page(fig, describe(study) + below, {study.name.split("/")[-1]: table}, {"medians over seeds": shown})


def dimension_page(study: Study) -> Page:
    """`axis_page` over the input dimension."""
    dims = study.values("input_dim")
    return axis_page(study, {f"$d = {d}$": study.select(input_dim=d) for d in dims}, dims, "$d$")
