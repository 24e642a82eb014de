"""Values that are what they were meant to be, or refused: references to other fields, whole floats, several values."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

import dynamics as dyn
from dynamics.cli import job_runner
from dynamics.core import spec as specs
from dynamics.study.calls import sweep_request
from dynamics.study.config import compose, encode_axis_overrides, refuse_several_values
from dynamics.study.schema import schema
from dynamics.systems.training import TrainingSpec

RATES = "stable_minima/rates"
WIDTH, SIZES = "model.width=${data.num_samples}", "sweep.data.num_samples=[16,32]"

FOLLOWING = [  # overrides, the fields that are looked at, their values in the study
    ([WIDTH, SIZES], ("data.num_samples", "model.width"), {(16, 16), (32, 32)}),
    ([WIDTH, "data.num_samples=8"], ("data.num_samples", "model.width"), {(8, 8)}),
    (["model.width=${data.num_samples}n", SIZES], ("data.num_samples", "model.width"), {(16, 256), (32, 1024)}),
    ([WIDTH, SIZES, "optimizer.batch_size=${model.width}"], ("model.width", "optimizer.batch_size"), {(16, 16), (32, 32)}),
    ([WIDTH, "panels.stable.data.num_samples=[9]", SIZES], ("data.num_samples", "model.width"), {(9, 9), (16, 16), (32, 32)}),
    (
        ["optimizer.batch_size=${seed}", "sweep.zip=[{data.num_samples: [4, 5], seed: [1, 2]}]"],
        ("data.num_samples", "optimizer.batch_size"),
        {(4, 1), (5, 2)},
    ),
    (["record.at=['${data.input_dim}',100]"], ("data.input_dim", "record.at"), {(1, (1, 100)), (3, (3, 100))}),
    (["data.noise_std=${optimizer.learning_rate}"], ("data.noise_std", "optimizer.learning_rate"), {(0.2, 0.2), (0.01, 0.01)}),
    ([WIDTH, SIZES, "++sweep.model.width=[7]"], ("data.num_samples", "model.width"), {(16, 16), (32, 32)}),
]


@pytest.mark.parametrize(("overrides", "paths", "wanted"), FOLLOWING)
def test_a_reference_to_a_field_follows_each_run(overrides, paths, wanted):
    runs = compose(RATES, "size=smoke", *overrides).runs
    assert {tuple(specs.get(run, path) for path in paths) for run in runs} == wanted


def test_a_call_and_a_size_may_refer_to_fields_too():
    runs = compose(RATES, "size=smoke", values={"width": "${data.num_samples}", "num_samples": [16, 24]}).runs
    assert {(run.data.num_samples, run.model.width) for run in runs} == {(16, 16), (24, 24)}  # type: ignore[attr-defined]
    runs = compose(RATES, "size=small", "+sizes={small: {model: {width: '${data.num_samples}'}, sweep: {seed: 0}}}", SIZES).runs
    assert {(run.data.num_samples, run.model.width) for run in runs} == {(16, 16), (32, 32)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["sweep.model.width", "panels.stable.model.width"])
def test_an_axis_cannot_refer_to_another(path):
    with pytest.raises(dyn.InputError, match="is an axis itself"):
        compose(RATES, "size=smoke", f"{path}=['${{data.num_samples}}']")


WHOLE = [  # override, path, the value it means
    ("steps=1e3", "steps", 1000),
    ("data.num_samples=4.0e1", "data.num_samples", 40),
    ("model.width=1e2", "model.width", 100),
    ("record={at: [1e1, 20.0], num: 3.0}", "record.at", (10, 20)),
    ("sweep.steps=[1e3]", "steps", 1000),
    ("sweep.model.width=[1e1]", "model.width", 10),
    ("sweep.seed={range: [3, 4e0]}", "seed", 3),
]


@pytest.mark.parametrize(("override", "path", "meant"), WHOLE)
def test_an_integer_may_be_written_as_a_whole_float(override, path, meant):
    runs = compose(RATES, "size=smoke", override).runs
    found = {specs.get(run, path) for run in runs}
    assert found == {meant} and all(type(value) is type(meant) for value in found)


def test_calls_and_specs_take_whole_floats_and_come_to_the_same_identities():
    spec = dyn.Training(steps=1e2, model=dyn.Model(width=1e1), record=dyn.Record(num=2.0, at=[1e1]))  # type: ignore[arg-type]
    plain = dyn.Training(steps=100, model=dyn.Model(width=10), record=dyn.Record(num=2, at=[10]))
    both = [sweep_request(own, None, 1, None, "float32", None, ".", {})[0] for own in (spec, plain)]
    assert both[0].members == both[1].members
    assert compose(RATES, "size=smoke", values={"steps": 1e2}).members == compose(RATES, "size=smoke", "steps=100").members


NOT_WHOLE = ["steps=1.5", "steps=1e3.5", "steps=inf", "steps=true", "steps=null", "model.width=1.5", "model.width=null"]
NOT_WHOLE += ["record.at=[1.5]", "sweep.seed=[0.5]"]


@pytest.mark.parametrize("override", NOT_WHOLE)
def test_what_is_no_whole_number_is_refused(override):
    with pytest.raises(Exception, match=r"steps|width|record\.at|seed"):
        compose(RATES, "size=smoke", override)


def test_the_schema_of_a_yaml_takes_whole_floats_and_keeps_doing_so():
    merged = OmegaConf.merge(schema(TrainingSpec), {"steps": 1e3, "data": {"num_samples": 2e1}})
    again = OmegaConf.merge(merged.copy(), {"steps": 2e3})
    assert (merged.steps, merged.data.num_samples, again.steps) == (1000, 20, 2000)


SEVERAL = [
    ("seed=0,1", "add -m to run a job for each, or as one study over them with sweep.seed=[0,1]"),
    ("optimizer.learning_rate=choice(0.1,0.2)", "sweep.optimizer.learning_rate=[...]"),
    ("seed=range(0,3)", "add -m"),
    ("size=smoke,laptop", "add -m"),
    ("measures=train_loss,sharpness", "write measures=[train_loss,sharpness] for a list"),
]


@pytest.mark.parametrize(("override", "told"), SEVERAL)
def test_several_values_say_what_is_meant(override, told, cli):
    with pytest.raises(dyn.InputError) as error:
        compose(RATES, override)
    assert told in str(error.value)
    code, _, err = cli(f"experiment={RATES}", "size=smoke", override)
    assert code == 2 and told in err and len(err.splitlines()) == 1


def test_one_value_and_axes_pass():
    refuse_several_values(["seed=0", "measures=[a,b]", "record={at: [1,2]}", *encode_axis_overrides(["sweep.seed=[0,1]"])])


JOBS = [  # what the jobs of a Hydra sweep differ in, and what is said of them or how many steps each has
    ("steps=1e1,20.0", [10, 20]),
    ("model.depth=1,3", "model.depth = 3: has no effect in runs with model.kind = two_layer"),
    ("panels.stabel.seed=1,2", "no such panel (did you mean 'stable'?)"),
]


@pytest.mark.parametrize(("jobs", "outcome"), JOBS)
def test_the_jobs_of_a_sweep_are_checked_alike(jobs, outcome, cli, monkeypatch):
    planned = []
    monkeypatch.setattr(job_runner, "run_jobs", lambda found: planned.extend(found) or [])
    code, _, err = cli("-m", f"experiment={RATES}", "size=smoke", "sweep.seed=0", "record={num: 2, at: []}", jobs)
    if isinstance(outcome, str):
        assert code == 2 and outcome in err and not planned
    else:
        assert [job.request.runs[0].steps for job in planned] == outcome
