"""How many runs step together while a program is traced or priced: their arrays lie side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

runs_at_once: ContextVar[int] = ContextVar("runs_at_once", default=1)


@contextmanager
def step_together(runs: int) -> Iterator[None]:
    """Make `runs_at_once` so many runs within a `with` statement."""
    token = runs_at_once.set(runs)
    try:
        yield
    finally:
        runs_at_once.reset(token)
