"""Experiment E1 of Liang et al. 2026: on lines a net below the edge of stability does not see the dimension that they lie
in."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate, over_seeds
from dynamics.analysis.bounds import UNKNOWN, above, at_most
from dynamics.analysis.claims import Claim, compare, judge
from dynamics.analysis.drawing import draw_intervals, label_ticks, place_below, share_limits
from dynamics.analysis.figures import COLORS, MARKERS, Page, new_axes
from dynamics.analysis.rate_pages import losses, setup
from dynamics.analysis.seed_values import split_by, split_panels
from dynamics.analysis.slope_groups import Groups, draw_against, draw_guide, fit_slopes, read_seeds, spread_of_slopes
from dynamics.analysis.slopes import ERROR, stopping_times
from dynamics.analysis.stability_claims import judge_stability
from dynamics.study.tables import Study
from dynamics.theory.geometry_exponents import mixture_upper

SOURCE = "Liang et al. 2026, experiment E1"
TITLES = {"lines": "lines through the origin", "affine": "lines at distance 1", "isotropic": "isotropic, alpha = 1"}


def figure(study: Study) -> Page:
    """A column a kind of data: error against n for every d; below, slope and level against d, slope against time."""
    fig, axes = new_axes(2, 3, (12, 7.6))
    (by_d, by_time, levels), tables = axes[1], []
    kinds = {panel: split_by(part, "input_dim", "$d = {}$") for panel, part in split_panels(study, TITLES).items()}
    for i, (ax, (panel, groups)) in enumerate(zip(axes[0], kinds.items(), strict=True)):
        draw_against(ax, groups, ERROR)
        ax.set_title(TITLES[panel])
        look: dict[str, Any] = {"color": COLORS[i], "marker": MARKERS[i], "label": TITLES[panel]}
        d = np.array([part.values("input_dim")[0] for part in groups.values()])
        tables.append(fit_slopes(groups, ERROR).with_columns(panel=pl.lit(panel), input_dim=pl.Series(d)))
        draw_intervals(by_d, d * 1.05 ** (i - 1), tables[-1], capsize=2, **look)
        largest = groups[f"$d = {d[-1]}$"]
        times = fit_slopes({panel: largest}, ERROR, stopping_times(largest))
        by_time.plot(times["step"], times["slope"], **look)
        levels.plot(d, [np.median(read_seeds(own, ERROR)[1][:, -1]) for own in groups.values()], **look)
    share_limits(list(axes[0]))
    for ax in axes[0]:
        draw_guide(ax, mixture_upper(1), "guide: $n^{-1/6}$, the bound for lines")
        place_below(ax, title="slope")
    level = f"error at $n = {study.values('num_samples')[-1]}$"
    by_d.set(title="slope against $d$", xlabel="$d$", ylabel="slope", xscale="log")
    by_time.set(title=f"slope at $d = {d[-1]}$ against stopping time", xlabel="step", ylabel="slope", xscale="log")
    levels.set(title=level, xlabel="$d$", ylabel=ERROR.replace("_", " "), xscale="log", yscale="log")
    for ax, ticks in ((by_d, list(d)), (levels, list(d)), (by_time, times["step"].to_list())):
        label_ticks(ax, ticks)
    place_below(by_d)
    table = pl.concat(tables)
    text = (
        f"{setup(study)}; {study.values('components')[0]} lines, width {study.values('width')[0]}, "
        f"{study.values('steps')[0]} steps, f_0 = w . x with w a uniform unit vector, drawn for each seed. Whether the paper's "
        f"lines meet, and its n, sigma and width, are not known. The isotropic law is the radial one with alpha = 1. "
        f"{losses(study)}"
    )
    return Page(fig, text, {"lines_slopes": table}, {f"slopes of the {ERROR}": table})


def trend_of_levels(groups: Groups) -> Estimate:
    """Return the trend in log d of the log error at the largest n."""
    found = [read_seeds(part, ERROR)[1] for part in groups.values()]
    seeds = min(len(v) for v in found)
    if not seeds:
        return UNKNOWN
    along = np.log([part.values("input_dim")[0] for part in groups.values()])
    lever = (along - along.mean()) / np.sum((along - along.mean()) ** 2)
    ends = np.log(np.stack([v[:seeds, -1] for v in found], axis=1))
    return over_seeds(lambda index: np.median(ends[index], axis=1) @ lever, seeds)


def claims(study: Study) -> list[Claim]:
    parts = {panel: split_by(part, "input_dim") for panel, part in split_panels(study, TITLES).items()}
    dims = study.values("input_dim")
    span = f"d = {dims[0]} to {dims[-1]}"
    against_isotropic = {"isotropic data": parts["isotropic"]}
    return [
        *(
            judge(
                id=f"lines/slope-does-not-depend-on-d-{panel}",
                source=SOURCE,
                statement=f"The slope does not depend on d ({TITLES[panel]}, {span})",
                expects=at_most(0.1, of="greatest minus least slope"),
                evidence=compare(spread_of_slopes, parts[panel], control=against_isotropic, metric=ERROR),
            )
            for panel in ("lines", "affine")
        ),
        judge(
            id="lines/isotropic-worsens-with-d",
            source=SOURCE,
            statement=f"On isotropic data the error grows with d ({span}, the largest n)",
            expects=above(0, of="trend of log error in log d"),
            evidence=compare(trend_of_levels, parts["isotropic"], control={"lines through the origin": parts["lines"]}),
        ),
        judge(
            id="lines/error-does-not-grow-with-d",
            source=SOURCE,
            statement=f"On lines the error does not grow with d ({span}, the largest n)",
            expects=at_most(0.1, of="trend of log error in log d"),
            evidence=compare(trend_of_levels, parts["lines"], control=against_isotropic),
        ),
        *judge_stability(study.select(panel="lines"), "lines"),
    ]
