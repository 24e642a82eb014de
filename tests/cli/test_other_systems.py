"""On a system that is not POSIX stored results can be read; what needs file locks says so in one line."""

import subprocess
import sys

import pytest

from dynamics import errors
from dynamics.engine.execute import Executor


@pytest.fixture
def elsewhere(monkeypatch):
    """A system without POSIX, as far as the suite can tell; any compute fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("compute started")

    monkeypatch.setattr(errors, "POSIX", False)
    monkeypatch.setattr(Executor, "compute", refuse)


def test_a_study_is_not_begun(elsewhere, cli, tmp_path):
    code, _, err = cli("-q", "experiment=atlas/catapult", "size=smoke", f"output={tmp_path}")
    assert (code, len(err.splitlines())) == (2, 1), err
    assert "operating system" in err and "computing runs needs Linux or macOS" in err


def test_who_computes_cannot_be_told(elsewhere, cli, tmp_path, store, good):
    store.write(good)
    assert cli("status", str(tmp_path / "out"))[0] == 0
    (store.folder / "work" / "chunk").mkdir(parents=True)
    (store.folder / "work" / "chunk" / "lock").touch()
    code, _, err = cli("status", str(tmp_path / "out"))
    assert (code, len(err.splitlines())) == (2, 1), err
    assert "which process computes what needs Linux or macOS" in err


def test_a_store_is_read_without_the_locks_of_posix(store, good):
    store.write(good)
    program = f"""
import sys
sys.modules["fcntl"] = None  # importing it fails
from dynamics.store.store import Store
print(len(Store({str(store.folder)!r}).finished()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr  # filelock warns of its own
