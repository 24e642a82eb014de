"""What is claimed of rates: how slopes change with the dimension, how flat or steep they are, levels,
the edge of stability.

A part is what one check looks at: the runs of one setting (one panel, learning rate and weight decay)
    unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from dynamics.analysis.bounds import UNKNOWN, above, at_least, at_most
from dynamics.analysis.claims import Claim, judge
from dynamics.analysis.controls import compare, permute
from dynamics.analysis.intervals import (
    Estimate,
    Statistic,
    greatest_over_seeds,
    least_over_seeds,
    over_seeds,
    over_values,
)
from dynamics.analysis.seed_values import ratio_over_seeds, split_by, stack_seeds, values_by_seed
from dynamics.analysis.slopes import (
    ERROR,
    at_step,
    find_whole_seeds,
    fit_slope,
    lay_out,
    list_common_steps,
    list_settings,
    median_slope,
    read_levels,
    read_seed_table,
)
from dynamics.study.tables import Study

LOSES_HALF = at_most(0.5, of="share of |slope| kept")
KEEPS_HALF = at_least(0.5, of="share of |slope| kept")
EDGE_TOLERANCE = 0.05


def read_aligned(parts: Sequence[Study]) -> tuple[list[tuple[np.ndarray, np.ndarray]], int]:
    """Return (n (N,), errors (S, N)) of every part at its last common step, and how many seeds had to be left out.

    Rows are the seeds that all parts have, with a positive error everywhere; inf where a run diverged,
    and then counted.
    """
    seeds = sorted(set.intersection(*(set(part.values("seed")) for part in parts)))
    tables = []
    for part in parts:
        own = part.select(seed=seeds)
        values, (_, n) = lay_out(at_step(own, list_common_steps(own)[-1]), ERROR, "seed", "num_samples")
        tables.append((np.array(n), values))
    whole = np.all([find_whole_seeds(values) for _, values in tables], axis=0)
    kept = [(n, values[whole]) for n, values in tables]
    diverged = np.any([np.isinf(values).any(axis=1) for _, values in kept], axis=0)
    return kept, int((~whole).sum() + diverged.sum())


def kept_share(part: Study) -> Estimate:
    """Return |slope| at the largest d as a share of that at the smallest, both read off the line fitted over d."""
    dims = np.array(part.values("input_dim"), float)
    if len(dims) < 2:
        return UNKNOWN
    tables, left_out = read_aligned([part.select(input_dim=d) for d in part.values("input_dim")])
    slopes = [median_slope(n, values) for n, values in tables]
    ends = np.linalg.pinv(np.stack([np.ones_like(dims), dims], axis=1)).T @ [[1, 1], [dims[0], dims[-1]]]

    def share(index: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            first, last = (np.stack([np.abs(s(index)) for s in slopes], axis=1) @ ends).T
            return last / first

    return over_seeds(share, len(tables[0][1]), left_out=left_out)


def measure_steepness(part: Study, d: int) -> Estimate:
    """Return -slope at the last common step, positive where the error falls."""
    own = part.select(input_dim=d)
    return -fit_slope(*read_seed_table(own, ERROR, list_common_steps(own)[-1]))


def list_slopes(study: Study) -> tuple[Statistic, int, int]:
    """Return the slopes (R, K) for every setting and d as one statistic of the seeds; how many seeds;
    how many left out."""
    parts = [part.select(input_dim=d) for *_, part in list_settings(study) for d in part.values("input_dim")]
    tables, left_out = read_aligned(parts)
    slopes = [median_slope(n, values) for n, values in tables]
    return lambda index: np.stack([slope(index) for slope in slopes], axis=1), len(tables[0][1]), left_out


def greatest_steepness(study: Study) -> Estimate:
    """Return the largest |slope| over the settings and d of the study:
    an error that grows with n is not flat either."""
    slopes, num_seeds, left_out = list_slopes(study)
    return greatest_over_seeds(lambda index: np.abs(slopes(index)), num_seeds, left_out=left_out)


def least_steepness(study: Study) -> Estimate:
    """Return the smallest -slope over the settings and d of the study."""
    slopes, num_seeds, left_out = list_slopes(study)
    return least_over_seeds(lambda index: -slopes(index), num_seeds, left_out=left_out)


def stack_levels(part: Study, *, at_equal_steps: bool) -> np.ndarray:
    """Return errors (S, 2) at the largest n, at the smallest and the largest learning rate, over the seeds of both;
    one d.

    At the last step that both rates have, or each at its end, where eta * steps is equal. inf where a run diverged.
    """
    both = part.select(learning_rate=extreme_rates(part))
    last = list_common_steps(both)[-1]
    parts = split_by(both, "learning_rate").values()
    return stack_seeds(parts, lambda own: read_levels(own, last if at_equal_steps else list_common_steps(own)[-1]))


def ratio_of_levels(levels: np.ndarray) -> Estimate:
    """Return the median of the second column over that of the first, levels (S, 2)."""
    return ratio_over_seeds(levels[:, 1], levels[:, 0])


def extreme_rates(part: Study) -> list[float]:
    """Return the smallest and the largest learning rate."""
    rates = part.values("learning_rate")
    return [rates[0], rates[-1]]


def worst_edge(part: Study, by: str = "input_dim") -> Estimate:
    """Return the largest |eta * sharpness / 2 - 1| over d (or another axis), one n: median over seeds of the median
    over the later half of the records. Sharpness is Gauss-Newton's,
    in the normalisation of the loss that is descended."""
    ratio = pl.col("gauss_newton_sharpness") * pl.col("optimizer.learning_rate") / 2
    late = part.records.filter(pl.col("step") >= pl.col("steps") / 2)
    medians = late.unique(["run", "step"]).group_by("run").agg(value=ratio.median().fill_null(np.nan))
    table = stack_seeds(split_by(part, by).values(), lambda own: values_by_seed(own, medians)["value"].to_numpy())
    return over_values(lambda v: np.abs(np.median(v, axis=1) - 1), table, over=greatest_over_seeds)


def judge_edge(
    part: Study, other: Study, name: str, source: str, *, setting: str = "", by: str = "input_dim", symbol: str = "d"
) -> list[Claim]:
    """Judge for every n that the later half of training stays within 5 % of the edge of stability, at every d (or value
    of `by`); other: runs that lack it."""
    return [
        judge(
            id=f"{name}-n-{n}",
            source=f"{source}; Cohen et al. 2021",
            statement=f"Late in training{setting} the sharpness is 2/eta at n = {n}",
            expects=at_most(EDGE_TOLERANCE, of=f"|eta S / 2 - 1| at the worst {symbol}"),
            evidence=compare(
                worst_edge,
                part.select(num_samples=n),
                treatment={"low-norm runs": other.select(num_samples=n)},
                by=by,
            ),
        )
        for n in part.values("num_samples")
    ]


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
                evidence=compare(kept_share, stable.select(learning_rate=rate), treatment=control),
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
                evidence=compare(kept_share, low.select(learning_rate=rate), treatment=control),
            )
        )
    return [*found, *judge_larger_rate(stable, name, source)]


def judge_larger_rate(stable: Study, name: str, source: str) -> list[Claim]:
    """Judge that at the largest d the error at the largest learning rate is above that at the smallest, in two ways."""
    dims, rates, n = stable.values("input_dim"), extreme_rates(stable), stable.values("num_samples")[-1]
    step = list_common_steps(stable.select(learning_rate=rates))[-1]
    part, errors = stable.select(input_dim=dims[-1], num_samples=n), f"the error at eta = {rates[1]:g}"
    return [
        judge(
            id=f"{name}/larger-eta-is-worse-at-{'equal-steps' if equal else 'equal-time'}",
            source=source,
            statement=f"At d = {dims[-1]}, n = {n} and {when} {errors} is above that at eta = {rates[0]:g}",
            expects=above(1, of="ratio of median errors"),
            evidence=permute(ratio_of_levels, stack_levels(part, at_equal_steps=equal), "rates permuted within every seed"),
        )
        for equal, when in ((True, f"step {step}"), (False, "equal eta * steps"))
    ]
