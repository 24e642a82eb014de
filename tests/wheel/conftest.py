"""The wheel, built and unpacked once a session, and an empty folder with a home of its own to use it from.

The home has the CPU kernels of this checkout and nothing else: a wheel that has the same sources takes them as they
are, and would compile for twenty seconds if it had not.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import pytest
from filelock import FileLock
from quick_compiling import QUICK_TO_COMPILE

from dynamics.kernels.build import Unavailable, build_library

ROOT = Path(__file__).parents[2]
Python = Callable[..., CompletedProcess[str]]
IN_TURN = """
import contextlib, io, json, sys
from hydra.core.global_hydra import GlobalHydra
from dynamics.cli.main import main

for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    sys.argv[1:] = arguments
    GlobalHydra.instance().clear()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main() or 0
        except SystemExit as stop:
            code = stop.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


class Said(NamedTuple):
    """What a command exited with and printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory) -> Path:
    """A folder that all workers of a session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def installed(session_folder) -> Path:
    """The folder with what installing the wheel puts there, and nothing of the checkout."""
    target, built = session_folder / "installed", session_folder / "built"
    with FileLock(session_folder / "wheel.lock"):
        if not target.exists():
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
            _run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(built), str(ROOT)])
            (wheel,) = built.glob("*-none-any.whl")  # of Python alone: unpacked it is installed
            with zipfile.ZipFile(wheel) as packed:
                packed.extractall(target)
    return target


@pytest.fixture(scope="session")
def home(session_folder) -> Path:
    """A home folder with the compiled kernels alone, if there are any."""
    home = session_folder / "home"
    with FileLock(session_folder / "home.lock"):
        if not home.exists():
            kernels = home / ".cache" / "dynamics" / "kernels"
            kernels.mkdir(mode=0o700, parents=True)
            with contextlib.suppress(Unavailable):
                library = build_library()
                for file in (library, library.with_suffix(".sha256")):
                    shutil.copy2(file, kernels)
    return home


@pytest.fixture(scope="session")
def python(installed, home) -> Python:
    """`python(folder, *arguments)` runs an interpreter there that has the wheel and that home."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    variables = {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": str(installed),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": QUICK_TO_COMPILE,
    }

    def call(folder: Path, *arguments: str, **more: str) -> CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=folder, env={**variables, **more}, capture_output=True, text=True)

    return call


@pytest.fixture(scope="session")
def dynamics(python) -> Python:
    """`dynamics(folder, *arguments)` is the command line there."""
    return lambda folder, *arguments, **more: python(folder, "-m", "dynamics", *arguments, **more)


@pytest.fixture(scope="session")
def dynamics_in_turn(python) -> Callable[..., list[Said]]:
    """`dynamics_in_turn(folder, *commands)` runs commands, lists of arguments, one after the other in one process."""

    def call(folder: Path, *commands: list[str], **more: str) -> list[Said]:
        done = python(folder, "-c", IN_TURN, json.dumps(commands), **more)
        assert done.returncode == 0, done.stderr
        return [Said(*json.loads(line)) for line in done.stdout.splitlines()]

    return call


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
