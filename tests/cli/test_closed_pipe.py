"""A reader that goes away (`dynamics ... | head -1`) is no error: exit code 0, nothing on stderr,
and everything is stored."""

import os
import subprocess
import sys
from contextlib import contextmanager

import polars as pl
import pytest

from dynamics.cli.streams import PipeStream
from dynamics.store.store import Store

SWEEP = [
    *("-q", "-m", "experiment=atlas/catapult", "size=smoke", "steps=20", "record.num=2", "record.dense=0", "width=8,12"),
    *("~panels.phases", "~panels.check"),
]


@contextmanager
def pipe_without_reader():
    """The writing end of a pipe whose reading end is closed already."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


def exit_code_and_errors(folder, *arguments, to="stdout"):
    """What `python -m dynamics` exits with, and what it says on stderr, when nobody reads its stdout (or `both`)."""
    command = [sys.executable, "-m", "dynamics", *arguments]
    with pipe_without_reader() as writer:
        streams = {"stdout": writer, "stderr": subprocess.PIPE if to == "stdout" else writer}
        done = subprocess.run(command, cwd=folder, text=True, timeout=300, **streams)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("to", ["stdout", "both"])
def test_a_command_says_nothing_of_a_closed_pipe(to, tmp_path):
    assert exit_code_and_errors(tmp_path, "list", to=to) == (0, "")


def test_an_error_keeps_its_exit_code_when_nobody_reads_it(tmp_path):
    assert exit_code_and_errors(tmp_path, "lits", to="both") == (2, "")


def test_a_sweep_is_computed_and_stored_to_the_end(tmp_path):
    assert exit_code_and_errors(tmp_path, *SWEEP, f"output={tmp_path}") == (0, "")
    (sweep,) = (tmp_path / "multirun").iterdir()
    runs = pl.read_parquet(sweep / "results.parquet")
    assert set(runs["job"]) == {0, 1}
    assert set(runs["run"]) == Store(tmp_path / "results" / "atlas" / "catapult").finished()
    assert {"0", "1", "multirun.yaml", "results.csv", "results.parquet"} <= {path.name for path in sweep.iterdir()}


def test_head_in_a_shell(tmp_path):
    script = f"set -o pipefail; {sys.executable} -m dynamics list | head -1"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("atlas/")


def test_what_is_written_before_the_reader_goes_arrives():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as file:
        stream = PipeStream(file)
        stream.write("first\n")
        stream.flush()
        assert os.read(reader, 100) == b"first\n"
        os.close(reader)
        stream.writelines(["dropped\n"] * 100_000)  # more than any buffer holds
        stream.flush()
        stream.write("dropped")
