"""The plan: groups, padding, chunks."""

import math

import pytest

from dynamics.core import spec as specs
from dynamics.engine.axes import expand_runs, parse_axes
from dynamics.engine.plan import Machine, make_plan, tabulate_plan
from dynamics.systems.training import TrainingSpec

MACHINE = Machine("cpu", 2, 2.5e10, 2e-6, 2.0, 1e9, 5e4)


def runs_of(tree, **fields):
    base = specs.put(specs.freeze(TrainingSpec()), {"measures": ("train_loss",), **fields})
    return expand_runs(base, parse_axes(tree, base))


def test_runs_that_differ_in_scalars_and_seeds_form_one_group():
    runs = runs_of({"seed": [0, 1, 2], "optimizer": {"learning_rate": [0.1, 0.2], "weight_decay": [0.0, 0.1]}})
    plan = make_plan(runs, MACHINE)
    assert len(plan.groups) == 1
    assert plan.num_runs == 12
    assert plan.groups[0].padding_share == pytest.approx(0, abs=1e-12)


def test_static_choices_make_groups_of_their_own():
    runs = runs_of({"model": {"activation": ["relu", "gelu"], "width": 8}, "optimizer": {"kind": ["gd", "adam"]}})
    assert len(make_plan(runs, MACHINE).groups) == 4


def test_short_runs_are_padded_to_share_a_program_and_long_ones_are_not():
    tree = {"data": {"num_samples": [64, 128], "input_dim": [1, 5]}, "seed": [0, 1], "model": {"width": "4n"}}
    short, long = make_plan(runs_of(tree, steps=10), MACHINE), make_plan(runs_of(tree, steps=10_000_000), MACHINE)
    assert len(short.groups) == 1
    assert short.groups[0].shape == {"input_dim": 5, "num_samples": 128, "width": 512}
    assert 0 < short.groups[0].padding_share < 1
    assert len(long.groups) == 4
    assert all(g.padding_share == pytest.approx(0, abs=1e-12) for g in long.groups)


def test_a_lone_run_is_padded_to_keep_an_idle_device_busy():
    runs = runs_of({"data": {"num_samples": [100, 128]}, "model": {"width": 640}}, steps=10_000_000)
    assert len(make_plan(runs, MACHINE).groups) == 1
    assert len(make_plan(runs, MACHINE._replace(devices=1)).groups) == 2


def test_compile_time_is_what_decides():
    runs = runs_of({"data": {"num_samples": [64, 128]}, "seed": [0, 1], "model": {"width": 640}}, steps=20000)
    free = make_plan(runs, MACHINE._replace(compile_seconds=0.0))
    dear = make_plan(runs, MACHINE._replace(compile_seconds=1e6))
    assert (len(free.groups), len(dear.groups)) == (2, 1)


def test_padding_never_merges_what_it_would_change():
    """Zero units of a flax network are no zero parameters, so its width is not padded, however cheap that were."""
    runs = runs_of({"model": {"kind": "mlp", "activation": "tanh", "width": [4, 8]}}, steps=1)
    assert len(make_plan(runs, MACHINE._replace(compile_seconds=1e6)).groups) == 2


def test_a_group_that_does_not_fit_is_cut_into_chunks_that_do():
    runs = runs_of({"seed": {"range": [0, 100]}})
    whole = make_plan(runs, MACHINE).groups[0]
    room = 30 * whole.cost.bytes_resident
    small = make_plan(runs, MACHINE._replace(memory=room)).groups[0]
    assert len(whole.chunks) == 1
    assert len(small.chunks) == 4
    assert [r for chunk in small.chunks for r in chunk] == list(small.runs)
    assert small.chunk * small.cost.bytes_resident <= room


def test_an_accelerator_takes_all_runs_in_one_lane():
    runs = runs_of({"seed": {"range": [0, 10]}})
    assert make_plan(runs, MACHINE._replace(devices=1, lane_flops=math.inf)).groups[0].lanes == 10
    assert make_plan(runs, MACHINE).groups[0].lanes == 1


def test_schedules_do_not_need_programs_of_their_own():
    runs = runs_of({"steps": [10, 20], "model": {"width": 8}})
    plan = make_plan(runs, MACHINE)
    assert len(plan.groups) == 2
    assert plan.groups[0].program == plan.groups[1].program


def test_the_table_names_what_will_run():
    row = tabulate_plan(make_plan(runs_of({"seed": [0, 1]}, steps=50), MACHINE))[0]
    assert row["runs"] == 2
    assert row["steps"] == 50
    assert row["shape"] == "input_dim 2, num_samples 128, width 512"
    # 2 runs, 50 steps, n K (4 (d + 1) + 4) operations each; the records come on top
    assert float(row["GFLOP"]) >= round(2 * 50 * 128 * 512 * 16 / 1e9, 1)
