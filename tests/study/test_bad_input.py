"""Bad input of every kind, made from the schema, is told in one line that names it,
before anything is computed or written."""

from pathlib import Path

import pytest
from bad_arguments import (
    bad_jobs,
    broken_syntax,
    misspelt_fields,
    out_of_range,
    suggestions,
    unknown_groups,
    unknown_names,
    wrong_axes,
    wrong_types,
    wrong_zips,
)
from bad_files import broken_files, misspelt_in_files

from dynamics.cli.messages import explain
from dynamics.engine.execute import Executor
from dynamics.study import config

GENERATORS = (
    misspelt_fields,
    suggestions,
    wrong_types,
    out_of_range,
    unknown_names,
    wrong_axes,
    wrong_zips,
    broken_syntax,
    unknown_groups,
    bad_jobs,
    misspelt_in_files,
    broken_files,
)

EVERY = 8  # cases of a generator of which one goes all the way through the command line
CASES = [(case, f"{make.__name__}-{i}", i % EVERY == 0) for make in GENERATORS for i, case in enumerate(make())]


def needs_the_command_line(case, chosen: bool) -> bool:
    """Whether a case is given to the command line: one in so many, and what has flags."""
    plain = case.arguments[0].startswith("experiment=") and not any(a.startswith("-") for a in case.arguments)
    return chosen or not plain


def select(through: bool) -> list:
    return [pytest.param(case, id=name) for case, name, chosen in CASES if needs_the_command_line(case, chosen) == through]


def test_there_are_enough():
    assert len(CASES) >= 200 and len(select(True)) >= 50


def refuse(*args, **kwargs):
    raise AssertionError("compute started")


def write_files(case) -> None:
    for name, content in case.files:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)


def told(case) -> str | None:
    """What the library refuses these arguments with, as the command line would print it; None if it composes them."""
    name, *overrides = case.arguments
    try:
        config.compose(name.removeprefix("experiment="), *overrides)
    except Exception as error:
        return explain(error, case.arguments)
    return None


@pytest.mark.parametrize("case", select(False))
def test_bad_input_is_refused_in_one_line_when_a_study_is_composed(case, cli, monkeypatch):
    write_files(case)
    there = sorted(Path().rglob("*"))
    line = told(case)
    if line is None:  # it is refused later: by what opens the output, or draws
        return check_command_line(case, cli, monkeypatch)
    assert case.word in line and len(line.splitlines()) == 1
    assert sorted(Path().rglob("*")) == there


@pytest.mark.parametrize("case", select(True))
def test_bad_input_is_told_in_one_line_before_anything_is_done(case, cli, monkeypatch):
    check_command_line(case, cli, monkeypatch)


def check_command_line(case, cli, monkeypatch) -> None:
    monkeypatch.setattr(Executor, "compute", refuse)
    write_files(case)
    there = sorted(Path().rglob("*"))
    before = [] if any(a.startswith("output=") for a in case.arguments) else ["output=tmp/new"]
    if case.arguments[0] == "--multirun":
        before = ["--multirun", *before]
    code, out, err = cli(*before, *case.arguments[before[:1] == ["--multirun"] :])
    lines = [line for line in err.splitlines() if not line.startswith(("note:", "warning:"))]
    assert "Traceback" not in err + out
    assert code == 2, (case.arguments, err)
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert case.word in lines[0]
    assert sorted(Path().rglob("*")) == there  # neither tmp/new, nor outputs, nor multirun
