"""Compare the minimal cost of a step, the hardware limits measured in the same run, and our speed.

    python benchmarks/roofline.py            results/full.json -> a table, in results/roofline.md

Least operations are the useful FLOPs that all variants are counted by. Least bytes are the parameters read and written
once and the data read once, a step of all runs: what a machine without any cache would move that keeps
    pre-activations to itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from problems import PROBLEMS, Problem
from tables import markdown_table
from variants import OURS

RESULTS = Path(__file__).parent / "results"
HEAD = (
    "problem",
    "least GFLOP",
    "least MB",
    "ms at the product's rate",
    "ms at the copy's rate",
    "ms, ours",
    "share of the product's rate",
)


def least_bytes(problem: Problem) -> int:
    """Return the least bytes moved by one step of all runs in float32."""
    p = problem
    parameters = p.width * (p.fan_in + 2) + 1
    return 4 * p.runs * (2 * parameters + p.num_samples * (p.input_dim + 2))


def row(found: dict[str, Any]) -> tuple[str, ...]:
    """Return the table row of one problem."""
    problem = PROBLEMS[found["problem"]["name"]]
    flops, moved = problem.flops * problem.neuron_samples, least_bytes(problem)
    at_flops = flops / max(max(rates) for rates in found["product_flops"].values())
    at_bytes = moved / max(max(rates) for rates in found["copy_bytes"].values())
    ours = problem.neuron_samples / next(e["median"] for e in found["entries"] if e["label"] == OURS)
    return (
        problem.name,
        f"{flops / 1e9:.3g}",
        f"{moved / 1e6:.3g}",
        f"{1e3 * at_flops:.3g}",
        f"{1e3 * at_bytes:.3g}",
        f"{1e3 * ours:.3g}",
        f"{100 * at_flops / ours:.0f} %",
    )


def main() -> None:
    """Write and print the table for the results of the last full run."""
    found = json.loads((RESULTS / "full.json").read_text())
    lines = markdown_table(HEAD, [row(each) for each in found["problems"] if each["ratio"]])
    (RESULTS / "roofline.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
