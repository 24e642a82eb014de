"""What was computed stays: stores of November 2026 are read today.

`fixtures/store_of_november` was written by the code of commit e00b220 at size=smoke. If one of these tests fails,
results that users have stored are no longer found: give a new field `added_field`, or bring it up first. Run identities
of all shipped studies are checked in `tests/suite/test_experiments.py`.
Where a piece has changed on purpose its version says so; identities here are those at first versions, and the old store
is read with `reuse=older`.
"""

import shutil
from pathlib import Path

import pytest

from dynamics.study.config import compose
from dynamics.study.run import open_store, open_study, plan_study

FIXTURES = Path(__file__).parents[1] / "fixtures"
STORED = {"stable_minima/rates": 24, "convolution/vocabulary": 4, "stable_minima/tightness": 8}


@pytest.fixture
def old_store(tmp_path) -> Path:
    """A copy of the old store, so that nothing can be written into it."""
    shutil.copytree(FIXTURES / "store_of_november", tmp_path / "old")
    return tmp_path / "old"


@pytest.mark.parametrize("experiment", STORED)
def test_an_old_store_is_read_and_nothing_is_left_to_compute(experiment, old_store):
    request = compose(experiment, "size=smoke", f"output={old_store}", "reuse=older")
    assert not plan_study(request, open_store(request)).groups
    study = open_study(experiment, "size=smoke", f"output={old_store}")
    assert study.runs["run"].n_unique() == STORED[experiment]
    assert study.final["step"].to_list() == study.final["steps"].to_list() and len(study.final) >= STORED[experiment]


def test_a_run_that_the_old_store_lacks_is_planned(old_store):
    """The control: one more seed is not in the store."""
    request = compose("stable_minima/rates", "size=smoke", f"output={old_store}", "sweep.seed=[0,1,77]", "reuse=older")
    planned = {run.seed for group in plan_study(request, open_store(request)).groups for run in group.runs}
    assert planned == {77}


def test_the_command_line_draws_from_an_old_store_without_computing(cli, old_store):
    before = {file: file.read_bytes() for file in sorted(old_store.rglob("*")) if file.is_file()}
    code, out, err = cli("experiment=stable_minima/rates", "size=smoke", f"output={old_store}", "reuse=older")
    assert code == 0, err
    assert "rates.png" in out
    assert {file: file.read_bytes() for file in before} == before
    assert sorted(old_store.rglob("parts/*/runs.parquet")) == [f for f in before if f.name == "runs.parquet"]
