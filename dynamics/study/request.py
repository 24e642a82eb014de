"""What a study is asked to be: its frame, and its runs by panel."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dynamics.core import spec as specs
from dynamics.core.spec import RunSpec
from dynamics.errors import require, suggest
from dynamics.study.analysis_needs import AnalysisNeeds

MODES = ("run", "compute", "plan", "figure")
REUSES = ("current", "older")
AXIS_FIELDS = ("sweep", "panels")
EXECUTION_FIELDS = (
    "mode",
    "save_final",
    "reuse",
    "checkpoint_seconds",
    "memory",
    "worker",
    "workers",
    "distributed",
    "coordinator",
)  # not what
OWN_FIELDS = ("output", "coordinator")  # taken from the command line alone: where to write, whom to ask


@dataclass(frozen=True)
class StudySpec:
    """The settings of a study that are no part of any run's identity: size, mode, output and the like.

    size: which entry of `sizes` to lay over the rest; mode: `run`, `compute` (draw nothing), `plan` (show what would
    run) or `figure` (draw from the store alone); output: folder of results/, figures/ and multirun/; save_final: keep
    final states; may_diverge: whether runs that diverged or recorded what is not finite are no failure; sweep, panels:
    axes.
    reuse: which stored results count: `current`, those of the measures, systems and other pieces as they are now, or
    `older`, those of their earlier versions too.
    checkpoint_seconds: how often a chunk under way is saved; memory: GB that one chunk may take (0: what the machine
    has); worker, workers: which of how many processes this is that share the work through the store;
    distributed, coordinator: whether they join through jax.distributed, and at which host:port (empty: found out).
    needs: what figure and claims cannot do without, see `AnalysisNeeds`.
    axis_overrides: overrides of `sweep` and `panels`, which the command line puts here.
    """

    size: str = "laptop"
    mode: str = "run"
    output: str = "."
    save_final: bool = False
    reuse: str = "current"
    may_diverge: bool = False
    checkpoint_seconds: float = 30.0
    memory: float = 0.0
    worker: int = 0
    workers: int = 1
    distributed: bool = False
    coordinator: str = ""
    axis_overrides: list[str] = field(default_factory=list)
    sweep: dict[str, Any] = field(default_factory=dict)
    panels: dict[str, Any] = field(default_factory=dict)
    needs: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise `InputError` for a value that is not allowed."""
        require(self.mode in MODES, "mode", self.mode, f"choose one of {', '.join(MODES)}{suggest(self.mode, MODES)}")
        allowed = f"choose one of {', '.join(REUSES)}{suggest(self.reuse, REUSES)}"
        require(self.reuse in REUSES, "reuse", self.reuse, allowed)
        fits = len(self.output) <= 2000 and all(len(os.fsencode(part)) <= 255 for part in Path(self.output).parts)
        require(fits, "output", self.output, "is longer than the name of a folder may be")
        require(self.checkpoint_seconds >= 0, "checkpoint_seconds", self.checkpoint_seconds, "must be at least 0")
        require(0 <= self.memory < math.inf, "memory", self.memory, "must be gigabytes, or 0 for what the machine has")
        require(self.workers >= 1, "workers", self.workers, "must be at least 1")
        joins = self.distributed or not self.coordinator
        require(joins, "coordinator", self.coordinator, "has no effect without distributed=true")
        require(0 <= self.worker < self.workers, "worker", self.worker, f"must be from 0 to workers - 1 = {self.workers - 1}")


@dataclass(frozen=True)
class Request:
    """A study as asked for: its runs by panel, resolved and checked.

    notices: lines to tell the user; overrides: what was asked for beyond experiment, size and how to compute
    needs: what the experiment's figure and claims need of the runs
    """

    name: str
    settings: StudySpec
    panels: dict[str, list[RunSpec]]
    notices: list[str]
    overrides: tuple[str, ...] = ()
    needs: AnalysisNeeds | None = None

    @cached_property
    def runs(self) -> list[RunSpec]:
        """Every run once, whatever panels it is in."""
        return list({specs.run_id(run): run for runs in self.panels.values() for run in runs}.values())

    @cached_property
    def members(self) -> list[tuple[str, str]]:
        """(panel, identity) of every run of every panel."""
        return [(panel, specs.run_id(run)) for panel, runs in self.panels.items() for run in runs]

    @property
    def results_folder(self) -> Path:
        return Path(self.settings.output) / "results" / self.name
