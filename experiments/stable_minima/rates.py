"""Figure 2 of Liang et al. 2025: the curse of dimensionality of stable minima, and its absence at low norm."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.colors import to_rgb

from dynamics.analysis.bootstrap import Estimate, over_seeds
from dynamics.analysis.claims import Claim, Finding, judge, within
from dynamics.analysis.figures import MARKERS, Page
from dynamics.analysis.rates import common_steps, fit_slope, median_slope, seed_table, slope_table
from dynamics.analysis.stability import stability_claims
from dynamics.study import Study
from dynamics.theory import rates

ERROR = "clean_train_error"
METRICS = [ERROR, "excess_risk", "generalization_gap"]
SOURCE = "Liang et al. 2025, Figure 2"
TITLES = {"stable": "stable minima", "low_norm": "low norm"}


def stopping_times(study: Study) -> list[int]:
    """The recorded steps of the later training, at least a twentieth of it."""
    recorded = study.records["step"].unique().sort().to_list()
    return common_steps(study, [s for s in recorded if s >= max(recorded) / 20])


def settings(study: Study) -> list[tuple[str, Study]]:
    """One entry for each panel, learning rate and weight decay, with its title."""
    keys = ["panel", "optimizer.learning_rate", "optimizer.weight_decay"]
    found = []
    for panel, rate, decay in study.runs.select(keys).unique(maintain_order=True).iter_rows():
        part = study.select(panel=panel, learning_rate=rate, weight_decay=decay)
        title = f"{TITLES.get(panel, panel)}: $\\eta$ = {rate:g}" + (f", decay {decay:g}" if decay else "")
        found.append((title, part))
    return found


def figure(study: Study) -> Page:
    """A row a setting: error against n; slope against the stopping time; slope against d with the theory's exponents."""
    stops = stopping_times(study)
    slopes = slope_table(study, METRICS, stops)
    rows = settings(study)
    dims = study.values("input_dim")
    shades = [to_rgb(c) for c in plt.get_cmap("viridis")(np.linspace(0, 0.88, len(dims)))]
    fig, axes = plt.subplots(len(rows), 3, figsize=(11, 3.4 * len(rows)), squeeze=False)
    for (title, part), (left, middle, right) in zip(rows, axes, strict=True):
        own = of_setting(slopes, part)
        for i, (d, shade, marker) in enumerate(zip(dims, shades, MARKERS * len(dims), strict=False)):
            dodge = 1.012 ** (i - (len(dims) - 1) / 2)  # so that error bars of different d do not hide one another
            n, values = seed_table(part.select(input_dim=d), ERROR, stops[-1])
            if not len(values):
                continue
            low, median, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
            fit = fit_slope(n, values)
            spread = [median - low, high - median]
            left.errorbar(n * dodge, median, yerr=spread, fmt=marker, color=shade, lw=1, label=f"$d={d}$: {fit.value:+.2f}")
            line = np.exp(np.mean(np.log(median)) + fit.value * (np.log(n) - np.mean(np.log(n))))
            left.plot(n, line, "-", color=shade)
            at = own.filter(input_dim=d)
            middle.errorbar(at["step"] * dodge**2, at["slope"], yerr=bars(at), color=shade, marker=marker, capsize=2, lw=1)
        left.set(title=title, xlabel="$n$", ylabel="clean in-sample error", xscale="log", yscale="log")
        left.set_xticks(n, [str(v) for v in n])
        left.minorticks_off()
        left.legend(title="slope", loc="center left", bbox_to_anchor=(1, 0.5))
        middle.set(title="slope against stopping time", xlabel="step", ylabel="slope", xscale="log")
        middle.axhline(0, color="0.8", lw=0.8, zorder=0)

        last = own.filter(step=stops[-1])
        right.plot(dims, [-rates.stable_upper(x) for x in dims], "--", color="0.45", label="upper bound $1/(2d+4)$")
        right.plot(dims, [-rates.stable_lower(x) for x in dims], ":", color="0.45", label="lower bound $2/(d+1)$")
        right.plot(dims, [-rates.low_norm(x) for x in dims], "-.", color="0.45", label="low norm $(d+3)/(2d+3)$")
        right.errorbar(last["input_dim"], last["slope"], yerr=bars(last), fmt="ko-", capsize=3, label=f"step {stops[-1]:,}")
        right.axhline(0, color="0.8", lw=0.8, zorder=0)
        right.set(title="slope against dimension", xlabel="$d$", ylabel="slope", xticks=dims)
    axes[-1, 2].legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    for column in (1, 2):
        low = min(a.get_ylim()[0] for a in axes[:, column])
        high = max(a.get_ylim()[1] for a in axes[:, column])
        for a in axes[:, column]:
            a.set_ylim(low, high)
    last = slopes.filter(metric=ERROR, step=stops[-1]).drop("metric")
    return Page(fig, caption(study, stops), {"slopes": slopes}, {f"slopes of the {ERROR}": last})


def of_setting(slopes: pl.DataFrame, part: Study) -> pl.DataFrame:
    """The slopes of the clean in-sample error in one setting."""
    run = part.runs.row(0, named=True)
    return slopes.filter(
        panel=run["panel"],
        learning_rate=run["optimizer.learning_rate"],
        weight_decay=run["optimizer.weight_decay"],
        metric=ERROR,
    )


def bars(table: pl.DataFrame) -> np.ndarray:
    """Error bars (2, N) from the columns slope, low, high."""
    low, high = (table["slope"] - table["low"], table["high"] - table["slope"])
    return np.nan_to_num(np.stack([low.to_numpy(), high.to_numpy()]))


def caption(study: Study, stops: list[int]) -> str:
    n, seeds = study.values("num_samples"), study.values("seed")
    run = study.runs.row(0, named=True)
    return (
        f"Median over {len(seeds)} seeds of the clean in-sample error against n = {', '.join(map(str, n))}, bars from "
        f"quartile to quartile; {run['data.law']} inputs, {run['target.kind']} target, noise {run['data.noise_std']:g}, "
        f"{run['loss.normalization']} loss, gradient clipped at {run['optimizer.clip_norm']:g}, {stops[-1]} steps. "
        "Slopes by weighted least squares on log-log medians, 95 % intervals by bootstrap over seeds. Bounds are worst "
        "cases over a class of networks and drawn as guides: a trained network is one point of the class."
    )


def kept_share(part: Study) -> Estimate:
    """What is left of |slope| at the largest d, as a share of that at the smallest, both read off the line fitted over d."""
    dims = np.array(part.values("input_dim"), float)
    step = stopping_times(part)[-1]
    tables = [seed_table(part.select(input_dim=int(d)), ERROR, step) for d in dims]
    count = min(len(values) for _, values in tables)
    if len(dims) < 2 or count < 1:
        return Estimate(np.nan, np.nan, np.nan)
    slopes = [median_slope(n, values[:count]) for n, values in tables]
    ends = np.linalg.pinv(np.stack([np.ones_like(dims), dims], axis=1)).T @ [[1, 1], [dims[0], dims[-1]]]

    def share(index: np.ndarray) -> np.ndarray:
        first, last = (np.stack([np.abs(s(index)) for s in slopes], axis=1) @ ends).T
        return last / first

    return over_seeds(share, count)


def loses_half(part: Study) -> Finding:
    """More than half of the slope at the smallest d is lost at the largest."""
    return within(kept_share(part), -np.inf, 0.5)


def keeps_half(part: Study) -> Finding:
    """At least half of the slope at the smallest d is kept at the largest."""
    return within(kept_share(part), 0.5, np.inf)


def at_the_edge(part: Study) -> Finding:
    """eta * sharpness / 2 within 5 % of 1: median over n, seeds and the later half of the records, at the worst d.

    Sharpness is Gauss-Newton's, in the normalisation of the loss that is descended.
    """
    ratio = pl.col("gauss_newton_sharpness") * pl.col("optimizer.learning_rate") / 2
    late = part.records.filter(pl.col("step") >= pl.col("steps") / 2).with_columns(ratio=ratio)
    grid, _ = replace(part, records=late).grid("ratio", "seed", "input_dim", "num_samples", "step")

    def worst(index: np.ndarray) -> np.ndarray:
        medians = np.nanmedian(grid[index], axis=(1, 3, 4))
        return medians[np.arange(len(index)), np.argmax(np.abs(medians - 1), axis=1)]

    return within(over_seeds(worst, len(grid), num_resamples=1000), 0.95, 1.05)


def flat_at_five(part: Study) -> Finding:
    """|slope| at the largest d is at most 0.2."""
    return within(magnitude(part, max(part.values("input_dim"))), -np.inf, 0.2)


def steep_everywhere(part: Study) -> Finding:
    """|slope| is at least 0.5 at every d; the least of them is measured."""
    return within(min((magnitude(part, d) for d in part.values("input_dim")), key=lambda e: e.value), 0.5, np.inf)


def magnitude(part: Study, d: int) -> Estimate:
    n, values = seed_table(part.select(input_dim=d), ERROR, stopping_times(part)[-1])
    if not len(values):
        return Estimate(np.nan, np.nan, np.nan)
    fit = fit_slope(n, values)
    return Estimate(-fit.value, -fit.high, -fit.low)


def claims(study: Study) -> list[Claim]:
    stable, low = study.select(panel="stable"), study.select(panel="low_norm")
    dims = study.values("input_dim")
    span = f"d = {dims[0]} to {dims[-1]}"
    against_low, against_stable = "low-norm runs", "stable minima"
    return [
        judge(
            "rates/stable-slope-falls",
            SOURCE,
            f"The slope's magnitude falls with d for stable minima ({span})",
            "share of |slope| kept < 1/2",
            loses_half,
            stable,
            low,
            against_low,
        ),
        judge(
            "rates/low-norm-slope-does-not-fall",
            SOURCE,
            f"The slope's magnitude does not fall so at low norm ({span})",
            "share of |slope| kept >= 1/2",
            keeps_half,
            low,
            stable,
            against_stable,
        ),
        judge(
            "rates/stable-slope-is-flat-at-large-d",
            SOURCE,
            f"At d = {dims[-1]} stable minima hardly improve with n",
            "|slope| <= 0.2",
            flat_at_five,
            stable,
            low,
            against_low,
        ),
        judge(
            "rates/low-norm-slope-is-steep",
            SOURCE,
            "At low norm every slope is steeper than 0.5",
            "least |slope| over d >= 0.5",
            steep_everywhere,
            low,
            stable,
            against_stable,
        ),
        judge(
            "rates/late-sharpness-at-the-edge",
            f"{SOURCE}; Cohen et al. 2021",
            "Late in training stable minima have sharpness 2/eta",
            "eta S / 2 in [0.95, 1.05] at the worst d",
            at_the_edge,
            stable,
            low,
            against_low,
        ),
        *stability_claims(study, "rates"),
    ]
