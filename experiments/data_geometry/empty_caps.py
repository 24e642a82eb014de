"""Empty caps for the radial law: the nearer the data are to a sphere, the slower the error falls that hides on them."""

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl

import dynamics.analysis.words as an
from dynamics.theory import cap_geometry as theory
from dynamics.theory.geometry_exponents import radial_lower_exponent

SOURCE = "Liang et al. 2026, lower bound for the isotropic family"
Exponent = Callable[[int, float], float]


def risk_exponent(d: int, alpha: float) -> float:
    return -radial_lower_exponent(d, alpha)


def parts(study: an.Study) -> Iterator[tuple[int, float, an.Study]]:
    """(d, alpha, their runs)."""
    for d in study.values("input_dim"):
        for alpha in study.values("alpha"):
            yield d, alpha, study.select(input_dim=d, alpha=alpha)


def by_exponent(study: an.Study, exponent: Exponent) -> list[an.Cell]:
    """The runs of every d and alpha, with the exponent expected of them."""
    return [(own, exponent(d, alpha)) for d, alpha, own in parts(study)]


def shares(study: an.Study) -> pl.DataFrame:
    """One row a (d, alpha): empties pooled over seeds at its largest n, and (1 - P)^n, its limit,
    and that of the uniform ball.

    error: binomial, of the share.
    """
    rows = []
    for d, alpha, own in parts(study):
        n, kappa = own.values("num_samples")[-1], own.values("kappa")[0]
        ends = own.select(num_samples=n).final
        caps, empty = (int(ends[name].to_numpy().sum()) for name in ("caps", "empty_caps"))
        expected = float(theory.empty_cap_share(n, d, kappa, alpha))
        limit = float(np.exp(-theory.radial_cap_constant(d, alpha) * kappa ** theory.cap_mass_exponent(d, alpha)))
        ball, error = float(theory.empty_cap_share(n, d, kappa)), (expected * (1 - expected) / caps) ** 0.5
        rows.append((d, alpha, n, caps, empty / caps, expected, limit, ball, error))
    return an.make_table(rows, "input_dim, alpha, num_samples, caps, share, expected, limit, ball, error")


def tabulate_slopes(study: an.Study) -> pl.DataFrame:
    """Return slopes of caps and risk against n, beside the exponents and the slope of the closed form over these n."""
    rows = []
    for metric, exponent in (("caps", theory.atom_count_exponent), ("risk", risk_exponent)):
        for d, alpha, own in parts(study):
            closed = an.finite_slope(own.values("num_samples"), d, own.values("kappa")[0], metric, alpha)
            rows.append((metric, d, alpha, *an.fit_count_slope(own, metric), exponent(d, alpha), closed))
    return an.make_table(rows, "metric, input_dim, alpha, slope, low, high, exponent, finite")


def smallest(study: an.Study) -> an.Study:
    """Two runs a d and alpha at the smallest n, to be drawn anew."""
    return study.select(num_samples=study.values("num_samples")[0], seed=study.values("seed")[:2])


def figure(study: an.Study) -> an.Page:
    """Caps against n; risk against n; slopes against alpha; share of empty caps."""
    table, found = tabulate_slopes(study), shares(study)
    fig, axes = an.new_axes(1, 4, (14.5, 3.9))
    drawn = study.select(input_dim=next((d for d in study.values("input_dim") if d >= 3), study.values("input_dim")[0]))
    draw_over_n(axes[0], drawn, "caps", theory.atom_count_exponent, "disjoint caps (open: without a sample)")
    draw_over_n(axes[1], drawn, "risk", risk_exponent, "error that the data cannot see")
    draw_slopes(axes[2], table)
    draw_shares(axes[3], found)
    twins = an.tabulate_pairs(smallest(study)).group_by("input_dim", "alpha", "atoms").agg(pl.exclude("seed").max())
    twins = twins.sort("input_dim", "alpha", "atoms")
    tables = {"radial_caps_slopes": table, "radial_caps_shares": found, "radial_caps_pairs": twins}
    return an.Page(fig, caption(study), tables, {"slopes": table})


def draw_over_n(axis, part: an.Study, metric: str, exponent: Exponent, title: str) -> None:
    """Draw a count or the risk against n at one d, a colour an alpha, beside its exponent."""
    for d, alpha, own in parts(part):
        i = part.values("alpha").index(alpha)
        label = rf"$\alpha={alpha:g}$"
        an.draw_counts(axis, own, metric, exponent(d, alpha), fmt=an.MARKERS[i], color=an.COLORS[i], label=label)
        axis.set_title(f"{title}, $d={d}$")
    axis.legend()


def draw_slopes(axis, table: pl.DataFrame) -> None:
    for i, d in enumerate(sorted(set(table["input_dim"]))):
        for metric, face in (("caps", an.COLORS[i]), ("risk", "white")):
            own = table.filter(metric=metric, input_dim=d).sort("alpha")
            an.draw_intervals(axis, own["alpha"], own, fmt=an.MARKERS[i], color=an.COLORS[i], mfc=face, capsize=2, lw=1)
            fine = np.geomspace(own["alpha"].min(), own["alpha"].max(), 50)  # type: ignore[type-var]
            exponent = theory.atom_count_exponent if metric == "caps" else risk_exponent
            axis.plot(fine, [exponent(d, a) for a in fine], "-", color=an.COLORS[i], lw=0.8)
        axis.plot([], [], an.MARKERS[i], color=an.COLORS[i], label=f"$d={d}$")
    axis.axhline(0, color="0.8", lw=0.8, zorder=0)
    axis.set(title="slopes: caps (filled), risk (open)", xlabel=r"$\alpha$", ylabel="slope against $n$", xscale="log")
    an.label_ticks(axis, sorted(set(table["alpha"])))
    axis.minorticks_off()
    axis.legend(loc="center left")


def draw_shares(axis, table: pl.DataFrame) -> None:
    for i, d in enumerate(sorted(set(table["input_dim"]))):
        own = table.filter(input_dim=d)
        bars = 3 * own["error"].to_numpy()
        axis.errorbar(own["alpha"], own["share"], bars, fmt=an.MARKERS[i], color=an.COLORS[i], lw=0.8, label=f"$d={d}$")
        axis.plot(own["alpha"], own["expected"], "-", color=an.COLORS[i], lw=0.8)
        axis.plot(own["alpha"], own["limit"], ":", color=an.COLORS[i], lw=0.8)
    axis.plot([], [], "-", color="0.4", lw=0.8, label="$(1-P)^n$")
    axis.plot([], [], ":", color="0.4", lw=0.8, label="its limit")
    axis.set(title="share of caps without a sample", xlabel=r"$\alpha$", ylabel="share", xscale="log", ylim=(0, 1))
    an.label_ticks(axis, sorted(set(table["alpha"])))
    axis.minorticks_off()
    axis.legend()


def caption(study: an.Study) -> str:
    run, n = an.read_settings(study), study.values("num_samples")
    return (
        f"Caps of height eps^2, eps = {run['kappa']:g} n^(-1/(d-1+2 alpha)), packed greedily on the unit ball, n = {n[0]} to "
        f"{n[-1]} points of the radial law, P(|X| > 1 - s) = s^alpha, drawn independently. Medians over "
        f"{len(study.values('seed'))} seeds, bars from quartile to quartile; dotted lines have the theory's exponents, "
        "(d-1)/(d-1+2 alpha) and -2 alpha/(d-1+2 alpha), and pass through the largest n. E f_2^2: f_2 sums the atoms of height "
        f"{run['amplitude']:g} over the empty caps, X of the same law. Slopes by least squares on log-log medians, "
        "with intervals over seeds. Shares pool the seeds at the largest n; bars are three standard errors."
    )


def claims(study: an.Study) -> list[an.Claim]:
    n, alphas, dims = study.values("num_samples"), study.values("alpha"), study.values("input_dim")
    span = f"alpha = {', '.join(f'{a:g}' for a in alphas)}, d = {', '.join(map(str, dims))}, n = {n[0]} to {n[-1]}"
    found, place = shares(study), "at the worst d and alpha"
    as_exponent = an.at_most(an.TOLERANCE, of=f"|slope - exponent| {place}")

    def closed_form(d: int, alpha: float) -> float:
        own = study.select(alpha=alpha)
        return an.finite_slope(own.values("num_samples"), d, own.values("kappa")[0], "risk", alpha)

    def against_next(metric: str, exponent: Exponent, text: str) -> an.Evidence:
        control = {text: by_exponent(study, lambda d, alpha: exponent(d + 1, alpha))}
        return an.compare(an.worst_slope, by_exponent(study, exponent), neighbour=control, metric=metric)

    return [
        an.judge(
            id="radial_caps/count-slope",
            source=SOURCE,
            statement=f"Disjoint caps grow as n^((d-1)/(d-1+2 alpha)), {span}",
            expects=as_exponent,
            evidence=against_next("caps", theory.atom_count_exponent, "exponents of d + 1"),
        ),
        an.judge(
            id="radial_caps/risk-slope",
            source=SOURCE,
            statement=f"The error that hides on empty caps falls as n^(-2 alpha/(d-1+2 alpha)), {span}",
            expects=as_exponent,
            evidence=against_next("risk", risk_exponent, "exponents of d + 1"),
        ),
        an.judge(
            id="radial_caps/risk-slope-at-finite-n",
            source="derived: closed forms of the radial law",
            statement=f"That slope is the one of the closed form over these n, {span}",
            expects=an.at_most(an.TOLERANCE, of=f"|slope - closed form's| {place}"),
            evidence=against_next("risk", closed_form, "closed form of d + 1"),
            post_hoc="the claim, as that of the uniform ball: added when a slope had been seen to differ from its exponent",
        ),
        an.judge(
            id="radial_caps/share-as-expected",
            source="derived from the law's half-space probability",
            statement=f"The share of empty caps is (1 - P)^n, P the mass of a cap, {span}",
            expects=an.at_most(4, of=f"standard errors off, {place},"),
            evidence=an.compare(
                an.worst_share,
                (found, "expected"),
                neighbour={"caps of 10 % more mass": (found.with_columns(pl.col("expected") ** 1.1), "expected")},
            ),
        ),
        *an.judge_pairs(an.tabulate_pairs(smallest(study)), "radial_caps", SOURCE),
    ]
