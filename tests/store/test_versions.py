"""What a piece computes may change: its version enters what is compared, and older results are told,
kept and recomputed."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dynamics.cli import job_runner as app
from dynamics.core import extension
from dynamics.core import spec as specs
from dynamics.core.registry import Registry
from dynamics.core.versions import later_versions
from dynamics.data.law import LAWS
from dynamics.data.targets import TARGETS
from dynamics.data.views import SCHEMES
from dynamics.engine.axes import expand_runs, parse_axes
from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.errors import InputError
from dynamics.measures.table import MEASURES
from dynamics.models.losses import LOSSES
from dynamics.models.model_spec import MODELS
from dynamics.optimizers.rules import RULES
from dynamics.optimizers.schedules import SCHEDULES
from dynamics.store.store import Store
from dynamics.study.config import compose
from dynamics.study.older_results import find_older_results
from dynamics.study.references import config_runs
from dynamics.study.request import StudySpec
from dynamics.study.run import load_study, load_what_is_there, open_store, plan_study
from dynamics.study.unreferenced import find_unreferenced
from dynamics.systems import register
from dynamics.systems.one_sample_descent import CatapultSpec
from dynamics.systems.training import TrainingSpec

STORE = Path(__file__).parents[1] / "fixtures" / "store_of_november"
RATES = "stable_minima/rates"
IN_USE = [
    (MEASURES, "train_loss", "accuracy"),
    (LAWS, "uniform_ball", "sphere"),
    (TARGETS, "linear", "zero"),
    (MODELS, "convolutional", "two_layer"),
    (LOSSES, "squared", "cross_entropy"),
    (RULES, "gd", "momentum"),
    (SCHEDULES, "constant", "warmup"),
    (SCHEMES, "sliding", "disjoint"),
]
FIELDS = {"model.kind": "convolutional", "model.views.scheme": "sliding", "model.views.size": 2, "data.input_dim": 4}


@pytest.fixture
def set_version(monkeypatch):
    """`set_version(MEASURES, "sharpness", 2)`, for the length of a test."""

    def change(registry: Registry, name: str, version: int) -> None:
        monkeypatch.setitem(registry._entries, name, replace(registry.entry(name), version=version))
        extension.forget()

    yield change
    monkeypatch.undo()
    extension.forget()


def training_run() -> TrainingSpec:
    return specs.freeze(specs.put(TrainingSpec(measures=["train_loss", "weight_norm"]), FIELDS))


@pytest.mark.parametrize("registry, used, other", IN_USE, ids=[registry.kind for registry, *_ in IN_USE])
def test_the_version_of_a_piece_counts_in_runs_that_use_it(registry, used, other, set_version):
    first = specs.run_id(training_run())
    set_version(registry, other, 2)
    assert specs.run_id(training_run()) == first and later_versions(training_run()) == {}
    set_version(registry, used, 2)
    second = specs.run_id(training_run())
    assert later_versions(training_run()) == {f"{registry.kind} {used}": 2}
    set_version(registry, used, 3)
    assert len({first, second, specs.run_id(training_run())}) == 3
    assert specs.first_id(training_run()) == first


def test_the_version_of_a_system_counts_in_its_own_runs(monkeypatch):
    before = specs.run_id(training_run()), specs.run_id(CatapultSpec())
    monkeypatch.setattr(TrainingSpec, "system_version", 2)
    assert later_versions(training_run()) == {"system training": 2}
    assert specs.first_id(training_run()) == before[0] != specs.run_id(training_run())
    assert specs.run_id(CatapultSpec()) == before[1]


def test_a_piece_of_ones_own_has_a_version():
    def written(version):
        @register.measure("counted_here", version=version)
        def count(view):
            return 0.0

    try:
        ids = []
        for version in (1, 2):
            written(version)
            ids.append(specs.run_id(TrainingSpec(measures=["counted_here"])))
        assert ids[0] != ids[1]
        for bad in (0, 1.5, True):
            with pytest.raises(InputError, match=r"measure.* version|version of measure counted_here"):
                written(bad)
    finally:
        MEASURES.remove("counted_here")


def test_a_store_holds_the_results_of_every_version_and_the_newest_older_one_stands_in(tmp_path, set_version):
    def fresh():  # runs know their identity from the first time that they are asked
        base = specs.freeze(TrainingSpec(steps=2, measures=["train_loss"]))
        base = specs.put(base, {"data.num_samples": 8, "model.width": 4})
        return expand_runs(base, parse_axes({"seed": [0, 1]}, base))

    store, by_version = Store(tmp_path), {}
    (result,) = Executor().compute_plan(make_plan(fresh()))
    for version in (1, 2):
        set_version(MEASURES, "train_loss", version)
        changed = {"train_loss": result.trajectory.records["train_loss"] + 10 * version}
        trajectory = result.trajectory._replace(records=result.trajectory.records | changed)
        store.write(result._replace(runs=tuple(fresh()), trajectory=trajectory))
        by_version[version] = [specs.run_id(run) for run in fresh()]
    assert store.finished() == {*by_version[1], *by_version[2]}
    assert find_older_results(fresh(), store).stored == {}  # they are there as they are now

    set_version(MEASURES, "train_loss", 3)
    older = find_older_results(fresh(), Store(tmp_path))
    assert older.stored == dict(zip([specs.run_id(run) for run in fresh()], by_version[2], strict=True))
    assert str(older) == "2 stored runs made by version 2 of measure train_loss (now 3)"
    assert find_older_results(fresh(), store, with_final=True).stored == {}

    request = replace(compose(RATES, "size=smoke"), settings=StudySpec(), panels={"main": fresh()})
    taken = load_what_is_there(request, store, older=True)
    assert taken.values("status") == ["ok"] and taken.records["train_loss"].to_numpy().min() > 19
    assert set(taken.specs) == set(by_version[2])
    assert load_what_is_there(request, store).values("status") == ["failed"]

    set_version(MEASURES, "train_loss", 1)  # older code does not take the results of newer code
    assert load_what_is_there(replace(request, panels={"main": fresh()}), store).records["train_loss"].to_numpy().max() < 19


@pytest.fixture
def outdated(tmp_path, set_version):
    """A copy of the old store, one of whose measures has a later version now."""
    shutil.copytree(STORE, tmp_path / "old")
    set_version(MEASURES, "gauss_newton_sharpness", 7)
    return tmp_path / "old"


def test_older_results_are_planned_again_unless_they_are_asked_for(outdated):
    for reuse, left in (("current", 24), ("older", 0)):
        request = compose(RATES, "size=smoke", f"output={outdated}", f"reuse={reuse}")
        assert plan_study(request, open_store(request)).num_runs == left
    with pytest.raises(InputError, match="choose one of current, older"):
        compose(RATES, "reuse=old")


def test_results_of_an_older_version_count_as_asked_for_by_the_config(outdated, set_version):
    """Those of version 1 stand under the first identity, those of version 7 under one of their own beside it."""
    store = open_store(compose(RATES, "size=smoke", f"output={outdated}"))
    report = find_unreferenced(RATES, store, frozenset(), days=0, unasked=True)
    assert [find for find in report.finds if find.runs] == []

    later = {specs.run_id(run): specs.first_id(run) for run in compose(RATES, "size=smoke").runs}
    set_version(MEASURES, "gauss_newton_sharpness", 8)
    assert config_runs(RATES, {*later, "unknown"}, later) == set(later)
    assert config_runs(RATES, {*later, "unknown"}) == set()  # without the column nobody could tell


def test_older_results_are_told_in_one_line(cli, outdated, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("compute started")

    monkeypatch.setattr(Executor, "compute", refuse)
    loaded = []

    def load(job, store, *rest):
        loaded.append(load_study(job.request, store))
        return True

    monkeypatch.setattr(app, "draw", load)
    command = [f"experiment={RATES}", "size=smoke", f"output={outdated}"]
    made = "24 stored runs made by version 1 of measure gauss_newton_sharpness (now 7)"
    code, out, err = cli(*command, "mode=plan")
    assert (code, err) == (0, f"note: {made}; they are kept, and computed again (reuse=older takes them as they are)\n")
    assert "24 runs to compute" in out
    before = {file: file.read_bytes() for file in outdated.rglob("results/**/*") if file.is_file()}
    for options in (["mode=figure"], ["reuse=older"]):
        code, out, err = cli(*command, *options)
        assert (code, err) == (0, f"warning: {RATES}: {made}, taken as they are\n")
    assert [len(study.runs) for study in loaded] == [24, 24]
    assert {file: file.read_bytes() for file in before} == before
