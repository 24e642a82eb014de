"""The lower bound of Liang et al. 2025, built and counted: caps that hold no sample, and the error that hides on them."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.colors import to_rgb

from dynamics.analysis.bootstrap import over_seeds
from dynamics.analysis.cap_statistics import (
    TOLERANCE,
    Cell,
    as_expected,
    counts,
    draw_line,
    finite_slope,
    hard_functions,
    pairs,
    perfectly_flat,
    same_on_data,
    slope,
    slope_as,
    worst,
)
from dynamics.analysis.claims import Claim, Finding, exact, judge, within
from dynamics.analysis.figures import COLORS, MARKERS, Page
from dynamics.analysis.slopes import fit_slope, median_slope
from dynamics.stability.ridges import reduced, weighted_path_norm
from dynamics.study.tables import Study
from dynamics.theory import cap_geometry as theory
from dynamics.theory.rate_exponents import stable_lower

PROPOSITION, COROLLARY = "Liang et al. 2025, Proposition I.1", "Liang et al. 2025, Corollary I.3"
THEOREM = "Liang et al. 2025, Theorem 3.7"
EARLIER = 8  # packings are compared with those of an eighth of the steps
Exponent = Callable[[int], float]


def rates(study: Study) -> Study:
    return study.select(panel="rates")


def by_exponent(part: Study, exponent: Exponent) -> list[Cell]:
    """The runs of every dimension, with the exponent expected of them."""
    return [(part.select(input_dim=d), exponent(d)) for d in part.values("input_dim")]


def finite(part: Study, metric: str) -> Exponent:
    """The slope of the closed form over the n at hand, by d."""
    n, kappa = part.values("num_samples"), part.values("kappa")[0]
    return lambda d: finite_slope(n, d, kappa, metric)


def smallest(study: Study) -> Study:
    """Three runs a d at the smallest n of `rates`, to be drawn anew."""
    part = rates(study)
    return part.select(num_samples=min(part.values("num_samples")), seed=part.values("seed")[:3])


def cells(study: Study) -> pl.DataFrame:
    """One row a (d, kappa): empties pooled over seeds at the largest n of the panel, and what the theory says of their share.

    Columns: panel, input_dim, kappa, num_samples, caps, empty, share, error (binomial, of the share), low and high
    (exp(-U kappa^(d+1)), exp(-L kappa^(d+1))), expected ((1 - P)^n).
    """
    keys = ["panel", "input_dim", "kappa", "num_samples"]
    pooled = study.final.group_by(keys).agg(caps=pl.col("caps").sum(), empty=pl.col("empty_caps").sum()).sort(keys)
    pooled = pooled.filter(pl.col("num_samples") == pl.col("num_samples").max().over("panel"))
    pooled = pooled.unique(keys[1:], keep="last", maintain_order=True)
    rows = []
    for row in pooled.iter_rows(named=True):
        n, d, kappa = row["num_samples"], row["input_dim"], row["kappa"]
        low, high = theory.empty_share_bounds(d, kappa)
        expected, share = float(theory.empty_share(n, d, kappa)), row["empty"] / row["caps"]
        error = (expected * (1 - expected) / row["caps"]) ** 0.5
        rows.append({**row, "share": share, "error": error, "low": float(low), "high": float(high), "expected": expected})
    return pl.DataFrame(rows)


def in_the_band(part: tuple[pl.DataFrame, float]) -> Finding:
    """How far shares lie outside [exp(-U k^(d+1)), exp(-L k^(d+1))], in standard errors, at the worst (d, kappa): at most 3.

    The band is that of k = factor * kappa.
    """
    table, factor = part
    outside = []
    for row in table.iter_rows(named=True):
        low, high = theory.empty_share_bounds(row["input_dim"], factor * row["kappa"])
        outside.append(max(low - row["share"], row["share"] - high) / row["error"])
    return exact(float(max(outside)), -np.inf, 3)


def earlier(study: Study) -> Callable[[int], int]:
    """An eighth of the steps, or the recorded step closest to it."""
    recorded = study.records["step"].unique().to_numpy()
    wanted = study.values("steps")[-1] / EARLIER
    return lambda n: int(recorded[np.argmin(np.abs(np.log(np.maximum(recorded, 1e-9) / wanted)))])


def equal_proposals(study: Study) -> Callable[[int], int]:
    """The recorded step at which about as many proposals were made as over the whole run of the smallest n."""
    recorded = study.records["step"].unique().to_numpy()
    capacity = dict(study.runs.select("num_samples", "capacity").iter_rows())
    total = study.values("steps")[-1] * min(capacity.values())
    return lambda n: int(recorded[np.argmin(np.abs(np.log(np.maximum(recorded, 1e-9) * capacity[n] / total)))])


def slope_settled(part: tuple[Study, Callable[[Study], Callable[[int], int]]]) -> Finding:
    """The slope of the number of caps moves by at most 0.02 when packing is stopped elsewhere, at the worst d."""
    study, stop = part
    moves = []
    for d in study.values("input_dim"):
        own = study.select(input_dim=d)
        (n, late), (_, early) = counts(own, "caps"), counts(own, "caps", stop(own))
        if len(n) > 1 and len(late) == len(early) > 0:
            a, b = median_slope(n, late), median_slope(n, early)
            moves.append(over_seeds(lambda index: a(index) - b(index), len(late)))
    return within(worst(moves), -0.02, 0.02)


def least_sharpness(study: Study) -> pl.DataFrame:
    """A lower bound on lambda_max of every network that computes f_2 on the empty caps, at the two smallest d.

    For any set S of m training points lambda_max >= (m/n) (1 + 2 |f|_Vg) with g the weight function of S (C1 on S, and a
    principal block of the kernel); lambda_max >= 1 always. S: the points within eps of the rim, on either side of the first
    axis. Every other n, six seeds. Columns: input_dim, seed, num_samples, bound.
    """
    part = rates(study)
    part = part.select(input_dim=part.values("input_dim")[:2], num_samples=part.values("num_samples")[::2])
    part = part.select(seed=part.values("seed")[:6])
    rows = []
    for spec, points, nets in hard_functions(part):
        x, ridge = np.asarray(points), reduced(nets["empty"])
        near = np.linalg.norm(x, axis=1) > 1 - spec.eps
        sets = [x[near & (side * x[:, 0] > 0)] for side in (1, -1)]
        bound = max([1.0, *(len(s) / len(x) * (1 + 2 * weighted_path_norm(ridge, s)) for s in sets if len(s))])
        rows.append((spec.input_dim, spec.seed, spec.num_samples, bound))
    return pl.DataFrame(rows, schema=["input_dim", "seed", "num_samples", "bound"], orient="row")


def bound_slope(table: pl.DataFrame) -> Finding:
    """The slope of the bound against n is at least 0.4."""
    values = table.pivot(on="num_samples", index="seed", values="bound", sort_columns=True)
    n = [int(c) for c in values.columns[1:]]
    return within(fit_slope(np.array(n), values.drop("seed").to_numpy()), 0.4, np.inf)


def slopes(study: Study) -> pl.DataFrame:
    """Slopes of caps and risk against n for every d, over all n and over the larger half, beside the exponents.

    finite: the slope of the closed form over these n, which the exponent is the limit of.
    """
    part = rates(study)
    n = part.values("num_samples")
    rows = []
    for metric, exponent in (("caps", theory.count_exponent), ("risk", lower)):
        for d in part.values("input_dim"):
            own = part.select(input_dim=d)
            fit, tail = slope(own, metric), slope(own.select(num_samples=n[len(n) // 2 :]), metric)
            rows.append((metric, d, fit.value, fit.low, fit.high, tail.value, exponent(d), finite(part, metric)(d)))
    names = ["metric", "input_dim", "slope", "low", "high", "larger_half", "exponent", "finite"]
    return pl.DataFrame(rows, schema=names, orient="row")


def saturation(study: Study) -> pl.DataFrame:
    """How full the packings are at the smallest and largest n: means over seeds of coverage and last acceptance."""
    part = rates(study)
    ends = part.final.filter(pl.col("num_samples").is_in([min(n := part.values("num_samples")), max(n)]))
    means = ends.group_by("input_dim", "num_samples").agg(
        pl.col("caps").mean(), pl.col("coverage").mean(), pl.col("acceptance").mean(), pl.col("separation").min()
    )
    return means.sort("input_dim", "num_samples")


def lower(d: int) -> float:
    return -stable_lower(d)


def figure(study: Study) -> Page:
    """Caps against n; risk against n; share of empty caps against d; slopes against d, each beside the theory."""
    fig, axes = plt.subplots(2, 2, figsize=(10.5, 7.6))
    draw_counts(axes[0, 0], rates(study))
    draw_risk(axes[0, 1], rates(study))
    draw_shares(axes[1, 0], cells(study))
    draw_slopes(axes[1, 1], slopes(study))
    twins = pairs(smallest(study)).drop("alpha").group_by("input_dim", "atoms").agg(pl.exclude("seed").max())
    tables = {
        "empty_caps_shares": cells(study),
        "empty_caps_slopes": slopes(study),
        "empty_caps_saturation": saturation(study),
        "empty_caps_pairs": twins.sort("input_dim", "atoms"),
        "empty_caps_least_sharpness": least_sharpness(study),
    }
    shown = {"slopes": slopes(study), "f_2 on the data: greatest over seeds": twins.sort("input_dim", "atoms")}
    return Page(fig, caption(study), tables, shown)


def by_dimension(part: Study):
    """(d, its runs, colour, marker, a factor that keeps marks of different d apart)."""
    dims = part.values("input_dim")
    shades = [to_rgb(c) for c in plt.get_cmap("viridis")(np.linspace(0, 0.88, len(dims)))]
    for i, (d, shade) in enumerate(zip(dims, shades, strict=True)):
        yield d, part.select(input_dim=d), shade, MARKERS[i % len(MARKERS)], 1.015 ** (i - (len(dims) - 1) / 2)


def draw_counts(axis, part: Study) -> None:
    for d, own, color, marker, dodge in by_dimension(part):
        for metric, face in (("caps", color), ("empty_caps", "white")):
            n, values = counts(own, metric)
            if not len(values):
                continue
            low, median, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
            label = f"$d={d}$" if metric == "caps" else None
            spread = [median - low, high - median]
            axis.errorbar(n * dodge, median, spread, fmt=marker, color=color, mfc=face, lw=0.8, label=label)
            if metric == "caps":
                draw_line(axis, n, median[-1], theory.count_exponent(d), color)
    axis.set(title="disjoint caps: all (filled), without a sample (open)", xlabel="$n$", ylabel="number of caps")
    axis.set(xscale="log", yscale="log")
    axis.plot([], [], ":", color="0.4", label=r"$n^{(d-1)/(d+1)}$")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def draw_risk(axis, part: Study) -> None:
    for d, own, color, marker, dodge in by_dimension(part):
        n, values = counts(own, "risk")
        if not len(values):
            continue
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        axis.errorbar(n * dodge, median, [median - low, high - median], fmt=marker, color=color, lw=0.8, label=f"$d={d}$")
        draw_line(axis, n, median[-1], -stable_lower(d), color)
    axis.set(title="error that the data cannot see", xlabel="$n$", ylabel="$E f_2^2$", xscale="log", yscale="log")
    axis.plot([], [], ":", color="0.4", label="$n^{-2/(d+1)}$\n($n^{-1/2}$ at $d=1$)")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def draw_shares(axis, table: pl.DataFrame) -> None:
    dims = np.array(sorted(set(table["input_dim"])))
    sizes = sorted(set(table["kappa"]))
    for i, kappa in enumerate(sizes):
        own = table.filter(kappa=kappa).unique("input_dim", keep="last").sort("input_dim")
        color = COLORS[i % len(COLORS)]
        place = own["input_dim"].to_numpy() + 0.14 * (i - (len(sizes) - 1) / 2)
        band = np.stack([own["low"], own["high"]])
        axis.bar(place, band[1] - band[0], 0.11, band[0], color=color, alpha=0.25, lw=0)
        axis.hlines(own["expected"], place - 0.055, place + 0.055, color=color, lw=1)
        axis.errorbar(place, own["share"], 3 * own["error"].to_numpy(), fmt=MARKERS[i], color=color, ms=3, lw=0.8)
        axis.plot([], [], MARKERS[i], color=color, label=rf"$\kappa={kappa:g}$")
    axis.bar([dims[0]], [0], color="0.5", alpha=0.3, label=r"$e^{-U_d\kappa^{d+1}}$ to $e^{-L_d\kappa^{d+1}}$")
    axis.plot([], [], "-", color="0.3", lw=1, label="$(1-P)^n$, expected")
    axis.set(title="share of caps without a sample", xlabel="$d$", ylabel="share", xticks=dims, ylim=(0, 1.03))
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def draw_slopes(axis, table: pl.DataFrame) -> None:
    for metric, color, marker, text in (("caps", COLORS[0], "o", "caps"), ("risk", COLORS[1], "s", "risk")):
        own = table.filter(metric=metric)
        middle, low, high = (own[c].to_numpy() for c in ("slope", "low", "high"))
        bars = np.nan_to_num(np.stack([middle - low, high - middle]))
        axis.plot(own["input_dim"], own["exponent"], "--", color=color, lw=1, label=f"{text}: exponent")
        axis.plot(
            own["input_dim"], own["finite"], "_", color="k", ms=14, label="closed form\nat these $n$" * (metric == "risk")
        )
        axis.errorbar(own["input_dim"], middle, bars, fmt=marker, color=color, capsize=3, lw=1, label=f"{text}: fitted")
    axis.axhline(0, color="0.8", lw=0.8, zorder=0)
    axis.set(title="slopes against $n$", xlabel="$d$", ylabel="slope", xticks=sorted(set(table["input_dim"])))
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def caption(study: Study) -> str:
    part = rates(study)
    run, n = part.runs.row(0, named=True), part.values("num_samples")
    return (
        f"Caps of height eps^2, eps = {run['kappa']:g} n^(-1/(d+1)), packed greedily on the unit ball, n = {n[0]} to {n[-1]} "
        f"uniform points drawn independently; for d = 1 intervals of width eps^2 within eps of either end. "
        f"{run['steps']} times as many proposals as caps could fit at most, at every n and d. Medians over "
        f"{len(study.values('seed'))} seeds, bars from quartile to quartile; dotted lines have the theory's exponents and pass "
        "through the largest n. E f_2^2: f_2 sums the atoms of height "
        f"{run['amplitude']:g} over the empty caps, X uniform on the ball. Shares pool the seeds, at n = {n[-1]} for kappa = "
        f"{run['kappa']:g} and n = {study.select(panel='kappa').values('num_samples')[-1]} otherwise; bars are three standard "
        "errors, bands the theory's. Slopes by weighted least squares on log-log medians, 95 % intervals by bootstrap over "
        "seeds."
    )


def claims(study: Study) -> list[Claim]:
    part, table, twins, bounds = rates(study), cells(study), pairs(smallest(study)), least_sharpness(study)
    dims, n = part.values("input_dim"), part.values("num_samples")
    span = f"d = {dims[0]} to {dims[-1]}"
    capped = twins.filter(pl.col("input_dim") > 1)
    empty, every = capped.filter(atoms="empty"), capped.filter(atoms="all")
    return [
        judge(
            "empty_caps/share-in-band",
            PROPOSITION,
            f"The share of empty caps lies between exp(-U k^(d+1)) and exp(-L k^(d+1)), {span}, k = {table['kappa'].min()} to "
            f"{table['kappa'].max()}",
            "at most 3 standard errors outside, at the worst (d, k)",
            in_the_band,
            (table, 1.0),
            (table, 2.0),
            "bands of caps twice as large",
        ),
        judge(
            "empty_caps/share-as-expected",
            "derived from the ball's half-space probability",
            f"The share of empty caps is (1 - P)^n, P the mass of a cap, {span}",
            "at most 4 standard errors off, at the worst (d, k)",
            as_expected,
            (table, "expected"),
            (table, "high"),
            "exp(-L k^(d+1))",
        ),
        judge(
            "empty_caps/count-slope",
            THEOREM,
            f"Disjoint caps grow as n^((d-1)/(d+1)), n^(1/2) for d = 1, n = {n[0]} to {n[-1]}",
            f"slope within {TOLERANCE} of the exponent at the worst d",
            slope_as("caps"),
            by_exponent(part, theory.count_exponent),
            by_exponent(part, lambda d: theory.count_exponent(d + 1)),
            "exponents of d + 1",
        ),
        judge(
            "empty_caps/risk-slope",
            f"{THEOREM} and Corollary I.3",
            f"The error that hides on empty caps falls as n^(-2/(d+1)), n^(-1/2) for d = 1, n = {n[0]} to {n[-1]}",
            f"slope within {TOLERANCE} of the exponent at the worst d",
            slope_as("risk"),
            by_exponent(part, lower),
            by_exponent(part, lambda d: lower(d + 1)),
            "exponents of d + 1",
        ),
        judge(
            "empty_caps/risk-slope-at-finite-n",
            "derived: closed forms behind Corollary I.3",
            f"That slope is the one of the closed form over n = {n[0]} to {n[-1]}; the exponent is its limit",
            f"slope within {TOLERANCE} of the closed form's at the worst d",
            slope_as("risk"),
            by_exponent(part, finite(part, "risk")),
            by_exponent(part, lambda d: finite(part, "risk")(d + 1)),
            "closed form of d + 1",
        ),
        judge(
            "empty_caps/packing-settled",
            "method: a step is a unit of packing time",
            f"Stopping the packing at 1/{EARLIER} of the steps does not move the slope of the number of caps",
            "by at most 0.02 at the worst d",
            slope_settled,
            (part, earlier),
            (part, equal_proposals),
            "equally many proposals at every n",
        ),
        judge(
            "empty_caps/pair-same-on-data",
            COROLLARY,
            f"f_1 = 0 and f_2 on the empty caps are equal at every training point, {len(empty)} runs",
            "max |f_1 - f_2| = 0",
            same_on_data,
            empty,
            every,
            "atoms on all caps",
        ),
        judge(
            "empty_caps/pair-flat",
            COROLLARY,
            f"f_2 on the empty caps has lambda_max = 1, {len(empty)} runs",
            "|lambda_max - 1| <= 1e-9",
            perfectly_flat,
            empty,
            every,
            "atoms on all caps",
        ),
        judge(
            "empty_caps/bumps-not-flat",
            "derived: C1 on the points near the rim",
            "At d = 1 the bumps on empty intervals have bounded |f|_Vg, but no network that computes their sum stays "
            "flat: a lower bound on its lambda_max grows as n^(1/2)",
            "slope of the bound against n >= 0.4",
            bound_slope,
            bounds.filter(input_dim=1),
            bounds.filter(pl.col("input_dim") > 1),
            f"empty caps at d = {bounds['input_dim'].max()}",
        ),
    ]
