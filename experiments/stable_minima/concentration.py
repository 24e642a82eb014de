"""Theorem E.5, Lemma F.7 and the cap bounds of Liang et al. 2025: what a sample says about the law, measured and exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from scipy import stats

from dynamics.analysis.bootstrap import Estimate
from dynamics.analysis.claims import INCONCLUSIVE, Claim, Finding, exact, judge, within
from dynamics.analysis.figures import COLORS, MARKERS, Page
from dynamics.analysis.slopes import fit_slope
from dynamics.stability.weight import population_weight
from dynamics.study.tables import Study
from dynamics.theory import uniform_deviation as theory

SOURCE = "Liang et al. 2025"
DELTAS = (0.1, 0.05, 0.01)
COUNTED = (0.1, 0.05)  # too few samples are drawn to tell a coverage of 0.99 from 1
HEIGHTS = np.linspace(0.005, 1, 200)
NAMES = {"uniform_ball": "ball", "sphere": "sphere"}


@dataclass(frozen=True)
class Search:
    """The sup found in one setting: n (N,), found (S, N) at the end of the search, one row a seed."""

    law: str
    dim: int
    n: np.ndarray
    found: np.ndarray

    @property
    def name(self) -> str:
        return f"{NAMES[self.law]}, $d={self.dim}$"


def searches(study: Study, *panels: str) -> list[Search]:
    """One for each law and dimension of these panels."""
    part = study.select(panel=list(panels))
    made = []
    for law, dim in part.runs.select("law", "input_dim").unique(maintain_order=True).iter_rows():
        last = part.select(law=law, input_dim=dim)
        last = Study(last.name, last.size, last.runs, last.final, last.store, last.specs)
        found, (_, n) = last.grid("deviation", "seed", "num_samples")
        made.append(Search(law, dim, np.array(n), found))
    return made


def counts(study: Study) -> pl.DataFrame:
    """A row a cell of the panel `counts`: its fields, seeds (how many), in_cap (their sum), in_annulus (one a seed)."""
    keys = ["input_dim", "num_samples", "annulus", "cap"]
    last = study.select(panel="counts").final
    return last.group_by(keys).agg(pl.len().alias("seeds"), pl.col("in_cap").sum(), pl.col("in_annulus")).sort(keys)


def coverage_table(study: Study, bound: Callable) -> pl.DataFrame:
    """For every cell of the counts and every delta: how often the share in the annulus kept within the bound, with interval."""
    rows = []
    for cell in counts(study).iter_rows(named=True):
        n, p = cell["num_samples"], float(theory.annulus_probability(cell["annulus"], cell["input_dim"]))
        for delta in COUNTED:
            kept = int(np.sum(np.array(cell["in_annulus"]) <= n * bound(p, n, delta)))
            interval = stats.binomtest(kept, cell["seeds"]).proportion_ci(0.95)
            seen = (kept / cell["seeds"], float(interval.low), float(interval.high))
            miss = float(theory.exceedance(bound(p, n, delta), p, n))
            applies = bool(theory.chernoff_applies(p, n, delta))
            rows.append((cell["input_dim"], n, cell["annulus"], p, delta, *seen, 1 - miss, applies))
    names = ["input_dim", "num_samples", "annulus", "p", "delta", "coverage", "low", "high", "exact", "chernoff_applies"]
    return pl.DataFrame(rows, schema=names, orient="row")


def miss_grid(bound: Callable, where: Callable) -> pl.DataFrame:
    """Exact P(share > bound) / delta over a grid of n, p and delta, at the cells that `where` admits."""
    frames = []
    for n in (8, 32, 128, 512, 2048, 8192):
        p = np.geomspace(1e-2 / n, 0.999, 400)
        for delta in DELTAS:
            keep = where(p, n, delta)
            miss = theory.exceedance(bound(p, n, delta), p, n) / delta
            frames.append(pl.DataFrame({"n": n, "p": p[keep], "delta": delta, "miss": miss[keep]}))
    return pl.concat(frames)


def everywhere(p: np.ndarray, n: int, delta: float) -> np.ndarray:
    return np.full(len(p), True)


def figure(study: Study) -> Page:
    """g_P; sup |g_n - g_P| against n; its growth with the search; caps within their bounds; Lemma F.7's misses."""
    fig, axes = plt.subplots(2, 3, figsize=(12, 6.6))
    draw_weight(axes[0, 0], study)
    draw_sup(axes[0, 1], study)
    draw_scaled(axes[0, 2], study)
    draw_search(axes[1, 0], study)
    draw_caps(axes[1, 1], study)
    draw_misses(axes[1, 2], study)
    slopes, covered = slope_table(study), coverage_table(study, theory.annulus_bound)
    tables = {"concentration_slopes": slopes, "concentration_coverage": covered}
    return Page(fig, caption(study, slopes), tables, {"slope of sup |g_n - g_P| against n": slopes})


def draw_weight(axis, study: Study) -> None:
    t = np.linspace(-1, 1, 801)
    for d, color in zip(study.select(panel="sup").values("input_dim"), COLORS, strict=False):
        axis.semilogy(t, population_weight("uniform_ball", t, d), color=color, label=f"$d={d}$")
    axis.set(title="population weight $g_P(u, t)$, ball", xlabel="$t$", ylim=(1e-8, 0.4), ylabel="$g_P$")
    axis.legend(loc="lower center", ncols=2)


def draw_sup(axis, study: Study) -> None:
    for i, search in enumerate(searches(study, "sup", "sphere")):
        low, median, high = np.quantile(search.found, [0.25, 0.5, 0.75], axis=0)
        slope = fit_slope(search.n, search.found).value
        bars, label = [median - low, high - median], f"{search.name}: {slope:+.2f}"
        axis.errorbar(search.n, median, yerr=bars, fmt=f"{MARKERS[i]}-", color=COLORS[i], lw=1, label=label)
    for search in searches(study, "wrong"):
        axis.plot(search.n, np.median(search.found, axis=0), "x--", color="0.5", label="control: $g_P$ of $d=5$ at $d=2$")
    low, high = axis.get_ylim()
    axis.set(title=r"$\sup\,|g_n-g_P|$ and its slope", xlabel="$n$", xscale="log", yscale="log", ylim=(low / 20, 1.3 * high))
    axis.legend(loc="lower left", fontsize=7)


def draw_scaled(axis, study: Study) -> None:
    for i, search in enumerate(searches(study, "sup", "sphere")):
        scaled = search.found / theory.deviation_scale(search.n, search.dim)
        axis.plot(search.n, np.median(scaled, axis=0), f"{MARKERS[i]}-", color=COLORS[i], lw=1, label=search.name)
        axis.plot(search.n, scaled.max(axis=0), MARKERS[i], color=COLORS[i], mfc="none")
    axis.set(
        title=r"$\sup\,|g_n-g_P|\,/\sqrt{d/n}$ (open: largest)",
        xlabel="$n$",
        xscale="log",
        ylim=(-0.35, None),
        yticks=np.arange(0, 1.1, 0.2),
    )
    axis.legend(loc="lower left", ncols=2, fontsize=7)


def search_growth(part: Study) -> tuple[np.ndarray, np.ndarray]:
    """(directions tried (T,), found over what the whole search finds (T,), median over runs)."""
    table = part.records.filter(pl.col("step") > 0).sort("run", "step")
    table = table.with_columns(share=pl.col("deviation") / pl.col("deviation").last().over("run"))
    seen = table.group_by("step").agg(pl.col("share").median()).sort("step")
    return seen["step"].to_numpy() * part.values("directions")[0], seen["share"].to_numpy()


def draw_search(axis, study: Study) -> None:
    part = study.select(panel="sup")
    most = max(part.values("num_samples"))
    for i, d in enumerate(part.values("input_dim")):
        tried, share = search_growth(part.select(input_dim=d, num_samples=most))
        axis.semilogx(tried, share, f"{MARKERS[i]}-", color=COLORS[i], lw=1, label=f"$d={d}$")
    axis.set(title=f"how the search closes in, $n={most}$", xlabel="directions tried", ylabel="found / found in the end")
    axis.set_xticks(tried, [str(v) for v in tried])
    axis.minorticks_off()
    axis.set_ylim(top=1.02)
    axis.legend(loc="lower right")


def draw_caps(axis, study: Study) -> None:
    for i, d in enumerate(study.select(panel="counts").values("input_dim")):
        low, high = theory.cap_constants(d)
        power = (d + 1) / 2
        if high > low * (1 + 1e-9):
            axis.plot(HEIGHTS, cap_position(theory.cap_probability(HEIGHTS, d) / HEIGHTS**power, low, high), color=COLORS[i])
        for cell in counts(study).filter(input_dim=d).iter_rows(named=True):
            if high > low * (1 + 1e-9):
                total = cell["seeds"] * cell["num_samples"]
                ends = stats.binomtest(cell["in_cap"], total).proportion_ci(0.95)
                seen = np.array([ends.low, cell["in_cap"] / total, ends.high]) / cell["cap"] ** power
                below, middle, above = cap_position(seen, low, high)
                shift = 0.012 * (i - 2) + (0.006 if cell["num_samples"] > 64 else 0)
                bars = [[middle - below], [above - middle]]
                axis.errorbar(cell["cap"] + shift, middle, yerr=bars, fmt=MARKERS[i], color=COLORS[i], ms=3, lw=0.8)
        axis.plot([], [], f"{MARKERS[i]}-", color=COLORS[i], label=f"$d={d}$" + (" (bounds equal)" if d == 1 else ""))
    axis.axhspan(0, 1, color="0.93", zorder=0)
    axis.set(title="cap probability between its bounds", xlabel="height $h$", ylim=(-0.6, 1.25))
    axis.set_yticks([0, 1], ["lower\nbound", "upper\nbound"])
    axis.legend(fontsize=7, ncols=2, loc="lower left")


def cap_position(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 at the lower bound, 1 at the upper one."""
    return (value - low) / (high - low)


def draw_misses(axis, study: Study) -> None:
    grid = miss_grid(theory.annulus_bound, everywhere).filter(n=512)
    covered = coverage_table(study, theory.annulus_bound).filter(
        num_samples=max(study.select(panel="counts").values("num_samples"))
    )
    for delta, color, marker in zip(DELTAS, COLORS, MARKERS, strict=False):
        line = grid.filter(delta=delta)
        axis.loglog(512 * line["p"], line["miss"], color=color, lw=0.8, label=rf"$\delta={delta:g}$")
        axis.axvline(3 * np.log(1 / delta), color=color, lw=0.8, ls=":")
        seen = covered.filter((pl.col("delta") == delta) & (pl.col("coverage") < 1))
        at = seen["num_samples"] * seen["p"]
        axis.plot(at, (1 - seen["coverage"]) / delta, marker, color=color, mfc="none")
    axis.axhline(1, color="k", lw=0.8)
    axis.set(title=r"Lemma F.7: P(miss) / $\delta$, $n=512$", xlabel="$np$", ylim=(1e-3, 10), xlim=(1e-2, 512))
    axis.legend(fontsize=7, loc="lower left")


def slope_table(study: Study) -> pl.DataFrame:
    rows = []
    for panel in ("sup", "sphere", "wrong"):
        for search in searches(study, panel):
            largest = float(np.max(search.found / theory.deviation_scale(search.n, search.dim)))
            half = len(search.n) // 2
            late = fit_slope(search.n[half:], search.found[:, half:]).value if half else np.nan
            rows.append((panel, search.law, search.dim, *fit_slope(search.n, search.found), late, largest))
    names = ["panel", "law", "d", "slope", "low", "high", "slope_at_large_n", "largest_over_scale"]
    return pl.DataFrame(rows, schema=names, orient="row")


def caption(study: Study, slopes: pl.DataFrame) -> str:
    run = study.select(panel="sup").runs.row(0, named=True)
    n, seeds = study.select(panel="sup").values("num_samples"), study.select(panel="sup").values("seed")
    proper = slopes.filter(pl.col("panel") != "wrong")
    worst = miss_grid(theory.annulus_bound, everywhere).sort("miss").row(-1, named=True)
    tried = run["steps"] * run["directions"]
    slopes_seen, largest = proper["slope"].to_numpy(), float(proper["largest_over_scale"].to_numpy().max())
    return (
        f"Empirical against population weight function, n = {n[0]} to {n[-1]}, {len(seeds)} seeds: median and quartiles of the "
        f"largest |g_n - g_P| found among {tried} directions and all their thresholds, a lower bound on the sup. Slopes "
        f"{slopes_seen.min():.3f} to {slopes_seen.max():.3f}; largest value over sqrt(d/n) {largest:.2f}. Caps: exact "
        "probability (lines) and counted share (points, 95 %), 0 and 1 being the two bounds. Lemma F.7: exact probability that "
        "the share in an annulus of probability p exceeds its bound, over delta (lines), and counted (open); right of the "
        "dotted lines Chernoff's condition np >= 3 ln(1/delta) holds. As stated, for all p, it is violated: at n = "
        f"{worst['n']}, p = {worst['p']:.3g}, delta = {worst['delta']:g} the probability is {worst['miss']:.2f} delta."
    )


def falls_as_root(found: list[Search]) -> Finding:
    """The slope against n lies in [-0.6, -0.4] in every setting; the one farthest from -1/2 is measured."""
    return within(max((fit_slope(s.n, s.found) for s in found), key=lambda e: abs(e.value + 0.5)), -0.6, -0.4)


def below_scale(found: list[Search]) -> Finding:
    """The largest sup over sqrt(d / n), over settings, n and seeds, is at most 1."""
    return exact(max(float(np.max(s.found / theory.deviation_scale(s.n, s.dim))) for s in found), 0, 1)


def caps_between(constants: Callable[[int], tuple[float, float]]) -> Finding:
    """Smallest relative distance of the exact cap probability inside its two bounds, over d = 1..20 and h in (0, 1]."""
    slack = np.inf
    for d in range(1, 21):
        low, high = (c * HEIGHTS ** ((d + 1) / 2) for c in constants(d))
        exactly = theory.cap_probability(HEIGHTS, d)
        slack = min(slack, float(np.min(exactly / low - 1)), float(np.min(high / exactly - 1)))
    return exact(float(slack), -1e-12, np.inf)


def swapped(d: int) -> tuple[float, float]:
    low, high = theory.cap_constants(d)
    return high, low


def counted_as_computed(cells: pl.DataFrame) -> Finding:
    """Smallest p-value of the counts in caps under their exact probability, times the number of cells, at least 0.01."""
    values = [
        stats.binomtest(
            c["in_cap"], c["seeds"] * c["num_samples"], float(theory.cap_probability(c["cap"], c["input_dim"]))
        ).pvalue
        for c in cells.iter_rows(named=True)
    ]
    return exact(float(min(1.0, len(values) * min(values))), 0.01, 1)


def covers(covered: pl.DataFrame) -> Finding:
    """Coverage is at least 1 - delta wherever Chernoff's condition holds; the worst excess over 1 - delta is measured."""
    admitted = covered.filter("chernoff_applies")
    if not len(admitted):
        return Finding(INCONCLUSIVE, Estimate(np.nan, np.nan, np.nan))
    excess = admitted.select(pl.col("coverage", "low", "high") - (1 - pl.col("delta")))
    return within(Estimate(*excess.sort("low").row(0)), 0, np.inf)


def misses_rarely(grid: pl.DataFrame) -> Finding:
    """The largest P(miss) / delta of the grid is at most 1."""
    return exact(float(grid["miss"].to_numpy().max()), 0, 1)


def claims(study: Study) -> list[Claim]:
    found, wrong = searches(study, "sup", "sphere"), searches(study, "wrong")
    covered = [coverage_table(study, bound) for bound in (theory.annulus_bound, theory.mean_bound)]
    cells = counts(study)
    another, mean = "g_P of another dimension", "no deviation term"
    counter = miss_grid(theory.annulus_bound, everywhere).sort("miss").row(-1, named=True)
    return [
        judge(
            "concentration/sup-falls-as-root-n",
            f"{SOURCE}, Theorem E.5",
            "sup |g_n - g_P| falls like n^(-1/2), in every dimension and for both laws",
            "slope in [-0.6, -0.4] where it is farthest from -1/2",
            falls_as_root,
            found,
            wrong,
            another,
        ),
        judge(
            "concentration/sup-below-root-d-over-n",
            f"{SOURCE}, Theorem E.5 (its constant is not given; 1 is tried)",
            "sup |g_n - g_P| is at most sqrt(d/n) for every n, d and seed",
            "largest sup / sqrt(d/n) <= 1",
            below_scale,
            found,
            wrong,
            another,
        ),
        judge(
            "concentration/cap-bounds",
            f"{SOURCE}, App. I; constants derived",
            "2c <= P(cap of height h) / h^((d+1)/2) <= 2^((d+1)/2) c, c = v_{d-1} / ((d+1) v_d), d = 1..20, h in (0, 1]",
            "smallest relative slack >= 0 up to rounding",
            caps_between,
            theory.cap_constants,
            swapped,
            "the two constants swapped",
        ),
        judge(
            "concentration/cap-counts",
            "closed form, derived",
            f"Samples fall into caps with their exact probability ({len(cells)} cells)",
            "smallest p-value times cells >= 0.01",
            counted_as_computed,
            cells,
            cells.with_columns(pl.col("input_dim") + 1),
            "probabilities of dimension d + 1",
        ),
        judge(
            "concentration/annulus-coverage",
            f"{SOURCE}, Lemma F.7",
            "The share of samples in the annulus keeps its bound with probability 1 - delta, where np >= 3 ln(1/delta)",
            "coverage - (1 - delta) >= 0 at the worst cell (Clopper-Pearson over seeds)",
            covers,
            covered[0],
            covered[1],
            mean,
        ),
        judge(
            "concentration/annulus-exact",
            f"{SOURCE}, Lemma F.7",
            "The same by exact binomial tails, n = 8..8192, all p with np >= 3 ln(1/delta)",
            "largest P(miss) / delta <= 1",
            misses_rarely,
            miss_grid(theory.annulus_bound, theory.chernoff_applies),
            miss_grid(theory.mean_bound, theory.chernoff_applies),
            mean,
        ),
        judge(
            "concentration/annulus-as-stated",
            f"{SOURCE}, Lemma F.7",
            f"The same for all p; worst at n = {counter['n']}, p = {counter['p']:.3g}, delta = {counter['delta']:g}",
            "largest P(miss) / delta <= 1",
            misses_rarely,
            miss_grid(theory.annulus_bound, everywhere),
            miss_grid(theory.mean_bound, everywhere),
            mean,
        ),
        judge(
            "concentration/annulus-bernstein",
            "derived: Bernstein's inequality",
            "p + sqrt(2 p ln(1/delta)/n) + 2 ln(1/delta)/(3n) repairs it for all p",
            "largest P(miss) / delta <= 1",
            misses_rarely,
            miss_grid(theory.bernstein_bound, everywhere),
            miss_grid(theory.annulus_bound, everywhere),
            "Lemma F.7's own bound",
        ),
    ]
