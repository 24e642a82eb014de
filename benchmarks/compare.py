"""Compare all competitors on one problem: first verify equal losses, then time interleaved repetitions."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import check
from entry import DISTURBED, Entry
from load import wait_for_quiet
from machine import cores
from problems import Problem, draw
from variants import DEFAULT, OURS, PLAIN, Variant, list_variants
from worker import Worker, WorkerError

SHARPNESS = ("gauss_newton_sharpness", "sharpness")
SHARPNESS_SECONDS = 8.0  # that a record of one may take before it is not repeated

Say = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    repetitions: number of repetitions, of about `wanted` seconds each
    patience: seconds available for repeating disturbed measurements
    sharpness: also measure the cost of sharpness, which needs further compilation
    """

    repetitions: int
    wanted: float
    patience: float
    sharpness: bool = True


@dataclass
class Comparison:
    """The measurements on one problem.

    differences: largest relative difference of a loss from the first variant's, by label and clip norm
    left_out: why a variant has no measurements, by label
    products, copies: float32 matrix-product FLOP/s, and bytes read and written by a copy, by library, one a repetition
    sharpness: seconds of a record beyond one of the training loss, or why there is none
    threads: of PyTorch where it chooses itself
    """

    problem: Problem
    device: str
    entries: list[Entry] = field(default_factory=list)
    differences: dict[str, dict[str, float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    products: dict[str, list[float]] = field(default_factory=dict)
    copies: dict[str, list[float]] = field(default_factory=dict)
    sharpness: dict[str, float | str] = field(default_factory=dict)
    threads: int | None = None

    def entry(self, label: str) -> Entry | None:
        """Return the entry with this label, or None."""
        return next((e for e in self.entries if e.way.label == label), None)

    def best(self, competitor: str) -> Entry | None:
        """Return the fastest variant of a competitor by median rate, or None."""
        return max((e for e in self.entries if e.way.competitor == competitor), key=lambda e: e.rate, default=None)

    @property
    def ours(self) -> Entry | None:
        """Return the entry of our suite, or None."""
        return self.entry(OURS)

    @property
    def recorded(self) -> Entry | None:
        """Return our variant with more records, or None."""
        return next((e for e in self.entries if e.way.arguments.get("records")), None)

    @property
    def product_rate(self) -> float:
        """Return the best FLOP/s of a matrix product over all libraries and repetitions."""
        return max(max(rates) for rates in self.products.values())

    @property
    def copy_rate(self) -> float:
        """Return the best bytes per second of a copy over all libraries and repetitions."""
        return max(max(rates) for rates in self.copies.values())


def compare(problem: Problem, device: str, folder: Path, effort: Effort, say: Say) -> Comparison:
    """Return all measurements on a problem; raises `SystemExit` if a competitor computes something else."""
    found = Comparison(problem, device)
    with ExitStack() as stack:
        say(f"{problem.name}: processes start, the problem is drawn")
        crew = Crew(problem, folder, device, stack)
        entries = [Entry(way, crew.of(way), problem) for way in list_variants(problem, device, cores())]
        entries = write_start(entries, folder, found)
        prepare_entries(entries, found, say)
        time_entries(found, effort, say)
    return found


class Crew:
    """The processes of a problem; variants with equal module, number of threads and part share one."""

    def __init__(self, problem: Problem, folder: Path, device: str, stack: ExitStack) -> None:
        self.problem, self.folder, self.device, self.stack = problem, folder, device, stack
        self.there: dict[tuple[str, int | None, int], Worker] = {}

    def of(self, way: Variant) -> list[Worker]:
        """Return the processes that a variant needs, starting those that are missing."""
        return [self.get((way.module, way.threads, part)) for part in range(way.processes)]

    def get(self, key: tuple[str, int | None, int]) -> Worker:
        """Return the process of this module, number of threads and part, starting it if needed."""
        if key not in self.there:
            module, threads, _ = key
            self.there[key] = Worker(module, self.problem, self.folder, self.device, threads)
            self.stack.callback(self.there[key].close)
        return self.there[key]


def write_start(entries: list[Entry], folder: Path, found: Comparison) -> list[Entry]:
    """Write the file of data and initial weights; return the entries that can run the problem."""
    ours = entries[0].workers[0].ready()
    missing = ours.call("missing")
    if missing is None:
        ours.call("save_start")
        return entries
    found.left_out[OURS] = missing
    draw(found.problem).save(folder / f"{found.problem.name}.npz")
    return [entry for entry in entries if entry.way.competitor != OURS]


def prepare_entries(entries: list[Entry], found: Comparison, say: Say) -> None:
    """Compile every variant and check its losses; variants that fail on this machine are recorded and skipped."""
    reference = None
    for entry in entries:
        label = entry.way.label
        say(f"{found.problem.name}: {label} compiles; checking its losses")
        try:
            entry.prepare()
            if reference is None:
                reference = check.losses_by_clip_norm(entry)
                check.require_effect_of_clipping(found.problem, reference)
            else:
                found.differences[label] = check.check_losses(reference, entry)
        except WorkerError as error:
            if entry.way.competitor == OURS:
                raise
            found.left_out[label] = error.reason
            continue
        found.entries.append(entry)


def time_entries(found: Comparison, effort: Effort, say: Say) -> None:
    """Calibrate, then time all variants in interleaved repetitions, with hardware ceilings measured in between."""
    name, patience = found.problem.name, effort.patience
    begun = time.perf_counter()
    wait_for_quiet(DISTURBED, patience)
    patience -= time.perf_counter() - begun
    for entry in found.entries:
        say(f"{name}: warming up {entry.way.label}")
        entry.calibrate(effort.wanted)
    if found.ours and found.recorded:
        found.recorded.steps = found.ours.steps  # the same run, recorded more often

    ceilings = list_ceiling_workers(found)
    default = found.entry(DEFAULT)
    found.threads = default.workers[0].call("threads") if default else None
    for repetition in range(effort.repetitions):
        for entry in found.entries if repetition % 2 == 0 else found.entries[::-1]:
            say(f"{name}: repetition {repetition + 1} of {effort.repetitions}, {entry.way.label}")
            patience -= entry.repeat(patience)
        for library, worker in ceilings.items():
            found.products.setdefault(library, []).append(worker.call("product_rate"))
            found.copies.setdefault(library, []).append(worker.call("copy_rate"))
    if found.ours and effort.sharpness:
        found.sharpness = measure_sharpness_cost(found.ours, effort, say)


def list_ceiling_workers(found: Comparison) -> dict[str, Worker]:
    """Return one process per library, with all its threads, for measuring hardware ceilings."""
    there = {"jax": next((e for e in found.entries if e.way.competitor == PLAIN), None), "torch": found.entry(DEFAULT)}
    return {library: entry.workers[0] for library, entry in there.items() if entry is not None}


def measure_sharpness_cost(ours: Entry, effort: Effort, say: Say) -> dict[str, float | str]:
    """Return by measure the extra seconds of a record, compared with one of the training loss, or why there is none."""
    worker, steps, found = ours.workers[0], min(ours.steps, 50), {}
    for measure in SHARPNESS:
        say(f"{ours.problem.name}: a record of {measure}")
        taken = [worker.call("record_seconds", measure=measure, steps=steps)]  # compiles too, apart
        while not isinstance(taken[-1], str) and len(taken) < min(3, effort.repetitions) and taken[0] < SHARPNESS_SECONDS / 3:
            taken.append(worker.call("record_seconds", measure=measure, steps=steps))
        found[measure] = taken[0] if isinstance(taken[0], str) else max(0.0, median(taken))
    return found
