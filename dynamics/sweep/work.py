"""Who computes what: a plan's chunks taken one by one, by any number of processes, each computed once and stored.

A process claims a chunk by a lock that dies with it, goes on from the chunk's checkpoint if there is one, and stores
the result; chunks that others are at are waited for, and taken over when their process is gone. A chunk that does not
fit into memory is cut in half; one that cannot be computed is noted, and the rest goes on.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from dynamics import spec as specs
from dynamics.interrupt import Interrupt
from dynamics.runtime import provenance
from dynamics.spec import RunSpec
from dynamics.sweep.checkpoint import Checkpoints
from dynamics.sweep.execute import Executor, OutOfMemory, Watch
from dynamics.sweep.files import Damage
from dynamics.sweep.plan import Group, Plan
from dynamics.sweep.store import Store, chunk_name

POLL_SECONDS = 0.5


class Failure(NamedTuple):
    """Runs that could not be computed, and why."""

    runs: tuple[RunSpec, ...]
    reason: str


@dataclass(frozen=True)
class How:
    """How to work on a plan; none of it changes a number.

    save_final: keep final states; checkpoint_seconds: how often to save a chunk under way; worker: which of the
    processes that share the plan this is (it begins at another chunk than the others)
    """

    save_final: bool = False
    checkpoint_seconds: float = 30.0
    worker: int = 0
    workers: int = 1


class Desk:
    """What the work tells of itself: `watch` as each chunk begins, `tell` a line to read. This one is silent."""

    def watch(self, group: Group, runs: tuple[RunSpec, ...]) -> Watch | None:
        return None

    def done(self, group: Group, runs: tuple[RunSpec, ...], seconds: float, diverged: int) -> None:
        """A chunk was stored, here or (with 0 seconds) by another process."""

    def tell(self, line: str) -> None:
        pass


def work(
    plan: Plan, store: Store, how: How, interrupt: Interrupt, desk: Desk, executor: Executor | None = None
) -> list[Failure]:
    """Compute and store every chunk of the plan that nobody else does; returns once all are stored or have failed.

    Raises `Stopped` when a signal asked for it (everything is saved then) and `OSError` when the store cannot be written.
    """
    executor = executor or Executor(plan.machine.memory)
    failures: list[Failure] = []
    chunks = [(group, runs) for group in plan.groups for runs in group.chunks]
    first = how.worker * len(chunks) // max(how.workers, 1)
    todo = chunks[first:] + chunks[:first]
    while todo:
        others = []
        for group, runs in todo:
            interrupt.check()
            if not _attempt(group, runs, _Job(plan, store, how, interrupt, desk, executor, failures)):
                others.append((group, runs))
        if len(others) == len(todo):
            time.sleep(POLL_SECONDS)
        todo = others
    return failures


class _Job(NamedTuple):
    plan: Plan
    store: Store
    how: How
    interrupt: Interrupt
    desk: Desk
    executor: Executor
    failures: list[Failure]


def _attempt(group: Group, runs: tuple[RunSpec, ...], job: _Job) -> bool:
    """Compute a chunk unless it is there; False if another process has it."""
    name = chunk_name(runs, with_final=job.how.save_final)
    with job.store.claim(name) as folder:
        if folder is None:
            return False
        job.store.refresh()
        if {specs.run_id(run) for run in runs} <= job.store.finished(with_final=job.how.save_final):
            job.desk.done(group, runs, 0.0, 0)
            return True
        keeper = Checkpoints(
            folder / "checkpoint",
            _fingerprint(group, runs, job.plan),
            job.how.checkpoint_seconds,
            job.interrupt,
            group.step_seconds(job.plan.machine),
            job.desk.tell,
        )
        try:
            result = job.executor.compute(group, runs, job.desk.watch(group, runs), keeper)
        except OutOfMemory as error:
            _halve(group, runs, error, job)
            return True
        except Damage as reason:
            aside = folder / f"checkpoint.damaged.{time.time_ns()}"
            os.rename(folder / "checkpoint", aside)
            job.desk.tell(f"damaged: {folder}: {reason}; moved to {aside.name}, its {len(runs)} runs start anew")
        except Exception as error:
            if "DYNAMICS_DEBUG" in os.environ:
                raise
            _fail(runs, f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}", job)
            return True
        else:
            job.store.write(result, save_final=job.how.save_final)
            diverged = int((result.trajectory.status == "diverged").sum())
            job.desk.done(group, runs, result.seconds + result.compile_seconds, diverged)
            return True
    return _attempt(group, runs, job)


def _halve(group: Group, runs: tuple[RunSpec, ...], error: OutOfMemory, job: _Job) -> None:
    if len(runs) == 1:
        _fail(runs, f"one run alone {error}; make it smaller, or give memory= more if there is more", job)
        return
    job.desk.tell(f"{len(runs)} runs at once: {error}; cut in half")
    half = len(runs) // 2
    smaller = group.cut(half)
    for part in (runs[:half], runs[half:]):
        job.interrupt.check()
        while not _attempt(smaller, part, job):
            time.sleep(POLL_SECONDS)


def _fail(runs: tuple[RunSpec, ...], reason: str, job: _Job) -> None:
    job.store.write_failure(runs, reason)
    job.failures.append(Failure(runs, reason))
    job.desk.tell(f"failed: {named(runs)}: {reason}")


def named(runs: tuple[RunSpec, ...]) -> str:
    """A few words that say which runs are meant."""
    first = specs.run_id(runs[0])
    return f"run {first}" if len(runs) == 1 else f"{len(runs)} runs ({first}, ...)"


def _fingerprint(group: Group, runs: tuple[RunSpec, ...], plan: Plan) -> str:
    """Of all that a checkpoint's numbers depend on: the runs, the program, the devices, the versions."""
    about: dict[str, Any] = {name: value for name, value in provenance().items() if name != "command"}
    shape = dict(lanes=group.lanes, chunk=group.chunk, devices=plan.machine.devices, shape=list(group.shape.values()))
    return specs.content_hash({**about, **shape, "program": group.program, "runs": [specs.run_id(run) for run in runs]})
