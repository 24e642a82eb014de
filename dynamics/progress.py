"""Progress on a terminal; silence elsewhere."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from dynamics.simulate import FINITE
from dynamics.sweep.execute import Watch
from dynamics.sweep.plan import Group, Plan


class Live:
    """A bar over all steps of a plan, with the group at hand, the rate in runs x steps, and the time left."""

    def __init__(self, plan: Plan, console: Console):
        self.plan = plan
        self.total = sum(g.cost.flops_per_step * g.schedule[-1] * len(g.runs) for g in plan.groups)
        self.number = 0
        self.steps = 0.0
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Live:
        self.bar.start()
        self.task = self.bar.add_task("start", total=max(self.total, 1e-9), note="")
        return self

    def __exit__(self, *_) -> None:
        self.bar.stop()

    def watch(self, group: Group) -> Watch:
        """For `Executor.results`: called when a chunk begins, returns what is called at every record."""
        if not self.number or group is not self.group:
            self.number += 1
        self.group = group
        last, runs = 0, min(group.chunk, len(group.runs))

        def at(step: int, record: dict[str, np.ndarray]) -> None:
            nonlocal last
            self.steps += (step - last) * runs
            elapsed = max(self.bar.tasks[0].elapsed or 0.0, 1e-9)
            bad = int(np.sum(~record[FINITE][:runs]))
            note = f"step {step:,}  {self.steps / elapsed:,.0f} run-steps/s" + (f"  {bad} diverged" if bad else "")
            self.bar.update(
                self.task,
                advance=group.cost.flops_per_step * (step - last) * runs,
                description=f"group {self.number}/{len(self.plan.groups)} ({len(group.runs)} runs)",
                note=note,
            )
            last = step

        return at
