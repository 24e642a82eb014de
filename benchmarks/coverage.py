"""Coverage of the intervals that claims report, by simulation: this script writes the table of docs/statistics.md.

Seeds are independent; five cells a seed stand for five n (slopes) or five settings (extremes). Every statistic is one
that claims use, through the functions that they use. Noise: normal, log-normal (skewed; medians are 1), Student's t
with two degrees of freedom (no variance).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dynamics.analysis.intervals import attained_level, find_greatest_interval, find_interval, list_subsets
from dynamics.analysis.slopes import slope_lever

SEEDS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20)
SIZES = 2.0 ** np.arange(5, 10)
LEVER = slope_lever(SIZES)
DRAWS, SKEW = 1000, 0.8
PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
BEGIN, END = "<!-- coverage -->", "<!-- end of coverage -->"

NOISE: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: 0.5 * rng.normal(size=shape),
    "log-normal": lambda rng, shape: np.exp(SKEW * rng.normal(size=shape)) - 1,
    "t, 2 degrees": lambda rng, shape: 0.3 * rng.standard_t(2, size=shape),
}


class Case(NamedTuple):
    """A statistic of values (..., m, 5) over seeds -> (...) or (..., K), its true value, how its interval is found.

    skewed: the true value under log-normal noise, where it differs.
    """

    statistic: Callable[[np.ndarray], np.ndarray]
    truth: float
    find: Callable[..., tuple[np.ndarray, np.ndarray]] = find_interval
    skewed: float | None = None


def median_of(values: np.ndarray) -> np.ndarray:
    return np.median(values, axis=-2)


def log_slope(values: np.ndarray) -> np.ndarray:
    return median_of(values) @ LEVER


CASES = {
    "median": Case(lambda v: median_of(v)[..., 0], 0.0),
    "mean": Case(lambda v: v.mean(axis=-2)[..., 0], 0.0, skewed=float(np.exp(SKEW**2 / 2) - 1)),
    "difference of medians": Case(lambda v: median_of(v)[..., 0] - median_of(v)[..., 1], 0.0),
    "ratio of medians": Case(lambda v: (5 + median_of(v)[..., 0]) / (5 + median_of(v)[..., 1]), 1.0),
    "slope of medians": Case(log_slope, 0.0),
    "largest of 5 medians, all equal": Case(median_of, 0.0, find_greatest_interval),
    "largest of 5 medians, apart": Case(lambda v: median_of(v) + np.arange(5), 4.0, find_greatest_interval),
    "largest size of 5, all 0": Case(lambda v: np.abs(median_of(v)), 0.0, find_greatest_interval),
}


def simulate_coverage(case: Case, noise: str, num_seeds: int, draws: int = DRAWS) -> float:
    """Return the share of `draws` intervals that hold the true value."""
    rng = np.random.default_rng(num_seeds)
    held = []
    for size in np.diff(np.linspace(0, draws, max(1, draws * num_seeds // 2000) + 1).astype(int)):  # keeps memory small
        values = NOISE[noise](rng, (int(size), num_seeds, len(SIZES)))
        subsets = np.concatenate([case.statistic(values[:, index]) for index in list_subsets(num_seeds)], axis=1)
        low, high = case.find(case.statistic(values), subsets, 0.95)
        truth = case.skewed if noise == "log-normal" and case.skewed is not None else case.truth
        held.append((low <= truth + 1e-12) & (truth <= high + 1e-12))
    return float(np.mean(np.concatenate(held)))


def tabulate() -> str:
    """Return the table of coverages in Markdown, in per cent."""
    lines = [f"| statistic | noise | {' | '.join(map(str, SEEDS))} |", "|---" * (len(SEEDS) + 2) + "|"]
    lines.append(f"| level that is reported | | {' | '.join(f'{100 * attained_level(s):.4g}' for s in SEEDS)} |")
    for name, case in CASES.items():
        for noise in NOISE:
            seen = [f"{100 * simulate_coverage(case, noise, s):.1f}" for s in SEEDS]
            lines.append(f"| {name} | {noise} | {' | '.join(seen)} |")
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tabulate()}\n\n{END}{rest.partition(END)[2]}")
