"""What of a store nothing refers to any more, and why. Read-only; `dynamics.study.deletion` deletes.

A run is kept if a config asks for it (at any size; what earlier versions of its pieces made of it too), if a sweep's
folder in multirun/ lists it, if a command asked for it, or if its part is young. With `unasked`, commands of long ago
no longer count, nor does it protect an experiment that it has no config any more. A part goes when none of its runs is
kept; it is never cut.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dynamics.core import spec as specs
from dynamics.core.text import counted
from dynamics.store.layout import STORE_FOLDERS, folder_bytes
from dynamics.store.store import Store
from dynamics.study.references import as_typed, config_runs, is_older_than, runs_of

LEFTOVER_SECONDS = 3600.0  # what is younger may be a file that is being written


@dataclass(frozen=True)
class Candidate:
    """Something to delete: a file or a folder, why, and the chunk whose lock must be ours meanwhile (empty: none)."""

    path: Path
    why: str
    chunk: str = ""
    bytes: int = 0
    runs: int = 0


@dataclass(frozen=True)
class UnreferencedReport:
    """What can go (`finds`) and which commands had computed it; and, in lines to read,
    what is kept beside the configs."""

    finds: list[Candidate]
    commands: list[str]
    kept: list[str]

    @property
    def bytes(self) -> int:
        return sum(find.bytes for find in self.finds)


def find_unreferenced(name: str, store: Store, swept: Set[str], *, days: float, unasked: bool) -> UnreferencedReport:
    """Look through a study's store. swept: the runs that folders of sweeps list."""
    notes = store.requests()
    of_config = config_runs(name, store.finished() | runs_of(notes), store.first_ids())
    wanted = swept | (of_config or set())
    forgotten = [n for n in notes if unasked and is_older_than(n, days) and not set(n["runs"]) <= wanted]
    remembered = [note for note in notes if note not in forgotten]
    asked = runs_of(remembered)
    protected = store.finished() if of_config is None and not unasked else set()
    needed = wanted | asked | protected

    finds, tables, kept = [], [], []
    mixed, young, only_asked = 0, 0, store.finished() & asked - wanted - protected
    for part, table in store.contents().items():
        path, unused = store.parts / part, set(table["run"]) - needed
        if len(unused) < table["run"].n_unique():
            mixed += len(unused)
        elif not is_unmodified_for(path, 86400 * days):
            young += len(unused)
        elif is_inside_store(store, path):
            finds.append(_find(path, "runs that nothing refers to", part, len(unused)))
            tables.append(table)
    if protected:
        kept.append(f"{counted(len(protected), 'run')} of an experiment without a config here; --unasked lets them go")
    if only_asked:
        kept.append(f"{counted(len(only_asked), 'run')} that only a command asked for; --unasked lets old ones go:")
        kept += [f"  {line}" for line in _requests(note for note in remembered if set(note["runs"]) & only_asked)]
    if mixed:
        kept.append(f"{counted(mixed, 'run')} that nothing refers to, in parts with others")
    if young:
        kept.append(
            f"{counted(young, 'run')} that nothing refers to, in parts of less than {days:g} days; --days 0 lets them go"
        )

    left = asked - store.finished()
    notes_to_go = [store.folder / "asked" / f"{specs.content_hash(note['runs'])}.json" for note in forgotten]
    finds += [_find(file, "notes of what commands asked for") for file in notes_to_go]
    finds += [*_work(store, older_than=None if left else 86400 * days), *_failures(store), *_leftovers(store)]
    finds += [_find(path, "damaged parts set aside") for path in children(store.folder / "damaged")]
    return UnreferencedReport([find for find in finds if is_inside_store(store, find.path)], _commands(tables), kept)


def is_unmodified_for(path: Path, seconds: float) -> bool:
    """Return whether a file or folder was not written to for so long."""
    try:
        return time.time() - path.lstat().st_mtime >= seconds
    except FileNotFoundError:
        return False


def is_inside_store(store: Store, path: Path) -> bool:
    """Return whether a path is in the store and there is no symbolic link on the way to it or to the locks."""
    inside = path.parent.resolve() == store.folder.resolve() / path.parent.relative_to(store.folder)
    return inside and not path.is_symlink() and not (store.folder / "work").is_symlink()


def children(folder: Path, pattern: str = "[!.]*") -> list[Path]:
    return sorted(folder.glob(pattern))


def _find(path: Path, why: str, chunk: str = "", runs: int = 0) -> Candidate:
    return Candidate(path, why, chunk, folder_bytes(path), runs)


def _work(store: Store, older_than: float | None) -> Iterator[Candidate]:
    """Checkpoints of stored chunks or (if nothing that was asked for is left) old ones; damaged ones;
    locks of no work."""
    for folder in children(store.folder / "work"):
        chunk, checkpoint = folder.name, folder / "checkpoint"
        if store.is_locked(chunk):
            continue
        stored = chunk in store.contents()
        if checkpoint.exists() and (stored or (older_than is not None and is_unmodified_for(checkpoint, older_than))):
            yield _find(folder, "checkpoints of work that is stored or abandoned", chunk)
        elif {child.name for child in folder.iterdir()} <= {"lock"}:
            if is_unmodified_for(folder, LEFTOVER_SECONDS):
                yield _find(folder, "locks of no work", chunk)
        else:
            for file in children(folder, "checkpoint.damaged.*"):
                yield _find(file, "damaged checkpoints set aside", chunk)


def _failures(store: Store) -> Iterator[Candidate]:
    """Notes of failures whose runs have all been computed since."""
    open_ids = store.failures()
    for file in children(store.folder / "failed", "[!.]*.json"):
        note = store.note(file)
        if note is not None and not any(run in open_ids for run in note["runs"]):
            yield _find(file, "notes of failures made good since")


def _leftovers(store: Store) -> Iterator[Candidate]:
    """Return what killed processes left half written: temporary names that begin with a dot."""
    places = [(store.folder, ".store.json~*"), *((store.folder / kind, ".*~*") for kind in STORE_FOLDERS)]
    places += [(folder, ".checkpoint~*") for folder in children(store.folder / "work")]
    for place, pattern in places:
        for path in children(place, pattern):
            if is_unmodified_for(path, LEFTOVER_SECONDS):
                target = path.name[1:].rpartition("~")[0]
                chunk = target if place == store.parts else place.name if place.parent.name == "work" else ""
                yield _find(path, "half-written files of killed processes", chunk)


def _requests(notes: Iterable[dict]) -> list[str]:
    lines = [(str(n.get("when", ""))[:10], as_typed(str(n.get("command", ""))), len(n["runs"])) for n in notes]
    return [f"{when}  {command} ({counted(runs, 'run')})" for when, command, runs in sorted(lines)]


def _commands(tables: list[pl.DataFrame]) -> list[str]:
    """When and by which commands the runs of these tables were computed."""
    told = [table.select("created", "command") for table in tables if {"created", "command"} <= set(table.columns)]
    if not told:
        return []
    groups = pl.concat(told).group_by("command").agg(pl.col("created").max(), pl.len()).sort("created")
    return [f"{when[:10]}  {as_typed(command)} ({counted(runs, 'run')})" for command, when, runs in groups.iter_rows()]
