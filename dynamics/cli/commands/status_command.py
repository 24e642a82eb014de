"""Show how far the studies of an output folder are, one row a study. Nothing is changed.

done, diverged and not_finite (a recorded measure was not finite, the state was): stored runs; reached: those of the
runs done that stopped at their goal; failed: runs that could not be computed; left: runs that were asked for and are
not there; computing and waiting: chunks that a process has, and chunks with a checkpoint; damaged:
parts that cannot be read.
"""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from dataclasses import astuple, fields
from pathlib import Path

from dynamics.cli.arguments import CommandParser
from dynamics.core.text import in_bytes
from dynamics.errors import InputError

log = logging.getLogger(__name__)


def add_arguments(parser: CommandParser) -> None:
    """Declare the folder and what to read of it."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path("."), help="the output folder (default: this folder)")
    parser.add_argument("--check", action="store_true", help="compare every stored file with its checksum")


def run(options: Namespace) -> None:
    """Print a row a study and their sum. Reading a store needs no JAX, so this is quick."""
    from rich.console import Console
    from rich.table import Table

    from dynamics.store.counts import RunCounts

    counts, problems = _count(options.folder, options.check)
    table = Table(header_style="bold")
    table.add_column("study", overflow="fold")
    for field in fields(RunCounts):
        table.add_column(field.name, justify="right")
    for name, row in counts.items():
        table.add_row(name, *_cells(row))
    table.add_section()
    table.add_row("all" if counts else "no studies", *_cells(sum(counts.values(), RunCounts())))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    for line in problems:
        log.warning(line)


def _count(folder: Path, check: bool) -> tuple[dict, list[str]]:
    """The counts of each study, and a line for everything that could not be read."""
    from dynamics.store.counts import count_runs
    from dynamics.store.layout import find_studies
    from dynamics.store.store import Store

    counts, problems = {}, []
    for name, path in find_studies(folder):
        try:
            store = Store(path)
        except InputError as error:
            problems.append(str(error))
            continue
        if check:
            store.check()
        counts[name] = count_runs(store)
        problems += [f"damaged: {store.parts / part}: {reason}" for part, reason in store.damaged.items()]
    return counts, problems


def _cells(row) -> list[str]:
    """The counts of one study as text, its size on the disk in bytes last."""
    return [*(str(number) for number in astuple(row)[:-1]), in_bytes(row.disk)]
