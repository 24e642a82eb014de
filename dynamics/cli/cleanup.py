"""`dynamics gc`: show what nothing refers to any more, study by study, and delete it if told to."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from dynamics.cli.messages import explain
from dynamics.core.text import counted, in_bytes
from dynamics.store.layout import STORE_FOLDERS, studies
from dynamics.store.store import Store
from dynamics.study import trust
from dynamics.study.experiments import experiment_names
from dynamics.study.references import sweep_runs
from dynamics.study.unreferenced import Candidate, UnreferencedReport, find_unreferenced, own


def gc(output: Path, *, days: float = 14, yes: bool = False, unasked: bool = False) -> None:
    """Delete with `yes`, or where the answer on a terminal is yes; else only show."""
    ask = not yes and sys.stdin.isatty() and sys.stdout.isatty()
    folders = list(studies(output, follow=False))
    trust.check([])
    look = partial(find_unreferenced, swept=sweep_runs(output), days=days, unasked=unasked)
    shown, freed, busy = 0, 0, 0
    for name, folder in folders:
        try:
            before = look(name, Store(folder))
        except Exception as error:
            line = explain(error)
            if line is None:
                raise
            print(f"{name}: left alone, it cannot be told what it is for: {line}", file=sys.stderr)
            continue
        _show(name, before)
        shown += len(before.finds)
        if before.finds and (yes or (ask and _agreed(before))):
            store = Store(folder)
            now = look(name, store)  # a process may have come since: only what is still of no use goes
            done, held = delete(store, [find for find in before.finds if find in now.finds])
            freed, busy = freed + done, busy + held
            if name not in experiment_names():
                _remove_empty(store)
    if not shown:
        print("nothing to delete")
    elif yes or ask:
        print(f"deleted {in_bytes(freed)}" + (f"; {counted(busy, 'item')} left, a process is at it" if busy else ""))
    else:
        print("nothing was deleted: there is no terminal to ask on; add --yes to delete all that is listed")


def _show(name: str, found: UnreferencedReport) -> None:
    if not (found.finds or found.kept):
        return
    print(f"{name}:")
    for why in dict.fromkeys(find.why for find in found.finds):
        finds = [find for find in found.finds if find.why == why]
        runs = f"{counted(sum(find.runs for find in finds), 'run')} in " if any(find.runs for find in finds) else ""
        print(f"  delete {why}: {runs}{counted(len(finds), 'item')}, {in_bytes(sum(find.bytes for find in finds))}")
    for line in found.commands:
        print(f"    {line}")
    for line in found.kept:
        print(f"  keep {line}" if not line.startswith(" ") else f"  {line}")


def _agreed(found: UnreferencedReport) -> bool:
    try:
        return input(f"  delete these {in_bytes(found.bytes)}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def delete(store: Store, finds: Iterable[Candidate]) -> tuple[int, int]:
    """Delete what no process has; (bytes freed, how many finds a process has)."""
    freed = busy = 0
    for find in finds:
        if not own(store, find.path):
            continue
        if not find.chunk:
            _remove(find.path)
        else:
            with store.claim(find.chunk) as work:
                if work is None:
                    busy += 1
                    continue
                _remove(find.path)
                if work.exists() and {child.name for child in work.iterdir()} <= {"lock"}:
                    shutil.rmtree(work)
        freed += find.bytes
    return freed, busy


def _remove(path: Path) -> None:
    """A folder is out of sight at once: a reader sees all of a part or nothing."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    aside = path.with_name(f".{path.name.lstrip('.')}~{time.time_ns()}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside)


def _remove_empty(store: Store) -> None:
    """The folders of a store that holds nothing any more."""
    for folder in (store.folder / kind for kind in STORE_FOLDERS):
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
    if {child.name for child in store.folder.iterdir()} <= {"store.json"}:
        shutil.rmtree(store.folder)
