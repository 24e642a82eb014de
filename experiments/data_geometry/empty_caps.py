"""Empty caps for the radial law: the nearer the data are to a sphere, the slower the error falls that hides on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from dynamics.analysis.cap_statistics import (
    TOLERANCE,
    Cell,
    as_expected,
    counts,
    draw_line,
    finite_slope,
    pairs,
    perfectly_flat,
    same_on_data,
    slope,
    slope_as,
)
from dynamics.analysis.claims import Claim, judge
from dynamics.analysis.figures import COLORS, MARKERS, Page
from dynamics.study.tables import Study
from dynamics.theory import cap_geometry as theory
from dynamics.theory.geometry_exponents import radial_lower

SOURCE = "Liang et al. 2026, lower bound for the isotropic family"
Exponent = Callable[[int, float], float]


def risk_exponent(d: int, alpha: float) -> float:
    return -radial_lower(d, alpha)


def finite_risk(d: int, alpha: float, own: Study) -> float:
    """The slope of the closed form of the risk over the n at hand."""
    return finite_slope(own.values("num_samples"), d, own.values("kappa")[0], "risk", alpha)


def parts(study: Study) -> Iterator[tuple[int, float, Study]]:
    """(d, alpha, their runs)."""
    for d in study.values("input_dim"):
        for alpha in study.values("alpha"):
            yield d, alpha, study.select(input_dim=d, alpha=alpha)


def by_exponent(study: Study, exponent: Exponent) -> list[Cell]:
    """The runs of every d and alpha, with the exponent expected of them."""
    return [(own, exponent(d, alpha)) for d, alpha, own in parts(study)]


def another(study: Study) -> Callable[[float], float]:
    """The next alpha, for the last one the first."""
    alphas = study.values("alpha")
    return dict(zip(alphas, alphas[1:] + alphas[:1], strict=True)).__getitem__


def another_alpha(study: Study, exponent: Exponent) -> list[Cell]:
    """The same runs with the exponents of another alpha."""
    after = another(study)
    return by_exponent(study, lambda d, alpha: exponent(d, after(alpha)))


def shares(study: Study) -> pl.DataFrame:
    """One row a (d, alpha): empties pooled over seeds at its largest n, and (1 - P)^n, its limit, and that of the uniform ball.

    error: binomial, of the share.
    """
    rows = []
    for d, alpha, own in parts(study):
        n, kappa = own.values("num_samples")[-1], own.values("kappa")[0]
        ends = own.select(num_samples=n).final
        caps, empty = (int(ends[name].to_numpy().sum()) for name in ("caps", "empty_caps"))
        expected = float(theory.empty_share(n, d, kappa, alpha))
        limit = float(np.exp(-theory.radial_cap_constant(d, alpha) * kappa ** theory.mass_exponent(d, alpha)))
        ball, error = float(theory.empty_share(n, d, kappa)), (expected * (1 - expected) / caps) ** 0.5
        rows.append((d, alpha, n, caps, empty / caps, expected, limit, ball, error))
    names = ["input_dim", "alpha", "num_samples", "caps", "share", "expected", "limit", "ball", "error"]
    return pl.DataFrame(rows, schema=names, orient="row")


def slopes(study: Study) -> pl.DataFrame:
    """Slopes of caps and risk against n, beside the exponents and the slope of the closed form over these n."""
    rows = []
    for metric, exponent in (("caps", theory.count_exponent), ("risk", risk_exponent)):
        for d, alpha, own in parts(study):
            closed = finite_slope(own.values("num_samples"), d, own.values("kappa")[0], metric, alpha)
            rows.append((metric, d, alpha, *slope(own, metric), exponent(d, alpha), closed))
    names = ["metric", "input_dim", "alpha", "slope", "low", "high", "exponent", "finite"]
    return pl.DataFrame(rows, schema=names, orient="row")


def smallest(study: Study) -> Study:
    """Two runs a d and alpha at the smallest n, to be drawn anew."""
    return study.select(num_samples=study.values("num_samples")[0], seed=study.values("seed")[:2])


def figure(study: Study) -> Page:
    """Caps against n; risk against n; slopes against alpha; share of empty caps."""
    table, found = slopes(study), shares(study)
    fig, axes = plt.subplots(1, 4, figsize=(14.5, 3.9))
    draw_against_n(axes[0], study, "caps", theory.count_exponent)
    draw_against_n(axes[1], study, "risk", risk_exponent)
    draw_slopes(axes[2], table)
    draw_shares(axes[3], found)
    twins = pairs(smallest(study)).group_by("input_dim", "alpha", "atoms").agg(pl.exclude("seed").max())
    twins = twins.sort("input_dim", "alpha", "atoms")
    tables = {"radial_caps_slopes": table, "radial_caps_shares": found, "radial_caps_pairs": twins}
    return Page(fig, caption(study), tables, {"slopes": table})


def draw_against_n(axis, study: Study, metric: str, exponent: Exponent) -> None:
    """At the smallest d of at least 3, a colour an alpha; for caps those without a sample are open."""
    dims = study.values("input_dim")
    part = study.select(input_dim=next((d for d in dims if d >= 3), dims[0]))
    d = part.values("input_dim")[0]
    for i, alpha in enumerate(part.values("alpha")):
        own = part.select(alpha=alpha)
        for name, face in ((metric, COLORS[i]), ("empty_caps", "white"))[: 2 if metric == "caps" else 1]:
            n, values = counts(own, name)
            if not len(values):
                continue
            low, median, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
            label = rf"$\alpha={alpha:g}$" if name == metric else None
            spread = [median - low, high - median]
            axis.errorbar(n, median, spread, fmt=MARKERS[i], color=COLORS[i], mfc=face, lw=0.8, label=label)
            if name == metric:
                draw_line(axis, n, median[-1], exponent(d, alpha), COLORS[i])
    title = "disjoint caps (open: without a sample)" if metric == "caps" else "error that the data cannot see"
    axis.set(title=f"{title}, $d={d}$", xlabel="$n$", xscale="log", yscale="log")
    axis.set_ylabel("number of caps" if metric == "caps" else "$E f_2^2$")
    axis.legend()


def draw_slopes(axis, table: pl.DataFrame) -> None:
    for i, d in enumerate(sorted(set(table["input_dim"]))):
        for metric, face in (("caps", COLORS[i]), ("risk", "white")):
            own = table.filter(metric=metric, input_dim=d).sort("alpha")
            value, low, high = (own[c].to_numpy() for c in ("slope", "low", "high"))
            bars = np.nan_to_num(np.stack([value - low, high - value]))
            axis.errorbar(own["alpha"], value, bars, fmt=MARKERS[i], color=COLORS[i], mfc=face, capsize=2, lw=1)
            fine = np.geomspace(own["alpha"].min(), own["alpha"].max(), 50)  # type: ignore[type-var]
            exponent = theory.count_exponent if metric == "caps" else risk_exponent
            axis.plot(fine, [exponent(d, a) for a in fine], "-", color=COLORS[i], lw=0.8)
        axis.plot([], [], MARKERS[i], color=COLORS[i], label=f"$d={d}$")
    axis.axhline(0, color="0.8", lw=0.8, zorder=0)
    axis.set(title="slopes: caps (filled), risk (open)", xlabel=r"$\alpha$", ylabel="slope against $n$", xscale="log")
    axis.set_xticks(sorted(set(table["alpha"])), [f"{a:g}" for a in sorted(set(table["alpha"]))])
    axis.minorticks_off()
    axis.legend(loc="center left")


def draw_shares(axis, table: pl.DataFrame) -> None:
    for i, d in enumerate(sorted(set(table["input_dim"]))):
        own = table.filter(input_dim=d)
        bars = 3 * own["error"].to_numpy()
        axis.errorbar(own["alpha"], own["share"], bars, fmt=MARKERS[i], color=COLORS[i], lw=0.8, label=f"$d={d}$")
        axis.plot(own["alpha"], own["expected"], "-", color=COLORS[i], lw=0.8)
        axis.plot(own["alpha"], own["limit"], ":", color=COLORS[i], lw=0.8)
    axis.plot([], [], "-", color="0.4", lw=0.8, label="$(1-P)^n$")
    axis.plot([], [], ":", color="0.4", lw=0.8, label="its limit")
    axis.set(title="share of caps without a sample", xlabel=r"$\alpha$", ylabel="share", xscale="log", ylim=(0, 1))
    axis.set_xticks(sorted(set(table["alpha"])), [f"{a:g}" for a in sorted(set(table["alpha"]))])
    axis.minorticks_off()
    axis.legend()


def caption(study: Study) -> str:
    run, n = study.runs.row(0, named=True), study.values("num_samples")
    return (
        f"Caps of height eps^2, eps = {run['kappa']:g} n^(-1/(d-1+2 alpha)), packed greedily on the unit ball, n = {n[0]} to "
        f"{n[-1]} points of the radial law, P(|X| > 1 - s) = s^alpha, drawn independently. Medians over "
        f"{len(study.values('seed'))} seeds, bars from quartile to quartile; dotted lines have the theory's exponents, "
        "(d-1)/(d-1+2 alpha) and -2 alpha/(d-1+2 alpha), and pass through the largest n. E f_2^2: f_2 sums the atoms of height "
        f"{run['amplitude']:g} over the empty caps, X of the same law. Slopes by weighted least squares on log-log medians, "
        "95 % intervals by bootstrap over seeds. Shares pool the seeds at the largest n; bars are three standard errors."
    )


def claims(study: Study) -> list[Claim]:
    n, alphas, dims = study.values("num_samples"), study.values("alpha"), study.values("input_dim")
    span = f"alpha = {', '.join(f'{a:g}' for a in alphas)}, d = {', '.join(map(str, dims))}, n = {n[0]} to {n[-1]}"
    twins, found = pairs(smallest(study)), shares(study)
    empty, every = twins.filter(atoms="empty"), twins.filter(atoms="all")
    return [
        judge(
            "radial_caps/count-slope",
            SOURCE,
            f"Disjoint caps grow as n^((d-1)/(d-1+2 alpha)), {span}",
            f"slope within {TOLERANCE} of the exponent at the worst d and alpha",
            slope_as("caps"),
            by_exponent(study, theory.count_exponent),
            another_alpha(study, theory.count_exponent),
            "exponents of another alpha",
        ),
        judge(
            "radial_caps/risk-slope",
            SOURCE,
            f"The error that hides on empty caps falls as n^(-2 alpha/(d-1+2 alpha)), {span}",
            f"slope within {TOLERANCE} of the exponent at the worst d and alpha",
            slope_as("risk"),
            by_exponent(study, risk_exponent),
            another_alpha(study, risk_exponent),
            "exponents of another alpha",
        ),
        judge(
            "radial_caps/risk-slope-at-finite-n",
            "derived: closed forms of the radial law",
            f"That slope is the one of the closed form over these n, {span}",
            f"slope within {TOLERANCE} of the closed form's at the worst d and alpha",
            slope_as("risk"),
            [(own, finite_risk(d, alpha, own)) for d, alpha, own in parts(study)],
            [(own, finite_risk(d, another(study)(alpha), own)) for d, alpha, own in parts(study)],
            "closed form of another alpha",
        ),
        judge(
            "radial_caps/share-as-expected",
            "derived from the law's half-space probability",
            f"The share of empty caps is (1 - P)^n, P the mass of a cap, {span}",
            "at most 4 standard errors off, at the worst d and alpha",
            as_expected,
            (found, "expected"),
            (found, "ball"),
            "the uniform ball's",
        ),
        judge(
            "radial_caps/pair-same-on-data",
            SOURCE,
            f"f_1 = 0 and f_2 on the empty caps are equal at every training point, {len(empty)} runs",
            "max |f_1 - f_2| = 0",
            same_on_data,
            empty,
            every,
            "atoms on all caps",
        ),
        judge(
            "radial_caps/pair-flat",
            SOURCE,
            f"f_2 on the empty caps has lambda_max = 1, {len(empty)} runs",
            "|lambda_max - 1| <= 1e-9",
            perfectly_flat,
            empty,
            every,
            "atoms on all caps",
        ),
    ]
