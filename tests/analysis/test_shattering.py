"""Statistics of shattering on tables worked out by hand; the rank correlation against SciPy; the claims page."""

from __future__ import annotations

import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
from oracles import random_net
from scipy import stats

from dynamics.analysis.neuron_tables import draw_neurons
from dynamics.analysis.seed_values import (
    EDGE,
    combine_medians,
    cut_to_start,
    divide_by_start,
    median_over_seeds,
    read_final,
    read_late,
    stack_seeds,
    subtract_paired,
    tabulate_medians,
)
from dynamics.errors import InputError
from dynamics.measures.activation import rate_norm_correlation
from dynamics.measures.view import view
from dynamics.models.two_layer import TwoLayer
from dynamics.study.tables import Study

STEPS = (0, 4, 8, 9, 10)


def study_of(metric: dict[int, list[float]], rate: float = 0.5, panel: str = "p") -> Study:
    """A study of one metric `m` by seed, recorded at STEPS; its sharpness is four times the metric."""
    runs = [{"panel": panel, "run": f"{panel}{s}", "seed": s, "steps": 10, "optimizer.learning_rate": rate} for s in metric]
    rows = [
        {**run, "step": step, "m": value, "sharpness": 4 * value}
        for run, values in zip(runs, metric.values(), strict=True)
        for step, value in zip(STEPS, values, strict=True)
    ]
    return Study("paper/name", "smoke", pl.DataFrame(runs), pl.DataFrame(rows), None, {})  # type: ignore[arg-type]


TWO = {1: [2.0, 1.0, 3.0, 5.0, 4.0], 0: [1.0, 0.0, 9.0, 7.0, 8.0]}


def test_final_values_are_those_of_the_last_step_in_the_order_of_the_seeds():
    assert read_final(study_of(TWO), "m").tolist() == [8.0, 4.0]


def test_final_values_keep_the_place_of_every_seed():
    """NaN where the metric has no value, inf where the run had diverged; the words over seeds drop the one,
    rank the other."""
    study = study_of({0: [0.0] * 4 + [math.nan], 1: [0.0] * 4 + [2.0], 2: [0.0] * 4 + [3.0]})
    diverged = replace(study, records=study.records.filter((pl.col("seed") < 2) | (pl.col("step") < 9)))
    np.testing.assert_array_equal(read_final(diverged, "m"), [math.nan, 2.0, math.inf])
    told = replace(study, runs=study.runs.with_columns(status=pl.Series(["diverged", "ok", "ok"])))
    np.testing.assert_array_equal(read_final(told, "m"), [math.inf, 2.0, 3.0])
    found = median_over_seeds(read_final(diverged, "m"))
    assert (found.seeds, found.left_out, found.value) == (2, 2, math.inf)


def test_two_runs_of_one_seed_are_not_pooled():
    twice = replace(study_of(TWO), runs=pl.concat([study_of(TWO).runs, study_of(TWO, rate=0.1, panel="q").runs]))
    with pytest.raises(InputError, match=r"seed = .: has 2 runs; select one value of: optimizer.learning_rate"):
        read_final(twice, "m")


def test_late_values_are_means_over_the_last_quarter_of_the_steps():
    """Of steps 0, 4, 8, 9, 10 those after 7.5."""
    assert read_late(study_of(TWO), pl.col("m")).tolist() == [8.0, 4.0]
    assert read_late(study_of(TWO), pl.col("m"), share=0.15).tolist() == [7.5, 4.5]


def test_edge_is_sharpness_times_rate_over_two():
    assert read_late(study_of(TWO, rate=0.5), EDGE).tolist() == [8.0, 4.0]
    assert read_late(study_of(TWO, rate=0.25), EDGE).tolist() == [4.0, 2.0]


def test_at_start_ends_at_step_zero():
    begin = cut_to_start(study_of(TWO))
    assert read_final(begin, "m").tolist() == [1.0, 2.0]
    assert begin.records["step"].unique().to_list() == [0]


def test_relative_to_start_divides_by_the_runs_own_first_value():
    assert read_final(divide_by_start(study_of(TWO), "m"), "m").tolist() == [8.0, 2.0]
    assert read_final(cut_to_start(divide_by_start(study_of(TWO), "m")), "m").tolist() == [1.0, 1.0]


def test_difference_pairs_the_seeds_that_both_have():
    other = study_of({2: [0.0] * 5, 0: [0.0] * 4 + [6.0]}, panel="q")
    assert subtract_paired(study_of(TWO), other, "m").tolist() == [2.0]
    assert subtract_paired(other, study_of(TWO), "m").tolist() == [-2.0]


def test_statistics_have_a_row_a_group_and_metric():
    table = tabulate_medians({"$a$": study_of(TWO), "b": study_of({0: [3.0] * 5})}, ["m", "sharpness"])
    assert table.select("group", "metric", "median", "num_seeds").rows() == [
        ("a", "m", 6.0, 2),
        ("a", "sharpness", 24.0, 2),
        ("b", "m", 3.0, 1),
        ("b", "sharpness", 12.0, 1),
    ]
    assert median_over_seeds(np.array([4.0, 8.0])).value == 6


def test_rank_correlation_is_spearmans_over_the_alive(rng):
    """With ties in the rate, dead neurons, and against SciPy."""
    net, x = random_net(rng, 2, 25), rng.uniform(-1, 1, (12, 2))
    net.hidden[0, :6] = -40.0
    seen = rate_norm_correlation(view(TwoLayer(*map(np.float32, net)), x.astype(np.float32), x[:, 0].astype(np.float32)))
    rate = np.mean(x @ net.hidden[1:] + net.hidden[0] > 0, axis=0)
    norm, alive = np.linalg.norm(net.hidden[1:], axis=0), rate > 0
    assert 6 <= np.sum(~alive) < 20 and len(np.unique(rate[alive])) < np.sum(alive)
    for column, other in (("rate_weight_norm_correlation", norm), ("rate_path_correlation", norm * np.abs(net.readout))):
        assert float(seen[column]) == pytest.approx(stats.spearmanr(rate[alive], other[alive]).statistic, abs=1e-5)
        assert abs(float(seen[column]) - stats.spearmanr(rate, other).statistic) > 1e-3  # the dead would count
    assert float(seen["alive_weight_norm_median"]) == pytest.approx(np.median(norm[alive]), rel=1e-5)


def test_rank_correlation_of_a_dead_net_is_not_a_number(rng):
    net = random_net(rng, 2, 5)
    net.hidden[0] = -40.0
    x = rng.uniform(-1, 1, (6, 2)).astype(np.float32)
    seen = rate_norm_correlation(view(TwoLayer(*map(np.float32, net)), x, x[:, 0]))
    assert all(np.isnan(float(value)) for value in seen.values())


def test_scatter_draws_every_neuron_once_and_fades_in_a_crowd():
    opacity = []
    for count in (20, 20_000):
        fig, ax = plt.subplots()
        draw_neurons(ax, pl.DataFrame({"rate": np.linspace(0, 1, count), "weight_norm": np.ones(count)}))
        (dots,) = ax.collections
        assert len(dots.get_offsets()) == count
        assert dots.get_rasterized()
        np.testing.assert_allclose(dots.get_offsets()[-1], (100, 1))
        opacity.append(dots.get_alpha())
        plt.close(fig)
    assert opacity[1] < opacity[0] <= 1


def test_medians_are_combined_over_the_seeds_that_all_groups_have():
    """Medians 1 and 5: their step is 4. Groups of other lengths cannot be paired; `stack_seeds` pairs by seed."""
    step = lambda medians: np.diff(medians, axis=0)[0]  # noqa: E731
    assert combine_medians([np.array([0.0, 1.0, 2.0]), np.array([5.0, 4.0, 6.0])], step).value == 4
    with pytest.raises(InputError, match="cannot be paired"):
        combine_medians([np.zeros(3), np.zeros(4)], step)
    assert np.isnan(combine_medians(np.empty((0, 2)), step).value)
    parts = study_of(TWO), study_of({2: [0.0] * 5, 0: [0.0] * 4 + [6.0]}, panel="q")
    assert stack_seeds(parts, lambda part: read_final(part, "m")).tolist() == [[8.0, 6.0]]
