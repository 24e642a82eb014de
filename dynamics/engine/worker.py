"""Who computes what: a plan's chunks taken one by one, by any number of processes, each computed once and stored.

A process claims a chunk by a lock that dies with it, goes on from the chunk's checkpoint if there is one, and stores
the result; chunks that others are at are waited for, and taken over when their process is gone. A chunk that does not
fit into memory is cut in half; one that cannot be computed is noted, and the rest goes on.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from dynamics.core import spec as specs
from dynamics.core.devices import available_cores
from dynamics.core.provenance import provenance
from dynamics.core.spec import RunSpec
from dynamics.engine.checkpoint import Checkpoints
from dynamics.engine.execute import Executor, OutOfMemory, Watch
from dynamics.engine.interrupt import Interrupt
from dynamics.engine.plan import Group, Plan
from dynamics.engine.resume import shorter_runs
from dynamics.store.files import Damage
from dynamics.store.store import Store, chunk_name

POLL_SECONDS = 0.5


class Failure(NamedTuple):
    """Runs that could not be computed, and why."""

    runs: tuple[RunSpec, ...]
    reason: str


@dataclass(frozen=True)
class ExecutionOptions:
    """ExecutionOptions to work on a plan; none of it changes a number.

    save_final: keep final states; checkpoint_seconds: how often to save a chunk under way; worker: which of the
    processes that share the plan this is (it begins at another chunk than the others)
    """

    save_final: bool = False
    checkpoint_seconds: float = 30.0
    worker: int = 0
    workers: int = 1


class ProgressReporter:
    """What the work tells of itself: `watch` as each chunk begins, `tell` a line to read. This one is silent."""

    def watch(self, group: Group, runs: tuple[RunSpec, ...]) -> Watch | None:
        return None

    def done(self, group: Group, runs: tuple[RunSpec, ...], seconds: float, diverged: int) -> None:
        """A chunk was stored, here or (with 0 seconds) by another process."""

    def tell(self, line: str) -> None:
        pass


def work(
    plan: Plan,
    store: Store,
    options: ExecutionOptions,
    interrupt: Interrupt,
    reporter: ProgressReporter,
    executor: Executor | None = None,
) -> list[Failure]:
    """Compute and store every chunk of the plan that nobody else does; returns once all are stored or have failed.

    Raises `Stopped` when a signal asked for it (everything is saved then) and `OSError` when the store cannot be written.
    """
    own = executor is None
    worker = Worker(plan, store, options, interrupt, reporter, executor or Executor(plan.machine.memory))
    chunks = [chunk for group in plan.groups for chunk in worker.chunks(group)]
    first = options.worker * len(chunks) // options.workers
    todo = chunks[first:] + chunks[:first]
    try:
        while todo:
            soon = available_cores() + 1 if options.workers == 1 else 1  # what others may take is not compiled ahead
            others = [chunk for at, chunk in enumerate(todo) if not worker.attempt(chunk, todo[at : at + soon])]
            if len(others) == len(todo):
                time.sleep(POLL_SECONDS)
            todo = others
    finally:
        if own:
            worker.executor.close()
    store.refresh()
    interrupt.check()
    return worker.failures


class Chunk(NamedTuple):
    """What is computed and stored at once: `runs` of a group, those of `whole` that were not in the store."""

    group: Group
    whole: tuple[RunSpec, ...]
    runs: tuple[RunSpec, ...]


class Worker:
    """One process at work on a plan."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        options: ExecutionOptions,
        interrupt: Interrupt,
        reporter: ProgressReporter,
        executor: Executor,
    ):
        self.plan, self.store, self.options, self.interrupt = plan, store, options, interrupt
        self.reporter, self.executor = reporter, executor
        self.failures: list[Failure] = []
        self.oversized_programs: dict[str, str] = {}  # programs of which one run alone does not fit, and what is said of it
        self.left = {specs.run_id(run) for group in plan.groups for run in group.runs}

    def chunks(self, group: Group) -> list[Chunk]:
        """What is left of a group, cut as it was cut before if it did not fit."""
        found = []
        for whole in group.wholes:
            size = self.store.cut(self.chunk_limit_key(group))
            if size is not None and size < len(whole):
                parts = tuple(whole[i : i + size] for i in range(0, len(whole), size))
                found += self.chunks(replace(group.cut(size), wholes=parts))
            elif runs := tuple(run for run in whole if specs.run_id(run) in self.left):
                found.append(Chunk(group, whole, runs))
        return found

    def chunk_limit_key(self, group: Group) -> str:
        """By which the note of a cut is found: of all that says whether a chunk fits."""
        about = [group.program, group.lanes, group.chunk, self.plan.machine.devices, self.executor.memory]
        return specs.content_hash(about)

    def attempt(self, chunk: Chunk, ahead: Sequence[Chunk] = ()) -> bool:
        """Compute a chunk unless it is there; False if another process has it. `ahead`: what to compile, it and the next."""
        group, _, runs = chunk
        self.interrupt.check()
        name = chunk_name(runs, with_final=self.options.save_final)
        if (self.store.parts / name).exists():
            self.reporter.done(group, runs, 0.0, 0)
            return True
        if group.program in self.oversized_programs:
            self.fail(runs, self.oversized_programs[group.program])
            return True
        with self.store.claim(name) as folder:
            if folder is None:
                return False
            self.store.refresh()
            if {specs.run_id(run) for run in runs} <= self.store.finished(with_final=self.options.save_final):
                self.reporter.done(group, runs, 0.0, 0)
            else:
                self.executor.ahead([(later.group, later.runs) for later in ahead])
                self.compute(chunk, folder / "checkpoint")
            if (self.store.parts / name).exists() or not (folder / "checkpoint").exists():
                shutil.rmtree(folder, ignore_errors=True)
            return True

    def compute(self, chunk: Chunk, checkpoint: Path) -> None:
        """Compute and store a claimed chunk, in parts if it does not fit; note it if it cannot be computed."""
        group, _, runs = chunk
        keeper = Checkpoints(
            checkpoint,
            _fingerprint(group, runs, self.plan),
            self.options.checkpoint_seconds,
            self.interrupt,
            group.step_seconds(self.plan.machine),
            earlier=lambda state: shorter_runs(self.store, runs, group.schedule, state),
            tell=self.reporter.tell,
        )
        result, excess = None, None
        try:
            result = self.executor.compute(group, runs, self.reporter.watch(group, runs), keeper)
        except OutOfMemory as error:
            excess = error.with_traceback(None)  # dealt with below, when what the traceback held on to is gone
        except Damage as reason:
            aside = checkpoint.with_name(f"checkpoint.damaged.{time.time_ns()}")
            os.rename(checkpoint, aside)
            self.reporter.tell(f"damaged: {checkpoint}: {reason}; moved to {aside.name}, {named(runs)} start anew")
            return self.compute(chunk, checkpoint)
        except Exception as error:
            if "DYNAMICS_DEBUG" in os.environ:
                raise
            return self.fail(runs, f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")
        if result is None:
            assert excess is not None
            return self.fit(chunk, excess)
        self.store.write(result, save_final=self.options.save_final)
        diverged = int((result.trajectory.status == "diverged").sum())
        self.reporter.done(group, runs, result.seconds + result.compile_seconds, diverged)

    def fit(self, chunk: Chunk, error: OutOfMemory) -> None:
        """Compute a chunk that does not fit in parts that do: by what its program was seen to need, or by halves."""
        group, whole, runs = chunk
        fits = int(0.9 * error.size * error.limit / error.needed) if error.needed else len(whole) // 2
        size = max(1, min(fits, len(whole) // 2))
        alone = error if len(whole) == 1 else self.executor.excess(group.cut(1), runs[:1]) if size == 1 else None
        if alone is not None:
            return self.unpad(chunk, alone)
        self.reporter.tell(f"{named(whole)} at once: {error}; cut into parts of {size}")
        self.store.write_cut(self.chunk_limit_key(group), size)
        self.finish(self.chunks(replace(group, wholes=(whole,))))

    def unpad(self, chunk: Chunk, error: OutOfMemory) -> None:
        """Compute the runs of a program that does not fit for one run alone: in their own shapes, if they were padded."""
        exact = replace(chunk.group, wholes=(chunk.whole,)).exact()
        if len(exact) > 1:
            self.reporter.tell(f"{named(chunk.runs)}: one alone {error} if padded; each shape by itself")
            return self.finish([part for group in exact for part in self.chunks(group)])
        reason = f"one run alone {error}; make it smaller, or give memory= more if there is more"
        if error.needed:  # runs of a group share a program: where one does not fit, none does
            self.oversized_programs[chunk.group.program] = reason
        self.fail(chunk.runs, reason)

    def finish(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            while not self.attempt(chunk):
                time.sleep(POLL_SECONDS)

    def fail(self, runs: tuple[RunSpec, ...], reason: str) -> None:
        self.store.write_failure(runs, reason)
        self.failures.append(Failure(runs, reason))
        self.reporter.tell(f"failed: {named(runs)}: {reason}")


def named(runs: tuple[RunSpec, ...]) -> str:
    """A few words that say which runs are meant."""
    first = specs.run_id(runs[0])
    return f"run {first}" if len(runs) == 1 else f"{len(runs)} runs ({first}, ...)"


def _fingerprint(group: Group, runs: tuple[RunSpec, ...], plan: Plan) -> str:
    """Of all that a checkpoint's numbers depend on: the runs, the program, the devices, the versions."""
    about: dict[str, Any] = {name: value for name, value in provenance().items() if name != "command"}
    about |= {"lanes": group.lanes, "chunk": group.chunk, "devices": plan.machine.devices, "shape": group.shape}
    return specs.content_hash({**about, "program": group.program, "runs": [specs.run_id(run) for run in runs]})
