"""List the stored results that nothing refers to any more, study by study, and delete them after asking.

A run is kept if a config asks for it, if a sweep's folder in multirun/ lists it, if a command asked for it, or if it is
young. Where there is no terminal to ask on, nothing is deleted without --yes. The older form `days=14` is read too.
"""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dynamics.cli.arguments import CommandParser, WholeNumber, modernize_fields
from dynamics.cli.messages import explain
from dynamics.core.text import counted, in_bytes

if TYPE_CHECKING:  # imports JAX, which `--help` does not need
    from dynamics.study.unreferenced import UnreferencedReport

log = logging.getLogger(__name__)


def add_arguments(parser: CommandParser) -> None:
    """Declare the folder and what may be deleted."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path("."), help="the output folder (default: this folder)")
    parser.add_argument("--yes", action="store_true", help="delete all that is listed without asking")
    parser.add_argument("--days", action=WholeNumber, default=14, metavar="N", help="keep what is younger (default: 14)")
    help_text = "old commands do not protect their runs, nor does a missing config protect those of its experiment"
    parser.add_argument("--unasked", action="store_true", help=help_text)


def modernize(arguments: list[str]) -> list[str]:
    """Return the arguments with the older form of `--days`."""
    return modernize_fields(arguments, "days")


def run(options: Namespace) -> None:
    """List what can go, and delete it with `--yes` or where the answer on a terminal is yes."""
    from dynamics.core import devices
    from dynamics.store.layout import find_studies
    from dynamics.store.store import Store
    from dynamics.study import trust
    from dynamics.study.deletion import delete_candidates, delete_empty_store
    from dynamics.study.experiments import experiment_names
    from dynamics.study.references import sweep_runs
    from dynamics.study.unreferenced import find_unreferenced

    devices.prepare()
    ask = not options.yes and sys.stdin.isatty() and sys.stdout.isatty()
    folders = list(find_studies(options.folder, follow=False))
    trust.check([])
    find = partial(find_unreferenced, swept=sweep_runs(options.folder), days=options.days, unasked=options.unasked)
    listed, freed, in_use = 0, 0, 0
    for name, folder in folders:
        try:
            report = find(name, Store(folder))
        except Exception as error:
            line = explain(error)
            if line is None:
                raise
            log.warning(f"{name}: skipped: cannot tell whether it is still referenced: {line}")
            continue
        _print_report(name, report)
        listed += len(report.finds)
        if report.finds and (options.yes or (ask and _is_confirmed(report))):
            store = Store(folder)
            latest = find(name, store)  # a process may have come since: only what is still unreferenced goes
            bytes_freed, busy = delete_candidates(store, [c for c in report.finds if c in latest.finds])
            freed, in_use = freed + bytes_freed, in_use + busy
            if name not in experiment_names():
                delete_empty_store(store)
    if not listed:
        print("nothing to delete")
    elif options.yes or ask:
        print(f"deleted {in_bytes(freed)}" + (f"; {counted(in_use, 'item')} kept: a process uses them" if in_use else ""))
    else:
        print("nothing was deleted: there is no terminal to ask on; add --yes to delete all that is listed")


def _print_report(name: str, report: UnreferencedReport) -> None:
    """Print what can go and what is kept of one study, if there is any such thing."""
    if not (report.finds or report.kept):
        return
    print(f"{name}:")
    for why in dict.fromkeys(candidate.why for candidate in report.finds):
        group = [candidate for candidate in report.finds if candidate.why == why]
        runs = sum(candidate.runs for candidate in group)
        size = in_bytes(sum(candidate.bytes for candidate in group))
        where = f"{counted(runs, 'run')} in " if runs else ""
        print(f"  delete {why}: {where}{counted(len(group), 'item')}, {size}")
    for line in report.commands:
        print(f"    {line}")
    for line in report.kept:
        print(f"  keep {line}" if not line.startswith(" ") else f"  {line}")


def _is_confirmed(report: UnreferencedReport) -> bool:
    """Whether the answer on the terminal is yes."""
    try:
        return input(f"  delete these {in_bytes(report.bytes)}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
