"""The wheel, built and unpacked once a session, and an empty folder with an empty home to use it from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from filelock import FileLock
from quick_compiling import QUICK_TO_COMPILE

ROOT = Path(__file__).parents[2]
Python = Callable[..., CompletedProcess[str]]


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
            (wheel,) = built.glob("*.whl")
            _run([*pip, "install", "--no-deps", "--no-compile", "--target", str(target), str(wheel)])
    return target


@pytest.fixture(scope="session")
def python(installed, session_folder) -> Python:
    """`python(folder, *arguments)` runs an interpreter there that has the wheel and an empty home."""
    home = session_folder / "home"
    home.mkdir(exist_ok=True)
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


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
