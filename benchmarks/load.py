"""Measure how much of the cores other processes use, to tell a slow program from a busy machine (Linux only)."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

IDLE = (3, 4)  # columns of /proc/stat: idle, waiting for disk


class Reading(NamedTuple):
    """Clock ticks since boot: total and busy over the available cores, own of the given processes."""

    total: int
    busy: int
    own: int


def read_ticks(processes: Iterable[int]) -> Reading | None:
    """Return the current ticks, or None if the system does not provide them."""
    if not Path("/proc/stat").exists():
        return None
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    ticks = [[int(t) for t in row[1:9]] for row in rows if row and row[0] in names]
    total = sum(map(sum, ticks))
    return Reading(total, total - sum(core[i] for core in ticks for i in IDLE), sum(map(_own, processes)))


def foreign_share(before: Reading | None, after: Reading | None) -> float:
    """Return the share of core time used by other processes (and other guests of the hypervisor); 0 if unknown."""
    if before is None or after is None or after.total <= before.total:
        return 0.0
    busy, own = after.busy - before.busy, after.own - before.own
    return max(0.0, (busy - own) / (after.total - before.total))


def wait_for_quiet(limit: float, patience: float) -> None:
    """Sleep until others use at most the share `limit` of the cores, or for `patience` seconds."""
    end = time.perf_counter() + patience
    share = math.inf
    while share > limit and time.perf_counter() < end:
        before = read_ticks([])
        time.sleep(min(0.5, patience))
        share = foreign_share(before, read_ticks([]))


def _own(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # user and system time of all its threads
