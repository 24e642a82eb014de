"""The competitors. Each module has a class `Competitor(problem, folder, device)`, a subclass of `Base` with

    losses(clip_norm, **variant)   -> the loss of every run after `check_steps` steps
    seconds(steps, **variant)      -> wall time of so many steps of all its runs

`variant` holds the settings: see `variants.py`. If several processes share the runs, `part` and `parts` select a share.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from problems import Problem, Start

PRODUCT_SIZE = {"cpu": 2048, "gpu": 8192}
WARM_STEPS = 3  # a compiler may come back at the second, and a CUDA graph is recorded then
COPY_BYTES = {"cpu": 2**28, "gpu": 2**31}  # beyond any cache


class Base:
    """Base class of competitors: the problem, its initial data and weights, and peak memory."""

    def __init__(self, problem: Problem, folder: Path, device: str) -> None:
        self.problem, self.folder, self.device = problem, folder, device

    @cached_property
    def start(self) -> Start:
        """Return the data and initial weights of the problem."""
        return Start.load(self.folder / f"{self.problem.name}.npz")

    def seconds(self, steps: int, **variant: Any) -> float:
        """Return the wall seconds of `steps` steps of all runs."""
        raise NotImplementedError

    def compile_seconds(self, **variant: Any) -> tuple[float | None, float | None]:
        """Return the compile seconds (with an empty cache, from the cache on disk); None where not applicable."""
        first, again = self.seconds(WARM_STEPS, **variant), self.seconds(WARM_STEPS, **variant)
        return max(0.0, first - again), None

    def reset_peak(self) -> None:
        """Forget the process's peak so far (Linux; elsewhere it stays the peak of all ways in this process)."""
        if sys.platform == "linux":
            Path("/proc/self/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """Peak resident memory since `reset_peak`, libraries included."""
        if sys.platform == "linux":
            line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
            return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def best_seconds(work: Callable[[], Any], times: int = 3) -> float:
    """Return the shortest time of `times` calls after a warm-up call; `work` must block until it is done."""
    work()
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def product_rate(multiply: Callable[[], Any], size: int) -> float:
    """Return the FLOP/s of a product of square float32 matrices."""
    return 2 * size**3 / best_seconds(multiply)


def copy_rate(copy: Callable[[], Any], size: int) -> float:
    """Return the bytes read and written per second by a copy of `size` bytes."""
    return 2 * size / best_seconds(copy)
