"""Experiment E1 of Liang et al. 2026: on lines a net below the edge of stability does not see the dimension that they
lie in."""

from typing import Any

import numpy as np
import polars as pl

import dynamics.analysis.words as an
from dynamics.theory.geometry_exponents import mixture_upper_exponent

SOURCE = "Liang et al. 2026, experiment E1"
TITLES = {"lines": "lines through the origin", "affine": "lines at distance 1", "isotropic": "isotropic, alpha = 1"}


def figure(study: an.Study) -> an.Page:
    """A column a kind of data: error against n for every d; below, slope and level against d, slope against time."""
    fig, axes = an.new_axes(2, 3, (12, 7.6))
    (by_d, by_time, levels), tables = axes[1], []
    kinds = {panel: an.split_by(part, "input_dim", "$d = {}$") for panel, part in an.split_panels(study, TITLES).items()}
    for i, (ax, (panel, groups)) in enumerate(zip(axes[0], kinds.items(), strict=True)):
        an.draw_against(ax, groups, an.ERROR)
        ax.set_title(TITLES[panel])
        look: dict[str, Any] = {"color": an.COLORS[i], "marker": an.MARKERS[i], "label": TITLES[panel]}
        d = np.array([part.values("input_dim")[0] for part in groups.values()])
        tables.append(an.fit_slopes(groups, an.ERROR).with_columns(panel=pl.lit(panel), input_dim=pl.Series(d)))
        an.draw_intervals(by_d, d * 1.05 ** (i - 1), tables[-1], capsize=2, **look)
        largest = groups[f"$d = {d[-1]}$"]
        times = an.fit_slopes({panel: largest}, an.ERROR, an.list_stopping_times(largest))
        by_time.plot(times["step"], times["slope"], **look)
        levels.plot(d, [np.median(an.read_seeds(own, an.ERROR)[1][:, -1]) for own in groups.values()], **look)
    an.share_limits(list(axes[0]))
    for ax in axes[0]:
        an.draw_guide(ax, mixture_upper_exponent(1), "guide: $n^{-1/6}$, the bound for lines")
        an.place_below(ax, title="slope")
    level = f"error at $n = {study.values('num_samples')[-1]}$"
    by_d.set(title="slope against $d$", xlabel="$d$", ylabel="slope", xscale="log")
    by_time.set(title=f"slope at $d = {d[-1]}$ against stopping time", xlabel="step", ylabel="slope", xscale="log")
    levels.set(title=level, xlabel="$d$", ylabel=an.ERROR.replace("_", " "), xscale="log", yscale="log")
    for ax, ticks in ((by_d, list(d)), (levels, list(d)), (by_time, times["step"].to_list())):
        an.label_ticks(ax, ticks)
    an.place_below(by_d)
    table = pl.concat(tables)
    text = (
        f"{an.describe_setup(study)}; {study.values('components')[0]} lines, width {study.values('width')[0]}, "
        f"{study.values('steps')[0]} steps, f_0 = w . x with w a uniform unit vector, drawn for each seed. Whether the paper's "
        f"lines meet, and its n, sigma and width, are not known. The isotropic law is the radial one with alpha = 1. "
        f"{an.describe_losses(study)}"
    )
    return an.Page(fig, text, {"lines_slopes": table}, {f"slopes of the {an.ERROR}": table})


def stack_levels(groups: an.Groups) -> np.ndarray:
    """Return errors (S, D) at the largest n, over the d of the groups; inf where a run diverged."""
    return an.stack_seeds(groups.values(), lambda part: an.read_levels(part, an.list_common_steps(part)[-1]))


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    parts = {panel: an.split_by(part, "input_dim") for panel, part in an.split_panels(study, TITLES).items()}
    dims = study.values("input_dim")
    span = f"d = {dims[0]} to {dims[-1]}"
    levels, trend = {panel: stack_levels(groups) for panel, groups in parts.items()}, "trend of log error in log d"

    def follow_dims(table: np.ndarray) -> an.Estimate:
        return an.trend_of_logs(table, dims)

    def against_isotropic(panel: str) -> dict[str, an.Groups]:
        d = parts[panel].keys() & parts["isotropic"].keys()
        last = max(d, key=int)
        return {f"lines and isotropic data at d = {last}": {name: parts[name][last] for name in (panel, "isotropic")}}

    return [
        *(
            claim(
                id=f"lines/slope-does-not-depend-on-d-{panel}",
                statement=f"The slope does not depend on d ({TITLES[panel]}, {span})",
                expects=an.at_most(0.1, of="greatest minus least slope"),
                evidence=an.compare(an.spread_of_slopes, parts[panel], treatment=against_isotropic(panel), metric=an.ERROR),
            )
            for panel in ("lines", "affine")
        ),
        claim(
            id="lines/isotropic-worsens-with-d",
            statement=f"On isotropic data the error grows with d ({span}, the largest n)",
            expects=an.above(0, of=trend),
            evidence=an.permute(follow_dims, levels["isotropic"], "d permuted within every seed"),
        ),
        claim(
            id="lines/error-does-not-grow-with-d",
            statement=f"On lines the error does not grow with d ({span}, the largest n)",
            expects=an.at_most(0.05, of=trend),
            evidence=an.compare(follow_dims, levels["lines"], treatment={"isotropic data": levels["isotropic"]}),
            post_hoc="the bound: narrowed from 0.1, which had not been seen to reject isotropic data",
        ),
        *an.judge_stability(study.select(panel="lines"), "lines"),
    ]
