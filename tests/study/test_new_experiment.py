"""`dynamics new`: what it writes runs, what it copies has the new name, and it overwrites nothing."""

from pathlib import Path

import pytest

from dynamics.core import spec as specs
from dynamics.study.config import compose
from dynamics.study.experiments import experiment_module, experiment_names

SYSTEM = """

from dataclasses import dataclass
from typing import ClassVar

from dynamics.core.spec import RunSpec
from dynamics.systems import register


@register.system
@dataclass(frozen=True)
class Swing(RunSpec):
    system: ClassVar[str] = "swing"
"""


def test_the_template_composes_in_every_size_and_has_a_figure_and_claims(cli):
    code, out, _ = cli("new", "mine/first")
    assert code == 0
    assert out.splitlines()[:2] == ["configs/experiment/mine/first.yaml", "experiments/mine/first.py"]
    runs = {size: len(compose("mine/first", f"size={size}").runs) for size in ("smoke", "laptop", "paper")}
    assert runs == {"smoke": 4, "laptop": 24, "paper": 48}
    module = experiment_module("mine/first")
    assert "NAME" not in Path(str(module.__file__)).read_text() and "SHORT" not in Path(str(module.__file__)).read_text()


@pytest.mark.parametrize("source", ["stable_minima/rates", "atlas/catapult", "data_geometry/depth"])
def test_a_copy_is_the_same_study_under_its_new_name(source, cli):
    code, out, _ = cli("new", "mine/copy", "--from", source)
    assert code == 0 and out.count(f"from {source}") == 2
    copied, original = (compose(name, "size=smoke") for name in ("mine/copy", source))
    assert [panel for panel, _ in copied.members] == [panel for panel, _ in original.members]
    assert [specs.flatten(run) for run in copied.runs] == [specs.flatten(run) for run in original.runs]
    config, module = Path("configs/experiment/mine/copy.yaml").read_text(), Path("experiments/mine/copy.py").read_text()
    assert source not in config + module
    assert f'"{source.rpartition("/")[2]}/' not in module
    experiment_module("mine/copy")


def test_a_copy_of_a_copy_is_of_one_s_own(cli):
    cli("new", "mine/first")
    assert cli("new", "mine/second", "--from", "mine/first")[0] == 0
    assert {"mine/first", "mine/second"} <= set(experiment_names())


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["first"], "must be <folder>/<name>"),
        (["../mine/first"], "must be <folder>/<name>"),
        (["mine/1st"], "must be <folder>/<name>"),
        (["hydra/first"], "must not have hydra"),
        (["stable_minima/rates"], "is one of the suite's"),
        (["mine/first", "--from", "stable_minima/rats"], "did you mean 'stable_minima/rates'"),
        (["mine/first", "mine/second"], "at most 1"),
        ([], "required"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_and_nothing_is_written(arguments, told, cli):
    code, _, err = cli("new", *arguments)
    assert (code, len(err.splitlines())) == (2, 1)
    assert told in err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("kept", ["configs/experiment/mine/first.yaml", "experiments/mine/first.py"])
def test_nothing_is_overwritten(kept, cli):
    Path(kept).parent.mkdir(parents=True)
    Path(kept).write_text("mine")
    code, _, err = cli("new", "mine/first")
    assert code == 2 and "is there already" in err
    assert Path(kept).read_text() == "mine"
    assert len([file for file in Path().rglob("*") if file.is_file()]) == 1


def test_a_copied_system_has_a_name_of_its_own_and_goes_beside_the_first(cli):
    cli("new", "mine/first")
    module = Path("experiments/mine/first.py")
    module.write_text(module.read_text() + SYSTEM)
    config = Path("configs/experiment/mine/first.yaml")
    config.write_text("# @package _global_\ndefaults: [/system/swing, _self_]\nsizes: {smoke: {}}\n")
    code, out, _ = cli("new", "mine/second", "--from", "mine/first")
    assert code == 0 and "its system is called mine_second here" in out
    assert [compose(f"mine/{name}", "size=smoke").runs[0].system for name in ("first", "second")] == ["swing", "mine_second"]
