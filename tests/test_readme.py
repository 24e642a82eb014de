"""What README tells the reader to type, typed."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.S)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]


def test_there_are_commands():
    assert any(c.startswith("make rates") for c in COMMANDS)
    assert sum(c.startswith("dynamics") for c in COMMANDS) >= 5


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make")])
def test_make_targets_exist(command):
    done = subprocess.run([*shlex.split(command), "-n"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One output folder for all commands, as a reader has, in reading order."""
    return tmp_path_factory.mktemp("readme")


@pytest.mark.xdist_group("readme")
@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("dynamics")])
def test_dynamics_commands_run(command, cli, folder):
    arguments = shlex.split(command)[1:]
    if "mode=figure" in arguments:  # what the line before it in README has left
        assert cli(*[a for a in arguments if a != "mode=figure"], f"output={folder}")[0] == 0
    code, out, err = cli(*arguments, *([f"output={folder}"] if len(arguments) > 1 else []))
    assert code == 0, err
    assert out


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_example_config_is_valid(tmp_path):
    import yaml

    from dynamics import spec as specs
    from dynamics.sweep.axes import expand, leaves, parse
    from dynamics.training import TrainingSpec

    (text,) = blocks("yaml")
    config = yaml.safe_load(text)
    assert config.pop("defaults") == ["/system/training", "_self_"]
    sweep, sizes = config.pop("sweep"), config.pop("sizes")
    assert set(sizes) == {"smoke", "laptop", "paper"}
    values = {p: tuple(v) if isinstance(v, list) else v for p, v in leaves(config).items()}
    base = specs.put(specs.freeze(TrainingSpec()), values)
    runs = expand(base, parse(sweep, base))
    assert len(runs) == 96
    for run in runs:
        run.check()
