"""Theorem E.5, Lemma F.7 and cap bounds of Liang et al. 2025: what a sample says about the law, measured and exact."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy import stats

import dynamics.analysis.words as an
from dynamics.stability.weight import population_weight
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

    @property
    def scaled(self) -> np.ndarray:
        """The sup over sqrt(d/n), (S, N)."""
        return self.found / theory.deviation_scale(self.n, self.dim)


def searches(study: an.Study, *panels: str) -> list[Search]:
    """One for each law and dimension of these panels."""
    part = study.select(panel=list(panels))
    made = []
    for law, dim in part.runs.select("law", "input_dim").unique(maintain_order=True).iter_rows():
        own = part.select(law=law, input_dim=dim)
        found, (_, n) = replace(own, records=own.final).grid("deviation", "seed", "num_samples")
        made.append(Search(law, dim, np.array(n), found))
    return made


def count_samples(study: an.Study) -> pl.DataFrame:
    """A row a cell of the panel `counts`: its fields, seeds (how many), in_cap (their sum), in_annulus (one a seed)."""
    keys = ["input_dim", "num_samples", "annulus", "cap"]
    last = study.select(panel="counts").final
    return last.group_by(keys).agg(pl.len().alias("seeds"), pl.col("in_cap").sum(), pl.col("in_annulus")).sort(keys)


def coverage_table(study: an.Study, bound: Callable) -> pl.DataFrame:
    """For every cell of counts and every delta: how often the share in the annulus kept the bound, with interval."""
    rows = []
    for cell in count_samples(study).iter_rows(named=True):
        n, p = cell["num_samples"], float(theory.annulus_probability(cell["annulus"], cell["input_dim"]))
        for delta in COUNTED:
            kept = int(np.sum(np.array(cell["in_annulus"]) <= n * bound(p, n, delta)))
            interval = stats.binomtest(kept, cell["seeds"]).proportion_ci(0.95)
            seen = (kept / cell["seeds"], float(interval.low), float(interval.high))
            exactly = 1 - float(theory.exceedance_probability(bound(p, n, delta), p, n))
            applies = bool(theory.chernoff_applies(p, n, delta))
            rows.append((cell["input_dim"], n, cell["annulus"], p, delta, cell["seeds"], kept, *seen, exactly, applies))
    names = "input_dim, num_samples, annulus, p, delta, seeds, kept, coverage, low, high, exact, chernoff_applies"
    return an.make_table(rows, names)


def miss_grid(bound: Callable, where: Callable) -> pl.DataFrame:
    """Exact P(share > bound) / delta over a grid of n, p and delta, at the cells that `where` admits."""
    frames = []
    for n in (8, 32, 128, 512, 2048, 8192):
        p = np.geomspace(1e-2 / n, 0.999, 400)
        for delta in DELTAS:
            keep = where(p, n, delta)
            miss = theory.exceedance_probability(bound(p, n, delta), p, n) / delta
            frames.append(pl.DataFrame({"n": n, "p": p[keep], "delta": delta, "miss": miss[keep]}))
    return pl.concat(frames)


def everywhere(p: np.ndarray, n: int, delta: float) -> np.ndarray:
    return np.full(len(p), True)


def figure(study: an.Study) -> an.Page:
    """g_P; sup |g_n - g_P| against n; its growth with the search; caps within their bounds; Lemma F.7's misses."""
    fig, axes = an.new_axes(2, 3, (12, 6.6))
    draw_weight(axes[0, 0], study)
    draw_sup(axes[0, 1], study)
    draw_scaled(axes[0, 2], study)
    draw_search(axes[1, 0], study)
    draw_caps(axes[1, 1], study)
    draw_misses(axes[1, 2], study)
    slopes, covered = tabulate_slopes(study), coverage_table(study, theory.annulus_bound)
    tables = {"concentration_slopes": slopes, "concentration_coverage": covered}
    return an.Page(fig, caption(study, slopes), tables, {"slope of sup |g_n - g_P| against n": slopes})


def draw_weight(axis, study: an.Study) -> None:
    t = np.linspace(-1, 1, 801)
    for d, color in zip(study.select(panel="sup").values("input_dim"), an.COLORS, strict=False):
        axis.semilogy(t, population_weight("uniform_ball", t, d), color=color, label=f"$d={d}$")
    axis.set(title="population weight $g_P(u, t)$, ball", xlabel="$t$", ylim=(1e-8, 0.4), ylabel="$g_P$")
    axis.legend(loc="lower center", ncols=2)


def draw_sup(axis, study: an.Study) -> None:
    for i, search in enumerate(searches(study, "sup", "sphere")):
        label = f"{search.name}: {an.fit_slope(search.n, search.found).value:+.2f}"
        an.draw_quartiles(axis, search.n, search.found, fmt=f"{an.MARKERS[i]}-", color=an.COLORS[i], label=label)
    for search in searches(study, "wrong"):
        axis.plot(search.n, np.median(search.found, axis=0), "x--", color="0.5", label="control: $g_P$ of $d=5$ at $d=2$")
    low, high = axis.get_ylim()
    axis.set(title=r"$\sup\,|g_n-g_P|$ and its slope", xlabel="$n$", xscale="log", yscale="log", ylim=(low / 20, 1.3 * high))
    axis.legend(loc="lower left", fontsize=7)


def draw_scaled(axis, study: an.Study) -> None:
    for i, search in enumerate(searches(study, "sup", "sphere")):
        axis.plot(search.n, np.median(search.scaled, axis=0), f"{an.MARKERS[i]}-", color=an.COLORS[i], lw=1, label=search.name)
        axis.plot(search.n, search.scaled.max(axis=0), an.MARKERS[i], color=an.COLORS[i], mfc="none")
    axis.set(title=r"$\sup\,|g_n-g_P|\,/\sqrt{d/n}$ (open: largest)", xlabel="$n$", xscale="log")
    axis.set(ylim=(-0.35, None), yticks=np.arange(0, 1.1, 0.2))
    axis.legend(loc="lower left", ncols=2, fontsize=7)


def search_growth(part: an.Study) -> tuple[np.ndarray, np.ndarray]:
    """(directions tried (T,), found over what the whole search finds (T,), median over runs)."""
    table = part.records.filter(pl.col("step") > 0).sort("run", "step")
    table = table.with_columns(share=pl.col("deviation") / pl.col("deviation").last().over("run"))
    seen = table.group_by("step").agg(pl.col("share").median()).sort("step")
    return seen["step"].to_numpy() * part.values("directions")[0], seen["share"].to_numpy()


def draw_search(axis, study: an.Study) -> None:
    part = study.select(panel="sup")
    most = max(part.values("num_samples"))
    for i, d in enumerate(part.values("input_dim")):
        tried, share = search_growth(part.select(input_dim=d, num_samples=most))
        axis.semilogx(tried, share, f"{an.MARKERS[i]}-", color=an.COLORS[i], lw=1, label=f"$d={d}$")
    axis.set(title=f"how the search closes in, $n={most}$", xlabel="directions tried", ylabel="found / found in the end")
    axis.set_xticks(tried, [str(v) for v in tried])
    axis.minorticks_off()
    axis.set_ylim(top=1.02)
    axis.legend(loc="lower right")


def draw_caps(axis, study: an.Study) -> None:
    """Cap probabilities between their bounds, 0 at the lower and 1 at the upper: exact, and counted with intervals."""
    for i, d in enumerate(study.select(panel="counts").values("input_dim")):
        low, high = theory.cap_constants(d)
        power, apart = (d + 1) / 2, high > low * (1 + 1e-9)
        axis.plot([], [], f"{an.MARKERS[i]}-", color=an.COLORS[i], label=f"$d={d}$" + ("" if apart else " (bounds equal)"))
        if not apart:
            continue
        axis.plot(HEIGHTS, (theory.cap_probability(HEIGHTS, d) / HEIGHTS**power - low) / (high - low), color=an.COLORS[i])
        for cell in count_samples(study).filter(input_dim=d).iter_rows(named=True):
            total = cell["seeds"] * cell["num_samples"]
            ends = stats.binomtest(cell["in_cap"], total).proportion_ci(0.95)
            seen = np.array([ends.low, cell["in_cap"] / total, ends.high]) / cell["cap"] ** power
            below, middle, above = (seen - low) / (high - low)
            shift = 0.012 * (i - 2) + (0.006 if cell["num_samples"] > 64 else 0)
            bars = [[middle - below], [above - middle]]
            axis.errorbar(cell["cap"] + shift, middle, yerr=bars, fmt=an.MARKERS[i], color=an.COLORS[i], ms=3, lw=0.8)
    axis.axhspan(0, 1, color="0.93", zorder=0)
    axis.set(title="cap probability between its bounds", xlabel="height $h$", ylim=(-0.6, 1.25))
    axis.set_yticks([0, 1], ["lower\nbound", "upper\nbound"])
    axis.legend(fontsize=7, ncols=2, loc="lower left")


def draw_misses(axis, study: an.Study) -> None:
    grid = miss_grid(theory.annulus_bound, everywhere).filter(n=512)
    covered = coverage_table(study, theory.annulus_bound).filter(
        num_samples=max(study.select(panel="counts").values("num_samples"))
    )
    for delta, color, marker in zip(DELTAS, an.COLORS, an.MARKERS, strict=False):
        line = grid.filter(delta=delta)
        axis.loglog(512 * line["p"], line["miss"], color=color, lw=0.8, label=rf"$\delta={delta:g}$")
        axis.axvline(3 * np.log(1 / delta), color=color, lw=0.8, ls=":")
        seen = covered.filter((pl.col("delta") == delta) & (pl.col("coverage") < 1))
        at = seen["num_samples"] * seen["p"]
        axis.plot(at, (1 - seen["coverage"]) / delta, marker, color=color, mfc="white", zorder=3)
    axis.axhline(1, color="k", lw=0.8)
    axis.set(title=r"Lemma F.7: P(miss) / $\delta$, $n=512$", xlabel="$np$", ylim=(1e-3, 10), xlim=(1e-2, 512))
    axis.legend(fontsize=7, loc="lower left")


def tabulate_slopes(study: an.Study) -> pl.DataFrame:
    """Return one row a search: slope over all n and over the larger half, largest sup over sqrt(d/n)."""
    rows = []
    for panel in ("sup", "sphere", "wrong"):
        for search in searches(study, panel):
            half = len(search.n) // 2
            late = an.fit_slope(search.n[half:], search.found[:, half:]).value if half else np.nan
            slope = an.fit_slope(search.n, search.found)
            rows.append((panel, search.law, search.dim, *slope, late, float(np.max(search.scaled))))
    return an.make_table(rows, "panel, law, d, slope, low, high, slope_at_large_n, largest_over_scale")


def caption(study: an.Study, slopes: pl.DataFrame) -> str:
    run = an.read_settings(study.select(panel="sup"))
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
        "the share in an annulus of probability p exceeds its bound, over delta (lines), and counted (open, where a seed "
        "exceeds it); right of the dotted lines Chernoff's condition np >= 3 ln(1/delta) holds. As stated, for all p, it is "
        f"violated: at n = {worst['n']}, p = {worst['p']:.3g}, delta = {worst['delta']:g} the probability is "
        f"{worst['miss']:.2f} delta."
    )


def worst_slope(found: list[Search]) -> an.Estimate:
    """Return the largest |slope + 1/2| against n over the settings."""
    return an.largest_distance([(s.n, s.found) for s in found], [-0.5] * len(found))


def largest_scaled(found: list[Search]) -> float:
    """Return the largest |g_n - g_P| found over sqrt(d / n), over settings, n and seeds."""
    return max(float(np.max(search.scaled)) for search in found)


def least_cap_slack(constants: Callable[[int], tuple[float, float]]) -> float:
    """Return the least relative distance of the exact cap probability inside its bounds, for d = 1..20, h in (0, 1]."""
    slack = np.inf
    for d in range(1, 21):
        low, high = (c * HEIGHTS ** ((d + 1) / 2) for c in constants(d))
        exactly = theory.cap_probability(HEIGHTS, d)
        slack = min(slack, float(np.min(exactly / low - 1)), float(np.min(high / exactly - 1)))
    return float(slack)


def least_p_value(cells: pl.DataFrame) -> float:
    """Return the smallest p-value of the counts in caps under their exact probability, times the number of cells."""
    values = []
    for cell in cells.iter_rows(named=True):
        probability = float(theory.cap_probability(cell["cap"], cell["input_dim"]))
        values.append(stats.binomtest(cell["in_cap"], cell["seeds"] * cell["num_samples"], probability).pvalue)
    return float(max(len(values) * min(values), 1e-300))  # 0 would be taken for no result


def worst_coverage(covered: pl.DataFrame) -> an.Estimate:
    """Return the least excess of coverage over 1 - delta where Chernoff's condition holds; unknown if it never does.

    Clopper-Pearson over seeds, at a level that allows for the number of cells.
    """
    rows = covered.filter("chernoff_applies").rows(named=True)
    if not rows:
        return an.UNKNOWN
    level = 1 - (1 - an.LEVEL) / len(rows)
    ends = [stats.binomtest(row["kept"], row["seeds"]).proportion_ci(level) for row in rows]
    excess = np.array([(row["coverage"], end.low, end.high) for row, end in zip(rows, ends, strict=True)])
    least = (excess - 1 + np.array([[row["delta"]] for row in rows])).min(axis=0)
    return an.Estimate(*map(float, least), seeds=min(row["seeds"] for row in rows), level=an.LEVEL)


def largest_miss(bound: Callable, where: Callable) -> float:
    """Return the largest P(miss) / delta of the grid."""
    return float(miss_grid(bound, where)["miss"].to_numpy().max())


def claims(study: an.Study) -> list[an.Claim]:
    found, wrong, cells = searches(study, "sup", "sphere"), searches(study, "wrong"), count_samples(study)
    another, conditional = {"g_P of another dimension": wrong}, theory.chernoff_applies
    counter = miss_grid(theory.annulus_bound, everywhere).sort("miss").row(-1, named=True)
    covered, quarter = (coverage_table(study, bound) for bound in (theory.annulus_bound, theory.shrink_deviation(0.25)))
    counted = {"caps 10 % higher": cells.with_columns(cap=1.1 * pl.col("cap"))}
    lemma, own, smaller = f"{SOURCE}, Lemma F.7", theory.annulus_bound, theory.shrink_deviation(3**-0.5)
    worst = f"worst at n = {counter['n']}, p = {counter['p']:.3g}, delta = {counter['delta']:g}"
    grid, repair = "by exact binomial tails, n = 8..8192", "p + sqrt(2 p ln(1/delta)/n) + 2 ln(1/delta)/(3n)"
    third, no_term, as_stated = (
        {"ln(1/delta) for 3 ln(1/delta)": smaller},
        {"no deviation": theory.mean_bound},
        {"Lemma F.7": own},
    )
    exact = [
        ("annulus-exact", lemma, f"The same {grid}, all p with np >= 3 ln(1/delta)", own, third, conditional),
        ("annulus-as-stated", lemma, f"The same for all p; {worst}", own, no_term, everywhere),
        (
            "annulus-bernstein",
            "derived: Bernstein's inequality",
            f"{repair} repairs it",
            theory.bernstein_bound,
            as_stated,
            everywhere,
        ),
    ]
    return [
        an.judge(
            id="concentration/sup-falls-as-root-n",
            source=f"{SOURCE}, Theorem E.5",
            statement="sup |g_n - g_P| falls like n^(-1/2), in every dimension and for both laws",
            expects=an.at_most(0.1, of="largest |slope + 1/2|"),
            evidence=an.compare(worst_slope, found, neighbour=another),
        ),
        an.judge(
            id="concentration/none-found-above-root-d-over-n",
            source=f"{SOURCE}, Theorem E.5 (its constant is not given; 1 is tried)",
            statement="No |g_n - g_P| above sqrt(d/n) was found at any n, d and seed; a search bounds the sup from below only",
            expects=an.at_most(1, of="largest found / sqrt(d/n)"),
            evidence=an.compare(largest_scaled, found, neighbour=another),
            post_hoc="the constant 1",
        ),
        an.judge(
            id="concentration/cap-bounds",
            source=f"{SOURCE}, App. I; constants derived",
            statement="2c <= P(cap of height h) / h^((d+1)/2) <= 2^((d+1)/2) c, c = v_(d-1) / ((d+1) v_d), d = 1..20, h <= 1",
            expects=an.at_least(-1e-12, of="smallest relative slack"),
            evidence=an.compare(
                least_cap_slack, theory.cap_constants, neighbour={"constants 1 % closer": theory.closer_constants}
            ),
        ),
        an.judge(
            id="concentration/cap-counts",
            source="closed form, derived",
            statement=f"Samples fall into caps with their exact probability ({len(cells)} cells)",
            expects=an.at_least(0.01, of="smallest p-value times cells"),
            evidence=an.compare(least_p_value, cells, neighbour=counted),
        ),
        an.judge(
            id="concentration/annulus-coverage",
            source=lemma,
            statement="The share in the annulus keeps its bound with probability 1 - delta, where np >= 3 ln(1/delta)",
            expects=an.at_least(0, of="coverage - (1 - delta) at the worst cell (Clopper-Pearson over seeds)"),
            evidence=an.compare(worst_coverage, covered, neighbour={"a quarter of the deviation term": quarter}),
        ),
        *(
            an.judge(
                id=f"concentration/{name}",
                source=source,
                statement=statement,
                expects=an.at_most(1, of="largest P(miss) / delta"),
                evidence=an.compare(largest_miss, bound, neighbour=control, where=where),
                post_hoc="" if where is conditional else "that the lemma fails for small n p was found by running",
            )
            for name, source, statement, bound, control, where in exact
        ),
    ]
