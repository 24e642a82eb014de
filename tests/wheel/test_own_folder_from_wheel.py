"""A folder of one's own beside an installed wheel: its pieces, systems and data run, and the suite stays usable."""

import os
from pathlib import Path

import polars as pl
import pytest
from own_folder import write_folder

CIFAR = Path(os.environ.get("DYNAMICS_CIFAR_ZIP", ""))  # a zip of class folders with the images of CIFAR-10, if there is one


@pytest.fixture(scope="module")
def swept(dynamics, tmp_path_factory):
    """(folder, table of jobs, what was printed) after all experiments of the folder were run as one sweep."""
    folder = tmp_path_factory.mktemp("theory")
    write_folder(folder)
    done = dynamics(folder, "-m", "experiment=mine/data,mine/pendulum,mine/pieces", "size=smoke")
    assert done.returncode == 0, done.stderr
    (file,) = (folder / "multirun").rglob("results.parquet")
    return folder, pl.read_parquet(file), done


def test_every_experiment_of_the_folder_ran(swept):
    _, table, done = swept
    assert "3 jobs: 3 ok" in done.stdout
    assert set(table["status"]) == {"ok"}


def test_the_wheel_has_the_sources_of_the_kernels_as_the_checkout_has_them(swept, home):
    """Else they were compiled once more, under another name."""
    assert len(list((home / ".cache" / "dynamics" / "kernels").glob("gates-*.so"))) <= 1


@pytest.mark.parametrize("kind", ["law", "target", "views", "model", "loss", "optimizer", "measure"])
def test_a_number_of_a_piece_s_own_is_an_axis_that_matters(kind, swept):
    _, table, _ = swept
    both = table.filter(pl.col("panel") == kind).select("train_loss", "largest_parameter")
    assert len(both) == 2
    assert both.row(0) != both.row(1)


def test_the_system_of_an_experiment_file_is_swept_in_its_own_number(swept):
    _, table, _ = swept
    positions = table.filter(pl.col("position").is_not_null())["position"]
    assert len(positions) == 2 and positions[0] != positions[1]


@pytest.fixture(scope="module")
def said(swept, dynamics_in_turn):
    """What commands print in the folder after the sweep, its data having been moved."""
    folder, _, _ = swept
    os.rename(folder / "mine.npz", folder / "moved.npz")
    moved = ["panels.numbers.data.file=moved.npz", f"panels.pictures.data.root={folder}/animals"]
    commands = {
        "completion": ["-sc", "query=bash"],
        "figure": ["experiment=mine/data", "size=smoke", "mode=figure", *moved],
        "list": ["list"],
        "plan": ["experiment=stable_minima/rates", "size=smoke", "mode=plan"],
        "status": ["status"],
        "gc": ["gc", "--yes", "--days=0"],
    }
    typed = "dynamics experiment=mine/pendulum dam"
    return dict(zip(commands, dynamics_in_turn(folder, *commands.values(), COMP_LINE=typed), strict=True))


def test_another_sweep_from_the_same_data_elsewhere_computes_nothing(said):
    code, out, err = said["figure"]
    assert code == 0, err
    assert "mine/data (smoke): 2 runs" in out


def test_commands_know_the_folder_s_experiments_and_the_suite_s(said):
    listed = said["list"].out.splitlines()
    assert "stable_minima/rates" in listed and any(line.startswith("mine/pendulum") and "own" in line for line in listed)
    assert "runs to compute" in said["plan"].out, said["plan"].err
    assert said["status"].code == 0 and "mine/pendulum" in said["status"].out
    assert said["gc"].code == 0, said["gc"].err
    assert "nothing to delete" in said["gc"].out


def test_completion_offers_the_fields_of_a_system_of_the_folder(said):
    assert "damping=" in said["completion"].out.split(), said["completion"]


def test_a_new_experiment_runs_at_once(dynamics_in_turn, tmp_path):
    new = [["new", "mine/first"], ["new", "mine/jump", "--from", "atlas/catapult"]]
    plan, run = (["experiment=mine/jump", "size=smoke", "mode=plan"], ["experiment=mine/first", "size=smoke"])
    *made, planned, ran = dynamics_in_turn(tmp_path, *new, plan, run)
    assert [each.code for each in made] == [0, 0], made
    assert "runs to compute" in planned.out, planned.err
    assert ran.code == 0, ran.err
    assert (tmp_path / "figures" / "smoke" / "mine" / "first.pdf").exists()


@pytest.mark.skipif(not CIFAR.is_file(), reason="set DYNAMICS_CIFAR_ZIP to a zip of CIFAR-10's images by class")
def test_images_of_cifar_are_trained_on(dynamics, swept):
    """From the zip file as it is: 20000 training and 10000 test images; a few steps on some of them."""
    folder, _, _ = swept
    few = ["data.num_samples=64", "data.num_test=100", "target.kind=one_hot", "loss.kind=cross_entropy"]
    own = [f"data.root={CIFAR}", "data.law=images", "panels.numbers=null", "panels.pictures=null", "panels.cifar.seed=[0]"]
    done = dynamics(folder, "experiment=mine/data", "size=smoke", *few, *own)
    assert done.returncode == 0, done.stderr
    assert "mine/data (smoke): 1 runs" in done.stdout or "mine/data (smoke): 1 run" in done.stdout
