"""Who is compared. Each module has a class `Competitor(problem, folder)` with

    losses(clip_norm)            -> the loss of every run after `CHECK_STEPS` steps
    seconds(steps, **variant)    -> wall time of so many steps of all its runs, compilation apart

and may have `product_rate()`, the rate of its library's float32 matrix product on all cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PRODUCT_SIZE = 2048


def best_product_rate(multiply: Callable[[], Any]) -> float:
    """FLOP/s of the best of three products of `PRODUCT_SIZE` square matrices; a first one warms up."""
    multiply()
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        multiply()
        times.append(time.perf_counter() - begun)
    return 2 * PRODUCT_SIZE**3 / min(times)
