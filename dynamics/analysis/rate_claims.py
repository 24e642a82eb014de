"""What is claimed of rates: how slopes change with the dimension, how flat or steep they are, levels, the edge of stability.

A part is what one check looks at: the runs of one setting (one panel, learning rate and weight decay) unless said otherwise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate, over_seeds
from dynamics.analysis.claims import Claim, Finding, judge, within
from dynamics.analysis.slopes import (
    ERROR,
    UNKNOWN,
    at_step,
    common_steps,
    fit_slope,
    levels,
    median_slope,
    seed_table,
    settings,
    whole_seeds,
)
from dynamics.study.tables import Study


def kept_share(part: Study) -> Estimate:
    """What is left of |slope| at the largest d, as a share of that at the smallest, both read off the line fitted over d."""
    dims = np.array(part.values("input_dim"), float)
    if len(dims) < 2:
        return UNKNOWN
    values, (_, _, n) = at_step(part, common_steps(part)[-1]).grid(ERROR, "seed", "input_dim", "num_samples")
    values = values[whole_seeds(values)]
    if not len(values):
        return UNKNOWN
    slopes = [median_slope(np.array(n), values[:, i]) for i in range(len(dims))]
    ends = np.linalg.pinv(np.stack([np.ones_like(dims), dims], axis=1)).T @ [[1, 1], [dims[0], dims[-1]]]

    def share(index: np.ndarray) -> np.ndarray:
        first, last = (np.stack([np.abs(s(index)) for s in slopes], axis=1) @ ends).T
        return last / first

    return over_seeds(share, len(values))


def loses_half(part: Study) -> Finding:
    """More than half of the slope at the smallest d is lost at the largest."""
    return within(kept_share(part), -np.inf, 0.5)


def keeps_half(part: Study) -> Finding:
    """At least half of the slope at the smallest d is kept at the largest."""
    return within(kept_share(part), 0.5, np.inf)


def steepness(part: Study, d: int) -> Estimate:
    """|slope| as -slope at the last common step."""
    own = part.select(input_dim=d)
    fit = fit_slope(*seed_table(own, ERROR, common_steps(own)[-1]))
    return Estimate(-fit.value, -fit.high, -fit.low)


def steepnesses(study: Study) -> list[Estimate]:
    """One for every setting and d; where one is unknown (NaN), numpy's argmin and argmax choose it."""
    return [steepness(part, d) for *_, part in settings(study) for d in part.values("input_dim")]


def flat(study: Study) -> Finding:
    """|slope| is at most 0.2 in every setting and d of the study; the largest is measured."""
    found = steepnesses(study)
    return within(found[np.argmax([e.value for e in found])], -np.inf, 0.2)


def steep(study: Study) -> Finding:
    """|slope| is at least 0.5 in every setting and d of the study; the least is measured."""
    found = steepnesses(study)
    return within(found[np.argmin([e.value for e in found])], 0.5, np.inf)


def level_ratio(pair: list[tuple[Study, int]]) -> Estimate:
    """Median error at the largest n of the second (part, step) over that of the first; seeds are resampled together."""
    both = np.stack([levels(part, step) for part, step in pair], axis=1)
    both = both[whole_seeds(both)]
    if not len(both):
        return UNKNOWN

    def ratio(index: np.ndarray) -> np.ndarray:
        first, second = np.median(both[index], axis=1).T
        return second / first

    return over_seeds(ratio, len(both))


def worse_at_equal_time(part: Study) -> Finding:
    """The largest learning rate has a larger error than the smallest, each at its end; one panel and d."""
    ends = [part.select(learning_rate=rate) for rate in extremes(part)]
    return within(level_ratio([(end, common_steps(end)[-1]) for end in ends]), 1, np.inf)


def worse_at_equal_steps(part: Study) -> Finding:
    """The largest learning rate has a larger error than the smallest at the last step that both have; one panel and d."""
    ends = [part.select(learning_rate=rate) for rate in extremes(part)]
    step = common_steps(part.select(learning_rate=extremes(part)))[-1]
    return within(level_ratio([(end, step) for end in ends]), 1, np.inf)


def extremes(part: Study) -> list[float]:
    """The smallest and the largest learning rate."""
    rates = part.values("learning_rate")
    return [rates[0], rates[-1]]


def at_the_edge(part: Study, by: str = "input_dim") -> Finding:
    """eta * sharpness / 2 within 5 % of 1: median over n, seeds and the later half of the records, at the worst d (or value of
    `by`).

    Sharpness is Gauss-Newton's, in the normalisation of the loss that is descended.
    """
    ratio = pl.col("gauss_newton_sharpness") * pl.col("optimizer.learning_rate") / 2
    late = part.records.filter(pl.col("step") >= pl.col("steps") / 2).with_columns(ratio=ratio)
    grid, _ = replace(part, records=late).grid("ratio", "seed", by, "num_samples", "step")

    def worst(index: np.ndarray) -> np.ndarray:
        medians = np.nanmedian(grid[index], axis=(1, 3, 4))
        return medians[np.arange(len(index)), np.argmax(np.abs(medians - 1), axis=1)]

    return within(over_seeds(worst, len(grid), num_resamples=1000), 0.95, 1.05)


def stable_against_low_norm(study: Study, name: str, source: str) -> list[Claim]:
    """At every learning rate the slope falls with d without decay, not with it; then what a larger rate does at large d.

    Where the low-norm panel lacks a learning rate its largest one is the control.
    """
    stable, low = study.select(panel="stable"), study.select(panel="low_norm")
    dims, etas, low_etas = study.values("input_dim"), stable.values("learning_rate"), low.values("learning_rate")
    span = f"d = {dims[0]} to {dims[-1]}"
    falls = [
        judge(
            f"{name}/slope-falls-at-eta-{eta:g}",
            source,
            f"At eta = {eta:g} without decay the slope's magnitude falls with d ({span})",
            "share of |slope| kept < 1/2",
            loses_half,
            stable.select(learning_rate=eta),
            low.select(learning_rate=eta if eta in low_etas else low_etas[-1]),
            f"low-norm runs at eta = {eta if eta in low_etas else low_etas[-1]:g}",
        )
        for eta in etas
    ]
    stays = [
        judge(
            f"{name}/low-norm-slope-does-not-fall-at-eta-{eta:g}",
            source,
            f"At eta = {eta:g} with decay it does not fall so ({span})",
            "share of |slope| kept >= 1/2",
            keeps_half,
            low.select(learning_rate=eta),
            stable.select(learning_rate=eta),
            "stable minima at the same eta",
        )
        for eta in low_etas
    ]
    return [*falls, *stays, *larger_rate_is_worse(stable, name, source)]


def larger_rate_is_worse(stable: Study, name: str, source: str) -> list[Claim]:
    """At the largest d the error at the largest learning rate is above that at the smallest: at equal steps, at equal time."""
    dims, etas, n = stable.values("input_dim"), extremes(stable), stable.values("num_samples")[-1]
    step = common_steps(stable.select(learning_rate=etas))[-1]
    return [
        judge(
            f"{name}/larger-eta-is-worse-at-{slug}",
            source,
            f"At d = {dims[-1]}, n = {n} and {when} the error at eta = {etas[1]:g} is above that at eta = {etas[0]:g}",
            "ratio of errors > 1",
            check,
            stable.select(input_dim=dims[-1]),
            stable.select(input_dim=dims[0]),
            f"d = {dims[0]}",
        )
        for slug, when, check in (
            ("equal-steps", f"step {step}", worse_at_equal_steps),
            ("equal-time", "equal eta * steps", worse_at_equal_time),
        )
    ]
