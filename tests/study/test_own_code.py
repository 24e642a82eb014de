"""One's own folder: its experiments beside the suite's, and what their files register known before a config is read."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dynamics.errors import InputError
from dynamics.study import own_code
from dynamics.study.config import compose
from dynamics.study.experiments import experiment_module, experiment_names, own_experiment_names
from dynamics.study.own_code import named_experiments
from dynamics.systems import SYSTEMS

SYSTEM = """
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from dynamics.core.dynamics import Dynamics
from dynamics.core.options import option
from dynamics.core.spec import RunSpec
from dynamics.systems import register


@register.system
@dataclass(frozen=True)
class Decay(RunSpec):
    rate: float = option({rate}, at_least=0)
    system: ClassVar[str] = "{name}"

    def dynamics(self):
        def step(state, hyper, key):
            return state - hyper["rate"] * state

        return Dynamics(lambda key, hyper: (hyper, jnp.ones(())), step, lambda state, hyper: {{"size": state}})


def figure(study): ...
def claims(study): return []
"""
CONFIG = "# @package _global_\ndefaults: [{base}, _self_]\nsteps: 5\nsizes: {{smoke: {{}}, laptop: {{}}}}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """`write(name, text)` puts a file into the working folder, which is one's own."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def write_decay(folder, name: str = "mine/first", system: str = "decay", rate: float = 0.5) -> Path:
    folder(f"configs/experiment/{name}.yaml", CONFIG.format(base=f"/system/{system}"))
    return folder(f"experiments/{name}.py", SYSTEM.format(name=system, rate=rate))


def test_own_experiments_are_found_beside_the_suite_s(folder):
    write_decay(folder)
    assert own_experiment_names() == ["mine/first"]
    assert {"mine/first", "stable_minima/rates"} <= set(experiment_names())
    (run,) = compose("mine/first", "size=smoke", "rate=0.25").runs
    assert run.system == "decay" and run.rate == 0.25  # pyright: ignore[reportAttributeAccessIssue]
    assert compose("stable_minima/rates", "size=smoke").runs[0].system == "training"


def test_an_own_experiment_takes_the_place_of_the_suite_s_and_says_so(folder):
    write_decay(folder, "stable_minima/rates")
    request = compose("stable_minima/rates")
    assert request.runs[0].system == "decay"
    assert any("the suite's experiment of this name is not seen" in line for line in request.notices)
    assert not compose("atlas/catapult", "size=smoke").notices


def test_an_experiment_may_build_on_another_one_s_config_and_system(folder):
    write_decay(folder)
    folder("configs/experiment/mine/second.yaml", CONFIG.format(base="/experiment/mine/first"))
    folder("configs/experiment/mine/third.yaml", CONFIG.format(base="mine/second"))
    for name in ("second", "third"):
        folder(f"experiments/mine/{name}.py", "def figure(study): ...\ndef claims(study): return []\n")
        assert compose(f"mine/{name}").runs[0].system == "decay"


def test_files_that_were_not_asked_for_are_not_imported(folder):
    write_decay(folder)
    folder("configs/experiment/mine/broken.yaml", CONFIG.format(base="/system/training"))
    folder("experiments/mine/broken.py", "import nothing_of_this_name, register\n")
    compose("mine/first")
    with pytest.raises(InputError, match=r"broken\.py, line 1.*No module named"):
        compose("mine/broken")


def test_files_that_register_nothing_are_imported_to_draw_alone(folder):
    folder("configs/experiment/mine/plain.yaml", CONFIG.format(base="/system/catapult"))
    folder("experiments/mine/plain.py", "raise RuntimeError('imported')\n")
    compose("mine/plain")
    with pytest.raises(InputError, match=r"plain\.py, line 1.*RuntimeError: imported"):
        experiment_module("mine/plain")


def test_extensions_are_known_to_every_experiment_and_can_be_imported_from(folder):
    folder("extensions.py", SYSTEM.format(name="shared_decay", rate=0.5))
    folder("configs/experiment/mine/first.yaml", CONFIG.format(base="/system/shared_decay"))
    folder("experiments/mine/first.py", "from ..extensions import Decay as kind, figure, claims\n")
    assert compose("mine/first").runs[0].system == "shared_decay"
    assert experiment_module("mine/first").kind is SYSTEMS["shared_decay"]
    Path("extensions.py").unlink()
    own_code.import_own_code()
    assert "shared_decay" not in SYSTEMS


def test_a_file_that_changed_is_imported_again(folder):
    file = write_decay(folder, rate=0.5)
    assert compose("mine/first").runs[0].rate == 0.5  # pyright: ignore[reportAttributeAccessIssue]
    first = experiment_module("mine/first")
    assert experiment_module("mine/first") is first
    write_decay(folder, system="other_decay", rate=0.125)
    os.utime(file, ns=(time.time_ns(), time.time_ns() + 10**9))
    assert compose("mine/first").runs[0].rate == 0.125  # pyright: ignore[reportAttributeAccessIssue]
    assert "decay" not in SYSTEMS and experiment_module("mine/first") is not first


def test_two_files_cannot_register_one_name(folder):
    write_decay(folder)
    write_decay(folder, "mine/second")
    compose("mine/first")
    with pytest.raises(InputError, match=r"registered already, by .*mine\.first"):
        compose("mine/second")


@pytest.mark.parametrize("text, line", [("x = 1\ndef f(:\n", 2), ("\n\nregister = no_such_name\n", 3)])
def test_a_broken_file_is_told_with_its_line_in_one_line(text, line, folder, cli):
    os.chdir(Path(folder("configs/experiment/mine/bad.yaml", CONFIG.format(base="/system/catapult"))).parents[3])
    folder("experiments/mine/bad.py", f"import dynamics.systems.register\n{text}")
    code, _, err = cli("experiment=mine/bad", "mode=plan")
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"bad.py, line {line + 1}" in err


def test_the_experiments_of_a_command_line_are_told(folder):
    write_decay(folder)
    write_decay(folder, "mine/second")
    assert named_experiments(["experiment=mine/first", "seed=1"]) == ["mine/first"]
    assert named_experiments(["-m", "experiment=mine/second,atlas/catapult"]) == ["atlas/catapult", "mine/second"]
    assert named_experiments(["experiment=glob(mine/*)"]) == ["mine/first", "mine/second"]
    assert named_experiments(["mode=plan"]) == []


def test_runs_of_an_own_system_go_to_another_process(folder, tmp_path):
    """By pickle, as a launcher or a pool sends them: the other process imports the file by the name of its module."""
    write_decay(folder)
    folder("extensions.py", SYSTEM.format(name="shared_decay", rate=0.75).replace("Decay", "Shared"))
    (run,) = compose("mine/first").runs
    (tmp_path / "run.pickle").write_bytes(pickle.dumps((run, SYSTEMS["shared_decay"]())))
    code = "import pickle; first, second = pickle.load(open('run.pickle', 'rb')); print(first.rate, second.rate)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["0.5", "0.75"], done.stderr


PACKAGE_OF_LAWS = """
import jax
import dynamics as dyn

@dyn.register.law("{name}", fields={{"tilt": dyn.option(0.5, above=0)}})
def law(key, data, hyper, dtype):
    return lambda key: hyper["data.tilt"] * jax.random.normal(key, (data.input_dim,), dtype)
{rest}
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """`install(name, rest)` puts a package with its metadata on the path: a module that registers a law of its name."""
    from dynamics.data.law import LAWS

    installed = []

    def put(name: str, rest: str = "") -> None:
        site = tmp_path / f"site of {name}"
        metadata = site / f"{name}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (site / f"{name}_laws.py").write_text(PACKAGE_OF_LAWS.format(name=name, rest=rest))
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{own_code.ENTRY_POINTS}]\nlaws = {name}_laws\n")
        monkeypatch.syspath_prepend(str(site))
        installed.append(name)

    yield put
    for name in installed:
        sys.modules.pop(f"{name}_laws", None)
        if name in LAWS:
            LAWS.remove(name)


def test_an_installed_package_brings_its_pieces_by_its_entry_point(install, monkeypatch, tmp_path):
    """From whichever side they are asked for first: a spec, its fields, a config, the tab key."""
    import dynamics as dyn
    from dynamics.cli.completion import offered_words

    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"data.law = 'leaning': choose one of"):
        dyn.Data(law="leaning")
    install("leaning")
    assert dyn.Data(tilt=0.3, law="leaning", input_dim=3).tilt == 0.3  # type: ignore[call-arg]
    rates = ["size=smoke", "data.law=leaning", "sweep.data.tilt=[0.1,0.2]", "target.kind=random_linear"]
    assert {run.data.tilt for run in compose("stable_minima/rates", *rates).runs} == {0.1, 0.2}  # type: ignore[attr-defined]
    assert offered_words("dynamics experiment=stable_minima/rates data.law=lea") == ["data.law=leaning"]


def test_an_installed_package_that_does_not_import_is_named_with_its_error(install, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    install("fallen", "raise RuntimeError('no such\\nday')")
    with pytest.raises(InputError) as error:
        compose("stable_minima/rates", "size=smoke")
    told = "entry point of dynamics.extensions = 'laws = fallen_laws': does not import: RuntimeError: no such day"
    assert str(error.value) == told
