"""The command line: what it does, and how it says no."""

import json
from pathlib import Path

import polars as pl
import pytest

from dynamics.cli import job_runner as app
from dynamics.engine.execute import Executor

SMOKE = ["experiment=stable_minima/rates", "size=smoke"]
TINY = [*SMOKE, "steps=20", "record.at=[10]", "sweep.data.num_samples=[8,16]", "measures=[train_loss,clean_train_error,"
        "excess_risk,generalization_gap,gauss_newton_sharpness]"]  # fmt: skip


@pytest.fixture
def no_compute(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("compute started")

    monkeypatch.setattr(Executor, "compute", refuse)


def test_a_study_runs_draws_judges_and_grows_and_is_not_computed_twice(cli, tmp_path, monkeypatch):
    code, _, err = cli(*TINY, f"output={tmp_path}")
    assert (code, len(err.splitlines())) == (0, 1)
    assert "16 runs done in" in err  # not a terminal: one line a chunk
    (folder,) = (tmp_path / "figures" / "smoke" / "stable_minima" / "rates").glob("altered-*")
    for name in ("rates.pdf", "rates.png", "rates.caption.txt", "slopes.csv", "rates.claims.json"):
        assert (folder / name).stat().st_size > 0
    columns = ["panel", "learning_rate", "weight_decay", "input_dim", "metric", "step", "slope", "low", "high", "num_seeds"]
    assert set(columns) <= set(pl.read_csv(folder / "slopes.csv").columns)
    claims = json.loads((folder / "rates.claims.json").read_text())["claims"]
    assert len(claims) >= 3
    assert all(c["control"] and c["control_outcome"] for c in claims)

    def refuse(*args, **kwargs):
        raise AssertionError("a finished run was computed again")

    png = (folder / "rates.png").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Executor, "compute", refuse)
        code, _, err = cli(*TINY, f"output={tmp_path}")
    assert (code, err) == (0, "")
    assert (folder / "rates.png").read_bytes() == png
    seen = []
    run_study = app.run_study
    monkeypatch.setattr(app, "run_study", lambda plan, *a: (seen.append(plan), run_study(plan, *a))[1])
    code, _, _ = cli(*TINY, f"output={tmp_path}", "mode=compute", "sweep.seed=[0,1,2]")
    assert code == 0
    assert (seen[0].num_runs, seen[0].num_stored) == (8, 16)


def test_plan_mode_shows_groups_and_touches_nothing(cli, tmp_path, no_compute):
    code, out, _ = cli("experiment=stable_minima/rates", "size=paper", "mode=plan", f"output={tmp_path}/new")
    assert code == 0
    for word in ("runs", "shape", "padding", "memory", "GFLOP", "seconds", "1000 runs", "cost model"):
        assert word in out
    assert not (tmp_path / "new").exists()


def test_a_plain_value_replaces_the_axes_of_its_field_and_says_so(cli, tmp_path, no_compute):
    code, out, err = cli(*SMOKE, "mode=plan", f"output={tmp_path}", "data.num_samples=16", "optimizer.weight_decay=0.5")
    assert code == 0
    assert "replaces the axis sweep.data.num_samples" in err
    assert "replaces the axis panels.stable.optimizer.weight_decay" in err
    assert "8 runs" in out


def test_the_command_line_comes_above_the_size(cli, tmp_path, no_compute):
    code, out, _ = cli(*SMOKE, "mode=plan", f"output={tmp_path}", "steps=77", "record.at=[]", "sweep.seed=[4]")
    assert code == 0
    assert "77" in out
    assert "12 runs" in out


@pytest.mark.parametrize("arguments", [["experiment=stable_minima/rate"], ["size=smoke"], ["experiment=nothing"]])
def test_an_unknown_experiment_is_answered_with_those_there_are(arguments, cli):
    code, _, err = cli(*arguments)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "stable_minima/rates" in err


def test_a_learning_rate_that_cannot_settle_is_a_warning(cli, tmp_path, no_compute):
    code, _, err = cli(*SMOKE, "mode=plan", f"output={tmp_path}", "optimizer.learning_rate=1.0")
    assert code == 0
    assert "warning: optimizer.learning_rate = 1.0" in err
    _, _, err = cli(*SMOKE, "mode=plan", f"output={tmp_path}", "optimizer.learning_rate=1.0", "loss.normalization=half")
    assert "warning" not in err


def test_a_store_of_another_version_is_refused_before_any_compute(cli, tmp_path, no_compute):
    folder = tmp_path / "results" / "stable_minima" / "rates"
    folder.mkdir(parents=True)
    (folder / "store.json").write_text('{"format": 99}')
    code, _, err = cli(*SMOKE, f"output={tmp_path}")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "format 99" in err


def test_a_disk_that_fills_up_loses_nothing_that_was_finished(cli, tmp_path, monkeypatch):
    from dynamics.store import files
    from dynamics.store.store import Store

    arguments = [*TINY, f"output={tmp_path}", "mode=compute", "measures=[train_loss]"]
    flush = files.flush_to_disk

    def full_after_the_first_part(path):
        if list((tmp_path / "results").rglob("parts/[!.]*")) and "parts" in str(path) and path.name == "records.parquet":
            raise OSError(28, "No space left on device", str(path))
        flush(path)

    monkeypatch.setattr(files, "flush_to_disk", full_after_the_first_part)
    code, _, err = cli(*arguments, "optimizer.kind=gd", "sweep.model.activation=[relu,gelu]")
    monkeypatch.undo()
    assert (code, len([x for x in err.splitlines() if x.startswith("error")])) == (3, 1)
    assert "No space left on device" in err
    assert len(Store(tmp_path / "results" / "stable_minima" / "rates").finished()) == 16


def test_list_names_every_experiment(cli):
    code, out, _ = cli("list")
    assert code == 0
    configs = Path(__file__).parents[2] / "configs" / "experiment"
    assert out.split() == sorted(str(file.relative_to(configs).with_suffix("")) for file in configs.rglob("*.yaml"))
    assert {"atlas/catapult", "atlas/edge_of_stability", "stable_minima/rates"} <= set(out.split())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("noise_std:", "nois_std:", ["data.nois_std", "did you mean 'data.noise_std'"]),
        ("    steps: 200", "    stepz: 200", ["stepz", "did you mean 'steps'"]),
        ("kind: gd,", "kind: : gd,", ["rates.yaml", "line"]),
        ("/system/training", "/system/trainin", ["system/trainin"]),
    ],
)
def test_a_mistake_in_a_config_file_is_told_in_one_line(old, new, words, cli, no_compute):
    """In a folder of the user's own: `configs/` and `experiments/` in the working folder come first."""
    import shutil
    from pathlib import Path

    root = Path(__file__).parents[2]
    for name in ("configs", "experiments"):
        shutil.copytree(root / name, name)
    file = Path("configs/experiment/stable_minima/rates.yaml")
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    code, _, err = cli(*SMOKE)
    assert (code, len(err.splitlines())) == (2, 1), err
    for word in words:
        assert word in err


def test_a_whole_sweep_may_be_given_at_once(cli, tmp_path, no_compute):
    code, out, err = cli(*SMOKE, "mode=plan", f"output={tmp_path}", "sweep={data: {num_samples: [8, 16]}, seed: [0, 1, 2]}")
    assert (code, err) == (0, "")
    assert "24 runs" in out  # 2 panels, 2 dimensions, 2 sample sizes, 3 seeds


def test_help_and_nothing_at_all(cli):
    assert cli("--help")[0] == 0
    assert cli()[0] == 2
