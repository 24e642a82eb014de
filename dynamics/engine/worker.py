"""Compute a plan with any number of processes; each chunk is computed once and stored.

A process claims a chunk with a lock that the operating system releases when the process dies, resumes from the chunk's
checkpoint if there is one, and stores the result. It then waits for chunks claimed by other processes and takes them
over if their process dies. A chunk that does not fit in memory is split. One that cannot be computed is recorded as
failed, and the other chunks are computed all the same.
"""

from __future__ import annotations

import logging
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
from dynamics.core.simulate import DIVERGED, NOT_FINITE
from dynamics.core.spec import RunSpec
from dynamics.engine.checkpoint import CheckpointHook
from dynamics.engine.execute import Executor, OutOfMemory, RecordCallback
from dynamics.engine.interrupt import Interrupt
from dynamics.engine.plan import Group, Plan
from dynamics.engine.resume import resume_from_shorter_runs
from dynamics.store.files import DamageError
from dynamics.store.store import Store, chunk_name

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5


class Failure(NamedTuple):
    """Runs that could not be computed, and why."""

    runs: tuple[RunSpec, ...]
    reason: str


@dataclass(frozen=True)
class ExecutionOptions:
    """How to execute a plan; no option changes a computed number.

    save_final: store final states
    checkpoint_seconds: seconds between checkpoints of an unfinished chunk
    worker: index of this process among the `workers` that share the plan; each starts at a different chunk
    """

    save_final: bool = False
    checkpoint_seconds: float = 30.0
    worker: int = 0
    workers: int = 1


class ProgressReporter:
    """Callbacks for the progress of a worker; the base class logs lines for the user and does nothing else."""

    def watch(self, group: Group, runs: tuple[RunSpec, ...]) -> RecordCallback | None:
        """Return a callback for the records of a chunk that starts now, or None."""
        return None

    def done(self, group: Group, runs: tuple[RunSpec, ...], seconds: float, diverged: int) -> None:
        """Called when a chunk is stored, by this process or (with `seconds` 0) by another; `diverged` counts runs."""

    def tell(self, line: str) -> None:
        """Called with one line of text for the user, such as why runs failed."""
        log.warning(line)


def work_on_plan(
    plan: Plan,
    store: Store,
    options: ExecutionOptions,
    interrupt: Interrupt,
    reporter: ProgressReporter,
    executor: Executor | None = None,
) -> list[Failure]:
    """Compute and store the chunks of the plan together with other workers; return the failures of this worker.

    Returns when every chunk is stored or has failed. Raises `Stopped` after a signal, with everything saved, and
    `OSError` if the store cannot be written.

    executor: by default a new one with the memory limit of the plan's machine
    """
    own = executor is None
    worker = Worker(plan, store, options, interrupt, reporter, executor or Executor(plan.machine.memory))
    chunks = [chunk for group in plan.groups for chunk in worker.chunks(group)]
    first = options.worker * len(chunks) // options.workers
    todo = chunks[first:] + chunks[:first]
    try:
        while todo:
            # other workers may take the next chunks, so compile ahead only if there are none
            soon = available_cores() + 1 if options.workers == 1 else 1
            others = [chunk for at, chunk in enumerate(todo) if not worker.try_chunk(chunk, todo[at : at + soon])]
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
    """Runs that are computed and stored together: the `runs` among `whole` that the store does not have yet."""

    group: Group
    whole: tuple[RunSpec, ...]
    runs: tuple[RunSpec, ...]


class Worker:
    """One process that computes chunks of a plan.

    failures: the runs that this worker could not compute
    oversized_programs: for programs that do not fit even for one run, the reason, by program
    remaining: identities of the runs of the plan that were not stored at the start
    """

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
        self.oversized_programs: dict[str, str] = {}
        self.remaining = {specs.run_id(run) for group in plan.groups for run in group.runs}

    def chunks(self, group: Group) -> list[Chunk]:
        """Return the chunks of a group that remain, split by the limits stored when they did not fit before."""
        found = []
        for whole in group.full_chunks:
            size = self.store.read_chunk_limit(self.chunk_limit_key(group))
            if size is not None and size < len(whole):
                parts = tuple(whole[i : i + size] for i in range(0, len(whole), size))
                found += self.chunks(replace(group.with_chunk_size(size), full_chunks=parts))
            elif runs := tuple(run for run in whole if specs.run_id(run) in self.remaining):
                found.append(Chunk(group, whole, runs))
        return found

    def chunk_limit_key(self, group: Group) -> str:
        """Return the key of the stored chunk-size limit: a hash of everything that decides whether a chunk fits."""
        about = [group.program, group.lanes, group.chunk, self.plan.machine.devices, self.executor.memory]
        return specs.content_hash(about)

    def try_chunk(self, chunk: Chunk, ahead: Sequence[Chunk] = ()) -> bool:
        """Compute a chunk unless it is stored; return False if another process has claimed it.

        ahead: chunks whose programs to compile in the background, this one first
        """
        group, _, runs = chunk
        self.interrupt.check()
        name = chunk_name(runs, with_final=self.options.save_final)
        if (self.store.parts / name).exists():
            self.reporter.done(group, runs, 0.0, 0)
            return True
        if group.program in self.oversized_programs:
            self.record_failure(runs, self.oversized_programs[group.program])
            return True
        with self.store.claim(name) as folder:
            if folder is None:
                return False
            self.store.refresh()
            if {specs.run_id(run) for run in runs} <= self.store.finished(with_final=self.options.save_final):
                self.reporter.done(group, runs, 0.0, 0)
            else:
                self.executor.compile_ahead([(later.group, later.runs) for later in ahead])
                self.compute(chunk, folder / "checkpoint")
            if (self.store.parts / name).exists() or not (folder / "checkpoint").exists():
                shutil.rmtree(folder, ignore_errors=True)
            return True

    def compute(self, chunk: Chunk, checkpoint: Path) -> None:
        """Compute and store a claimed chunk, in parts if it does not fit; record a failure if it cannot be computed."""
        group, _, runs = chunk
        hook = CheckpointHook(
            checkpoint,
            _checkpoint_fingerprint(group, runs, self.plan),
            self.options.checkpoint_seconds,
            self.interrupt,
            group.step_seconds(self.plan.machine),
            find_earlier=lambda state: resume_from_shorter_runs(self.store, runs, group.schedule, state),
            report=self.reporter.tell,
        )
        result, excess = None, None
        try:
            result = self.executor.compute(group, runs, self.reporter.watch(group, runs), hook)
        except OutOfMemory as error:
            excess = error.with_traceback(None)  # handled below: until then the traceback keeps the arrays alive
        except DamageError as reason:
            aside = checkpoint.with_name(f"checkpoint.damaged.{time.time_ns()}")
            os.rename(checkpoint, aside)
            self.reporter.tell(
                f"damaged: {checkpoint}: {reason}; moved to {aside.name}; {describe_runs(runs)} restart from the beginning"
            )
            return self.compute(chunk, checkpoint)
        except Exception as error:
            if "DYNAMICS_DEBUG" in os.environ:
                raise
            return self.record_failure(runs, f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")
        if result is None:
            assert excess is not None
            return self.compute_in_parts(chunk, excess)
        self.store.write(result, save_final=self.options.save_final)
        status = result.trajectory.status
        diverged, not_finite = int((status == DIVERGED).sum()), int((status == NOT_FINITE).sum())
        if not_finite:
            self.reporter.tell(f"{not_finite} of {describe_runs(runs)}: a recorded measure is not finite, though the state is")
        self.reporter.done(group, runs, result.seconds + result.compile_seconds, diverged)

    def compute_in_parts(self, chunk: Chunk, error: OutOfMemory) -> None:
        """Split a chunk that does not fit and compute the parts.

        The parts are as large as the measured memory allows, or halves if that is unknown.
        """
        group, whole, runs = chunk
        fits = int(0.9 * error.size * error.limit / error.needed) if error.needed else len(whole) // 2
        size = max(1, min(fits, len(whole) // 2))
        alone = (
            error
            if len(whole) == 1
            else self.executor.find_memory_excess(group.with_chunk_size(1), runs[:1])
            if size == 1
            else None
        )
        if alone is not None:
            return self.compute_unpadded(chunk, alone)
        self.reporter.tell(f"{describe_runs(whole)} at once: {error}; split into parts of {size}")
        self.store.write_chunk_limit(self.chunk_limit_key(group), size)
        self.finish_chunks(self.chunks(replace(group, full_chunks=(whole,))))

    def compute_unpadded(self, chunk: Chunk, error: OutOfMemory) -> None:
        """Compute the runs of a padded program that is too large for one run at their exact shapes.

        If they are not padded, record a failure.
        """
        unpadded = replace(chunk.group, full_chunks=(chunk.whole,)).split_by_shape()
        if len(unpadded) > 1:
            self.reporter.tell(f"{describe_runs(chunk.runs)}: one padded run {error}; each shape is computed by itself")
            return self.finish_chunks([part for group in unpadded for part in self.chunks(group)])
        reason = f"one run alone {error}; make the run smaller, or raise memory= if the machine has more"
        if error.needed:  # the runs of a group share a program: if one does not fit, none does
            self.oversized_programs[chunk.group.program] = reason
        self.record_failure(chunk.runs, reason)

    def finish_chunks(self, chunks: list[Chunk]) -> None:
        """Compute the chunks, waiting for those that other processes have claimed."""
        for chunk in chunks:
            while not self.try_chunk(chunk):
                time.sleep(POLL_SECONDS)

    def record_failure(self, runs: tuple[RunSpec, ...], reason: str) -> None:
        """Store and report that these runs could not be computed."""
        self.store.write_failure(runs, reason)
        self.failures.append(Failure(runs, reason))
        self.reporter.tell(f"failed: {describe_runs(runs)}: {reason}")


def describe_runs(runs: tuple[RunSpec, ...]) -> str:
    """Return a short description of the runs for messages: their number and the first identity."""
    first = specs.run_id(runs[0])
    return f"run {first}" if len(runs) == 1 else f"{len(runs)} runs ({first}, ...)"


def _checkpoint_fingerprint(group: Group, runs: tuple[RunSpec, ...], plan: Plan) -> str:
    """Return a hash of everything a checkpoint depends on: runs, program, devices and versions."""
    about: dict[str, Any] = {name: value for name, value in provenance().items() if name != "command"}
    about |= {"lanes": group.lanes, "chunk": group.chunk, "devices": plan.machine.devices, "shape": group.shape}
    return specs.content_hash({**about, "program": group.program, "runs": [specs.run_id(run) for run in runs]})
