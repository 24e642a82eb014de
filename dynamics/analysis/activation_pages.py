"""Shattering over an axis of a study: scatters of its neurons, and its statistics against the axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamics.analysis.captions import read_settings
from dynamics.analysis.drawing import draw_intervals, place_below
from dynamics.analysis.figures import COLORS, MARKERS, Page, new_figure
from dynamics.analysis.neuron_tables import draw_neurons, tabulate_neurons
from dynamics.analysis.seed_values import first_seed, median_final, split_by, spread_groups, tabulate_medians
from dynamics.study.tables import Study


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

SMALLEST_NORM = 1e-12  # in scatters
STATISTICS = [curve.metric for curve in (*SURVIVAL, *ERRORS, *CORRELATIONS)]


def draw_curves(ax: Axes, groups: Sequence[Study], positions: Sequence[float], curves: list[Curve]) -> None:
    """Draw medians over seeds at the end of training with intervals, against the positions of the groups."""
    for curve, color, marker in zip(curves, COLORS, MARKERS, strict=False):
        estimates = [median_final(part, curve.metric) for part in groups]
        draw_intervals(ax, positions, estimates, color=color, marker=marker, capsize=2, label=curve.label)
    place_below(ax, 1)


def draw_scatter_grid(
    groups: Mapping[str, Study], columns: int, summaries: int = 0, share: Literal["all", "row"] = "all"
) -> tuple[Figure, list[Axes]]:
    """Draw one scatter a group, of the neurons of its first seed; below it `summaries` empty panels, returned.

    Norms have one axis for all panels or one for each row, logarithmic where they spread over more than a factor of
    thirty. Norms below SMALLEST_NORM are drawn at it: decay takes some to the least number that a float can be.
    """
    rows = math.ceil(len(groups) / columns)
    fig = new_figure(3.3 * columns, 2.7 * rows + (3 if summaries else 0))
    heights = [2.7 * rows, 3.0] if summaries else [1.0]
    upper, *lower = fig.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    axes = upper.subplots(rows, columns, sharex=True, sharey=share, squeeze=False)
    drawn = pl.col("weight_norm").clip(SMALLEST_NORM)
    for ax, (title, part) in zip(axes.flat, groups.items(), strict=False):
        draw_neurons(ax, tabulate_neurons(first_seed(part)).filter(pl.col("weight_norm") > 0).with_columns(drawn))
        dead = 100 * (1 - median_final(part, "alive_fraction").value)
        ax.set(title=f"{title}: {dead:.0f} % dead", xlabel="", ylabel="")
    for together in [axes.ravel()] if share == "all" else axes:
        limits = [ax.dataLim for ax in together if ax.collections]
        if max(lim.y1 for lim in limits) > 30 * min(lim.y0 for lim in limits):
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


def describe_networks(study: Study) -> str:
    """Return what a caption says of the networks and the scatters; what varies is left to the caption."""
    run, seeds = read_settings(study), study.values("seed")

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


def make_axis_page(
    study: Study, groups: Mapping[str, Study], positions: Sequence[float], label: str, *, scale: str = "linear"
) -> Page:
    """Return a scatter a group; below, survival, errors and rank correlations against the axis that tells
    the groups apart."""
    columns = 4 if len(groups) == 4 else 3
    fig, lower = draw_scatter_grid(groups, columns=columns, summaries=3)
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
    table = tabulate_medians(groups, STATISTICS)
    below = (
        " Below: medians over seeds at the end with intervals over seeds. Alive: active on some training input; a kink is "
        "outside if |b| / |w| is at least the largest input norm."
    )
    return Page(
        fig, describe_networks(study) + below, {study.name.split("/")[-1]: table}, {"medians over seeds": spread_groups(table)}
    )


def make_dimension_page(study: Study) -> Page:
    """Return `make_axis_page` over the input dimension."""
    return make_axis_page(study, split_by(study, "input_dim", "$d = {}$"), study.values("input_dim"), "$d$")
