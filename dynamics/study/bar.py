"""Progress in one line that is written over, in a terminal and in a notebook alike."""

from __future__ import annotations

import sys
import time
from typing import TextIO

import numpy as np

from dynamics.core.simulate import FINITE
from dynamics.core.spec import RunSpec
from dynamics.core.text import counted
from dynamics.engine.execute import RecordCallback
from dynamics.engine.plan import Group, Plan
from dynamics.engine.worker import ProgressReporter

WIDTH = 24
REFRESH_SECONDS = 0.2


class ProgressBar(ProgressReporter):
    """Shows the share of the work that is done, runs finished and diverged, and the time left."""

    def __init__(self, plan: Plan, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.total = sum(_work(group) * len(group.runs) for group in plan.groups) or 1.0
        self.num_runs = plan.num_runs
        self.done_work = self.partial = 0.0
        self.done_runs = self.diverged = 0
        self.started, self.shown = time.monotonic(), 0.0

    def watch(self, group: Group, runs: tuple[RunSpec, ...]) -> RecordCallback:
        """Return a callback that follows one chunk along its steps."""
        self.partial = 0.0
        self._show(f"compiling {counted(len(runs), 'run')}")

        def at(step: int, record: dict[str, np.ndarray]) -> None:
            self.partial = _work(group) * len(runs) * step / max(group.schedule[-1], 1)
            lost = int(np.sum(~record[FINITE][: len(runs)]))
            self._show(f"step {step:,}" + (f", {lost} diverged" if lost else ""))

        return at

    def done(self, group: Group, runs: tuple[RunSpec, ...], seconds: float, diverged: int) -> None:
        """Count a chunk that was stored."""
        self.done_work += _work(group) * len(runs)
        self.partial = 0.0
        self.done_runs += len(runs)
        self.diverged += diverged
        self._show(now=True)

    def tell(self, line: str) -> None:
        """Show a line of its own above the bar."""
        self.stream.write(f"\r{' ' * 100}\r{line}\n")

    def close(self) -> None:
        """End the line."""
        self._show(now=True)
        self.stream.write("\n")
        self.stream.flush()

    def _show(self, note: str = "", *, now: bool = False) -> None:
        if not now and time.monotonic() - self.shown < REFRESH_SECONDS:
            return
        self.shown = time.monotonic()
        share = min((self.done_work + self.partial) / self.total, 1.0)
        left = (self.shown - self.started) * (1 - share) / share if share > 0 else float("nan")
        told = [f"{self.done_runs}/{counted(self.num_runs, 'run')}"]
        told += [f"{self.diverged} diverged"] if self.diverged else []
        told += [note] if note else []
        told += [f"{left:.0f} s left"] if 0 < share < 1 else []
        filled = int(WIDTH * share)
        self.stream.write(f"\r[{'#' * filled}{'.' * (WIDTH - filled)}] {100 * share:3.0f} %  {', '.join(told)}".ljust(100))
        self.stream.flush()


def _work(group: Group) -> float:
    """Return the operations of one run of a group, at least one a step."""
    return max(group.cost.flops_per_step, 1.0) * max(group.schedule[-1], 1)
