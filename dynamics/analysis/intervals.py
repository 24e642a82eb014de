"""Intervals over seeds whose coverage is what they say, down to five seeds: typical values of subsets of the seeds.

A statistic is computed on every non-empty subset of the S seeds. For independent seeds with symmetric errors the true
mean (or median) falls with equal probability into each of the 2^S gaps that these 2^S - 1 values leave on the line
(Hartigan 1969, "Using subsample values as typical values"), so [k-th smallest, k-th largest] covers it with probability
1 - 2k / 2^S. For a median this is the interval of order statistics. With five seeds the widest such interval attains
93.75 %, with three 75 %: `attained_level`. `docs/statistics.md` has the simulated coverage of every statistic in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

LEVEL = 0.95
FEWEST_SEEDS = 5  # with fewer no interval attains 90 %, and no claim holds
ALL_SUBSETS = 11  # up to so many seeds all subsets are taken, with more MOST_SUBSETS drawn at random
MOST_SUBSETS = 2047

Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval [low, high] (NaN where there is none), and what the interval rests on.

    seeds: how many seeds it was computed from, None where it does not rest on seeds
    level: the probability with which the interval covers
    left_out: runs that had diverged (ranked as worst) or had no value (dropped)

    Iterating yields value, low, high.
    """

    value: float
    low: float
    high: float
    seeds: int | None = field(default=None, compare=False)
    level: float = field(default=np.nan, compare=False)
    left_out: int = field(default=0, compare=False)

    def __iter__(self) -> Iterator[float]:
        return iter((self.value, self.low, self.high))

    def __neg__(self) -> Estimate:
        return replace(self, value=-self.value, low=-self.high, high=-self.low)

    def __add__(self, shift: float) -> Estimate:
        return replace(self, value=self.value + shift, low=self.low + shift, high=self.high + shift)

    def __mul__(self, factor: float) -> Estimate:
        low, high = sorted((factor * self.low, factor * self.high))
        return replace(self, value=factor * self.value, low=low, high=high)

    def __sub__(self, shift: float) -> Estimate:
        return self + -shift


def attained_level(num_seeds: int, level: float = LEVEL) -> float:
    """Return the level that an interval over so many seeds attains: at most 1 - 2^(1 - S)."""
    return min(level, 1 - 2.0 ** (1 - num_seeds))


@cache
def list_subsets(num_seeds: int) -> tuple[np.ndarray, ...]:
    """Return subsets of the seeds, one array (R, m) of positions for each size m; all of them where these are few."""
    if num_seeds <= ALL_SUBSETS:
        return tuple(np.array(list(combinations(range(num_seeds), m))) for m in range(1, num_seeds + 1))
    rng, chosen = np.random.default_rng(0), np.empty((0, num_seeds), bool)
    while len(chosen) < MOST_SUBSETS:
        drawn = rng.random((MOST_SUBSETS, num_seeds)) < 0.5
        chosen = np.unique(np.concatenate([chosen, drawn[drawn.any(axis=1)]]), axis=0)
    chosen = rng.permutation(chosen)[:MOST_SUBSETS]
    sizes = chosen.sum(axis=1)
    return tuple(np.nonzero(rows)[1].reshape(len(rows), m) for m in np.unique(sizes) for rows in [chosen[sizes == m]])


def over_subsets(statistic: Statistic, num_seeds: int) -> np.ndarray:
    """Return the statistic on every subset of `list_subsets`, (R, ...)."""
    return np.concatenate([np.asarray(statistic(index), float) for index in list_subsets(num_seeds)])


def take_ends(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval of typical values (..., R): [k-th smallest, k-th largest],
    2k = (1 - level)(R + 1).

    Between ranks by interpolation; from the smallest to the largest where k < 1. A subset whose value is not a number
    counts as -inf for the low end and as inf for the high end.
    """
    count = values.shape[-1]
    place = max((1 - level) / 2 * (count + 1), 1.0) - 1
    at, share = int(place), place - int(place)

    def pick(side: np.ndarray) -> np.ndarray:
        least = np.sort(np.where(np.isnan(side), -np.inf, side), axis=-1)
        first, second = least[..., at], least[..., min(at + 1, count - 1)]
        with np.errstate(invalid="ignore"):
            return np.where((share == 0) | (first == second), first, first * (1 - share) + second * share)

    return pick(values), -pick(-values)


def find_interval(value: np.ndarray, subsets: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of a statistic from its value (...) and its values on subsets (..., R);
    it holds the value."""
    low, high = take_ends(subsets, level)
    return np.minimum(low, value), np.maximum(high, value)


def find_greatest_interval(values: np.ndarray, subsets: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return an interval for the largest of K true numbers,
    from what is seen of them (..., K) and on subsets (..., R, K).

    Which one is largest is not taken for known: the high end is that of the largest in every subset; the low end is a
    bound on all K together, the largest value less the quantile of the greatest excess of a subset over its own value.
    Where several are nearly the same, the largest that is seen lies above all true ones. Sizes stay non-negative.
    """
    largest = values.max(axis=-1)
    low, high = find_interval(largest, subsets.max(axis=-1), level)
    with np.errstate(invalid="ignore"):
        below = largest - take_ends((subsets - values[..., None, :]).max(axis=-1), level)[1]
    floor = np.where((subsets >= 0).all(axis=(-2, -1)), 0.0, -np.inf)
    return np.maximum(floor, np.fmin(low, np.where(np.isnan(below), -np.inf, below))), high


def over_seeds(
    statistic: Statistic,
    num_seeds: int,
    *,
    level: float = LEVEL,
    left_out: int = 0,
    find: Callable[..., tuple[np.ndarray, np.ndarray]] = find_interval,
    pick: Callable[[np.ndarray], Any] = float,
) -> Estimate:
    """Return the estimate and interval of a statistic of a set of seeds.
    All claims that rest on seeds come through here.

    statistic(index): index (R, m) of seed positions, m of the S seeds a row -> (R,), one value a row. Seeds are taken
    as wholes, so whatever a seed shares across runs (its data, say) stays shared. Without a seed the value is unknown.
    find, pick: how the interval and the value come of the statistic, see `greatest_over_seeds`.
    """
    if num_seeds < 1:
        return Estimate(np.nan, np.nan, np.nan, 0, np.nan, left_out)
    full = np.asarray(statistic(np.arange(num_seeds)[None])[0], float)
    value = float(pick(full))
    if num_seeds < 2 or np.isnan(value):
        return Estimate(value, np.nan, np.nan, num_seeds, np.nan, left_out)
    low, high = find(full, over_subsets(statistic, num_seeds), level)
    return Estimate(value, float(low), float(high), num_seeds, attained_level(num_seeds, level), left_out)


def greatest_over_seeds(statistic: Statistic, num_seeds: int, *, level: float = LEVEL, left_out: int = 0) -> Estimate:
    """Return the largest of several numbers that the same seeds give, with an interval for the largest true one.

    statistic(index): index (R, m) -> (R, K). See `find_greatest_interval`.
    """
    return over_seeds(statistic, num_seeds, level=level, left_out=left_out, find=find_greatest_interval, pick=np.max)


def least_over_seeds(statistic: Statistic, num_seeds: int, *, level: float = LEVEL, left_out: int = 0) -> Estimate:
    """Return the smallest of several numbers that the same seeds give: `greatest_over_seeds` with the signs changed."""
    return -greatest_over_seeds(lambda index: -statistic(index), num_seeds, level=level, left_out=left_out)


def over_values(
    statistic: Statistic, values: np.ndarray, *, either_way: bool = False, over: Callable[..., Estimate] = over_seeds
) -> Estimate:
    """Return the estimate of a statistic of values (S, ...), a row a seed: inf where its run diverged,
    NaN where unknown.

    statistic: values (R, m, ...) -> (R,), or (R, K) with over=`greatest_over_seeds` or `least_over_seeds`. A seed with
    a NaN is dropped, a run that diverged has the rank of inf; both are counted as left out. either_way=True: inf need
    not be the worst value, so the interval holds the one with -inf in its place, too.
    """
    values = np.asarray(values, float)
    parts = tuple(range(1, values.ndim))
    known = values[~np.isnan(values).any(axis=parts)]
    lost = int(np.isinf(known).any(axis=parts).sum())

    def estimate(table: np.ndarray) -> Estimate:
        with np.errstate(invalid="ignore"):
            return over(lambda index: statistic(table[index]), len(table), left_out=len(values) - len(known) + lost)

    found = estimate(known)
    if not (either_way and lost):
        return found
    other = estimate(np.where(np.isinf(known), -np.inf, known))
    unknown = np.isnan(other.value)
    low, high = (-np.inf, np.inf) if unknown else (other.low, other.high)
    return replace(found, low=min(found.low, low), high=max(found.high, high))
