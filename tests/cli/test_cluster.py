"""A cluster: one Hydra job per worker through submitit, all on one study; the Slurm configuration is composed,
not sent."""

import os
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dynamics.store.store import Store
from dynamics.study.experiments import home
from dynamics.study.schema import register

STUDY = [
    *("experiment=stable_minima/rates", "size=smoke", "~panels.stable", "steps=50", "record.at=[]", "data.input_dim=2"),
    *("data.num_samples=8", "model.width=8", "measures=[train_loss]", "sweep.optimizer.kind=[gd,adam]", "sweep.seed=[0,1]"),
]


def test_the_slurm_launcher_is_composed_with_what_the_command_line_says():
    pytest.importorskip("submitit")
    register()
    OmegaConf.register_new_resolver("sweep_folder", lambda: "out", replace=True)
    OmegaConf.register_new_resolver("job_files", lambda mode: ".hydra", replace=True)
    given = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=240"]
    with initialize_config_dir(str(home() / "configs"), version_base="1.3"):
        config = compose("config", [*STUDY[:2], *given, "workers=16", "worker=3"], return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.partition, launcher.timeout_min, config.worker, config.workers) == ("gpu", 240, 3, 16)
    assert launcher.submitit_folder == "out/.submitit/%j"


def test_jobs_of_submitit_share_one_study(tmp_path):
    """Two processes of submitit's local launcher: four runs in two groups, each computed once;
    the first tells of the whole."""
    pytest.importorskip("submitit")
    command = [sys.executable, "-m", "dynamics", "-m", *STUDY, f"output={tmp_path}/out"]
    more = ["hydra/launcher=submitit_local", "worker=0,1", "workers=2"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stderr
    store = Store(tmp_path / "out" / "results" / "stable_minima" / "rates")
    assert len(store.finished()) == 4
    assert len(list(store.parts.iterdir())) == 2
    (sweep,) = (tmp_path / "out" / "multirun").iterdir()
    assert (sweep / "0" / "result.json").exists() and (sweep / "1" / ".hydra" / "config.yaml").exists()
    assert os.listdir(tmp_path) == ["out"]


def test_a_launcher_that_is_not_installed_is_named(cli):
    code, _, err = cli("-m", *STUDY[:2], "hydra/launcher=submitit_slrum", "seed=0,1")
    (line,) = [line for line in err.splitlines() if line.startswith("error")]
    assert code == 2 and "hydra/launcher/submitit_slrum" in line
