"""`dynamics status`: how far the studies of an output folder are. Only reads, and needs no JAX, so it is there at once."""

from __future__ import annotations

import sys
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import polars as pl

from dynamics.commands import folder_bytes, in_bytes, studies
from dynamics.errors import InputError
from dynamics.sweep.store import NO_RUNS, Store


@dataclass(frozen=True)
class Count:
    """Of one study: runs that ended well (`done`), `diverged`, or could not be computed (`failed`); runs that commands
    asked for and that are not stored (`left`, the failed ones among them); chunks that a living process has
    (`computing`) and chunks with a checkpoint that none has (`waiting`); parts that are not what was written
    (`damaged`) and those that are (`parts`); bytes of all its files (`disk`).
    """

    done: int = 0
    diverged: int = 0
    failed: int = 0
    left: int = 0
    computing: int = 0
    waiting: int = 0
    damaged: int = 0
    parts: int = 0
    disk: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def cells(self) -> list[str]:
        return [*(str(number) for number in astuple(self)[:-1]), in_bytes(self.disk)]


def count(store: Store) -> Count:
    """What a store holds, what is left of it, who is at it."""
    intact = {name: table for name, table in store.contents().items() if name not in store.damaged}
    tables = [table.select("run", "status") for table in intact.values()] or [NO_RUNS.with_columns(status=pl.lit("ok"))]
    runs = pl.concat(tables).unique("run", keep="last", maintain_order=True)
    diverged = int((runs["status"] == "diverged").sum())
    asked = {run for note in store.asked() for run in note["runs"]}
    chunks = store.under_way().values()
    return Count(
        done=len(runs) - diverged,
        diverged=diverged,
        failed=len(store.failures()),
        left=len(asked - set(runs["run"])),
        computing=sum(chunks),
        waiting=len(chunks) - sum(chunks),
        damaged=len(store.damaged),
        parts=len(intact),
        disk=folder_bytes(store.folder),
    )


def status(folder: Path, *, check: bool = False) -> None:
    """Print a row a study and their sum. check: read every file of every part, not the run tables alone."""
    from rich.console import Console
    from rich.table import Table

    rows, troubles = {}, []
    for name, path in studies(folder):
        try:
            store = Store(path)
        except InputError as error:
            troubles.append(str(error))
            continue
        if check:
            store.check()
        rows[name] = count(store)
        troubles += [f"damaged: {store.parts / part}: {reason}" for part, reason in store.damaged.items()]

    table = Table(header_style="bold")
    table.add_column("study", overflow="fold")
    for field in fields(Count):
        table.add_column(field.name, justify="right")
    for name, row in rows.items():
        table.add_row(name, *row.cells())
    table.add_section()
    table.add_row("all" if rows else "no studies", *sum(rows.values(), Count()).cells())
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    for line in troubles:
        print(line, file=sys.stderr)
