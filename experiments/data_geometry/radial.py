"""Experiment E2 of Liang et al. 2026: the more the data gather at the centre, the less a net at the edge of stability can
memorise."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np

from dynamics.analysis.bootstrap import Estimate
from dynamics.analysis.claims import Claim, Finding, judge, within
from dynamics.analysis.figures import Page
from dynamics.analysis.rate_claims import at_the_edge
from dynamics.analysis.rate_pages import losses, setup
from dynamics.analysis.slope_groups import Groups, draw_against, level_ratio, slopes, trend_of_slopes
from dynamics.analysis.slopes import ERROR, stopping_times
from dynamics.analysis.stability_claims import stability_claims
from dynamics.study.tables import Study
from dynamics.theory.geometry_exponents import radial_lower, radial_upper, radial_upper_valid

SOURCE = "Liang et al. 2026, experiment E2"
GUIDES = (("--", "upper", radial_upper), ("-.", "upper, with validity", radial_upper_valid), (":", "lower", radial_lower))


def by_alpha(part: Study) -> dict[str, Study]:
    return {f"$\\alpha = {a:g}$": part.select(alpha=a) for a in part.values("alpha")}


def draw_slopes(ax, part: Study, metric: str) -> None:
    """Slope against alpha with intervals, and the theory's exponents in this dimension as guides."""
    alphas, d = part.values("alpha"), part.values("input_dim")[0]
    table = slopes(by_alpha(part), metric)
    value, low, high = (table[c].to_numpy() for c in ("slope", "low", "high"))
    bars = np.nan_to_num(np.stack([value - low, high - value]))
    ax.errorbar(alphas, value, yerr=bars, fmt="ko-", capsize=3, label="measured")
    fine = np.geomspace(min(alphas), max(alphas), 60)
    for line, label, exponent in GUIDES:
        ax.plot(fine, [-exponent(d, a) for a in fine], line, color="0.5", label=f"{label} bound's exponent", zorder=0)
    ax.set(title=f"slope of the {metric.replace('_', ' ')}", xlabel="$\\alpha$", ylabel="slope", xscale="log")
    ax.axhline(0, color="0.85", lw=0.8, zorder=0)


def figure(study: Study) -> Page:
    """Errors against n for every alpha, at the edge and at low norm; slopes against alpha and against the stopping time."""
    edge, decayed = study.select(panel="edge"), study.select(panel="decayed")
    fig, axes = plt.subplots(2, 3, figsize=(12, 7.6))
    for ax, part, metric, title in (
        (axes[0, 0], edge, ERROR, "clean in-sample error, at the edge"),
        (axes[0, 1], edge, "excess_risk", "excess risk, at the edge"),
        (axes[1, 0], decayed, ERROR, "clean in-sample error, low norm"),
    ):
        draw_against(ax, by_alpha(part), metric)
        ax.set_title(title)
        ax.legend(title="slope", loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, columnspacing=1)
    draw_slopes(axes[0, 2], edge, ERROR)
    axes[0, 2].legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, columnspacing=1)
    over_time = slopes(by_alpha(edge), ERROR, stopping_times(edge))
    for name in over_time["group"].unique(maintain_order=True):
        own = over_time.filter(group=name)
        axes[1, 1].plot(own["step"], own["slope"], "o-", label=name)
    axes[1, 1].set(title="slope against stopping time", xlabel="step", ylabel="slope", xscale="log")
    axes[1, 1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, columnspacing=1)
    draw_slopes(axes[1, 2], edge, "excess_risk")
    d = study.values("input_dim")[0]
    text = (
        f"{setup(study)}; d = {d}, width {study.values('width')[0]}, {study.values('steps')[0]} steps. The radial law has "
        "P(|X| > 1 - eps) = "
        "eps^alpha: small alpha is near the sphere, large alpha gathers at the centre. Exponents of the bounds are worst cases "
        "over the "
        f"stable set and drawn as guides. n, sigma and seeds are ours, the paper's are not known. {losses(study)}"
    )
    table = slopes(by_alpha(edge), ERROR)
    return Page(fig, text, {"radial_slopes": over_time}, {f"slopes of the {ERROR}": table})


def grows(groups: Groups) -> Finding:
    """|slope| grows with log alpha over the groups."""
    along = [math.log(part.values("alpha")[0]) for part in groups.values()]
    return within(trend_of_slopes(groups, along, ERROR), np.nextafter(0, 1), np.inf)


def flat(part: Study) -> Finding:
    """|slope| at most 0.1 in size: hardly any gain from more samples."""
    table = slopes({"part": part}, ERROR)
    return within(Estimate(*(table[c][0] for c in ("slope", "low", "high"))), -0.1, 0.1)


def ordered(pair: tuple[Study, Study]) -> Finding:
    """The first has a larger error than the second at the largest n: ratio below one."""
    return within(level_ratio(*pair, ERROR), -np.inf, np.nextafter(1, 0))


def claims(study: Study) -> list[Claim]:
    edge, decayed = study.select(panel="edge"), study.select(panel="decayed")
    alphas = edge.values("alpha")
    first, last = edge.select(alpha=alphas[0]), edge.select(alpha=alphas[-1])
    span = f"alpha = {alphas[0]:g} to {alphas[-1]:g}"
    return [
        judge(
            "radial/slope-grows-with-alpha",
            SOURCE,
            f"The slope's magnitude grows with alpha ({span})",
            "trend of |slope| in log alpha > 0",
            grows,
            by_alpha(edge),
            by_alpha(decayed),
            "the same data at low norm",
        ),
        judge(
            "radial/slope-near-zero-on-the-sphere",
            SOURCE,
            f"At alpha = {alphas[0]:g} more samples hardly help",
            "slope in [-0.1, 0.1]",
            flat,
            first,
            last,
            f"alpha = {alphas[-1]:g}",
        ),
        judge(
            "radial/error-falls-with-alpha",
            SOURCE,
            f"At the largest n the error at alpha = {alphas[-1]:g} is below that at {alphas[0]:g}",
            "ratio of errors < 1",
            ordered,
            (first, last),
            (last, first),
            "the two exchanged",
        ),
        judge(
            "radial/late-sharpness-at-the-edge",
            f"{SOURCE}; Cohen et al. 2021",
            "Late in training the sharpness is 2/eta",
            "eta S / 2 in [0.95, 1.05] at the worst alpha",
            lambda part: at_the_edge(part, by="alpha"),
            edge,
            decayed,
            "low-norm runs",
        ),
        *stability_claims(edge, "radial"),
    ]
