"""A page of rates over learning rates, and what captions of rates have in common."""

from __future__ import annotations

from itertools import groupby
from pathlib import PurePosixPath

import polars as pl
from matplotlib.figure import SubFigure

from dynamics.analysis.captions import read_settings
from dynamics.analysis.drawing import make_table, place_below, share_limits
from dynamics.analysis.figures import Page, new_figure
from dynamics.analysis.rate_figures import (
    TITLES,
    draw_errors,
    draw_guides,
    draw_levels,
    draw_setting_times,
    draw_slopes,
    name_setting,
    select_final_slopes,
)
from dynamics.analysis.slopes import ERROR, Setting, at_step, count_diverged, list_common_steps, list_settings, tabulate_slopes
from dynamics.study.tables import Study

METRICS = [ERROR, "excess_risk", "generalization_gap"]


def make_rate_page(study: Study, note: str) -> Page:
    """A row a panel: error against n at each learning rate. Below: slope against d, against eta * step, error against
    eta.

    Colours tell the learning rates in the lower row (dimensions on its last axis); panels without decay are filled and
    drawn through, those with decay open and dashed. A panel of one setting stands in the row of the panel before. note:
    what the caption should say beyond the setup.
    """
    slopes, rows = tabulate_slopes(study, METRICS), list_rows(study)
    fig = new_figure(12, 2.9 * len(rows) + 3.3)
    *above, below = fig.subfigures(len(rows) + 1, 1, height_ratios=[2.9] * len(rows) + [3.3], squeeze=False)[:, 0]
    upper = [place.subplots(1, len(row), squeeze=False)[0] for place, row in zip(above, rows, strict=True)]
    for axes, row in zip(upper, rows, strict=True):
        for i, (ax, setting) in enumerate(zip(axes, row, strict=True)):
            draw_errors(ax, setting.part, study.values("input_dim"))
            ax.set(title=name_setting(setting), ylabel=None if i else ax.get_ylabel())
            place_below(ax, 10 // len(row), title="slope")
    share_limits([ax for axes in upper for ax in axes])
    draw_summary(below, study, slopes)
    name, levels = PurePosixPath(study.name).name, tabulate_levels(study)
    return Page(
        fig,
        write_caption(study, note),
        {f"{name}_slopes": slopes, f"{name}_levels": levels},
        {f"slopes of the {ERROR}": select_final_slopes(slopes).drop("step"), "at the end": levels},
    )


def list_rows(study: Study) -> list[list[Setting]]:
    """Return the settings by panel; a panel of one setting joins the panel before."""
    rows: list[list[Setting]] = []
    for _, group in groupby(list_settings(study), key=lambda s: s.panel):
        own = list(group)
        if rows and len(own) == 1:
            rows[-1] += own
        else:
            rows.append(own)
    return rows


def draw_summary(place: SubFigure, study: Study, slopes: pl.DataFrame) -> None:
    """Draw slope against d for each panel, slope at the largest d against eta * step, error at the largest n against
    eta."""
    panels = study.runs["panel"].unique(maintain_order=True).to_list()
    dims, etas = study.values("input_dim"), study.values("learning_rate")
    *by_dim, by_time, by_rate = place.subplots(1, len(panels) + 2)
    lines = {}
    for ax, panel in zip(by_dim, panels, strict=True):
        draw_slopes(ax, slopes, list_settings(study.select(panel=panel)), etas)
        draw_guides(ax, dims)
        ax.set_title(f"{TITLES.get(panel, panel)}: slope against $d$")
        for line, label in zip(*ax.get_legend_handles_labels(), strict=True):
            lines.setdefault(label, line)
    place.legend(list(lines.values()), list(lines), loc="outside lower left", ncols=len(lines))
    draw_setting_times(by_time, slopes, list_settings(study), etas, dims[-1])
    share_limits([*by_dim, by_time])
    draw_levels(by_rate, study)


def tabulate_levels(study: Study) -> pl.DataFrame:
    """Return a table with a row for each setting and dimension: medians over seeds at the largest n and last step.

    Columns: panel, learning_rate, weight_decay, input_dim, num_samples, step, error, edge = eta * sharpness / 2
    (Gauss-Newton's), path_norm, num_diverged (over all n).
    """
    rows = []
    for panel, rate, decay, part in list_settings(study):
        for d in part.values("input_dim"):
            own = part.select(input_dim=d)
            n, step = own.values("num_samples")[-1], list_common_steps(own)[-1]
            seen = at_step(own.select(num_samples=n), step).records
            edge = rate * pl.col("gauss_newton_sharpness") / 2
            medians = seen.select(pl.col(ERROR).median(), edge.median(), pl.col("path_norm").median()).row(0)
            rows.append((panel, rate, decay, d, n, step, *medians, count_diverged(own, ERROR, step)))
    names = "panel, learning_rate, weight_decay, input_dim, num_samples, step, error, edge, path_norm, num_diverged"
    return make_table(rows, names)


def describe_setup(study: Study) -> str:
    """What was run, from the numbers: one sentence for the caption."""
    n, seeds, run = study.values("num_samples"), study.values("seed"), read_settings(study)
    return (
        f"Median over {len(seeds)} seeds of the clean in-sample error against n = {', '.join(map(str, n))}, bars from "
        f"quartile to quartile; {run['data.law']} inputs, {run['target.kind']} target, noise {run['data.noise_std']:g}, "
        f"{run['loss.normalization']} loss, gradient clipped at {run['optimizer.clip_norm']:g}"
    )


def describe_losses(study: Study) -> str:
    """How many runs diverged, and what became of them."""
    lost = sum(count_diverged(part, ERROR, list_common_steps(part)[-1]) for *_, part in list_settings(study))
    if not lost:
        return f"None of the {len(study.runs)} runs diverged."
    return f"{lost} of the {len(study.runs)} runs diverged and are ranked as worst of their cell, see num_diverged."


FITS = (
    "Slopes by ordinary least squares on log-log medians, intervals over seeds (docs/statistics.md). Bounds are worst "
    "cases over a class of networks and drawn as guides: a trained network is one point of the class."
)


def write_caption(study: Study, note: str) -> str:
    """Return the caption of `make_rate_page`."""
    times = {round(rate * list_common_steps(part)[-1], 6) for _, rate, _, part in list_settings(study)}
    width = study.values("width")[0] // study.values("num_samples")[0]
    time = ", ".join(f"{t:g}" for t in sorted(times))
    return (
        f"{describe_setup(study)}, width {width}n, eta * steps = {time} (the paper does not state its epochs; this is our "
        f"default). {FITS} Open markers and dashed lines: with weight decay. {describe_losses(study)} {note}"
    )
