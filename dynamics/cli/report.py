"""Tables and lines that the command line prints of plans, claims and runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dynamics.analysis.claims import Claim
from dynamics.engine.plan import Plan, tabulate_plan
from dynamics.study.claim_list import describe_claim, format_number


def format_cell(value: Any) -> str:
    """Return a float with three significant digits, everything else as it is."""
    return format_number(value) if isinstance(value, float) else str(value)


def print_table(console: Console, title: str, rows: Iterable[dict[str, Any]]) -> None:
    """Print the rows as a table with a column for each key; nothing where there are none."""
    rows = list(rows)
    if not rows:
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(format_cell(v)) for v in row.values()])
    console.print(table)


def print_plan(console: Console, plan: Plan) -> None:
    """Print the groups of a plan, their estimated cost, and the model that the estimate is made with."""
    m = plan.machine
    print_table(console, "plan", tabulate_plan(plan))
    console.print(
        f"{plan.num_runs} runs to compute in {len(plan.groups)} groups, {plan.num_stored} already in the store; "
        f"estimated {plan.seconds:.0f} s on {m.devices} {m.kind} device{'s' if m.devices > 1 else ''}",
        highlight=False,
    )
    console.print(
        f"cost model: {m.flops / 1e9:g} GFLOP/s a device, {m.step_seconds * 1e6:g} us a step of a lane, "
        f"{m.compile_seconds:g} s to compile a group, {m.memory / 1e9:.1f} GB for a chunk; "
        "shapes are padded to share a program where that is estimated to save time",
        highlight=False,
    )


def print_claims(console: Console, claims: list[Claim]) -> None:
    """Print a row a claim: predicted, measured, verdict, and the negative control."""
    print_table(console, "claims", [describe_claim(claim) for claim in claims])


def print_frame(console: Console, title: str, frame: pl.DataFrame) -> None:
    """Print a data frame as a table."""
    print_table(console, title, frame.iter_rows(named=True))


def summarize_runs(runs: pl.DataFrame) -> str:
    """Return one line on the runs of a study: how many, how long they took, how many stopped, diverged or are not
    finite."""
    unique = runs.unique("run")
    told = [f"{len(unique)} runs", f"{unique['seconds'].sum():.1f} s of computing"]
    endings = {"reached": "stopped at their goal", "diverged": "diverged", "not_finite": "with measures that are not finite"}
    for status, what in endings.items():
        number = int((unique["status"] == status).sum())
        told += [f"{number} {what}"] if number else []
    return ", ".join(told)
