"""Gaps over n and d on records written by hand; the memorised share on residuals; the picture of all schemes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest

from dynamics.analysis.gaps import (
    GAP,
    add_memorised,
    draw_candidates,
    largest_ratio,
    least_median,
    read_gaps,
    tabulate_candidates,
    tabulate_trends,
    take_gaps,
    trend_in_dim,
)
from dynamics.analysis.seed_values import split_by
from dynamics.analysis.view_gallery import gallery
from dynamics.core.recording import RecordSpec
from dynamics.core.spec import RunSpec, freeze
from dynamics.data.views import SCHEMES
from dynamics.study.tables import Study
from dynamics.theory.geometry_exponents import PATCH_CANDIDATES


def study_of(gap, dims=(50, 100, 200), sizes=(64, 128), seeds=range(3), steps=(5, 10)) -> Study:
    """A study with gap(d, n, seed, step) in its records."""
    runs, rows, specs = [], [], {}
    for d in dims:
        for n in sizes:
            for seed in seeds:
                run = f"{d}-{n}-{seed}"
                own = {"panel": "all", "run": run, "data.input_dim": d, "data.num_samples": n, "seed": seed, "steps": steps[-1]}
                runs.append(own)
                specs[run] = freeze(RunSpec(steps=steps[-1], record=RecordSpec(num=0, at=list(steps))))
                rows += [{**own, "step": step, GAP: gap(d, n, seed, step)} for step in steps]
    return Study("paper/name", "smoke", pl.DataFrame(runs), pl.DataFrame(rows), None, specs)  # type: ignore[arg-type]


def power(d, n, seed, step):
    """d^-2 n^-1/2 with a factor that the median over seeds takes to 1, negative in one seed."""
    return (-1.0, 3.0, 0.5)[seed] * step / d**2 / n**0.5


def test_gaps_have_no_sign_and_cells_lie_by_seed_d_and_n():
    study = study_of(power)
    assert take_gaps(study).records[GAP].min() > 0
    (late,), (early,) = read_gaps([study]), read_gaps([study], 5)
    assert late.shape == (3, 3, 2)
    assert late[1, 2, 0] == pytest.approx(3 * 10 / 200**2 / 8)
    np.testing.assert_allclose(late, 2 * early)


def test_cells_leave_out_a_seed_that_one_part_lacks():
    first, second = read_gaps([study_of(power), study_of(power, seeds=(2, 1))])
    assert len(first) == len(second) == 2
    np.testing.assert_array_equal(first, second)


def test_a_run_that_diverged_keeps_its_place_as_the_worst():
    lost = study_of(lambda d, n, seed, step: np.nan if (seed, d) == (2, 50) else power(d, n, seed, step))
    first, second = read_gaps([study_of(power), lost])
    assert np.isinf(second[2, 0]).all() and np.isfinite(first).all() and np.isfinite(second[:2]).all()


def test_largest_ratio_is_of_medians_and_over_all_cells():
    first = np.array([[[1.0, 1.0]], [[2.0, 1.0]], [[9.0, 1.0]]])  # medians 2, 1
    second = np.array([[[1.0, 0.5]], [[1.0, 0.7]], [[1.0, 7.0]]])  # medians 1, 0.7
    assert largest_ratio(first, second).value == pytest.approx(0.7)
    assert np.isnan(largest_ratio(first[:0], second[:0]).value)


def test_least_is_the_least_median():
    assert least_median(np.array([[3.0, 1.0], [4.0, 2.0], [5.0, 9.0]])).value == 2
    assert np.isnan(least_median(np.empty((0, 2))).value)


def test_trend_in_d_is_the_power():
    study = study_of(power)
    estimate = trend_in_dim(study)
    assert tuple(estimate) == pytest.approx((-2, -2, -2))
    assert np.isnan(trend_in_dim(study.select(input_dim=50)).value)


def test_trend_at_one_n_looks_at_that_n():
    study = study_of(lambda d, n, seed, step: d ** (1.0 if n == 64 else -1.0))
    table = tabulate_trends({"net": study})
    assert table["num_samples"].to_list() == [64, 128]
    np.testing.assert_allclose(table["trend"], [1, -1])


def test_parts_by_dimension():
    assert [part.values("input_dim") for part in split_by(study_of(power), "input_dim").values()] == [[50], [100], [200]]


def test_all_candidates_are_in_the_table_and_drawn():
    table = tabulate_candidates([50, 400], 10)
    assert table["exponent"].to_list() == list(PATCH_CANDIDATES)
    np.testing.assert_allclose(table["d = 50"], [0.116, 0.135, 0.143, 0.25], atol=5e-4)  # the theory's table
    np.testing.assert_allclose(table["d = 400"], [0.124, 0.149, 0.164, 0.25], atol=5e-4)
    fig, ax = plt.subplots()
    ax.set(xscale="log", yscale="log", xlim=(10, 1000), ylim=(0.1, 1))
    draw_candidates(ax, 50, 10)
    slopes = [np.polyfit(np.log(line.get_xdata()), np.log(line.get_ydata()), 1)[0] for line in ax.lines]
    np.testing.assert_allclose(slopes, -table["d = 50"])
    plt.close(fig)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_memorised_share_of_a_net_that_fits_a_share_of_the_noise(factor):
    """f = f_0 + share e + bias: clean (share s)^2 + bias^2, train ((1 - share) s)^2 + bias^2, up to sample means."""
    sigma, bias = 2.0, 0.3
    for share in (0.0, 0.4, 1.0):
        clean, train = (share * sigma) ** 2 + bias**2, ((1 - share) * sigma) ** 2 + bias**2
        row = {"data.noise_std": sigma, "clean_train_error": clean, "train_loss": factor * train, "loss_factor": factor}
        study = Study("paper/name", "smoke", pl.DataFrame(), pl.DataFrame([row]), None, {})  # type: ignore[arg-type]
        assert add_memorised(study).records["memorised"][0] == pytest.approx(share)


def test_the_gallery_shows_every_scheme():
    fig = gallery()
    titles = [ax.get_title().split(",")[0] for ax in fig.axes if ax.get_visible()]
    assert titles == [*SCHEMES, "a vector"]
    assert all(ax.collections for ax in fig.axes if ax.get_visible())
    plt.close(fig)
