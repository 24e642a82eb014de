"""What the sweep hands to the store: a finished chunk."""

from __future__ import annotations

from typing import NamedTuple

from dynamics.core.simulate import Trajectory
from dynamics.core.spec import RunSpec


class ChunkResult(NamedTuple):
    """A finished chunk: the program it was computed by, its runs, their trajectory, seconds of computing and of compiling."""

    program: str
    runs: tuple[RunSpec, ...]
    trajectory: Trajectory
    seconds: float
    compile_seconds: float
