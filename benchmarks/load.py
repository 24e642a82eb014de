"""How much of the cores other processes used meanwhile: what tells a slow program from a busy machine (Linux only)."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

IDLE = (3, 4)  # columns of /proc/stat: idle, waiting for disk


class Reading(NamedTuple):
    """Clock ticks since boot: total and busy of all our cores, own of the processes given."""

    total: int
    busy: int
    own: int


def read(processes: Iterable[int]) -> Reading | None:
    """A reading, or None where the system does not tell."""
    if not Path("/proc/stat").exists():
        return None
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    ticks = [[int(t) for t in row[1:9]] for row in rows if row and row[0] in names]
    total = sum(map(sum, ticks))
    return Reading(total, total - sum(core[i] for core in ticks for i in IDLE), sum(map(_own, processes)))


def foreign_share(before: Reading | None, after: Reading | None) -> float:
    """Share of the cores' time that went to others, the hypervisor's other guests included; 0 if not known."""
    if before is None or after is None or after.total <= before.total:
        return 0.0
    busy, own = after.busy - before.busy, after.own - before.own
    return max(0.0, (busy - own) / (after.total - before.total))


def wait_for_quiet(limit: float, patience: float) -> None:
    """Sleep until others use at most `limit` of the cores, or so many seconds are over."""
    end = time.perf_counter() + patience
    share = math.inf
    while share > limit and time.perf_counter() < end:
        before = read([])
        time.sleep(min(0.5, patience))
        share = foreign_share(before, read([]))


def _own(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # user and system time of all its threads
