"""Bad input of every kind, made from the schema, is told in one line that names it, before anything is computed or written."""

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


CASES = [pytest.param(case, id=f"{make.__name__}-{i}") for make in GENERATORS for i, case in enumerate(make())]


def test_there_are_enough():
    assert len(CASES) >= 200


@pytest.fixture(scope="module")
def registered_once():
    """The schemas stay known for the length of a process; to make them for every case would take most of the time."""
    config.register()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "register", lambda: None)
        yield


@pytest.mark.usefixtures("registered_once")
@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_told_in_one_line_before_anything_is_done(case, cli, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("compute started")

    monkeypatch.setattr(Executor, "compute", refuse)
    for name, content in case.files:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
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
