"""Deleting what `find_unreferenced` found, and nothing that a process uses."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from dynamics.store.layout import STORE_FOLDERS
from dynamics.store.store import Store
from dynamics.study.unreferenced import Candidate, is_inside_store


def delete_candidates(store: Store, candidates: Iterable[Candidate]) -> tuple[int, int]:
    """Delete the candidates that no process uses; return (bytes freed, number of candidates in use)."""
    freed = in_use = 0
    for candidate in candidates:
        if not is_inside_store(store, candidate.path):
            continue
        if not candidate.chunk:
            _delete(candidate.path)
        else:
            with store.claim(candidate.chunk) as work:
                if work is None:
                    in_use += 1
                    continue
                _delete(candidate.path)
                if work.exists() and {child.name for child in work.iterdir()} <= {"lock"}:
                    shutil.rmtree(work)
        freed += candidate.bytes
    return freed, in_use


def delete_empty_store(store: Store) -> None:
    """Delete the empty folders of a store, and the store itself if it holds nothing else."""
    for folder in (store.folder / kind for kind in STORE_FOLDERS):
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
    if {child.name for child in store.folder.iterdir()} <= {"store.json"}:
        shutil.rmtree(store.folder)


def _delete(path: Path) -> None:
    """Delete a file or a folder; a folder is renamed first, so that a reader sees all of it or nothing."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    hidden = path.with_name(f".{path.name.lstrip('.')}~{time.time_ns()}")
    try:
        os.rename(path, hidden)
    except FileNotFoundError:
        return
    shutil.rmtree(hidden)
