"""A Hydra sweep folded into few programs: what it computes, what it leaves behind,
and that it equals the jobs one by one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf

from dynamics.analysis.figures import Page, new_figure
from dynamics.cli import job_runner
from dynamics.core.spec import run_id
from dynamics.engine.execute import Executor
from dynamics.errors import InputError
from dynamics.store.store import Store
from dynamics.study import jobs
from dynamics.study.config import compose
from dynamics.study.experiments import experiment_module
from dynamics.study.schema import register

STUDY = [
    *("experiment=stable_minima/rates", "size=smoke", "steps=20", "record.at=[10]", "data.input_dim=2", "~panels.stable"),
    *("data.num_samples=8", "measures=[train_loss,excess_risk]"),
]
SWEEP = ["-m", *STUDY, "optimizer.learning_rate=0.05,0.1", "model.width=8,12", "seed=range(1,2)"]
STORE = Path("results/stable_minima/rates")


def folder_of(output: Path) -> Path:
    (folder,) = (output / "multirun").iterdir()
    return folder


def close(one: pl.DataFrame, other: pl.DataFrame) -> None:
    """The same runs with the same metrics, to float32 rounding: they were computed in other company."""
    key = [c for c in ("run", "step") if c in one.columns]
    one, other = one.sort(key), other.sort(key)
    assert one.select(key).equals(other.select(key))
    for name in ("train_loss", "excess_risk"):
        np.testing.assert_allclose(one[name], other[name], rtol=2e-5)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two outputs of one sweep: folded, and by Hydra's basic launcher."""
    import os
    import sys

    from dynamics.cli import main as cli

    outputs = {}
    argv, here = list(sys.argv), os.getcwd()
    os.chdir(tmp_path_factory.mktemp("here"))
    try:
        for launcher in ("fold", "basic"):
            outputs[launcher] = tmp_path_factory.mktemp(launcher)
            sys.argv = ["dynamics", *SWEEP, f"hydra/launcher={launcher}", f"output={outputs[launcher]}"]
            cli.main()
        assert os.listdir() == [], "nothing is left in the working folder"
    finally:
        sys.argv = argv
        os.chdir(here)
    return outputs


def test_all_jobs_are_in_the_store_and_were_few_programs(swept):
    """Four jobs, two widths that share a padded program: one group, where the basic launcher computed four."""
    folded, basic = (Store(swept[name] / STORE) for name in ("fold", "basic"))
    assert len(folded.finished()) == 4 and folded.finished() == basic.finished()
    assert len(list(folded.parts.iterdir())) == 1
    assert len(list(basic.parts.iterdir())) == 4


def test_the_basic_launcher_gives_the_same_numbers(swept):
    tables = [Store(swept[name] / STORE).read(Store(swept[name] / STORE).finished())[1] for name in ("fold", "basic")]
    assert len(tables[0]) == 4 * 3
    close(*tables)
    changed = tables[1].with_columns(pl.col("train_loss") * 1.001)
    with pytest.raises(AssertionError):
        close(tables[0], changed)


def test_every_job_has_hydras_files_as_hydra_writes_them(swept):
    folded, basic = folder_of(swept["fold"]), folder_of(swept["basic"])
    assert sorted(p.name for p in folded.iterdir() if p.is_dir()) == sorted(map(str, range(4)))
    for number in (0, 3):
        for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
            own, expected = (OmegaConf.load(f / str(number) / ".hydra" / name) for f in (folded, basic))
            text = re.sub("hydra_plugins.dynamics_sweeps.FoldLauncher", "LAUNCHER", json.dumps(OmegaConf.to_container(own)))
            other = json.dumps(OmegaConf.to_container(expected))
            other = re.sub(r"hydra._internal.core_plugins.basic_launcher.BasicLauncher", "LAUNCHER", other)
            for pattern in (r"hydra/launcher=\w+", r'"hydra/launcher": "\w+"'):
                text, other = re.sub(pattern, "", text), re.sub(pattern, "", other)
            assert text.replace(str(swept["fold"]), "OUT") == other.replace(str(swept["basic"]), "OUT"), name
    assert (folded / "multirun.yaml").exists()


def test_every_job_has_its_result_row_and_place(swept):
    folder = folder_of(swept["fold"])
    table = pl.read_parquet(folder / "results.parquet")
    assert table["job"].to_list() == list(range(4))
    assert table.columns == pl.read_csv(folder / "results.csv").columns
    for number, (rate, width, seed) in enumerate([(r, w, 1) for r in (0.05, 0.1) for w in (8, 12)]):
        row = table.row(number, named=True)
        assert (row["optimizer.learning_rate"], row["model.width"], row["seed"], row["status"]) == (rate, width, seed, "ok")
        result = json.loads((folder / str(number) / "result.json").read_text())
        assert (result["job"], result["status"], result["runs"]) == (number, "ok", 1)
        assert result["results"][0]["train_loss"] == row["train_loss"]
        assert result["results"][0]["run"] == row["run"]
        assert f"seed={seed}" in result["overrides"]
        basic = json.loads((folder_of(swept["basic"]) / str(number) / "result.json").read_text())
        assert basic["results"][0]["run"] == row["run"]


def test_the_same_sweep_again_computes_nothing_and_writes_the_same_rows(swept, cli, monkeypatch):
    folder = folder_of(swept["fold"])
    before = {p: p.read_bytes() for p in folder.rglob("result*")}
    monkeypatch.setattr(Executor, "compute", None)
    monkeypatch.setattr(job_runner, "experiment_module", None)  # nor does a sweep load what draws
    code, out, _ = cli(*SWEEP, f"output={swept['fold']}")
    assert code == 0 and "4 jobs: 4 ok" in out
    assert {p: p.read_bytes() for p in folder.rglob("result*")} == before


def test_a_sweep_draws_each_jobs_figure_in_its_own_folder(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment_module("stable_minima/rates"), "figure", lambda study: Page(new_figure(2, 2), "A page."))
    sweep = ["-m", *STUDY[:5], "data.input_dim=1,2", "sweep.data.num_samples=[8,16]", "sweep.seed=[0]", f"output={tmp_path}"]
    measured = "measures=[train_loss,clean_train_error,excess_risk,generalization_gap,gauss_newton_sharpness]"
    assert cli(*sweep, measured)[0] == 0
    code, _, err = cli(*sweep, measured, "mode=figure")
    assert code == 0, err
    folder = folder_of(tmp_path)
    for number in ("0", "1"):
        assert {"rates.pdf", "rates.png", "rates.claims.json", "result.json"} <= {p.name for p in (folder / number).iterdir()}
    assert not (tmp_path / "figures").exists()
    drawn = {p: p.stat().st_mtime_ns for p in folder.rglob("rates.*")}
    assert cli(*sweep, measured, "mode=figure", "worker=1", "workers=2")[0] == 0  # leaves it to the first worker
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("rates.*")} == drawn


def test_a_plan_of_a_sweep_is_one_plan_and_leaves_nothing(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(Executor, "compute", None)
    code, out, _ = cli(*SWEEP, "mode=plan", f"output={tmp_path}/new")
    assert code == 0 and "4 runs to compute in 1 groups" in out
    assert not (tmp_path / "new").exists()


def test_a_subfolder_may_be_made_of_the_config_and_a_quoted_output_holds_the_sweep(cli, tmp_path):
    folder = tmp_path / "a b"
    sweep = ["-m", *STUDY, "model.width=8", "seed=3,4", f'output="{folder}"']
    code, _, err = cli(*sweep, "hydra.sweep.subdir=w${model.width}_seed${seed}")
    assert code == 0, err
    assert sorted(p.name for p in folder_of(folder).iterdir() if p.is_dir()) == ["w8_seed3", "w8_seed4"]
    assert {p.name for p in folder.iterdir()} == {"results", "multirun"}
    assert not list(Path().iterdir())
    code, _, err = cli(*sweep, f"hydra.sweep.dir={tmp_path}/here")  # computes nothing again
    assert code == 0, err
    assert sorted(p.name for p in (tmp_path / "here").iterdir() if p.is_dir()) == ["0", "1"]
    code, _, err = cli(*sweep, "hydra.sweep.subdir=../${seed}")
    assert (code, len([x for x in err.splitlines() if x.startswith("error")])) == (2, 1)


def test_one_bad_job_among_good_ones_is_named_before_anything_is_computed(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(Executor, "compute", None)
    code, _, err = cli("-m", *STUDY, "seed=0,1", "model.width=8,-8", f"output={tmp_path}/new")
    (line,) = [x for x in err.splitlines() if not x.startswith("note")]
    assert code == 2 and line.startswith("error: model.width = -8") and "job 1 of 4" in line
    assert not (tmp_path / "new").exists()


def test_exit_code_three_when_some_diverge_unless_they_may_and_results_are_json_as_others_read_it(cli, tmp_path):
    def refuse(name):
        raise ValueError(name)

    sweep = ["-m", *STUDY, "seed=0", "optimizer.learning_rate=0.1,1e30", "optimizer.clip_norm=inf", f"output={tmp_path}"]
    code, out, _ = cli(*sweep)
    assert code == 3 and "1 ok, 1 diverged" in out
    result = json.loads((folder_of(tmp_path) / "1" / "result.json").read_text(), parse_constant=refuse)
    assert result["status"] == "diverged" and result["results"][0]["train_loss"] is None
    assert cli(*sweep, "may_diverge=true")[0] == 0


def test_exit_code_three_when_some_failed(cli, tmp_path):
    code, out, err = cli("-m", *STUDY, "seed=0,1", f"output={tmp_path}", "memory=1e-9")
    assert code == 3 and "2 failed" in out and "one run alone needs" in err
    result = json.loads((folder_of(tmp_path) / "0" / "result.json").read_text())
    assert result["status"] == "failed" and "memory" in result["results"][0]["reason"]


# ---- composing


def hydra_compose(overrides):
    """Hydra's config of one job, hydra node and all."""
    from hydra import compose as compose_config
    from hydra import initialize_config_dir

    from dynamics.study.experiments import home

    register()
    OmegaConf.register_new_resolver("sweep_folder", lambda: "out", replace=True)
    OmegaConf.register_new_resolver("job_files", lambda mode: ".hydra", replace=True)
    with initialize_config_dir(str(home() / "configs"), version_base="1.3"):
        config = compose_config("config", overrides, return_hydra_config=True)
    OmegaConf.set_readonly(config.hydra, False)
    OmegaConf.set_struct(config.hydra, False)
    config.hydra.job.id = config.hydra.job.num = 0
    config.hydra.runtime.output_dir = "out"
    return config


OVERRIDES = [
    ["optimizer.learning_rate=1", "seed=7"],
    ["optimizer.learning_rate=1e-3", "seed=7"],
    ["optimizer.learning_rate=0.25", "model.width=3n"],
    ["optimizer.learning_rate=0.25", "model.width=17"],
    ["optimizer.clip_norm=inf", "data.noise_std=0"],
    ["optimizer.kind=adam", "model.init=kaiming_normal"],
    ["record.pairs=true", "record.dense=3"],
    ["record.at=[1,5]", "seed=1"],
    ["record.at=[2]", "seed=1"],
    ["size=laptop", "seed=1"],
    ["data.law=sphere", "data={input_dim: 3}"],
    ["sweep.seed=[4,5]"],
    ["model.width='8n'", "optimizer.kind=momentum", "optimizer.momentum=0.5"],
]


def test_jobs_composed_together_are_the_jobs_composed_alone():
    sized = [own if "size=laptop" in own else ["size=smoke", *own] for own in OVERRIDES]
    batch = [["experiment=stable_minima/rates", *own] for own in sized for _ in range(2)]
    batch = [own for own in batch if not any(o.startswith("sweep") for o in own)]
    composed = []

    def count(overrides):
        composed.append(overrides)
        return hydra_compose(overrides)

    together = jobs.compose_jobs(count, batch, 5)
    assert len(composed) < len(batch) / 2
    each_alone = {tuple(overrides): compose("stable_minima/rates", *overrides[1:]) for overrides in batch}
    for job, overrides in zip(together, batch, strict=True):
        alone = each_alone[tuple(overrides)]
        assert {p: [run_id(r) for r in runs] for p, runs in job.request.panels.items()} == {
            p: [run_id(r) for r in runs] for p, runs in alone.panels.items()
        }, overrides
        assert job.request.notices == alone.notices
    assert [job.number for job in together] == list(range(5, 5 + len(batch)))


def test_a_field_that_refers_to_another_follows_it_in_every_job():
    batch = [["experiment=atlas/catapult", "width=${steps}", f"steps={steps}", "record.dense=0"] for steps in (100, 300)]
    for job, overrides in zip(jobs.compose_jobs(hydra_compose, batch, 0), batch, strict=True):
        alone = compose("atlas/catapult", *overrides[1:])
        assert [run_id(run) for run in job.request.runs] == [run_id(run) for run in alone.runs]
        assert {run.width for run in job.request.panels["phases"]} == {run.steps for run in job.request.panels["phases"]}


@pytest.mark.parametrize("text", ["abc", "1.5", "true", "[1]", "null", "1e400"])
def test_a_value_of_the_wrong_type_is_refused_as_hydra_refuses_it(text):
    batch = [["experiment=stable_minima/rates", f"seed={value}"] for value in ("0", text)]
    with pytest.raises(Exception) as alone:
        compose("stable_minima/rates", batch[1][1])
    with pytest.raises(Exception) as together:
        jobs.compose_jobs(hydra_compose, batch, 0)
    assert isinstance(together.value, InputError) or type(together.value) is type(alone.value)


def test_composing_many_jobs_composes_one_config():
    composed = []
    batch = [
        ["experiment=stable_minima/rates", "size=smoke", f"optimizer.learning_rate={0.1 + i}", f"seed={i}"] for i in range(50)
    ]
    found = jobs.compose_jobs(lambda o: (composed.append(o), hydra_compose(o))[1], batch, 0)
    assert len(composed) == 1
    assert [job.request.runs[0].seed for job in found] == list(range(50))
    assert len({run_id(run) for job in found for run in job.request.runs}) == sum(len(job.request.runs) for job in found)


def test_experiments_may_be_swept_too(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(Executor, "compute", None)
    code, out, err = cli(
        "-m", "experiment=atlas/catapult,stable_minima/rates", "size=smoke", "mode=plan", f"output={tmp_path}/new"
    )
    assert code == 0, err
    assert out.count("runs to compute") == 2  # a plan for each store


def test_what_says_how_to_compute_must_be_the_same_in_all_jobs(cli, tmp_path):
    code, _, err = cli("-m", *STUDY, "save_final=true,false", f"output={tmp_path}/new")
    (line,) = [x for x in err.splitlines() if x.startswith("error")]
    assert code == 2 and "save_final" in line and "hydra/launcher=basic" in line
    assert not (tmp_path / "new").exists()


def test_more_jobs_than_fit_are_refused_before_they_are_listed(cli, tmp_path):
    for sweep in (["seed=range(0,1000000000000)"], ["seed=range(0,1000)", "data.noise_std=range(0,1000)"]):
        code, _, err = cli("-m", *STUDY[:2], *sweep, f"output={tmp_path}/new")
        assert code == 2 and "100000 jobs" in err


@pytest.mark.parametrize("value", [1e-5, 1e22, 0.1, -2.5e-7, float("inf"), float("-inf"), True, "4n", "a: b", 7])
def test_values_in_hydras_files_are_read_back_by_any_yaml(value):
    import yaml

    assert yaml.safe_load(f"v: {jobs.yaml_scalar(value)}") == {"v": value}


def test_an_override_of_a_whole_mapping_keeps_its_place_among_the_others():
    for own in (["model.width=16", "model={width: 7}"], ["model={width: 7}", "model.width=16"]):
        batch = [["experiment=stable_minima/rates", own[0], own[1], f"seed={seed}"] for seed in (0, 1)]
        for job, overrides in zip(jobs.compose_jobs(hydra_compose, batch, 0), batch, strict=True):
            alone = compose("stable_minima/rates", *overrides[1:])
            assert [run_id(run) for run in job.request.runs] == [run_id(run) for run in alone.runs]
            assert {run.model.width for run in job.request.runs} == {7 if own[0] == "model.width=16" else 16}


@pytest.mark.parametrize("sweep", ["seed=range(0,0)", "seed=range(5,0)", "seed=range(0,5,0)", "output=a,b"])
def test_a_sweep_that_is_none_is_refused(sweep, cli, tmp_path):
    code, _, err = cli("-m", *STUDY[:2], sweep, *([] if "output" in sweep else [f"output={tmp_path}/new"]))
    assert (code, len(err.splitlines())) == (2, 1), err
    assert not Path("multirun").exists() and not (tmp_path / "new").exists()


def test_what_is_wrong_with_a_later_study_is_told_before_the_first_is_computed(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(Executor, "compute", None)
    other = tmp_path / "results" / "stable_minima" / "rates"
    other.mkdir(parents=True)
    (other / "store.json").write_text('{"format": 99}')
    code, _, err = cli("-m", "experiment=atlas/catapult,stable_minima/rates", "size=smoke", f"output={tmp_path}")
    assert code == 2 and "format 99" in err
    assert not (tmp_path / "multirun").exists()
