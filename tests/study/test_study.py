"""Reading a study back: one object, polars tables, selection by axis values."""

import numpy as np
import pytest

from dynamics.errors import InputError
from dynamics.study.config import compose
from dynamics.study.run import load_study, open_store, open_study, plan_study, run_study

OVERRIDES = [
    "size=smoke",
    "steps=30",
    "record.dense=0",
    "record.num=4",
    "panels.check.edge_ratio=[1.5,4.2]",
    "panels.check.form=net",
]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    request = compose("atlas/catapult", *OVERRIDES, f"output={folder}")
    store = open_store(request)
    run_study(plan_study(request, store), store, request.settings)
    return folder


@pytest.fixture
def study(output):
    return open_study("atlas/catapult", *OVERRIDES, f"output={output}")


def test_every_requested_run_is_there_once_a_panel(study):
    assert not study.runs.select("panel", "run").is_duplicated().any()
    assert set(study.values("panel")) >= {"phases", "line", "check", "growth"}


def test_select_by_the_last_part_of_a_path_or_a_list(study):
    check = study.select(panel="check")
    assert check.values("edge_ratio") == [1.5, 4.2]
    assert check.select(edge_ratio=[4.2]).values("edge_ratio") == [4.2]
    assert set(check.records["run"]) == set(check.runs["run"])


def test_a_column_that_is_not_there_is_named_with_the_nearest(study):
    with pytest.raises(InputError, match="did you mean 'edge_ratio'"):
        study.select(edge_ration=1)


def test_grid_places_every_value_and_leaves_holes_nan(study):
    check = study.select(panel="check")
    grid, (ratios, steps) = check.grid("loss", "edge_ratio", "step")
    assert grid.shape == (2, len(steps))
    for i, ratio in enumerate(ratios):
        for j, step in enumerate(steps):
            own = check.records.filter(edge_ratio=ratio, step=step)["loss"]
            np.testing.assert_equal(grid[i, j], own.item() if len(own) else np.nan)


def test_final_is_the_record_at_the_last_step(study):
    check = study.select(panel="check")
    assert set(check.final["step"]) <= {30}
    assert check.final.filter(edge_ratio=1.5)["loss"].item() < 1e-3


def test_a_study_that_was_not_run_says_how_much_is_missing(output):
    request = compose("atlas/catapult", *OVERRIDES, f"output={output}", "panels.check.edge_ratio=[1.5,3.9]")
    with pytest.raises(InputError, match="1 of"):
        load_study(request, open_store(request))


def test_a_second_plan_has_nothing_left(output):
    request = compose("atlas/catapult", *OVERRIDES, f"output={output}")
    plan = plan_study(request, open_store(request))
    assert (plan.groups, plan.num_stored) == ((), len(request.runs))
