"""Slopes and their trends on numbers worked out by hand, and the exponents of the theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamics.analysis.slopes import fit_slope, fit_trend, inverse_variances, median_slope
from dynamics.theory import rate_exponents as rates

SIZES = np.array([32, 64, 128, 256, 512])


# Slopes


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("exponent", [-0.5, 0.0, 1.25])
def test_slope_of_a_power_law_is_exact(seeds, exponent):
    fit = fit_slope(SIZES, np.tile(3.0 * SIZES**exponent, (seeds, 1)))
    assert fit.value == pytest.approx(exponent, abs=1e-12)
    if seeds > 1:
        assert fit.low == pytest.approx(exponent, abs=1e-12) and fit.high == pytest.approx(exponent, abs=1e-12)
    else:
        assert np.isnan([fit.low, fit.high]).all()


def test_slope_by_hand_with_equal_weights():
    """log2 n = 0, 1, 2 and log2 of the values 2, 1, 3: slope (3 - 2) / 2 over the outer two."""
    assert fit_slope(np.array([1, 2, 4]), np.array([[4.0, 2.0, 8.0]])).value == pytest.approx(0.5, rel=1e-12)


def test_slope_uses_the_median_over_seeds():
    values = np.tile(SIZES**-1.0, (5, 1))
    values[0] *= 1e6  # one seed gone astray moves a mean, not the median, and one constant factor no slope
    values[1] = values[1][::-1] * 1e-9
    assert fit_slope(SIZES, values).value == pytest.approx(-1, abs=1e-12)


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.integers(0, 1000))
def test_slope_does_not_depend_on_the_units_of_n_or_of_the_values(a, b, seed):
    values = SIZES**-0.7 * np.exp(np.random.default_rng(seed).normal(size=(4, 5)))
    index = np.arange(4)[None]
    assert median_slope(a * SIZES, b * values)(index) == pytest.approx(median_slope(SIZES, values)(index), abs=1e-9)


def test_weights_are_inverse_variances_shrunk_by_four_seeds():
    """S = 3, variances 1 and 4, mean 2.5: (4 * 2.5 + 2 v) / 6 = 2 and 3."""
    assert inverse_variances(np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])) == pytest.approx([1 / 2, 1 / 3], rel=1e-12)
    np.testing.assert_array_equal(inverse_variances(np.array([[1.0, 5.0]])), [1, 1])
    np.testing.assert_array_equal(inverse_variances(np.array([[1.0, 5.0], [1.0, 5.0]])), [1, 1])


def test_a_noisy_column_counts_for_less():
    """Three n; the last is far off the line of the first two, and noisy. Weighted least squares by `np.polyfit`."""
    n = np.array([1.0, np.e, np.e**2])
    log_values = np.array([[0.0, -1.0, 0.0], [0.0, -1.0, 2.0], [0.1, -1.1, 4.0]])
    slope = fit_slope(n, np.exp(log_values), weighted=True).value
    median = np.median(log_values, axis=0)
    assert fit_slope(n, np.exp(log_values)).value == pytest.approx(np.polyfit(np.log(n), median, 1)[0], rel=1e-10)
    assert slope == pytest.approx(np.polyfit(np.log(n), median, 1, w=np.sqrt(inverse_variances(log_values)))[0], rel=1e-10)
    assert slope < np.polyfit(np.log(n), median, 1)[0] - 0.2


def test_a_run_that_diverged_is_the_worst_of_its_column_and_is_counted():
    """Errors n^-1/2 times 1 to 9: with the largest lost at the largest n the median stays,
    with five lost it does not."""
    values = np.arange(1.0, 10)[:, None] * SIZES**-0.5
    lost = values.copy()
    lost[8, -1] = np.inf
    fit = fit_slope(SIZES, lost)
    assert (fit.value, fit.seeds, fit.left_out) == (pytest.approx(-0.5), 9, 1)
    lost[4:, -1] = np.inf
    assert fit_slope(SIZES, lost).value == np.inf
    lost[0, 0] = np.nan
    assert (fit_slope(SIZES, lost).seeds, fit_slope(SIZES, lost).left_out) == (8, 6)


def test_trend_by_hand():
    """Over d = 1, 2, 4 the values 1, 3, 2 have least-squares slope (d - 7/3) . v / |d - 7/3|^2 = 1 / (14/3)."""
    statistics = [lambda index, v=v: np.full(len(index), float(v)) for v in (1, 3, 2)]
    estimate = fit_trend(np.array([1, 2, 4]), statistics, 3)
    assert tuple(estimate) == pytest.approx((3 / 14, 3 / 14, 3 / 14), rel=1e-12)


def test_trend_resamples_the_same_seeds_in_every_statistic():
    """Slopes that share their noise have a trend without any."""
    noise = np.random.default_rng(0).normal(size=6)
    statistics = [lambda index, d=d: noise[index].mean(axis=1) - 0.1 * d for d in (1, 2, 3)]
    estimate = fit_trend(np.array([1, 2, 3]), statistics, 6)
    assert tuple(estimate) == pytest.approx((-0.1, -0.1, -0.1), rel=1e-9)


# Theory


def test_rate_exponents_are_those_of_the_table():
    """Section 2 of the theory notes, d = 1..6 (low norm: d = 1..5), rounded there to three or four digits."""
    upper = (0.1667, 0.125, 0.1, 0.0833, 0.0714, 0.0625)
    lower = (0.5, 0.667, 0.5, 0.4, 0.333, 0.286)
    low_norm = (0.8, 0.714, 0.667, 0.636, 0.615)
    assert [rates.stable_upper_exponent(d) for d in range(1, 7)] == pytest.approx(upper, abs=5e-5)
    assert [rates.stable_lower_exponent(d) for d in range(1, 7)] == pytest.approx(lower, abs=5e-4)
    assert [rates.low_norm_exponent(d) for d in range(1, 6)] == pytest.approx(low_norm, abs=5e-4)
    assert all(
        rates.stable_upper_exponent(d) < rates.stable_lower_exponent(d) for d in range(1, 20)
    )  # an upper bound decays no faster
