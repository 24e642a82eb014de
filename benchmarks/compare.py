"""One problem, all competitors: first that they compute the same, then how fast, in interleaved repetitions."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from load import foreign_share, read, wait_for_quiet
from machine import cores
from problems import CHECK_STEPS, CLIP_NORM, Problem
from worker import Worker

RECORDS = 12
TOLERANCE = 1e-4
DISTURBED = 0.1  # share of the cores used by others above which a repetition is taken again
BITING_CLIP = 0.5  # short of the gradients at the start, so that clipping is checked too

Say = Callable[[str], None]


@dataclass
class Entry:
    """A way to run the problem: whose it is, on which workers, and what was measured.

    calls: the processes that work at once, each with its arguments of `seconds`
    steps: of one repetition, chosen so that it takes about the wanted time
    seconds, foreign: of each repetition its wall time, and the share of the cores that others used meanwhile
    """

    competitor: str
    label: str
    calls: list[tuple[Worker, dict[str, Any]]]
    problem: Problem
    steps: int = 0
    seconds: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)

    def measure(self, steps: int) -> float:
        for worker, arguments in self.calls:
            worker.ask("seconds", steps=steps, **arguments)
        return max(worker.answer() for worker, _ in self.calls)

    def calibrate(self, wanted: float) -> None:
        self.measure(1)  # compiles, warms up
        steps = 4
        while (taken := self.measure(steps)) < wanted / 4:
            steps *= 4
        self.steps = max(1, math.ceil(steps * wanted / taken))

    def repeat(self, patience: float) -> float:
        """Measure once; where others disturbed it, wait for quiet and measure again while patience lasts.

        Returns the seconds of patience that this took.
        """
        begun = time.perf_counter()
        processes = [worker.process.pid for worker, _ in self.calls]
        while True:
            tried = time.perf_counter()
            before = read(processes)
            seconds = self.measure(self.steps)
            foreign = foreign_share(before, read(processes))
            left = patience - (time.perf_counter() - begun)
            if foreign <= DISTURBED or left <= 0:
                break
            wait_for_quiet(DISTURBED, left)
        self.seconds.append(seconds)
        self.foreign.append(foreign)
        return tried - begun

    @property
    def rates(self) -> list[float]:
        """Neuron-samples per second of each repetition."""
        return [self.problem.neuron_samples * self.steps / s for s in self.seconds]

    @property
    def disturbed(self) -> bool:
        """Whether others used the cores in every repetition."""
        return min(self.foreign) > DISTURBED

    @property
    def kept(self) -> list[float]:
        """The rates of the repetitions that nobody disturbed, or all where there is none."""
        return [r for r, share in zip(self.rates, self.foreign, strict=True) if self.disturbed or share <= DISTURBED]

    @property
    def rate(self) -> float:
        return median(self.kept)


@dataclass(frozen=True)
class Comparison:
    """All that was found on a problem.

    differences: largest relative difference of a loss from ours after `CHECK_STEPS` steps, by competitor and clip norm
    compile_cold, compile_cached: seconds to compile ours without and with the cache on disk
    product_rates: float32 matrix-product FLOP/s by library, one a repetition
    """

    problem: Problem
    entries: list[Entry]
    differences: dict[str, dict[str, float]]
    compile_cold: float
    compile_cached: float
    product_rates: dict[str, list[float]]

    def best(self, competitor: str) -> Entry | None:
        """The fastest way of a competitor, by its median."""
        return max((e for e in self.entries if e.competitor == competitor), key=lambda e: e.rate, default=None)

    @property
    def record_overhead(self) -> float:
        """Extra time that `RECORDS` records take over the two that always are, as a share."""
        ours, recorded = (e for e in self.entries if e.competitor == "ours")
        return ours.rate / recorded.rate - 1

    @property
    def steps_per_record(self) -> float:
        """How many steps one record of the training loss costs."""
        return self.record_overhead * self.entries[0].steps / (RECORDS - 2)

    @property
    def product_rate(self) -> float:
        """The best of all libraries and repetitions: what the machine can do."""
        return max(max(rates) for rates in self.product_rates.values())

    @property
    def engine_flops(self) -> float:
        return self.entries[0].rate * self.problem.flops


def compare(problem: Problem, folder: Path, repetitions: int, wanted: float, patience: float, say: Say) -> Comparison:
    """The whole comparison; raises `SystemExit` where a competitor computes something else.

    wanted: seconds of one repetition; patience: seconds that may go into taking disturbed repetitions again
    """
    with ExitStack() as stack:

        def start(module: str, **more: Any) -> Worker:
            worker = Worker(module, problem, folder, **more)
            stack.callback(worker.close)
            return worker

        say(f"{problem.name}: ours draws the problem and compiles")
        ours = start("ours").ready()
        cold, cached = ours.call("compile_seconds"), ours.call("compile_seconds")
        plain = start("plain_jax").ready()
        torches = start_torch(start, min(cores(), problem.runs))

        say(f"{problem.name}: do all compute the same?")
        reference = {clip: ours.call("losses", clip_norm=clip) for clip in (CLIP_NORM, BITING_CLIP)}
        differences = {w.name: difference(reference, w) for w in (plain, *torches[:1])}
        refuse(problem, reference, differences)

        entries = ways(problem, ours, plain, torches)
        begun = time.perf_counter()
        wait_for_quiet(DISTURBED, patience)
        patience -= time.perf_counter() - begun
        entries[0].calibrate(wanted)
        for entry in entries[1:]:
            say(f"{problem.name}: warming up {entry.label}")
            entry.calibrate(wanted)
        entries[1].steps = entries[0].steps  # the same run, recorded more often

        products = {w.name: [] for w in (plain, *torches[:1])}
        for repetition in range(repetitions):
            for entry in entries if repetition % 2 == 0 else entries[::-1]:
                say(f"{problem.name}: repetition {repetition + 1} of {repetitions}, {entry.label}")
                patience -= entry.repeat(patience)
            for worker in (plain, *torches[:1]):
                products[worker.name].append(worker.call("product_rate"))
    return Comparison(problem, entries, differences, cold, cached, products)


def start_torch(start: Callable[..., Worker], processes: int) -> list[Worker]:
    """One process a core, or none where PyTorch is not installed; the report says so."""
    if importlib.util.find_spec("torch") is None:
        return []
    return [worker.ready() for worker in [start("torch_eager") for _ in range(processes)]]


def ways(problem: Problem, ours: Worker, plain: Worker, torches: list[Worker]) -> list[Entry]:
    """Every way that is measured: ours, ours with more records, then the others as fast as each can be had."""
    entries = [
        Entry("ours", "ours", [(ours, {})], problem),
        Entry("ours", f"ours, {RECORDS} records", [(ours, {"records": RECORDS})], problem),
        Entry("plain_jax", "plain JAX, vmap over runs", [(plain, {"ensemble": "vmap"})], problem),
        Entry("plain_jax", "plain JAX, runs in turn", [(plain, {"ensemble": "one_by_one"})], problem),
    ]
    if torches:
        for threads in sorted({1, cores()}):
            label = f"PyTorch eager, {threads} thread{'s' * (threads > 1)}"
            entries.append(Entry("torch_eager", label, [(torches[0], {"threads": threads})], problem))
    if len(torches) > 1:
        share = [(w, {"threads": 1, "part": i, "parts": len(torches)}) for i, w in enumerate(torches)]
        entries.append(Entry("torch_eager", f"PyTorch eager, {len(torches)} processes", share, problem))
    return entries


def gap(losses: list[float], others: list[float]) -> float:
    """Largest relative difference of a run's loss; infinite where one is not finite."""
    pairs = list(zip(losses, others, strict=True))
    return max(abs(a - b) / abs(a) if math.isfinite(a) and math.isfinite(b) else math.inf for a, b in pairs)


def difference(reference: dict[float, list[float]], other: Worker) -> dict[str, float]:
    """The gap to ours by clip norm."""
    return {f"{clip:g}": gap(losses, other.call("losses", clip_norm=clip)) for clip, losses in reference.items()}


def refuse(problem: Problem, reference: dict[float, list[float]], differences: dict[str, dict[str, float]]) -> None:
    """Stop where something else is computed, or where the check could not have told."""
    if gap(reference[CLIP_NORM], reference[BITING_CLIP]) < 100 * TOLERANCE:
        raise SystemExit(f"{problem.name}: clipping to {BITING_CLIP:g} changes no loss, so the check of clipping is empty")
    wrong = [
        f"{who}, clip {clip}: {off:.2e}" for who, offs in differences.items() for clip, off in offs.items() if off > TOLERANCE
    ]
    if wrong:
        raise SystemExit(
            f"{problem.name}: losses after {CHECK_STEPS} steps differ from ours by more than {TOLERANCE:g} relative"
            f" ({'; '.join(wrong)}): not the same computation, so nothing is timed"
        )
