"""Who is compared. Each module has a class `Competitor(problem, folder, device)`, a `Base` with

    losses(clip_norm, **variant)   -> the loss of every run after `check_steps` steps
    seconds(steps, **variant)      -> wall time of so many steps of all its runs

`variant` says how: see `ways.py`. A competitor that several processes share takes `part` and `parts`, its share of the runs.
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
    """What the competitors have in common: the problem, where it starts, and the memory that they took."""

    def __init__(self, problem: Problem, folder: Path, device: str) -> None:
        self.problem, self.folder, self.device = problem, folder, device

    @cached_property
    def start(self) -> Start:
        return Start.load(self.folder / f"{self.problem.name}.npz")

    def seconds(self, steps: int, **variant: Any) -> float:
        raise NotImplementedError

    def compile_seconds(self, **variant: Any) -> tuple[float | None, float | None]:
        """(with an empty cache, from the cache on disk): what a first call takes beyond a second; None where there is none."""
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
    """The best of three, after one to warm up; `work` waits until it is done."""
    work()
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def product_rate(multiply: Callable[[], Any], size: int) -> float:
    """FLOP/s of a product of square float32 matrices."""
    return 2 * size**3 / best_seconds(multiply)


def copy_rate(copy: Callable[[], Any], size: int) -> float:
    """Bytes read and written a second by a copy of `size` bytes."""
    return 2 * size / best_seconds(copy)
