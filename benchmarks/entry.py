"""A way as it is measured: its processes, how many steps a repetition takes, and every repetition's time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from load import foreign_share, read, wait_for_quiet
from problems import Problem
from ways import Way
from worker import Worker, WorkerError

DISTURBED = 0.1  # share of the cores used by others above which a repetition is taken again
SINGLE_STEPS = 3  # repetitions of a single step, which tell what a run takes beyond its steps


@dataclass
class Entry:
    """steps: of one repetition, chosen so that it takes about the wanted time

    seconds, foreign: of each repetition its wall time, and the share of the cores that others used meanwhile
    single: wall times of one step; compile_seconds: with an empty cache, and from the cache on disk; peak: bytes
    """

    way: Way
    workers: list[Worker]
    problem: Problem
    steps: int = 0
    seconds: list[float] = field(default_factory=list)
    foreign: list[float] = field(default_factory=list)
    single: list[float] = field(default_factory=list)
    compile_seconds: tuple[float | None, float | None] = (None, None)
    peak: int = 0

    def all(self, method: str, **arguments: Any) -> list[Any]:
        """The answers of all processes, which work at once; raises only when all have answered."""
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
        """The same without the way's arguments."""
        return [worker.call(method) for worker in self.workers]

    def prepare(self) -> None:
        """Compile and warm up."""
        self.compile_seconds = tuple(self.all("compile_seconds")[0])

    def losses(self, clip_norm: float) -> list[float]:
        """Of every run, put together from the processes' shares."""
        found = [0.0] * self.problem.runs
        for part, own in enumerate(self.all("losses", clip_norm=clip_norm)):
            found[part :: len(self.workers)] = own
        return found

    def measure(self, steps: int) -> float:
        return max(self.all("seconds", steps=steps))

    def calibrate(self, wanted: float) -> None:
        """Steps that take about the wanted time, what a run takes beyond its steps included."""
        self.steps = 1
        while (taken := self.measure(self.steps)) < 0.7 * wanted:
            self.steps = math.ceil(self.steps * min(8.0, wanted / taken))
        self.single = [self.measure(1) for _ in range(SINGLE_STEPS)]

    def repeat(self, patience: float) -> float:
        """Measure once; where others disturbed it, wait for quiet and measure again while patience lasts.

        Returns the seconds of patience that this took.
        """
        begun = time.perf_counter()
        processes = [worker.process.pid for worker in self.workers]
        self.each("reset_peak")
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
        self.peak = max(self.peak, sum(self.each("peak_bytes")))
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

    @property
    def step_seconds(self) -> float:
        """Of one step of all runs."""
        return self.problem.neuron_samples / self.rate

    @property
    def overhead(self) -> float:
        """Seconds a run takes beyond its steps: the line through one step and a repetition, at no step."""
        if self.steps < 2:
            return 0.0
        one, many = median(self.single), self.steps * self.step_seconds
        slope = (many - one) / (self.steps - 1)
        return max(0.0, one - slope) / self.problem.runs
