"""Progress on standard error: a live table of the groups on a terminal, one message a chunk elsewhere."""

from __future__ import annotations

import logging
import time

import numpy as np
from rich.console import Console
from rich.console import Group as Rows
from rich.live import Live as Screen
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dynamics.core.simulate import FINITE
from dynamics.core.spec import RunSpec
from dynamics.engine.execute import RecordCallback
from dynamics.engine.plan import Group, Plan
from dynamics.engine.worker import ProgressReporter

ROWS = 12  # of the table: the last groups done, the current one, the next

log = logging.getLogger(__name__)


class LiveProgress(ProgressReporter):
    """Shows every group of a plan with its state, the rate in runs x steps, the time left, and what went wrong.

    Where notes are not shown (`--quiet`), there is no table either.
    """

    def __init__(self, plan: Plan, console: Console | None = None):
        console = console or Console(stderr=True)
        self.plan = plan
        self.number = {id(group): i for i, group in enumerate(plan.groups)}
        self.state = ["" for _ in plan.groups]
        self.left = [len(group.runs) for group in plan.groups]
        self.seconds = [0.0 for _ in plan.groups]
        self.diverged = [0 for _ in plan.groups]
        self.current = 0
        self.steps = 0.0
        self.begun = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.bar.add_task("", total=max(sum(map(_work, plan.groups)), 1e-9), note="")
        self.live = console.is_terminal and not console.is_dumb_terminal and log.isEnabledFor(logging.INFO)
        self.screen = Screen(get_renderable=self.render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveProgress:
        if self.live:
            self.screen.start()
        return self

    def __exit__(self, *_) -> None:
        self.screen.stop()

    def render(self) -> Rows:
        """Return the table of the groups around the current one, and the bar."""
        table = Table(title="groups", title_justify="left", header_style="bold")
        for name in ("group", "runs", "shape", "steps", "diverged", "state"):
            table.add_column(name)
        first = max(0, min(self.current - ROWS // 2, len(self.plan.groups) - ROWS))
        for i, group in list(enumerate(self.plan.groups))[first : first + ROWS]:
            bad = str(self.diverged[i] or "")
            table.add_row(f"{i + 1}", str(len(group.runs)), _shape(group), f"{group.schedule[-1]:,}", bad, self.state[i])
        return Rows(table, self.bar)

    def tell(self, line: str) -> None:
        log.warning(line)

    def watch(self, group: Group, runs: tuple[RunSpec, ...]) -> RecordCallback:
        i = self.current = self._index(group)
        self.state[i] = "compiling"
        last = 0

        def at(step: int, record: dict[str, np.ndarray]) -> None:
            nonlocal last
            self.steps += (step - last) * len(runs)
            rate = self.steps / max(time.monotonic() - self.begun, 1e-9)
            bad = int(np.sum(~record[FINITE][: len(runs)]))
            self.state[i] = f"step {step:,}" + (f", {bad} diverged" if bad else "")
            done = group.cost.flops_per_step * (step - last) * len(runs)
            self.bar.update(self.task, advance=done, note=f"{rate:,.0f} run-steps/s")
            last = step

        return at

    def done(self, group: Group, runs: tuple[RunSpec, ...], seconds: float, diverged: int) -> None:
        i = self._index(group)
        self.left[i] -= len(runs)
        self.seconds[i] += seconds
        self.diverged[i] += diverged
        self.state[i] = f"done in {self.seconds[i]:.1f} s" if self.left[i] <= 0 else f"{self.left[i]} runs left"
        if not self.live:
            where = f"group {i + 1}/{len(self.plan.groups)} ({_shape(group)}): {len(runs)} runs"
            bad = f", {diverged} diverged" if diverged else ""
            log.info(f"{where} {f'done in {seconds:.1f} s' if seconds else 'done by another process'}{bad}")

    def _index(self, group: Group) -> int:
        """Return the place of a group in the plan; one that was cut in half is known by its program."""
        if id(group) in self.number:
            return self.number[id(group)]
        return next(i for i, g in enumerate(self.plan.groups) if g.static == group.static and g.schedule == group.schedule)


def _work(group: Group) -> float:
    """Return the floating-point operations of all runs of a group."""
    return group.cost.flops_per_step * group.schedule[-1] * len(group.runs)


def _shape(group: Group) -> str:
    """Return the sizes of a group's program in words."""
    return ", ".join(f"{name} {size}" for name, size in group.shape.items()) or group.static.system
