"""Every public name refuses what it cannot mean, in one line that names it, before anything is computed."""

from __future__ import annotations

import numpy as np
import pytest
from hostile import CALLS, HALVE, SELECTED
from hostile_specs import SPECS

import dynamics as dyn
from dynamics.errors import InputError

TAKES_NOTHING = {"Cost", "InputError", "list_experiments"}  # a tuple of numbers, the error itself, no arguments
CASES = SPECS | CALLS


def refusal(call) -> str:
    with pytest.raises(InputError) as error:
        call()
    return str(error.value)


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_meant_is_told_in_one_line(case, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    call, beginning = CASES[case]
    told = refusal(call)
    assert told.startswith(beginning) and "\n" not in told
    assert not list(tmp_path.iterdir())


def test_no_public_name_is_left_out():
    assert {case.split()[0] for case in CASES} | {"Study"} | TAKES_NOTHING == set(dyn.__all__)


@pytest.fixture(scope="module")
def study() -> dyn.Study:
    return dyn.sweep(HALVE, {"x0": [0.1, 0.2]}, seeds=3, schedule=(0, 1))


@pytest.mark.parametrize("case", SELECTED)
def test_a_selection_of_nothing_is_told_with_its_study(case, study):
    asked, beginning = SELECTED[case]
    name = case.split()[0].replace("rate", "x0")
    told = refusal(lambda: study.select(**{name: asked}))
    assert told.startswith(beginning.replace("rate", "x0")) and "\n" not in told


def test_a_selection_from_a_store_names_its_folder(tmp_path):
    spec = dyn.Training(data=dyn.Data(num_samples=8, num_test=4), model=dyn.Model(width=2), steps=1, measures=["train_loss"])
    study = dyn.sweep(spec, output=tmp_path, precision="float64", schedule=(1,))
    assert study.runs["precision"].to_list() == ["float64"] and study.values("step") == [1]
    told = refusal(lambda: study.select(seed=7))
    assert told == f"seed = 7: no such value in sweeps/training ({tmp_path}/results/sweeps/training); there is 0"


def test_other_ways_to_ask_a_study_are_checked_too(study):
    for call in (study.values, study.column, study.grid, study.to_pandas, lambda name: study.grid("x", name)):
        for asked in (None, 3, ["x"], np.arange(2), {}, "nothing"):
            assert "\n" not in refusal(lambda call=call, asked=asked: call(asked))
    assert refusal(lambda: study.grid("x", "x0", "x0")).startswith("axes = ['x0', 'x0']: must name each axis once")
    assert refusal(lambda: study.grid("status", "x0", "seed", "step")).startswith("metric = 'status'")
    assert refusal(study.figure).startswith("figure = 'dynamics': a sweep has none")


def test_numbers_of_other_libraries_make_the_same_run():
    """Identities are of Python's numbers: an integer in a float field, and NumPy's numbers, are no other run."""
    from dynamics.core.spec import freeze, run_id

    plain = dyn.Training(optimizer=dyn.Optimizer(learning_rate=1.0, weight_decay=0.2), seed=3, record=dyn.Record(at=[2]))
    other = dyn.Training(
        optimizer=dyn.Optimizer(learning_rate=1, weight_decay=np.float32(0.2)),
        seed=np.int64(3),
        record=dyn.Record(at=np.array([2])),
    )
    assert other == plain and run_id(freeze(other)) == run_id(freeze(plain))


def test_a_cost_that_is_none_is_told_with_the_plan():
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Priceless(dyn.RunSpec):
        system = "priceless"

        def cost(self):
            return dyn.Cost(float("nan"), 1.0, 1.0, 1.0)

    assert refusal(lambda: dyn.plan(Priceless(steps=1))).startswith("cost of priceless = Cost(flops_per_step=nan")
