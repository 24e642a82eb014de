"""`dyn.run` and its kin do what the command line does: same checks, stores and identities."""

import sys
import threading

import numpy as np
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import dynamics as dyn
from dynamics.core import spec as specs
from dynamics.errors import InputError
from dynamics.study.config import compose
from dynamics.study.experiments import home

SMALL = {
    "steps": 20,
    "record": {"dense": 0, "num": 3},
    "form": "map",
    "panels": {"line": None, "growth": None},
}


def small(output, **values):
    return dyn.run("atlas/catapult", SMALL, size="smoke", output=output, **values)


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    small(folder, edge_ratio=[1.5, 3.0])
    return folder


def test_identities_and_store_are_those_of_the_command_line(output):
    overrides = ["size=smoke", "steps=20", "record.dense=0", "record.num=3", "form=map"]
    overrides += [f"~panels.{panel}" for panel in ("line", "growth")]
    overrides += [f"panels.{panel}.edge_ratio=[1.5,3.0]" for panel in ("phases", "check")]
    wanted = compose("atlas/catapult", *overrides, f"output={output}")
    wanted_ids = {specs.run_id(run) for run in wanted.runs if run.edge_ratio in (1.5, 3.0)}  # type: ignore[attr-defined]
    study = small(output, edge_ratio=[1.5, 3.0])
    assert study.store.folder == wanted.results_folder
    assert wanted_ids <= set(study.runs["run"])


def test_a_second_call_computes_nothing_and_a_larger_grid_only_what_is_new(output):
    assert dyn.plan("atlas/catapult", SMALL, size="smoke", output=output, edge_ratio=[1.5, 3.0]).groups == ()
    grown = dyn.plan("atlas/catapult", SMALL, size="smoke", output=output, edge_ratio=(1.5, 2.5, 3.0))
    assert (grown.num_runs, grown.num_stored) == (1, 2)
    assert "1 run to compute" in repr(grown) and "<table>" in grown._repr_html_()


VALUES = {
    "list": [0.5, 0.25],
    "tuple": (0.5, 0.25),
    "set": {0.5, 0.25},
    "float64": np.array([0.5, 0.25]),
    "float32": np.array([0.5, 0.25], np.float32),
    "expression": {"linspace": [0.25, 0.5, 2]},
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_whatever_holds_numbers_is_an_axis(values):
    plan = dyn.plan("atlas/catapult", SMALL, size="smoke", output="/nowhere", edge_ratio=values)
    assert sorted({run.edge_ratio for group in plan.groups for run in group.runs}) == [0.25, 0.5]  # type: ignore[attr-defined]


def test_single_precision_is_read_as_the_shortest_decimal():
    import jax.numpy as jnp

    plan = dyn.plan("atlas/catapult", SMALL, size="smoke", edge_ratio=jnp.array([0.1, 0.7]), initial_output=np.float32(0.3))
    runs = [run for group in plan.groups for run in group.runs]
    assert {run.edge_ratio for run in runs} == {0.1, 0.7} and {run.initial_output for run in runs} == {0.3}  # type: ignore[attr-defined]


def test_a_list_replaces_the_axes_of_its_field_in_every_panel():
    plan = dyn.plan("stable_minima/rates", size="smoke", learning_rate=[0.05, 0.1], seed=0)
    runs = [run for group in plan.groups for run in group.runs]
    assert {run.optimizer.learning_rate for run in runs} == {0.05, 0.1}  # type: ignore[attr-defined]
    assert {run.seed for run in runs} == {0}


def test_a_list_for_a_field_that_is_a_list_is_its_value_and_a_list_of_lists_an_axis():
    one = dyn.plan("stable_minima/rates", size="smoke", seed=0, measures=["train_loss"])
    assert {run.measures for group in one.groups for run in group.runs} == {("train_loss",)}  # type: ignore[attr-defined]
    two = dyn.plan("stable_minima/rates", size="smoke", seed=0, measures=[["train_loss"], ["weight_norm"]])
    assert len({run.measures for group in two.groups for run in group.runs}) == 2  # type: ignore[attr-defined]


WRONG = {
    "panel": (
        ("stable_minima/rates",),
        {"panels": {"stabel": None}},
        r"no such panel \(did you mean .stable.\?\); there are stable, low_norm",
    ),
    "experiment": (("stable_minima/rate",), {}, "did you mean 'stable_minima/rates'"),
    "field": (("stable_minima/rates",), {"learning_rat": 0.1}, "did you mean"),
    "ambiguous": (("stable_minima/rates",), {"kind": "gd"}, "is one of .*model.kind"),
    "size": (("stable_minima/rates",), {"size": "tiny"}, "choose one of"),
    "type": (("stable_minima/rates",), {"steps": "many"}, "steps = 'many': must be an integer"),
    "axis of a setting": (("stable_minima/rates",), {"memory": [1, 2]}, "one value for all runs"),
    "mode": (("stable_minima/rates",), {"mode": "figure"}, "dyn.open"),
    "twice": (("stable_minima/rates", {"seed": 1}), {"seed": 2}, "given twice"),
    "value": (("stable_minima/rates",), {"learning_rate": [0.1, -1.0]}, "must be a number above 0"),
    "object": (("stable_minima/rates",), {"seed": object()}, "must be a number"),
    "level": (("stable_minima/rates",), {"optimizer": "adam"}, "has fields"),
    "empty": (("stable_minima/rates",), {"seed": []}, "at least one value"),
}


@pytest.mark.parametrize("arguments, values, told", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line_and_nothing_is_written(arguments, values, told, tmp_path):
    with pytest.raises(InputError, match=told) as caught:
        dyn.run(*arguments, output=tmp_path, **values)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_open_names_the_folder_and_what_is_missing(output, tmp_path):
    assert dyn.open("atlas/catapult", SMALL, size="smoke", output=output, edge_ratio=3.0).values("edge_ratio") == [3.0]
    with pytest.raises(InputError, match=rf"{output}.*lacks 1 of the 2 runs, those with edge_ratio = 3.5"):
        dyn.open("atlas/catapult", SMALL, size="smoke", output=output, edge_ratio=[3.0, 3.5])
    with pytest.raises(InputError, match=rf"{tmp_path}.*holds none"):
        dyn.open("atlas/catapult", SMALL, size="smoke", output=tmp_path)


def test_a_run_that_cannot_be_computed_is_told_and_listed_and_the_others_are_there(output, monkeypatch):
    from dynamics.systems.one_sample_descent import CatapultSpec

    build = CatapultSpec.dynamics

    def refuse(self):
        if self.form == "linearized":
            raise RuntimeError("no such luck")
        return build(self)

    monkeypatch.setattr(CatapultSpec, "dynamics", refuse)
    with pytest.warns(RuntimeWarning, match="1 run could not be computed .*no such luck"):
        study = dyn.run("atlas/catapult", {**SMALL, "form": ["map", "linearized"]}, size="smoke", output=output, edge_ratio=3.0)
    assert dict(study.runs.select("form", "status").iter_rows()) == {"map": "ok", "linearized": "failed"}
    assert "no such luck" in study.select(status="failed").runs["reason"][0]
    assert set(study.select(status="ok").records["form"]) == {"map"}
    with pytest.raises(InputError, match="1 of its runs could not be computed"):
        study.figure()


def test_what_a_program_has_of_hydra_and_its_arguments_are_as_before(output):
    arguments = list(sys.argv)
    with initialize_config_dir(str(home() / "configs"), version_base="1.2"):
        before = GlobalHydra.instance().hydra
        from hydra.version import getbase

        small(output, edge_ratio=3.0)
        assert GlobalHydra.instance().hydra is before and before is not None
        assert str(getbase()) == "1.2"
    assert not GlobalHydra.instance().is_initialized()
    assert sys.argv == arguments


def test_two_threads_at_once(tmp_path):
    found: list[dyn.Study] = []
    threads = [threading.Thread(target=lambda: found.append(small(tmp_path, edge_ratio=[1.5, 3.0]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = found
    assert first.records.sort("run", "step").equals(second.records.sort("run", "step"), null_equal=True)


def test_progress_is_one_line_on_stderr_and_the_default_is_silence(tmp_path, capsys):
    small(tmp_path, edge_ratio=3.0)
    assert capsys.readouterr() == ("", "")
    small(tmp_path, edge_ratio=3.5, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "100 %" in err and err.count("\n") == 1


def test_cite_names_the_suite_the_paper_of_the_folder_and_those_of_the_file(output):
    text = dyn.cite(small(output, edge_ratio=3.0))
    assert "@software{learning_dynamics" in text and "2003.02218" in text and "2506.20779" not in text
