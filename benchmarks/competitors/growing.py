"""Ours at any size, for how its cost grows: engine time of a problem, compile time apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from problems import Problem

from competitors import ours


class Competitor(ours.Competitor):
    """Our suite on a problem whose sizes change between calls."""

    def __init__(self, problem: Problem, folder: Path, device: str) -> None:
        super().__init__(problem, folder, device)
        self.base = problem

    def times(self, sizes: dict[str, Any], steps: int, repetitions: int) -> list[float]:
        """Seconds of a whole plan at these sizes; a first one compiles."""
        self.problem = replace(self.base, **sizes)
        self.seconds(1)
        return [self.seconds(steps) for _ in range(repetitions)]
