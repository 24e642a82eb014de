"""The measurements of one variant: its processes, steps per repetition, and the time of every repetition."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from load import foreign_share, read_ticks, wait_for_quiet
from problems import Problem
from variants import Variant
from worker import Worker, WorkerError

DISTURBED = 0.1  # share of the cores used by others above which a repetition is taken again
SINGLE_STEPS = 3  # repetitions of a single step, which tell what a run takes beyond its steps


@dataclass
class Entry:
    """One variant of a problem and its measurements.

    steps: steps of one repetition, chosen so that it takes about the wanted time

    seconds, foreign: of each repetition its wall time, and the share of the cores that others used meanwhile
    single: wall times of one step; compile_seconds: with an empty cache, and from the cache on disk; peak: bytes
    """

    way: Variant
    workers: list[Worker]
    problem: Problem
    steps: int = 0
    seconds: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)
    single: list[float] = field(default_factory=list)
    compile_seconds: tuple[float | None, float | None] = (None, None)
    peak: int = 0

    def all(self, method: str, **arguments: Any) -> list[Any]:
        """Call a method in all processes at once and return the answers; raises after all have answered."""
        for worker in self.workers:
            worker.ready()
        for worker, own in zip(self.workers, self.way.parts(), strict=True):
            worker.ask(method, **own, **arguments)
        answers, failed = [], None
        for worker in self.workers:
            try:
                answers.append(worker.answer())
            except WorkerError as error:
                failed = error
        if failed is not None:
            raise failed
        return answers

    def each(self, method: str) -> list[Any]:
        """Call a method in each process in turn, without the variant's arguments, and return the answers."""
        return [worker.call(method) for worker in self.workers]

    def prepare(self) -> None:
        """Compile, warm up and record the compile time."""
        self.compile_seconds = tuple(self.all("compile_seconds")[0])

    def losses(self, clip_norm: float) -> list[float]:
        """Return the loss of every run, assembled from the shares of the processes."""
        found = [0.0] * self.problem.runs
        for part, own in enumerate(self.all("losses", clip_norm=clip_norm)):
            found[part :: len(self.workers)] = own
        return found

    def measure(self, steps: int) -> float:
        """Return the wall seconds of `steps` steps of all runs, the maximum over processes."""
        return max(self.all("seconds", steps=steps))

    def calibrate(self, wanted: float) -> None:
        """Choose the steps of a repetition so that it takes about the wanted seconds, overhead included."""
        self.steps = 1
        while (taken := self.measure(self.steps)) < 0.7 * wanted:
            self.steps = math.ceil(self.steps * min(8.0, wanted / taken))
        self.single = [self.measure(1) for _ in range(SINGLE_STEPS)]

    def repeat(self, patience: float) -> float:
        """Time one repetition; if other processes disturbed it, wait and repeat while patience lasts.

        Returns the seconds spent on disturbed attempts and waiting.
        """
        begun = time.perf_counter()
        processes = [worker.process.pid for worker in self.workers]
        self.each("reset_peak")
        while True:
            tried = time.perf_counter()
            before = read_ticks(processes)
            seconds = self.measure(self.steps)
            foreign = foreign_share(before, read_ticks(processes))
            left = patience - (time.perf_counter() - begun)
            if foreign <= DISTURBED or left <= 0:
                break
            wait_for_quiet(DISTURBED, left)
        self.seconds.append(seconds)
        self.foreign.append(foreign)
        self.peak = max(self.peak, sum(self.each("peak_bytes")))
        return tried - begun

    @property
    def rates(self) -> list[float]:
        """Return the neuron-samples per second of each repetition."""
        return [self.problem.neuron_samples * self.steps / s for s in self.seconds]

    @property
    def disturbed(self) -> bool:
        """Return whether other processes used the cores in every repetition."""
        return min(self.foreign) > DISTURBED

    @property
    def kept(self) -> list[float]:
        """Return the rates of undisturbed repetitions, or all rates if every repetition was disturbed."""
        return [r for r, share in zip(self.rates, self.foreign, strict=True) if self.disturbed or share <= DISTURBED]

    @property
    def rate(self) -> float:
        """Return the median neuron-samples per second over the kept repetitions."""
        return median(self.kept)

    @property
    def step_seconds(self) -> float:
        """Return the seconds of one step of all runs."""
        return self.problem.neuron_samples / self.rate

    @property
    def overhead(self) -> float:
        """Return the seconds per run beyond its steps: the intercept of the line through one step and a repetition."""
        if self.steps < 2:
            return 0.0
        one, many = median(self.single), self.steps * self.step_seconds
        slope = (many - one) / (self.steps - 1)
        return max(0.0, one - slope) / self.problem.runs
