"""What a start does not do: touch a device, or import what draws before there is anything to draw."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMPORT_ALL = """
import importlib, pkgutil, dynamics
for module in pkgutil.walk_packages(dynamics.__path__, "dynamics."):
    importlib.import_module(module.name)
public = [getattr(dynamics, name) for name in dynamics.__all__]
import jax
jax.config.update("jax_num_cpu_devices", 3)  # raises once a backend is up
print(len(jax.devices("cpu")))
"""
PLAN = """
import sys
from dynamics.cli.main import main
main()
print(*sys.modules)
"""
OWN = """# @package _global_
defaults: [/system/catapult, _self_]
steps: 5
sizes: {smoke: {}}
"""


def python(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints."""
    variables = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}  # it may fix the number of devices
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env={**variables, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_module_and_no_public_name_touches_a_device_when_imported():
    assert python(IMPORT_ALL).strip() == "3"


def test_a_plan_imports_nothing_that_draws(tmp_path):
    """Nor scipy: each takes a third of a second, a quarter of what the start may take."""
    out = python(PLAN, "experiment=stable_minima/rates", "size=smoke", "mode=plan", f"output={tmp_path}")
    assert "24 runs to compute" in out
    assert not {"matplotlib", "scipy"} & set(out.splitlines()[-1].split())


@pytest.fixture
def own(cli):
    """`own(file's text or None, mode) -> (exit code, stderr)`: a study in the working folder, drawn by that file."""

    def call(text: str | None, mode: str) -> tuple[int, str]:
        root = (Path(__file__).parents[2] / "configs" / "config.yaml").read_text()
        script = Path("experiments/mine/study.py")
        for file, content in ((Path("configs/config.yaml"), root), (Path("configs/experiment/mine/study.yaml"), OWN)):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        script.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            script.write_text(text)
        code, _, err = cli("experiment=mine/study", "size=smoke", f"mode={mode}")
        assert not Path("results").exists()
        return code, err

    return call


@pytest.mark.parametrize("mode", ["plan", "run", "figure"])
def test_an_experiment_without_a_file_is_told_first(mode, own):
    code, err = own(None, mode)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "mine/study" in err and "has a config but no" in err


def test_what_draws_is_loaded_before_the_compute_but_not_for_a_plan(own):
    half = "def figure(study): ...\n"
    assert own(half, "plan") == (0, "")
    code, err = own(half, "run")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "must define claims(study)" in err
