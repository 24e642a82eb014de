"""Intervals from few seeds.

A plain percentile interval is too narrow for five seeds. The expanded percentile interval (Hesterberg 2015,
"What Teachers Should Know About the Bootstrap", sec. 6) takes quantiles at Phi(-sqrt(S/(S-1)) t_{S-1}) instead of 2.5
%, which corrects both the narrowness of the resampling distribution and the missing t-quantile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """value, and its interval [low, high] (NaN when there is nothing to resample)."""

    value: float
    low: float
    high: float


def tail_quantile(num_seeds: int, level: float = 0.95) -> float:
    """Return the lower quantile of the expanded percentile interval."""
    from scipy import special  # here, because every command imports this file and few come to an interval

    t = special.stdtrit(num_seeds - 1, (1 + level) / 2)
    return float(special.ndtr(-np.sqrt(num_seeds / (num_seeds - 1)) * t))


def over_seeds(
    statistic: Callable[[np.ndarray], np.ndarray], num_seeds: int, *, level: float = 0.95, num_resamples: int = 4000
) -> Estimate:
    """Return estimate and interval of a statistic of a set of seeds.

    statistic(index): index (R, S) of seed positions -> (R,), one value a row. Seeds are resampled as wholes, so
    whatever a seed shares across runs (its data, say) stays shared.
    """
    value = float(statistic(np.arange(num_seeds)[None])[0])
    if num_seeds < 2:
        return Estimate(value, np.nan, np.nan)
    index = np.random.default_rng(0).integers(num_seeds, size=(num_resamples, num_seeds))
    edge = tail_quantile(num_seeds, level)
    low, high = np.quantile(statistic(index), [edge, 1 - edge])
    return Estimate(value, float(min(low, value)), float(max(high, value)))
