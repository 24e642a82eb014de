"""When to look: the list of steps at which a run is observed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dynamics.errors import require

SPACINGS = ("log", "linear")
MOST = 1_000_000  # steps that are spread, or dense


@dataclass(frozen=True)
class RecordSpec:
    """When a run is recorded; step 0 and the last step always are.

    num: how many steps, spread by `spacing` between 1 and the last step
    at: further steps, each at most the last step
    dense: the first so many steps, each of them
    pairs: also the step after each, to see what single steps do
    """

    num: int = 40
    spacing: str = "log"
    at: list[int] = field(default_factory=list)
    dense: int = 0
    pairs: bool = False

    def check(self, steps: int) -> None:
        require(0 <= self.num <= MOST, "record.num", self.num, f"must be from 0 to {MOST}")
        require(self.spacing in SPACINGS, "record.spacing", self.spacing, f"choose one of {', '.join(SPACINGS)}")
        most = min(steps, MOST)
        require(0 <= self.dense <= most, "record.dense", self.dense, f"must be from 0 to {most}, at most steps")
        for at in self.at:
            require(isinstance(at, int) and 0 <= at <= steps, "record.at", at, f"must be integers from 0 to steps = {steps}")

    def schedule(self, steps: int) -> tuple[int, ...]:
        """The recorded steps in increasing order, from 0 to `steps`.

        >>> RecordSpec(num=4).schedule(1000)
        (0, 1, 10, 100, 1000)
        """
        spread = np.geomspace(1, steps, self.num) if self.spacing == "log" else np.linspace(0, steps, self.num)
        chosen = {0, steps, *self.at, *range(self.dense + 1), *np.rint(spread).astype(int).tolist()}
        if self.pairs:
            chosen |= {min(step + 1, steps) for step in chosen}
        return tuple(sorted(chosen))
