"""Experiment E2 of Liang et al. 2026: the more the data gather at the centre, the less a net at the edge of stability
can memorise."""

from functools import partial

import numpy as np

import dynamics.analysis.words as an
from dynamics.theory.geometry_exponents import radial_lower_exponent, radial_upper_exponent, valid_radial_upper_exponent

SOURCE = "Liang et al. 2026, experiment E2"
GUIDES = (
    ("--", "upper bound", radial_upper_exponent),
    ("-.", "upper bound where valid", valid_radial_upper_exponent),
    (":", "lower bound", radial_lower_exponent),
)


def split_alpha(part: an.Study) -> an.Groups:
    """Return the runs of each alpha."""
    return an.split_by(part, "alpha", "$\\alpha = {:g}$")


def draw_slopes(ax, part: an.Study, metric: str) -> None:
    """Slope against alpha with intervals, and the theory's exponents in this dimension as guides."""
    alphas, d = part.values("alpha"), part.values("input_dim")[0]
    an.draw_intervals(ax, alphas, an.fit_slopes(split_alpha(part), metric), fmt="ko-", capsize=3, label="measured")
    fine = np.geomspace(min(alphas), max(alphas), 60)
    for line, label, exponent in GUIDES:
        ax.plot(fine, [-exponent(d, a) for a in fine], line, color="0.5", label=label, zorder=0)
    ax.set(title=f"slope of the {metric.replace('_', ' ')}", xlabel="$\\alpha$", ylabel="slope", xscale="log")
    ax.axhline(0, color="0.85", lw=0.8, zorder=0)


def figure(study: an.Study) -> an.Page:
    """Errors against n for every alpha, at the edge and at low norm;
    slopes against alpha and against the stopping time."""
    edge, decayed = study.select(panel="edge"), study.select(panel="decayed")
    fig, axes = an.new_axes(2, 3, (12, 7.6))
    for ax, part, metric, title in (
        (axes[0, 0], edge, an.ERROR, "clean in-sample error, at the edge"),
        (axes[0, 1], edge, "excess_risk", "excess risk, at the edge"),
        (axes[1, 0], decayed, an.ERROR, "clean in-sample error, low norm"),
    ):
        an.draw_against(ax, split_alpha(part), metric)
        ax.set_title(title)
        an.place_below(ax, 3, title="slope")
    draw_slopes(axes[0, 2], edge, an.ERROR)
    an.place_below(axes[0, 2])
    over_time = an.fit_slopes(split_alpha(edge), an.ERROR, an.list_stopping_times(edge))
    an.draw_times(axes[1, 1], over_time, "{}")
    an.place_below(axes[1, 1], 3, labels=list(split_alpha(edge)))
    draw_slopes(axes[1, 2], edge, "excess_risk")
    d = study.values("input_dim")[0]
    text = (
        f"{an.describe_setup(study)}; d = {d}, width {study.values('width')[0]}, {study.values('steps')[0]} steps. The radial "
        "law has P(|X| > 1 - eps) = eps^alpha: small alpha is near the sphere, large alpha gathers at the centre. Exponents of "
        "the bounds (the upper one also with the condition under which g is that of the data) are worst cases over the stable "
        "set and drawn as guides. n, sigma and seeds are ours, the paper's are not "
        f"known. {an.describe_losses(study)}"
    )
    table = an.fit_slopes(split_alpha(edge), an.ERROR)
    return an.Page(fig, text, {"radial_slopes": over_time}, {f"slopes of the {an.ERROR}": table})


def follow_alpha(errors: np.ndarray, n: np.ndarray, alphas: list[float]) -> an.Estimate:
    """Return the trend in log alpha of |slope| (as -slope) against n of errors (S, A, N)."""
    levers = an.slope_lever(n), an.slope_lever(np.array(alphas))
    return an.over_values(lambda v: -(np.median(np.log(v), axis=1) @ levers[0]) @ levers[1], errors)


def ratio_of_last(levels: np.ndarray) -> an.Estimate:
    """Return the median over seeds of the last column over that of the first, levels (S, A)."""
    return an.ratio_over_seeds(levels[:, -1], levels[:, 0])


def slope_of(part: an.Study) -> an.Estimate:
    """Return the slope of the error against n at the last common step."""
    return an.fit_slope(*an.read_seeds(part, an.ERROR))


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    edge, decayed = study.select(panel="edge"), study.select(panel="decayed")
    alphas = edge.values("alpha")
    first, last = edge.select(alpha=alphas[0]), edge.select(alpha=alphas[-1])
    (n, *_), values = an.read_together(split_alpha(edge), an.ERROR)
    errors, permuted = np.stack(values, axis=1), "alpha permuted within every seed"
    return [
        claim(
            id="radial/slope-grows-with-alpha",
            statement=f"The slope's magnitude grows with alpha (alpha = {alphas[0]:g} to {alphas[-1]:g})",
            expects=an.above(0, of="trend of |slope| in log alpha"),
            evidence=an.permute(partial(follow_alpha, n=n, alphas=alphas), errors, permuted),
        ),
        claim(
            id="radial/slope-near-zero-on-the-sphere",
            statement=f"At alpha = {alphas[0]:g} more samples hardly help",
            expects=an.within(-0.1, 0.1, of="slope"),
            evidence=an.compare(slope_of, first, neighbour={f"alpha = {alphas[-1]:g}": last}),
        ),
        claim(
            id="radial/error-falls-with-alpha",
            statement=f"At the largest n the error at alpha = {alphas[-1]:g} is below that at {alphas[0]:g}",
            expects=an.below(1, of="ratio of errors"),
            evidence=an.permute(ratio_of_last, errors[:, [0, -1], -1], permuted),
        ),
        *an.judge_edge(edge, decayed, "radial/late-sharpness-at-the-edge", SOURCE, by="alpha", symbol="alpha"),
        *an.judge_stability(edge, "radial"),
    ]
