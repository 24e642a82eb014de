"""What is claimed of rates: how slopes change with the dimension, how flat or steep they are, levels, the edge of stability.

A part is what one check looks at: the runs of one setting (one panel, learning rate and weight decay) unless said otherwise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate, over_seeds
from dynamics.analysis.bounds import UNKNOWN, at_least, at_most, within
from dynamics.analysis.claims import Claim, compare, judge
from dynamics.analysis.slopes import (
    ERROR,
    at_step,
    find_whole_seeds,
    fit_slope,
    list_common_steps,
    list_settings,
    median_slope,
    read_levels,
    read_seed_table,
)
from dynamics.study.tables import Study

LOSES_HALF = at_most(0.5, of="share of |slope| kept")
KEEPS_HALF = at_least(0.5, of="share of |slope| kept")
AT_THE_EDGE = within(0.95, 1.05, of="eta S / 2 at the worst d")


def kept_share(part: Study) -> Estimate:
    """Return |slope| at the largest d as a share of that at the smallest, both read off the line fitted over d."""
    dims = np.array(part.values("input_dim"), float)
    if len(dims) < 2:
        return UNKNOWN
    values, (_, _, n) = at_step(part, list_common_steps(part)[-1]).grid(ERROR, "seed", "input_dim", "num_samples")
    values = values[find_whole_seeds(values)]
    if not len(values):
        return UNKNOWN
    slopes = [median_slope(np.array(n), values[:, i]) for i in range(len(dims))]
    ends = np.linalg.pinv(np.stack([np.ones_like(dims), dims], axis=1)).T @ [[1, 1], [dims[0], dims[-1]]]

    def share(index: np.ndarray) -> np.ndarray:
        first, last = (np.stack([np.abs(s(index)) for s in slopes], axis=1) @ ends).T
        return last / first

    return over_seeds(share, len(values))


def measure_steepness(part: Study, d: int) -> Estimate:
    """Return |slope| as -slope at the last common step."""
    own = part.select(input_dim=d)
    fit = fit_slope(*read_seed_table(own, ERROR, list_common_steps(own)[-1]))
    return Estimate(-fit.value, -fit.high, -fit.low)


def list_steepness(study: Study) -> list[Estimate]:
    """Return |slope| for every setting and d; where one is unknown (NaN), numpy's argmin and argmax choose it."""
    return [measure_steepness(part, d) for *_, part in list_settings(study) for d in part.values("input_dim")]


def greatest_steepness(study: Study) -> Estimate:
    """Return the largest |slope| over the settings and d of the study."""
    found = list_steepness(study)
    return found[np.argmax([estimate.value for estimate in found])]


def least_steepness(study: Study) -> Estimate:
    """Return the smallest |slope| over the settings and d of the study."""
    found = list_steepness(study)
    return found[np.argmin([estimate.value for estimate in found])]


def compare_levels(part: Study, *, at_equal_steps: bool) -> Estimate:
    """Return the median error at the largest learning rate and n over that at the smallest rate; one panel and d.

    At the last step that both rates have, or each at its end, where eta * steps is equal. Seeds are resampled together.
    """
    ends = [part.select(learning_rate=rate) for rate in extreme_rates(part)]
    steps = [list_common_steps(part.select(learning_rate=extreme_rates(part)) if at_equal_steps else end)[-1] for end in ends]
    both = np.stack([read_levels(end, step) for end, step in zip(ends, steps, strict=True)], axis=1)
    both = both[find_whole_seeds(both)]
    if not len(both):
        return UNKNOWN

    def ratio(index: np.ndarray) -> np.ndarray:
        first, second = np.median(both[index], axis=1).T
        return second / first

    return over_seeds(ratio, len(both))


def extreme_rates(part: Study) -> list[float]:
    """Return the smallest and the largest learning rate."""
    rates = part.values("learning_rate")
    return [rates[0], rates[-1]]


def worst_edge(part: Study, by: str = "input_dim") -> Estimate:
    """Return eta * sharpness / 2: median over n, seeds and the later half of the records, at the worst d (or value of `by`).

    Sharpness is Gauss-Newton's, in the normalisation of the loss that is descended.
    """
    ratio = pl.col("gauss_newton_sharpness") * pl.col("optimizer.learning_rate") / 2
    late = part.records.filter(pl.col("step") >= pl.col("steps") / 2).with_columns(ratio=ratio)
    grid, _ = replace(part, records=late).grid("ratio", "seed", by, "num_samples", "step")

    def worst(index: np.ndarray) -> np.ndarray:
        medians = np.nanmedian(grid[index], axis=(1, 3, 4))
        return medians[np.arange(len(index)), np.argmax(np.abs(medians - 1), axis=1)]

    return over_seeds(worst, len(grid), num_resamples=1000)


def judge_stable_against_low_norm(study: Study, name: str, source: str) -> list[Claim]:
    """Judge that at every learning rate the slope falls with d without decay, not with it; then `judge_larger_rate`.

    Where the low-norm panel lacks a learning rate its largest one is the control.
    """
    stable, low = study.select(panel="stable"), study.select(panel="low_norm")
    dims, low_rates = study.values("input_dim"), low.values("learning_rate")
    span = f"d = {dims[0]} to {dims[-1]}"
    found = []
    for rate in stable.values("learning_rate"):
        other = rate if rate in low_rates else low_rates[-1]
        control = {f"low-norm runs at eta = {other:g}": low.select(learning_rate=other)}
        found.append(
            judge(
                id=f"{name}/slope-falls-at-eta-{rate:g}",
                source=source,
                statement=f"At eta = {rate:g} without decay the slope's magnitude falls with d ({span})",
                expects=LOSES_HALF,
                evidence=compare(kept_share, stable.select(learning_rate=rate), control=control),
            )
        )
    for rate in low_rates:
        control = {"stable minima at the same eta": stable.select(learning_rate=rate)}
        found.append(
            judge(
                id=f"{name}/low-norm-slope-does-not-fall-at-eta-{rate:g}",
                source=source,
                statement=f"At eta = {rate:g} with decay it does not fall so ({span})",
                expects=KEEPS_HALF,
                evidence=compare(kept_share, low.select(learning_rate=rate), control=control),
            )
        )
    return [*found, *judge_larger_rate(stable, name, source)]


def judge_larger_rate(stable: Study, name: str, source: str) -> list[Claim]:
    """Judge that at the largest d the error at the largest learning rate is above that at the smallest, in two ways."""
    dims, rates, n = stable.values("input_dim"), extreme_rates(stable), stable.values("num_samples")[-1]
    step = list_common_steps(stable.select(learning_rate=rates))[-1]
    control, errors = {f"d = {dims[0]}": stable.select(input_dim=dims[0])}, f"the error at eta = {rates[1]:g}"
    return [
        judge(
            id=f"{name}/larger-eta-is-worse-at-{'equal-steps' if equal else 'equal-time'}",
            source=source,
            statement=f"At d = {dims[-1]}, n = {n} and {when} {errors} is above that at eta = {rates[0]:g}",
            expects=at_least(1, of="ratio of errors"),
            evidence=compare(compare_levels, stable.select(input_dim=dims[-1]), control=control, at_equal_steps=equal),
        )
        for equal, when in ((True, f"step {step}"), (False, "equal eta * steps"))
    ]
