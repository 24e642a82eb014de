"""Words over seeds on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from dynamics.analysis.bounds import FAILS, HOLDS, at_most
from dynamics.analysis.seed_values import (
    combine_medians,
    largest,
    mean_over_seeds,
    median_over_seeds,
    pivot_seeds,
    ratio_over_seeds,
    smallest,
    strip_math,
    trend_of_logs,
)

TABLE = pl.DataFrame({"seed": [1, 0, 0, 1], "rate": [0.2, 0.2, 0.1, 0.1], "drift": [4, 3, 1, 2]})


def test_a_table_is_turned_to_seeds_and_rising_positions():
    rates, values = pivot_seeds(TABLE, "rate", "drift")
    assert rates.tolist() == [0.1, 0.2] and values.tolist() == [[1, 3], [2, 4]]


def test_ratios_are_of_medians_or_means_over_the_same_seeds():
    above, below = np.array([2.0, 4.0, 12.0]), np.array([1.0, 2.0, 3.0])
    assert ratio_over_seeds(above, below).value == 2
    assert ratio_over_seeds(above, below, np.mean).value == 3
    paired = ratio_over_seeds(3 * below, below)
    assert tuple(paired) == pytest.approx((3, 3, 3))
    for unequal in ((above, below[:2]), (above[:0], below[:0])):
        assert np.isnan(ratio_over_seeds(*unequal).value)


def test_a_trend_of_logs_is_an_exponent():
    positions = np.array([1.0, 2.0, 8.0])
    values = np.array([[1.0], [5.0], [2.0]]) * positions**-0.75
    assert tuple(trend_of_logs(values, positions)) == pytest.approx((-0.75, -0.75, -0.75))
    assert np.isnan(trend_of_logs(values[:0], positions).value) and np.isnan(trend_of_logs(values, positions[:1]).value)


def test_the_largest_of_a_table_is_violated_where_a_condition_is_broken_in_any_row():
    bound = at_most(4, of="drift")
    assert largest(TABLE, "drift") == 4 and smallest(TABLE, pl.col("drift") / pl.col("rate")) == pytest.approx(10)
    assert bound.judge(largest(TABLE, "drift", also=pl.col("rate") > 0)) == HOLDS
    assert bound.judge(largest(TABLE, "drift", also=pl.col("rate") > 0.1)) == FAILS


def test_medians_means_and_combinations():
    values = np.array([1.0, 2.0, 6.0])
    assert (median_over_seeds(values).value, mean_over_seeds(values).value) == (2, 3)
    assert np.isnan(median_over_seeds(values[:0]).value)
    assert combine_medians([values, 10 * values], lambda medians: medians.max(axis=0)).value == 20
    assert strip_math("$\\alpha = 1$") == "alpha = 1"
