"""Slopes and ratios over groups, curves, depth indices and their rank correlations, on records written by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from dynamics.analysis.curves import measure_band
from dynamics.analysis.depth_index import bound_depths, correlate_ranks, own_directions
from dynamics.analysis.slope_groups import (
    fit_slopes,
    level_ratio,
    ratio_at_common_step,
    read_seeds,
    spread_of_slopes,
    take_absolute,
    trend_of_slopes,
)
from dynamics.core.recording import RecordSpec
from dynamics.core.spec import RunSpec, freeze
from dynamics.study.tables import Study

SIZES, SEEDS = (16, 64, 256), (0, 1, 2)
FACTORS = (0.5, 1.0, 3.0)  # of the seeds: the median is the middle one


def study_of(error, steps=(5, 10), seeds=SEEDS) -> Study:
    """A study with error(n, seed, step) in its records."""
    runs, rows, specs = [], [], {}
    for n in SIZES:
        for seed in seeds:
            own = {"panel": "all", "run": f"{n}-{seed}", "data.num_samples": n, "seed": seed, "steps": steps[-1]}
            runs.append(own)
            specs[own["run"]] = freeze(RunSpec(steps=steps[-1], record=RecordSpec(num=0, at=list(steps))))
            rows += [{**own, "step": step, "error": error(n, seed, step)} for step in steps]
    return Study("paper/name", "smoke", pl.DataFrame(runs), pl.DataFrame(rows), None, specs)  # type: ignore[arg-type]


def power(exponent, level=1.0):
    return lambda n, seed, step: level * FACTORS[seed] * n**-exponent * step


def test_tables_are_of_the_last_step_and_of_whole_seeds():
    n, values = read_seeds(study_of(power(0.5)), "error")
    assert n.tolist() == [16, 64, 256]
    np.testing.assert_allclose(values, [[10 * f * k**-0.5 for k in SIZES] for f in FACTORS])
    holed = study_of(lambda n, seed, step: np.nan if (n, seed) == (64, 2) else power(0.5)(n, seed, step))
    np.testing.assert_array_equal(read_seeds(holed, "error")[1][2], [7.5, np.inf, 1.875])  # it diverged
    signed = study_of(lambda n, seed, step: -power(0.5)(n, seed, step))
    assert len(read_seeds(signed, "error")[1]) == 0  # no logarithm
    assert len(read_seeds(take_absolute(signed, "error"), "error")[1]) == 3


def test_slopes_their_spread_and_their_trend_by_hand():
    groups = {f"{e:g}": study_of(power(e)) for e in (0.25, 0.5, 1.0)}
    np.testing.assert_allclose(fit_slopes(groups, "error")["slope"], [-0.25, -0.5, -1.0], rtol=1e-12)
    assert spread_of_slopes(groups, "error").value == pytest.approx(0.75)
    assert spread_of_slopes({"a": study_of(power(0.5)), "b": study_of(power(0.5, 7))}, "error").value == pytest.approx(
        0, abs=1e-12
    )
    assert np.isnan(spread_of_slopes({"alone": study_of(power(0.5))}, "error").value)  # not 0: there is nothing to compare
    growing = trend_of_slopes(groups, [1, 2, 3], "error")  # |slope| by least squares: (1.0 - 0.25) / 2
    assert growing.value == pytest.approx(0.375) and growing.low <= growing.value <= growing.high
    assert trend_of_slopes(groups, [3, 2, 1], "error").value == pytest.approx(-0.375)


def test_ratios_pair_the_seeds_of_two_parts():
    first, second = study_of(power(0.5)), study_of(power(1.0, 2.0))
    assert level_ratio(first, second, "error").value == pytest.approx(2 * 256**-0.5)
    few = study_of(power(0.5, 3.0), seeds=(0, 2))
    assert level_ratio(first, few, "error").value == pytest.approx(3.0)  # over the seeds that both have
    both = [part.select(num_samples=64) for part in (first, study_of(power(0.5, 4.0), steps=(10, 20)))]
    found = ratio_at_common_step(*both, "error")  # at step 10, where the second is not at its end
    assert tuple(found) == pytest.approx((4.0, 4.0, 4.0))


def test_bands_leave_out_step_0_and_what_is_not_finite():
    study = study_of(lambda n, seed, step: np.inf if seed == 2 else FACTORS[seed] * step, steps=(0, 5, 10))
    seen = measure_band(study.select(num_samples=16), "error")
    assert seen.step.tolist() == [5, 10]
    assert (seen.low.tolist(), seen.middle.tolist(), seen.high.tolist()) == ([2.5, 5], [3.75, 7.5], [5, 10])


def test_own_directions_are_the_lightest_of_an_elliptical_law(rng):
    """N(0, S): the half-space at x in the direction S^-1 x has mass 1 - Phi((x S^-1 x)^(1/2)),
    and no other has less."""
    from scipy import special

    root = rng.normal(size=(6, 6))
    reference, points = rng.normal(size=(20_000, 6)) @ root, rng.normal(size=(50, 6)) @ root
    covariance = root.T @ root
    own = own_directions(points, reference)
    cosines = np.sum(own * np.linalg.solve(covariance, points.T).T, axis=1)
    cosines /= np.linalg.norm(own, axis=1) * np.linalg.norm(np.linalg.solve(covariance, points.T).T, axis=1)
    assert cosines.min() > 0.95
    exact = special.ndtr(-np.sqrt(np.sum(points * np.linalg.solve(covariance, points.T).T, axis=1)))
    assert np.abs(bound_depths(points, reference) - exact).max() < 0.012
    plain = np.mean(reference @ points.T >= np.sum(points**2, axis=1), axis=0)  # the point's direction, not whitened
    assert np.abs(plain - exact).max() > 0.05


def test_rank_correlation_is_spearmans_over_laws_of_medians():
    far = (0, 90)  # in one seed of every other law: means would be out of order
    rows = [
        (f"law {i}", seed, float(i), (i - 3.0) ** 3 + off) for i in range(8) for seed, off in enumerate((-0.1, 0, far[i % 2]))
    ]
    table = pl.DataFrame(rows, schema=["panel", "seed", "index", "gap"], orient="row")
    rising = correlate_ranks(table, "index", "gap")
    assert rising.value == pytest.approx(1) and rising.low < 1
    falling = correlate_ranks(table.with_columns(-pl.col("gap")), "index", "gap")
    assert falling.value == pytest.approx(-1)
    assert np.isnan(correlate_ranks(table.filter(pl.col("index") < 3), "index", "gap").value)  # three laws are too few


def test_a_size_drops_the_panels_that_it_sets_to_null():
    from dynamics.study.config import compose

    smoke, laptop = (compose("data_geometry/shatterability", f"size={size}").panels for size in ("smoke", "laptop"))
    assert "digits" in laptop and "digits" not in smoke and set(smoke) < set(laptop)
