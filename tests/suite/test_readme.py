"""What README and the pages of docs/ tell the reader to type, typed; every picture and page they show is there."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)


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


def is_altered(arguments: list[str]) -> bool:
    """Whether a study is asked for other than as it is shipped: planned,
    since what it comes to is for tests of its own."""
    study = arguments[0] == "-m" or arguments[0].startswith("experiment=")
    return study and not all(a.startswith(("experiment=", "size=", "mode=")) for a in arguments)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("dynamics")])
def test_dynamics_commands_run(command, cli, folder):
    arguments = shlex.split(command)[1:]
    if "mode=figure" in arguments:  # what the line before it in README has left
        assert cli(*[a for a in arguments if a != "mode=figure"], "mode=compute", f"output={folder}")[0] == 0
    named = [] if arguments[0] in ("list", "new") else [str(folder)]  # the folder of a command that takes one
    where = [f"output={folder}"] if "=" in arguments[-1] else named
    code, out, err = cli(*arguments, *where, *(["mode=plan"] if is_altered(arguments) else []))
    assert code == 0, err
    assert out


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [
    pytest.param(code, id=f"{page.name}-{i}") for page in PAGES for i, code in enumerate(blocks("python", page.read_text()))
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_python_examples_run(code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may write results
    exec(compile(code, "example", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_example_config_is_valid(tmp_path):
    import yaml

    from dynamics.core import spec as specs
    from dynamics.engine.axes import expand_runs, flatten_axes, parse_axes
    from dynamics.systems.training import TrainingSpec

    (text,) = blocks("yaml")
    config = yaml.safe_load(text)
    assert config.pop("defaults") == ["/system/training", "_self_"]
    sweep, sizes = config.pop("sweep"), config.pop("sizes")
    assert set(sizes) == {"smoke", "laptop", "paper"}
    values = {p: tuple(v) if isinstance(v, list) else v for p, v in flatten_axes(config).items()}
    base = specs.put(specs.freeze(TrainingSpec()), values)
    runs = expand_runs(base, parse_axes(sweep, base))
    assert len(runs) == 96
    for run in runs:
        run.check()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", prose) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_figure_command_of_the_docs_names_an_experiment():
    from dynamics.study.experiments import experiment_names

    named = {name for page in PAGES for name in re.findall(r"make figures/(\S+?)\.pdf", page.read_text())}
    assert len(named) > 8
    assert named <= set(experiment_names())
