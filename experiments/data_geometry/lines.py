"""Experiment E1 of Liang et al. 2026: on lines a net below the edge of stability does not see the dimension that they lie
in."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import over_seeds
from dynamics.analysis.claims import Claim, Finding, judge, within
from dynamics.analysis.figures import COLORS, MARKERS, Page
from dynamics.analysis.rate_figures import label_only, share_limits
from dynamics.analysis.rate_pages import losses, setup
from dynamics.analysis.slope_groups import Groups, draw_against, draw_guide, slopes, spread_of_slopes, table_of
from dynamics.analysis.slopes import ERROR, UNKNOWN, stopping_times
from dynamics.analysis.stability_claims import stability_claims
from dynamics.study.tables import Study
from dynamics.theory.geometry_exponents import mixture_upper

SOURCE = "Liang et al. 2026, experiment E1"
TITLES = {"lines": "lines through the origin", "affine": "lines at distance 1", "isotropic": "isotropic, alpha = 1"}


def by_dimension(part: Study) -> dict[str, Study]:
    return {f"$d = {d}$": part.select(input_dim=d) for d in part.values("input_dim")}


def settings(study: Study) -> dict[str, Study]:
    return {panel: study.select(panel=panel) for panel in TITLES}


def figure(study: Study) -> Page:
    """A column a kind of data: error against n for every d; below, slope against d, against the stopping time, and level
    against d."""
    fig, axes = plt.subplots(2, 3, figsize=(12, 7.6))
    parts = settings(study)
    tables = {}
    for ax, (panel, part) in zip(axes[0], parts.items(), strict=True):
        draw_against(ax, by_dimension(part), ERROR)
        ax.set_title(TITLES[panel])
        tables[panel] = slopes(by_dimension(part), ERROR).with_columns(
            panel=pl.lit(panel), input_dim=pl.Series(part.values("input_dim"))
        )
    share_limits(list(axes[0]))
    for ax in axes[0]:
        draw_guide(ax, mixture_upper(1), "guide: $n^{-1/6}$, the bound for lines")
        ax.legend(title="slope", loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, columnspacing=1)
    by_d, by_time, levels = axes[1]
    for i, (panel, table) in enumerate(tables.items()):
        look = {"color": COLORS[i], "marker": MARKERS[i], "label": TITLES[panel]}
        d, value = table["input_dim"].to_numpy(), table["slope"].to_numpy()
        bars = np.nan_to_num(np.stack([value - table["low"].to_numpy(), table["high"].to_numpy() - value]))
        by_d.errorbar(d * 1.05 ** (i - 1), value, yerr=bars, capsize=2, **look)
        largest = by_dimension(parts[panel])[f"$d = {d[-1]}$"]
        times = slopes({panel: largest}, ERROR, stopping_times(largest))
        by_time.plot(times["step"], times["slope"], **look)
        ends = [np.median(table_of(own, ERROR)[1][:, -1]) for own in by_dimension(parts[panel]).values()]
        levels.plot(d, ends, **look)
    by_d.set(title="slope against $d$", xlabel="$d$", ylabel="slope", xscale="log")
    by_time.set(title=f"slope at $d = {d[-1]}$ against stopping time", xlabel="step", ylabel="slope", xscale="log")
    levels.set(
        title=f"error at $n = {study.values('num_samples')[-1]}$",
        xlabel="$d$",
        ylabel=ERROR.replace("_", " "),
        xscale="log",
        yscale="log",
    )
    for ax in (by_d, levels):
        label_only(ax, list(d))
    label_only(by_time, times["step"].to_list())
    by_d.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
    text = (
        f"{setup(study)}; {study.values('components')[0]} lines, width {study.values('width')[0]}, {study.values('steps')[0]} "
        "steps, "
        "f_0 = w . x with w a uniform unit vector, drawn for each seed. Whether the paper's lines meet, and its n, sigma and "
        "width, are "
        f"not known. The isotropic law is the radial one with alpha = 1. {losses(study)}"
    )
    return Page(fig, text, {"lines_slopes": pl.concat(tables.values())}, {f"slopes of the {ERROR}": pl.concat(tables.values())})


def same(groups: Groups) -> Finding:
    """Slopes spread by at most 0.1 over the dimensions."""
    return within(spread_of_slopes(groups, ERROR), 0, 0.1)


def level_trend(groups: Groups) -> Finding:
    """The error at the largest n grows with log d."""
    found = [table_of(part, ERROR)[1] for part in groups.values()]
    seeds = min(len(v) for v in found)
    if not seeds:
        return within(UNKNOWN, 0, 0)
    along = np.log([part.values("input_dim")[0] for part in groups.values()])
    lever = (along - along.mean()) / np.sum((along - along.mean()) ** 2)
    ends = np.log(np.stack([v[:seeds, -1] for v in found], axis=1))
    estimate = over_seeds(lambda index: np.median(ends[index], axis=1) @ lever, seeds)
    return within(estimate, math.nextafter(0, 1), math.inf)


def claims(study: Study) -> list[Claim]:
    parts = {panel: by_dimension(part) for panel, part in settings(study).items()}
    dims = study.values("input_dim")
    span = f"d = {dims[0]} to {dims[-1]}"
    return [
        *(
            judge(
                f"lines/slope-does-not-depend-on-d-{panel}",
                SOURCE,
                f"The slope does not depend on d ({TITLES[panel]}, {span})",
                "greatest minus least slope <= 0.1",
                same,
                parts[panel],
                parts["isotropic"],
                "isotropic data",
            )
            for panel in ("lines", "affine")
        ),
        judge(
            "lines/isotropic-worsens-with-d",
            SOURCE,
            f"On isotropic data the error grows with d ({span}, the largest n)",
            "trend of log error in log d > 0",
            level_trend,
            parts["isotropic"],
            parts["lines"],
            "lines through the origin",
        ),
        judge(
            "lines/error-does-not-grow-with-d",
            SOURCE,
            f"On lines the error does not grow with d ({span}, the largest n)",
            "trend of log error in log d < 0.1",
            lambda groups: within(level_trend(groups).estimate, -math.inf, 0.1),
            parts["lines"],
            parts["isotropic"],
            "isotropic data",
        ),
        *stability_claims(study.select(panel="lines"), "lines"),
    ]
