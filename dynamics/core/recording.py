"""The schedule: at which steps a run is recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from dynamics.core.checked_fields import CheckedFields
from dynamics.core.options import option
from dynamics.errors import require

SPACINGS = ("log", "linear")
MOST = 1_000_000  # largest `num` and `dense`


@dataclass(frozen=True)
class RecordSpec(CheckedFields):
    """When a run is recorded; step 0 and the last step always are.

    num: number of steps, spaced by `spacing` (`log` or `linear`) up to the last step
    at: further steps, each at most the last step
    dense: record each of the first `dense` steps
    pairs: also record the step after each, to show the effect of single steps

    >>> import dynamics as dyn
    >>> dyn.Record(num=3, at=[50], dense=2).schedule(100)
    (0, 1, 2, 10, 50, 100)
    """

    num: int = option(40, at_least=0, at_most=MOST, doc="number of recorded steps, spaced evenly")
    spacing: str = option("log", choices=SPACINGS, doc="whether steps are spaced in their logarithm or linearly")
    at: list[int] = option([], at_least=0, doc="further steps to record")  # noqa: RUF009 (copied for every spec)
    dense: int = option(0, at_least=0, at_most=MOST, doc="how many first steps are all recorded")
    pairs: bool = option(False, doc="whether the step after each is recorded too")

    place: ClassVar[str] = "record"

    def check(self, steps: int) -> None:
        """Raise `InputError` if a field is out of range for a run of `steps` steps."""
        require(0 <= self.num <= MOST, "record.num", self.num, f"must be from 0 to {MOST}")
        require(self.spacing in SPACINGS, "record.spacing", self.spacing, f"choose one of {', '.join(SPACINGS)}")
        most = min(steps, MOST)
        require(0 <= self.dense <= most, "record.dense", self.dense, f"must be from 0 to {most}, at most steps")
        for at in self.at:
            require(isinstance(at, int) and 0 <= at <= steps, "record.at", at, f"must be integers from 0 to steps = {steps}")

    def schedule(self, steps: int) -> tuple[int, ...]:
        """Return the recorded steps of a run of `steps` steps in increasing order, from 0 to `steps`.

        >>> RecordSpec(num=4).schedule(1000)
        (0, 1, 10, 100, 1000)
        """
        spread = np.geomspace(1, steps, self.num) if self.spacing == "log" else np.linspace(0, steps, self.num)
        chosen = {0, steps, *self.at, *range(self.dense + 1), *np.rint(spread).astype(int).tolist()}
        if self.pairs:
            chosen |= {min(step + 1, steps) for step in chosen}
        return tuple(sorted(chosen))


def check_schedule(schedule: Sequence[int]) -> tuple[int, ...]:
    """Return the steps at which to record as a tuple of integers.

    Raises `InputError` unless there is at least one, none is negative and each is greater than the one before.

    >>> check_schedule(range(0, 30, 10))
    (0, 10, 20)
    """
    listed = schedule.tolist() if hasattr(schedule, "tolist") else schedule  # type: ignore[attr-defined]
    ordered = isinstance(listed, Iterable) and not isinstance(listed, str | bytes | Mapping | Set)
    asked: list[Any] = list(listed) if ordered else []
    require(len(asked) > 0, "schedule", schedule, "must list at least one step to record, such as (0, 10, 100)")
    for step in asked:
        whole = isinstance(step, int | np.integer) and not isinstance(step, bool)
        require(whole and bool(0 <= step < 2**31), "schedule", step, "must be integers of at least 0 and at most 31 bits")
    for before, after in pairwise(asked):
        require(before < after, "schedule", (int(before), int(after)), "must increase from step to step")
    return tuple(map(int, asked))
