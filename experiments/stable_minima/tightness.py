"""How tight is the generalisation bound? The worst gap a search of the flat set finds, against n,
beside both exponents."""

from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.ticker import LogLocator, StrMethodFormatter

import dynamics.analysis.words as an
from dynamics.theory import rate_exponents as rates

SOURCE = "Liang et al. 2025, Theorem 3.5"
KEYS = ["panel", "learning_rate", "data.noise_std"]
CELL = ["data.input_dim", "data.num_samples", "seed"]
STARTS = {"descent": "GD solution", "caps": "empty caps", "random": "fresh net"}
SHADES = dict(zip(STARTS, (an.COLORS[1], an.COLORS[2], an.COLORS[0]), strict=True))


class Gaps(NamedTuple):
    """Gaps over M^2 of one setting and dimension: n (N,), worst found and the GD solution's, (S, N) each."""

    title: str
    input_dim: int
    n: np.ndarray
    found: np.ndarray
    descended: np.ndarray


def shares(study: an.Study) -> pl.DataFrame:
    """One row a run at its end, with `found` and `begun`: the gap of the best feasible net and of the start, over M^2.

    M = max(D, |f|_inf, 1), and D = bound >= 1; a start may exceed the bound, a net that was found does not.
    """

    def over(gap: str, sup_norm: str) -> pl.Expr:
        return pl.col(gap) / pl.max_horizontal("bound", sup_norm) ** 2

    return study.final.with_columns(found=over("gap", "sup_norm"), begun=over("start_gap", "start_sup_norm"))


def winners(study: an.Study) -> pl.DataFrame:
    """For every setting, dimension, n and seed the start that led to the largest gap, and that gap."""
    return shares(study).sort("found", descending=True).group_by(*KEYS, *CELL, maintain_order=True).first().sort(*KEYS, *CELL)


def title_of(rate: float, noise: float) -> str:
    return rf"$\eta$ = {rate:g}, $\sigma$ = {noise:g}"


def gaps(study: an.Study) -> list[Gaps]:
    """Worst gaps and GD's, one entry a setting and dimension."""
    found, begun = winners(study), shares(study).filter(start="descent")

    def table(frame: pl.DataFrame, column: str) -> np.ndarray:
        pivot = frame.pivot(on="data.num_samples", index="seed", values=column, sort_columns=True).sort("seed")
        return pivot.drop("seed").select(map(str, sorted(map(int, pivot.columns[1:])))).to_numpy()

    out = []
    for (panel, rate, noise, d), part in found.group_by(*KEYS, "data.input_dim", maintain_order=True):
        own = begun.filter(pl.col("panel") == panel, pl.col("data.input_dim") == d, pl.col("learning_rate") == rate)
        n = part["data.num_samples"].unique().sort().to_numpy()
        out.append(Gaps(title_of(rate, noise), d, n, table(part, "found"), table(own, "begun")))
    return out


def fit_gaps(n: np.ndarray, values: np.ndarray) -> an.Estimate:
    """Return the slope on log-log scales; unknown where a gap is not positive or there is one n only."""
    return an.fit_slope(n, values) if len(n) > 1 and (values > 0).all() else an.UNKNOWN


def tabulate_slopes(table: list[Gaps]) -> pl.DataFrame:
    """Slopes of the worst gaps and of the GD solutions' with intervals, both bounds' exponents,
    medians at the last n."""
    rows = []
    for g in table:
        bounds = (-rates.stable_upper_exponent(g.input_dim), -rates.stable_lower_exponent(g.input_dim))
        last = [float(np.median(values[:, -1])) for values in (g.found, g.descended)]
        rows.append((g.title, g.input_dim, *fit_gaps(g.n, g.found), *fit_gaps(g.n, g.descended), *bounds, *last))
    names = "setting, d, slope, low, high, gd_slope, gd_low, gd_high, upper, lower, last_gap, gd_last_gap"
    return an.make_table(rows, names)


def figure(study: an.Study) -> an.Page:
    """A row a setting: worst gap against n; slopes against d; progress of the search; which start won."""
    table = gaps(study)
    summary = tabulate_slopes(table)
    settings = study.runs.select(KEYS).unique(maintain_order=True).sort(KEYS).rows()
    fig, axes = an.new_axes(len(settings), 4, (14, 3.8 * len(settings)), squeeze=False, width_ratios=[1.2, 1, 1, 0.8])
    for (panel, rate, noise), row in zip(settings, axes, strict=True):
        title, part = title_of(rate, noise), study.select(panel=panel, learning_rate=rate)
        draw_gaps(row[0], [g for g in table if g.title == title], title)
        draw_slopes(row[1], summary.filter(setting=title))
        draw_progress(row[2], part)
        draw_winners(row[3], winners(part))
    for axis in axes[-1, 1:]:
        an.place_below(axis, 1 if axis is axes[-1, 3] else 2)
    return an.Page(fig, caption(study), {"tightness_slopes": summary}, {"slopes of the worst gap found": summary})


def draw_gaps(axis, own: list[Gaps], title: str) -> None:
    """Worst gap found (filled, every seed lightly) and the GD solutions' (open), medians over seeds."""
    for g, shade, marker, _ in an.assign_shades(own, 0.85):
        axis.plot(np.broadcast_to(g.n, g.found.shape).T, g.found.T, marker, color=shade, alpha=0.25, ms=3)
        axis.plot(g.n, np.median(g.found, axis=0), f"{marker}-", color=shade, label=f"$d={g.input_dim}$")
        axis.plot(g.n, np.median(g.descended, axis=0), f"{marker}--", color=shade, mfc="white", lw=0.8)
    axis.plot([], [], "o-", color="0.4", label="worst found")
    axis.plot([], [], "o--", color="0.4", mfc="white", lw=0.8, label="GD solution")
    axis.set(title=title, xlabel="$n$", ylabel=r"gap / $M^2$", xscale="log", yscale="log")
    an.label_ticks(axis, own[0].n.tolist())
    axis.minorticks_off()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    an.place_beside(axis)


def draw_slopes(axis, summary: pl.DataFrame) -> None:
    d = summary["d"].to_numpy()
    axis.plot(d, summary["upper"], "--", color="0.45", label="upper bound $-1/(2d+4)$")
    axis.plot(d, summary["lower"], ":", color="0.45", label="lower bound $-2/(d+1)$, $-1/2$ at 1")
    for prefix, color, marker, label in (("", an.COLORS[0], "o", "worst found"), ("gd_", an.COLORS[1], "s", "GD solutions")):
        own = summary.select(pl.col(prefix + c).alias(c) for c in ("slope", "low", "high"))
        an.draw_intervals(axis, d + 0.08 * (1 if prefix else -1), own, fmt=marker, color=color, capsize=3, label=label)
    axis.set(title="slope against dimension", xlabel="$d$", ylabel="slope of the gap in $n$", xticks=d)


def draw_progress(axis, part: an.Study) -> None:
    """Best feasible gap so far at the largest n, median over seeds, at the smallest and the largest dimension."""
    n, dims = max(part.values("num_samples")), part.values("input_dim")
    seen = part.select(num_samples=n).records.filter(pl.col("step") > 0)
    curves = seen.group_by("start", "data.input_dim", "step").agg(pl.col("gap").median()).sort("step")
    for start, color in SHADES.items():
        for d, dash in ((dims[0], "--"), (dims[-1], "-")):
            curve = curves.filter(pl.col("start") == start, pl.col("data.input_dim") == d)
            if len(curve):
                axis.plot(curve["step"], curve["gap"], dash, color=color, label=f"{STARTS[start]}, $d={d}$")
    axis.set(title=f"progress at $n$ = {n}", xlabel="outer iteration", ylabel="best feasible gap")


def draw_winners(axis, best: pl.DataFrame) -> None:
    """Share of data sets (n and seed) on which each start led to the largest gap."""
    dims = best["data.input_dim"].unique().sort().to_list()
    base = np.zeros(len(dims))
    for start, color in SHADES.items():
        wins = [best.filter(pl.col("data.input_dim") == d).select((pl.col("start") == start).mean()).item() for d in dims]
        axis.bar([str(d) for d in dims], wins, bottom=base, color=color, width=0.7, label=STARTS[start])
        base += wins
    axis.set(title="which start won", xlabel="$d$", ylabel="share of data sets", ylim=(0, 1))


def growth(study: an.Study) -> float:
    """Median over runs of the share of the final gap that the last two fifths of the search added."""
    late = study.records.filter(pl.col("step") >= pl.col("steps") * 0.6).sort("step")
    ends = late.group_by("panel", "run").agg(first=pl.col("gap").first(), last=pl.col("gap").last())
    return ends.select((1 - pl.col("first") / pl.col("last")).median()).item()


def caption(study: an.Study) -> str:
    run = an.read_settings(study)
    end = study.final
    return (
        f"Largest generalisation gap over M^2 that a search of the flat set found: best of {len(study.values('start'))} "
        f"starts, median over {len(study.values('seed'))} seeds (light: every seed), on fresh inputs; a lower bound on the "
        f"supremum. Labels: noise around 0 cut off at +-{run['bound']:g}; |f| <= {run['bound']:g}; {run['data.law']} inputs; "
        f"width {end['model.width'].min()} to {end['model.width'].max()}; {run['steps']} outer iterations of "
        f"{run['ascent_steps']} steps. Largest eta lambda_max / 2 of a net reported: {end['edge'].max():.4f}. The last two "
        f"fifths of the search added {100 * growth(study):.0f} % to a run's gap (median). Medians that are not positive are "
        "not drawn. The bounds' exponents are guides: they hold as n grows, up to logarithms."
    )


def read_largest(study: an.Study, edge: str, sup_norm: str) -> np.ndarray:
    """Return the larger of eta lambda_max / 2 (plus its residual) and |f| / bound at every record, (N,)."""
    seen = study.records.filter(pl.col("step") > 0)
    return seen.select(pl.max_horizontal(edge, pl.col(sup_norm) / pl.col("bound"))).to_series().to_numpy()


def smallest_difference(pairs: np.ndarray) -> an.Estimate:
    """Return the median over seeds of what was found less GD's gap, pairs (S, 2, cells),
    in the cell where it is smallest."""
    difference = lambda v: np.median(v[..., 0, :] - v[..., 1, :], axis=1)  # noqa: E731
    return an.over_values(difference, pairs, over=an.least_over_seeds)


def least_slack(cells: list[tuple[int, np.ndarray, np.ndarray]]) -> an.Estimate:
    """Return slope + 2/(d+1) (1/2 for d = 1) at the setting and d where it is smallest."""
    if any(len(n) < 2 or not (values > 0).all() for _, n, values in cells):
        return an.UNKNOWN
    fits = [(an.median_slope(n, values), rates.stable_lower_exponent(d)) for d, n, values in cells]
    slacks = lambda index: np.stack([fit(index) + exponent for fit, exponent in fits], axis=1)  # noqa: E731
    return an.least_over_seeds(slacks, len(cells[0][2]))


def claims(study: an.Study) -> list[an.Claim]:
    table, reported = gaps(study), read_largest(study, "edge", "sup_norm")
    unshrunk = read_largest(study, "ascent_edge", "ascent_sup_norm")
    return [
        an.judge(
            id="tightness/feasible",
            source=SOURCE,
            statement=f"Every net reported is in the flat set and within the bound ({len(reported)} records)",
            expects=an.at_most(1, of="largest of eta lambda_max / 2 and |f| / bound"),
            evidence=an.compare(np.max, reported, treatment={"the ascent's points before they are shrunk": unshrunk}),
        ),
        an.judge(
            id="tightness/worse-than-gd",
            source="the suite's own question",
            statement="The flat set holds nets that generalise worse than the GD solution on the same data, at every d and n",
            expects=an.above(0, of="smallest median difference of gap / M^2"),
            evidence=an.permute(
                smallest_difference,
                np.concatenate([np.stack([g.found, g.descended], axis=1) for g in table], axis=2),
                "the two exchanged in random seeds",
            ),
        ),
        an.judge(
            id="tightness/no-faster-than-the-lower-bound",
            source=f"{SOURCE} (lower bound) and 3.7",
            statement="The worst gap found falls no faster than the lower bound's n^(-2/(d+1)), n^(-1/2) for d = 1",
            expects=an.at_least(0, of="slope + exponent at the worst d"),
            evidence=an.shift_neighbour(
                least_slack([(g.input_dim, g.n, g.found) for g in table]), 0.5, "gaps that fall faster by n^(-1/2)"
            ),
        ),
    ]
