"""Four CPU devices and the compile cache, set up before anything imports JAX;
64 bits only where a test asks for them."""

import os

from quick_compiling import QUICK_TO_COMPILE

from dynamics.core.devices import prepare

os.environ["XLA_FLAGS"] = f"{QUICK_TO_COMPILE} {os.environ.get('XLA_FLAGS', '')}"
prepare(devices=4)

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from housekeeping import free_programs, read_memory  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

settings.register_profile(
    "suite", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("suite")
collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # have no doctests, and all the same name
ROOM = 1200  # MB that a worker may hold when it begins a file
LONGEST = (  # with the longest first
    *("test_readme.py", "test_faults.py", "test_own_pieces.py", "test_launcher.py", "test_own_folder_from_wheel.py"),
    *("test_ensemble.py", "test_experiments.py", "test_bad_input.py", "test_stored_results.py", "test_cli.py"),
    *("test_measures.py", "test_sharpness_three_ways.py", "test_gpu_kernel.py", "test_interpolation.py", "test_labels.py"),
    *("test_devices.py", "test_lanczos_guard.py", "test_patch_theory.py", "test_notebook.py", "test_face_from_wheel.py"),
)


def pytest_collection_modifyitems(items) -> None:
    """Begin with the files that take longest, so that no worker is left with one at the end."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True, scope="module")
def programs_of_one_file():
    """Free them after a file once there are many (freeing takes a while),
    or a worker would keep all that it compiled."""
    yield
    if not 0 < read_memory("VmRSS") < ROOM:
        free_programs()


@pytest.fixture
def x64():
    """64-bit arrays for the length of one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20250619)


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """`cli("experiment=...", ...) -> (exit code, stdout, stderr)`, in this process, from an empty folder."""
    from hydra.core.global_hydra import GlobalHydra

    from dynamics.cli import main as command_line

    folder = tmp_path / "working folder"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*arguments: str) -> tuple[int, str, str]:
        GlobalHydra.instance().clear()
        monkeypatch.setattr("sys.argv", ["dynamics", *arguments])
        capsys.readouterr()
        try:
            command_line.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call
