"""The result of a chunk, as the engine passes it to the store."""

from __future__ import annotations

from typing import NamedTuple

from dynamics.core.simulate import Trajectory
from dynamics.core.spec import RunSpec


class ChunkResult(NamedTuple):
    """A finished chunk: its program, its runs, their trajectory, and the seconds of computing and compiling."""

    program: str
    runs: tuple[RunSpec, ...]
    trajectory: Trajectory
    seconds: float
    compile_seconds: float
