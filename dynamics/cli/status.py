"""`dynamics status`: how far the studies of an output folder are. Read-only, and quick because it needs no JAX."""

from __future__ import annotations

import sys
from dataclasses import astuple, fields
from pathlib import Path

from dynamics.core.text import in_bytes
from dynamics.errors import InputError
from dynamics.store.counts import Count, count
from dynamics.store.layout import studies
from dynamics.store.store import Store


def _cells(count: Count) -> list[str]:
    return [*(str(number) for number in astuple(count)[:-1]), in_bytes(count.disk)]


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
        table.add_row(name, *_cells(row))
    table.add_section()
    table.add_row("all" if rows else "no studies", *_cells(sum(rows.values(), Count())))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    for line in troubles:
        print(line, file=sys.stderr)
