"""Fields that came after runs had been stored: identities stay, and a store without their columns is read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import polars as pl
import pytest
from oracles import change

from dynamics.core import spec as specs
from dynamics.core.recording import RecordSpec
from dynamics.core.spec import RunSpec, added_field, unhashed_field
from dynamics.core.stop_spec import GOAL
from dynamics.data.problem import DataSpec
from dynamics.data.views import ViewSpec
from dynamics.engine.axes import expand_runs, parse_axes
from dynamics.engine.execute import Executor
from dynamics.engine.interrupt import Interrupt
from dynamics.engine.plan import make_plan
from dynamics.engine.worker import ExecutionOptions, ProgressReporter, work_on_plan
from dynamics.models.model_spec import ModelSpec
from dynamics.store.files import write_manifest
from dynamics.store.store import Store
from dynamics.systems import SYSTEMS
from dynamics.systems.training import TrainingSpec

LATE = ("model.views.scheme", "model.views.size", "model.views.stride", "data.alpha", "data.root", "target.units", "loss.kind")
GONE = {"model.patch_size": 0, "model.stride": 1}  # of a version in between, at the values they had in runs without patches


@dataclass(frozen=True)
class Part:
    size: int = 3


@dataclass(frozen=True)
class GrownPart:
    size: int = 3
    shape: str = added_field("round")


@dataclass(frozen=True)
class Before(RunSpec):
    rate: float = 0.5
    part: Part = field(default_factory=Part)


@dataclass(frozen=True)
class After(RunSpec):
    rate: float = 0.5
    part: GrownPart = field(default_factory=GrownPart)
    slope: float = added_field(0.25)
    order: int = added_field(2)


def test_a_run_of_a_spec_that_has_grown_is_the_same_run():
    for values in ({}, {"seed": 3, "rate": 0.1}, {"part__size": 5}):
        assert specs.run_id(change(After(), **values)) == specs.run_id(change(Before(), **values))
    assert specs.run_id(change(After(), order=2, slope=0.25, part__shape="round")) == specs.run_id(Before())


def test_a_value_of_its_own_makes_another_run():
    others = [change(After(), **v) for v in ({}, {"slope": 0.5}, {"order": 3}, {"part__shape": "flat"}, {"rate": 0.25})]
    others += [change(After(), slope=0.5, order=3), change(After(), rate=0.5, slope=2.0), change(After(), seed=2)]
    assert len({specs.run_id(run) for run in others}) == len(others)


def test_a_field_that_did_not_come_later_counts_at_its_default():
    """Only what is declared so is left out: else two specs that differ in their fields could be one run."""

    @dataclass(frozen=True)
    class Fewer(RunSpec):
        part: Part = field(default_factory=Part)

    assert specs.run_id(Fewer()) != specs.run_id(Before())


def test_where_something_lies_is_no_part_of_what_it_is():
    @dataclass(frozen=True)
    class Moved(Before):
        folder: str = unhashed_field("")

    here, there = Moved(folder="here"), Moved(folder="there")
    assert specs.run_id(here) == specs.run_id(there) == specs.run_id(Moved()) == specs.run_id(Before())
    assert specs.run_id(change(here, rate=0.1)) != specs.run_id(here)
    assert specs.family(here) != specs.family(there)  # a program reads one of them
    assert specs.latecomers(Moved) == specs.latecomers(Before) | {"folder": ""}


def test_later_fields_are_swept_put_and_static_like_any_other():
    base = After()
    runs = expand_runs(base, parse_axes({"slope": [0.25, 0.5], "part": {"shape": ["round", "flat"]}}, base))
    assert [(run.slope, run.part.shape) for run in runs] == [(0.25, "round"), (0.25, "flat"), (0.5, "round"), (0.5, "flat")]
    assert specs.swept(After) == (*GOAL, "rate", "slope")
    assert specs.get(specs.put(base, {"part.shape": "flat"}), "part.shape") == "flat"
    assert specs.family(base) != specs.family(change(base, part__shape="flat"))
    assert specs.family(base) == specs.family(change(base, slope=0.5))


# Identities as they were when their stores were written. A change here makes every stored run a run unknown.
PINNED = {
    "training": "72d1c8bdb30d3dba",
}


def test_identities_that_stores_have_been_written_with():
    assert specs.run_id(TrainingSpec().resolve()) == PINNED["training"]
    assert set(LATE) <= set(specs.leaf_paths(TrainingSpec))
    convolutional = change(TrainingSpec(), model=ModelSpec("convolutional", 512, views=ViewSpec("sliding", 1)))
    strided = change(convolutional, model__views__stride=2)
    assert len({specs.run_id(run) for run in (TrainingSpec().resolve(), convolutional, strided)}) == 3
    assert set(PINNED) <= set(SYSTEMS)


RUN = TrainingSpec(
    steps=3,
    record=RecordSpec(num=0),
    data=DataSpec(num_samples=5, num_test=2),
    model=ModelSpec(width=3),
    measures=["train_loss"],
)


@pytest.fixture(scope="module")
def executor():
    return Executor()


@pytest.fixture(scope="module")
def result(executor):
    (result,) = executor.compute_plan(make_plan([specs.freeze(change(RUN, seed=seed)) for seed in (0, 1)]))
    return result


@pytest.fixture
def old_store(tmp_path, result):
    """A store of before there were views, laws with parameters and cross-entropy: columns as they then were,
    and checksums."""
    part = Store(tmp_path).write(result)
    table = pl.read_parquet(part / "runs.parquet")
    assert set(LATE) <= set(table.columns)
    table.drop(LATE).with_columns(**{name: pl.lit(value) for name, value in GONE.items()}).write_parquet(part / "runs.parquet")
    (part / "checksums.json").unlink()
    write_manifest(part)
    assert json.loads((tmp_path / "store.json").read_text())
    return tmp_path


def test_a_store_without_the_columns_is_read(old_store, result):
    store = Store(old_store)
    ids = [specs.run_id(run) for run in result.runs]
    store.check()
    assert not store.damaged and store.finished() == set(ids)
    runs, records = store.read(ids)
    assert sorted(runs["run"]) == sorted(ids) and set(runs["model.width"]) == {3}
    assert sorted(records["step"]) == [0, 0, 3, 3]


def test_nothing_of_it_is_computed_again_and_new_runs_stand_beside_it(old_store, result, executor):
    others = [change(run, seed=run.seed + 2) for run in result.runs]
    store = Store(old_store)
    plan = make_plan([*result.runs, *others], stored=store.finished())
    assert plan.num_runs == 2
    assert work_on_plan(plan, store, ExecutionOptions(), Interrupt(), ProgressReporter(), executor) == []
    ids = [specs.run_id(run) for run in (*result.runs, *others)]
    runs, records = Store(old_store).read(ids)
    rows = {row["run"]: row for row in runs.iter_rows(named=True)}
    assert [rows[run]["seed"] for run in ids] == [0, 1, 2, 3]
    assert [rows[run]["model.views.stride"] for run in ids[2:]] == [1, 1]
    assert len(records) == 8 and records["train_loss"].is_finite().all()
