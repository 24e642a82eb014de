"""Kill it, tear its files, fill its disk: every fault must end in the store of a sweep that nothing happened to.

    make faults                          the long form: fifty kills and every other fault, counted in a table
    python tests/faults.py --kills 5     a shorter one; the tests run some of the faults

The sweep is 32 Hydra jobs in eight groups, tiny networks for very many steps, saved every fifth of a second. Two stores
are the same if they have the same parts with the same runs, bit for bit in every record, every final state and every
column that does not tell when, how long or by which command.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fault_bench import Bench
from fault_kinds import damaged_checkpoint, damages, full_disk, kills, read_only, short_of_memory, together

FAULTS: dict[str, Callable[[Bench, int, random.Random], dict[str, int] | str]] = {
    "SIGKILL at random moments": lambda b, n, rng: kills(b, n, rng, signal.SIGKILL),
    "SIGTERM at random moments": lambda b, n, rng: kills(b, max(2, n // 5), rng, signal.SIGTERM),
    "SIGINT at random moments": lambda b, n, rng: kills(b, max(2, n // 10), rng, signal.SIGINT),
    "files truncated, flipped, deleted": lambda b, n, rng: damages(b, max(3, n // 2), rng),
    "a torn checkpoint": lambda b, n, rng: damaged_checkpoint(b, rng),
    "a full disk": lambda b, n, rng: full_disk(b),
    "a read-only folder": lambda b, n, rng: read_only(b),
    "a device out of memory": lambda b, n, rng: short_of_memory(b),
    "two processes at once": lambda b, n, rng: together(b, 2),
    "three processes, one killed": lambda b, n, rng: together(b, 3, kill=0),
    "two joined by jax.distributed": lambda b, n, rng: together(b, 2, distributed=True),
    "four joined, one killed": lambda b, n, rng: together(b, 4, kill=3, distributed=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="faults whose name contains this")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), chosen.steps)
        bench.reference()
        failed = 0
        for name, fault in FAULTS.items():
            if chosen.only not in name:
                continue
            begun = time.monotonic()
            try:
                outcome = fault(bench, chosen.kills, random.Random(chosen.seed))
            except AssertionError as error:
                outcome, failed = f"FAILED: {error}", failed + 1
            told = outcome if isinstance(outcome, str) else ", ".join(f"{key} {value}" for key, value in outcome.items())
            print(f"{name:36s} {time.monotonic() - begun:6.0f} s   {told}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
