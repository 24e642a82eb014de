"""The lower bound of Liang et al. 2025, built and counted: caps that hold no sample,
and the error that hides on them."""

from collections.abc import Callable

import numpy as np
import polars as pl

import dynamics.analysis.words as an
from dynamics.stability.ridges import merge_equal_ridges, weighted_path_norm
from dynamics.theory import cap_geometry as theory
from dynamics.theory.rate_exponents import stable_lower_exponent

PROPOSITION, COROLLARY = "Liang et al. 2025, Proposition I.1", "Liang et al. 2025, Corollary I.3"
THEOREM = "Liang et al. 2025, Theorem 3.7"
EARLIER = 8  # packings are compared with those of an eighth of the steps
Exponent = Callable[[int], float]


def rates(study: an.Study) -> an.Study:
    return study.select(panel="rates")


def by_exponent(part: an.Study, exponent: Exponent) -> list[an.Cell]:
    """The runs of every dimension, with the exponent expected of them."""
    return [(part.select(input_dim=d), exponent(d)) for d in part.values("input_dim")]


def finite(part: an.Study, metric: str) -> Exponent:
    """The slope of the closed form over the n at hand, by d."""
    n, kappa = part.values("num_samples"), part.values("kappa")[0]
    return lambda d: an.finite_slope(n, d, kappa, metric)


def smallest(study: an.Study) -> an.Study:
    """Three runs a d at the smallest n of `rates`, to be drawn anew."""
    part = rates(study)
    return part.select(num_samples=min(part.values("num_samples")), seed=part.values("seed")[:3])


def cells(study: an.Study) -> pl.DataFrame:
    """One row a (d, kappa): empties pooled over seeds at the largest n of the panel,
    and what the theory says of their share.

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
        low, high = theory.empty_cap_share_bounds(d, kappa)
        expected, share = float(theory.empty_cap_share(n, d, kappa)), row["empty"] / row["caps"]
        error = (expected * (1 - expected) / row["caps"]) ** 0.5
        rows.append({**row, "share": share, "error": error, "low": float(low), "high": float(high), "expected": expected})
    return pl.DataFrame(rows)


def earlier(study: an.Study) -> Callable[[int], int]:
    """An eighth of the steps, or the recorded step closest to it."""
    recorded = study.records["step"].unique().to_numpy()
    wanted = study.values("steps")[-1] / EARLIER
    return lambda n: int(recorded[np.argmin(np.abs(np.log(np.maximum(recorded, 1e-9) / wanted)))])


def equal_proposals(study: an.Study) -> Callable[[int], int]:
    """The recorded step at which about as many proposals were made as over the whole run of the smallest n."""
    recorded = study.records["step"].unique().to_numpy()
    capacity = dict(study.runs.select("num_samples", "capacity").iter_rows())
    total = study.values("steps")[-1] * min(capacity.values())
    return lambda n: int(recorded[np.argmin(np.abs(np.log(np.maximum(recorded, 1e-9) * capacity[n] / total)))])


def least_sharpness(study: an.Study) -> pl.DataFrame:
    """A lower bound on lambda_max of every network that computes f_2 on the empty caps, at the two smallest d.

    For any set S of m training points lambda_max >= (m/n) (1 + 2 |f|_Vg) with g the weight function of S (C1 on S, and
    a principal block of the kernel); lambda_max >= 1 always. S: the points within eps of the rim, on either side of the
    first axis. Every other n, six seeds. Columns: input_dim, seed, num_samples, bound.
    """
    part = rates(study)
    part = part.select(input_dim=part.values("input_dim")[:2], num_samples=part.values("num_samples")[::2])
    part = part.select(seed=part.values("seed")[:6])
    rows = []
    for spec, points, nets in an.build_hard_functions(part):
        x, ridge = np.asarray(points), merge_equal_ridges(nets["empty"])
        near = np.linalg.norm(x, axis=1) > 1 - spec.eps
        sets = [x[near & (side * x[:, 0] > 0)] for side in (1, -1)]
        bound = max([1.0, *(len(s) / len(x) * (1 + 2 * weighted_path_norm(ridge, s)) for s in sets if len(s))])
        rows.append((spec.input_dim, spec.seed, spec.num_samples, bound))
    return an.make_table(rows, "input_dim, seed, num_samples, bound")


def tabulate_slopes(study: an.Study) -> pl.DataFrame:
    """Return slopes of caps and risk against n for every d, over all n and the larger half, beside the exponents.

    finite: the slope of the closed form over these n, which the exponent is the limit of.
    """
    part = rates(study)
    n, rows = part.values("num_samples"), []
    for metric, exponent in (("caps", theory.atom_count_exponent), ("risk", lower)):
        for d in part.values("input_dim"):
            own = part.select(input_dim=d)
            tail = an.fit_count_slope(own.select(num_samples=n[len(n) // 2 :]), metric).value
            rows.append((metric, d, *an.fit_count_slope(own, metric), tail, exponent(d), finite(part, metric)(d)))
    return an.make_table(rows, "metric, input_dim, slope, low, high, larger_half, exponent, finite")


def saturation(study: an.Study) -> pl.DataFrame:
    """How full the packings are at the smallest and largest n: means over seeds of coverage and last acceptance."""
    part = rates(study)
    ends = part.final.filter(pl.col("num_samples").is_in([min(n := part.values("num_samples")), max(n)]))
    means = ends.group_by("input_dim", "num_samples").agg(
        pl.col("caps").mean(), pl.col("coverage").mean(), pl.col("acceptance").mean(), pl.col("separation").min()
    )
    return means.sort("input_dim", "num_samples")


def lower(d: int) -> float:
    return -stable_lower_exponent(d)


def figure(study: an.Study) -> an.Page:
    """Caps against n; risk against n; share of empty caps against d; slopes against d, each beside the theory."""
    fig, axes = an.new_axes(2, 2, (10.5, 7.6))
    slopes, shares = tabulate_slopes(study), cells(study)
    draw_over_n(axes[0, 0], rates(study), "caps", theory.atom_count_exponent, "$n^{(d-1)/(d+1)}$")
    axes[0, 0].set(title="disjoint caps: all (filled), without a sample (open)")
    draw_over_n(axes[0, 1], rates(study), "risk", lower, "$n^{-2/(d+1)}$\n($n^{-1/2}$ at $d=1$)")
    axes[0, 1].set(title="error that the data cannot see")
    draw_shares(axes[1, 0], shares)
    draw_slopes(axes[1, 1], slopes)
    twins = an.tabulate_pairs(smallest(study)).drop("alpha").group_by("input_dim", "atoms").agg(pl.exclude("seed").max())
    twins = twins.sort("input_dim", "atoms")
    names = ("shares", "slopes", "saturation", "pairs", "least_sharpness")
    values = (shares, slopes, saturation(study), twins, least_sharpness(study))
    tables = {f"empty_caps_{name}": table for name, table in zip(names, values, strict=True)}
    shown = {"slopes": slopes, "f_2 on the data: greatest over seeds": twins}
    return an.Page(fig, caption(study), tables, shown)


def draw_over_n(axis, part: an.Study, metric: str, exponent: Exponent, guide: str) -> None:
    """Draw a count or the risk against n, a colour a dimension, beside its exponent."""
    for d, color, marker, place in an.assign_shades(part.values("input_dim")):
        dodge = 1.015 ** (place * (len(part.values("input_dim")) - 1))
        own, label = part.select(input_dim=d), f"$d={d}$"
        an.draw_counts(axis, own, metric, exponent(d), dodge=dodge, fmt=marker, color=color, label=label)
    axis.plot([], [], ":", color="0.4", label=guide)
    an.place_beside(axis)


def draw_shares(axis, table: pl.DataFrame) -> None:
    dims = np.array(sorted(set(table["input_dim"])))
    sizes = sorted(set(table["kappa"]))
    for i, kappa in enumerate(sizes):
        own = table.filter(kappa=kappa).unique("input_dim", keep="last").sort("input_dim")
        color = an.COLORS[i % len(an.COLORS)]
        place = own["input_dim"].to_numpy() + 0.14 * (i - (len(sizes) - 1) / 2)
        band = np.stack([own["low"], own["high"]])
        axis.bar(place, band[1] - band[0], 0.11, band[0], color=color, alpha=0.25, lw=0)
        axis.hlines(own["expected"], place - 0.055, place + 0.055, color=color, lw=1)
        axis.errorbar(place, own["share"], 3 * own["error"].to_numpy(), fmt=an.MARKERS[i], color=color, ms=3, lw=0.8)
        axis.plot([], [], an.MARKERS[i], color=color, label=rf"$\kappa={kappa:g}$")
    axis.bar([dims[0]], [0], color="0.5", alpha=0.3, label=r"$e^{-U_d\kappa^{d+1}}$ to $e^{-L_d\kappa^{d+1}}$")
    axis.plot([], [], "-", color="0.3", lw=1, label="$(1-P)^n$, expected")
    axis.set(title="share of caps without a sample", xlabel="$d$", ylabel="share", xticks=dims, ylim=(0, 1.03))
    an.place_beside(axis)


def draw_slopes(axis, table: pl.DataFrame) -> None:
    for metric, color, marker, text in (("caps", an.COLORS[0], "o", "caps"), ("risk", an.COLORS[1], "s", "risk")):
        own = table.filter(metric=metric)
        closed = "closed form\nat these $n$" * (metric == "risk")
        axis.plot(own["input_dim"], own["exponent"], "--", color=color, lw=1, label=f"{text}: exponent")
        axis.plot(own["input_dim"], own["finite"], "_", color="k", ms=14, label=closed)
        an.draw_intervals(axis, own["input_dim"], own, fmt=marker, color=color, capsize=3, lw=1, label=f"{text}: fitted")
    axis.axhline(0, color="0.8", lw=0.8, zorder=0)
    axis.set(title="slopes against $n$", xlabel="$d$", ylabel="slope", xticks=sorted(set(table["input_dim"])))
    an.place_beside(axis)


def caption(study: an.Study) -> str:
    part = rates(study)
    run, n = an.read_settings(part), part.values("num_samples")
    return (
        f"Caps of height eps^2, eps = {run['kappa']:g} n^(-1/(d+1)), packed greedily on the unit ball, n = {n[0]} to {n[-1]} "
        f"uniform points drawn independently; for d = 1 intervals of width eps^2 within eps of either end. "
        f"{run['steps']} times as many proposals as caps could fit at most, at every n and d. Medians over "
        f"{len(study.values('seed'))} seeds, bars from quartile to quartile; dotted lines have the theory's exponents and pass "
        "through the largest n. E f_2^2: f_2 sums the atoms of height "
        f"{run['amplitude']:g} over the empty caps, X uniform on the ball. Shares pool the seeds, at n = {n[-1]} for kappa = "
        f"{run['kappa']:g} and n = {study.select(panel='kappa').values('num_samples')[-1]} otherwise; bars are three standard "
        "errors, bands the theory's. Slopes by least squares on log-log medians, with intervals over seeds."
    )


def worst_excess(table: pl.DataFrame, factor: float) -> float:
    """Return how far shares lie outside [exp(-U k^(d+1)), exp(-L k^(d+1))], in standard errors,
    at the worst (d, kappa).

    The band is that of k = factor * kappa.
    """
    outside = []
    for row in table.iter_rows(named=True):
        low, high = theory.empty_cap_share_bounds(row["input_dim"], factor * row["kappa"])
        outside.append(max(low - row["share"], row["share"] - high) / row["error"])
    return float(max(outside))


def worst_move(study: an.Study, stop: Callable[[an.Study], Callable[[int], int]]) -> an.Estimate:
    """Return how far the slope of the number of caps moves when packing is stopped elsewhere, at the worst d."""
    pairs = []
    for d in study.values("input_dim"):
        own = study.select(input_dim=d)
        (n, late), (_, early) = an.read_counts(own, "caps"), an.read_counts(own, "caps", stop(own))
        pairs.append((n, late, early))
    if any(len(n) < 2 for n, *_ in pairs):
        return an.UNKNOWN
    whole = np.all([an.find_whole_seeds(late) & an.find_whole_seeds(early) for _, late, early in pairs], axis=0)
    fits = [(an.median_slope(n, late[whole]), an.median_slope(n, early[whole])) for n, late, early in pairs]
    moves = lambda index: np.stack([np.abs(a(index) - b(index)) for a, b in fits], axis=1)  # noqa: E731
    return an.greatest_over_seeds(moves, int(whole.sum()), left_out=int((~whole).sum()))


def bound_slope(table: pl.DataFrame) -> an.Estimate:
    """Return the slope of the bound against n."""
    values = table.pivot(on="num_samples", index="seed", values="bound", sort_columns=True)
    n = [int(c) for c in values.columns[1:]]
    return an.fit_slope(np.array(n), values.drop("seed").to_numpy())


def claims(study: an.Study) -> list[an.Claim]:
    part, table, bounds = rates(study), cells(study), least_sharpness(study)
    dims, n, shares = part.values("input_dim"), part.values("num_samples"), "share of empty caps"
    span, sizes = f"d = {dims[0]} to {dims[-1]}", f"n = {n[0]} to {n[-1]}"
    as_exponent = an.at_most(an.TOLERANCE, of="|slope - exponent| at the worst d")
    closed = finite(part, "risk")
    return [
        an.judge(
            id="empty_caps/share-in-band",
            source=PROPOSITION,
            statement=f"The {shares} lies between exp(-U k^(d+1)) and exp(-L k^(d+1)), {span}, k = {table['kappa'].min()} to "
            f"{table['kappa'].max()}",
            expects=an.at_most(3, of="standard errors outside, at the worst (d, k),"),
            evidence=an.compare(worst_excess, (table, 1.0), neighbour={"bands of caps 10 % larger": (table, 1.1)}),
        ),
        an.judge(
            id="empty_caps/share-as-expected",
            source="derived from the ball's half-space probability",
            statement=f"The {shares} is (1 - P)^n, P the mass of a cap, {span}",
            expects=an.at_most(4, of="standard errors off, at the worst (d, k),"),
            evidence=an.compare(
                an.worst_share,
                (table, "expected"),
                neighbour={"caps of 10 % more mass": (table.with_columns(pl.col("expected") ** 1.1), "expected")},
            ),
        ),
        an.judge(
            id="empty_caps/count-slope",
            source=THEOREM,
            statement=f"Disjoint caps grow as n^((d-1)/(d+1)), n^(1/2) for d = 1, {sizes}",
            expects=as_exponent,
            evidence=an.compare(
                an.worst_slope,
                by_exponent(part, theory.atom_count_exponent),
                neighbour={"exponents of d + 1": by_exponent(part, lambda d: theory.atom_count_exponent(d + 1))},
                metric="caps",
            ),
        ),
        an.judge(
            id="empty_caps/risk-slope",
            source=f"{THEOREM} and Corollary I.3",
            statement=f"The error that hides on empty caps falls as n^(-2/(d+1)), n^(-1/2) for d = 1, {sizes}",
            expects=as_exponent,
            evidence=an.compare(
                an.worst_slope,
                by_exponent(part, lower),
                neighbour={"exponents of d + 1": by_exponent(part, lambda d: lower(d + 1))},
                metric="risk",
            ),
        ),
        an.judge(
            id="empty_caps/risk-slope-at-finite-n",
            source="derived: closed forms behind Corollary I.3",
            statement=f"That slope is the one of the closed form over {sizes}; the exponent is its limit",
            expects=an.at_most(an.TOLERANCE, of="|slope - closed form's| at the worst d"),
            evidence=an.compare(
                an.worst_slope,
                by_exponent(part, closed),
                neighbour={"closed form of d + 1": by_exponent(part, lambda d: closed(d + 1))},
                metric="risk",
            ),
            post_hoc="added when the slope had been seen to differ from the exponent at these n",
        ),
        an.judge(
            id="empty_caps/packing-settled",
            source="method: a step is a unit of packing time",
            statement=f"Stopping the packing at 1/{EARLIER} of the steps does not move the slope of the number of caps",
            expects=an.at_most(0.02, of="|move| at the worst d"),
            evidence=an.compare(
                worst_move, (part, earlier), treatment={"equally many proposals at every n": (part, equal_proposals)}
            ),
        ),
        *an.judge_pairs(an.tabulate_pairs(smallest(study)).filter(pl.col("input_dim") > 1), "empty_caps", COROLLARY),
        an.judge(
            id="empty_caps/bumps-not-flat",
            source="derived: C1 on the points near the rim",
            statement="At d = 1 the bumps on empty intervals have bounded |f|_Vg, but no network that computes their sum stays "
            "flat: a lower bound on its lambda_max grows as n^(1/2)",
            expects=an.near(0.5, 0.1, of="slope of the bound against n"),
            evidence=an.shift_neighbour(bound_slope(bounds.filter(input_dim=1)), 0.25, "growth as n^(3/4)"),
            post_hoc="the claim: that bumps are not flat at d = 1 was found by running",
        ),
    ]
