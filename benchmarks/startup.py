"""How long a start takes, beside what nobody can save: Python itself, its imports, and the reading of the same files.

    python benchmarks/startup.py

Every line is the median over repetitions in turn, so that a busy machine slows all of them alike; look at the ratios.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from dynamics.study import trust

ROOT = Path(__file__).resolve().parent.parent
REPETITIONS = 9
PROCESSES = {  # in processes of their own
    "python": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import jax": ["-c", "import jax"],
    "import dynamics": ["-c", "import dynamics"],
    "dynamics list": ["-m", "dynamics", "list"],
    "plan of stable_minima/rates": ["-m", "dynamics", "experiment=stable_minima/rates", "mode=plan"],
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        processes = {name: lambda own=command: run(own, folder) for name, command in PROCESSES.items()}
        report(medians(processes), "import jax")
    report(medians({"files read by libyaml": read_configs, "files checked (dynamics.study.trust)": check_configs}))


def run(arguments: list[str], folder: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, check=True)


def read_configs() -> None:
    for file in (ROOT / "configs").rglob("*.yaml"):
        yaml.load(file.read_text(), trust.LOADER)


def check_configs() -> None:
    trust.check(["experiment=stable_minima/rates"], ROOT)


def medians(calls: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Seconds by name: each call once a round, the first round for nothing."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for repetition in range(REPETITIONS + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            if repetition:
                taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in taken.items()}


def report(seconds: dict[str, float], against: str = "") -> None:
    unit = seconds[against or next(iter(seconds))]
    for name, value in seconds.items():
        print(f"{name:40s} {1000 * value:8.1f} ms {value / unit:6.2f} times {against or next(iter(seconds))}")


if __name__ == "__main__":
    main()
