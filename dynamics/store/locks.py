"""Claim chunks with file locks, which the operating system releases when their process dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dynamics.errors import InputError, require_posix
from dynamics.store.files import remove_leftovers


def refuse_link(path: Path) -> None:
    """Raise `InputError` if the path is a symbolic link, so that writes and deletions stay in the store."""
    if path.is_symlink():
        raise InputError("output", str(path), "is a symbolic link; a store must contain its files itself")


class ChunkLocks:
    """The unfinished chunks in a store's folder `work/`, each with a lock and perhaps a checkpoint."""

    folder: Path
    parts: Path

    @contextmanager
    def claim(self, chunk: str) -> Iterator[Path | None]:
        """Claim a chunk and yield its work folder; yield None if another process has claimed it."""
        folder = self.folder / "work" / chunk
        refuse_link(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield None
            return
        try:
            remove_leftovers(self.parts / chunk)
            remove_leftovers(folder / "checkpoint")
            yield folder
        finally:
            lock.release()

    def list_chunks(self) -> dict[str, bool]:
        """Return the unfinished chunks: True if a living process has claimed it, False if its checkpoint waits."""
        found = {}
        for folder in sorted((self.folder / "work").glob("[!.]*")):
            locked = self.is_locked(folder.name)
            if locked or (folder / "checkpoint").exists():
                found[folder.name] = locked
        return found

    def is_locked(self, chunk: str) -> bool:
        """Return whether a living process has claimed a chunk. Read-only: creates no file."""
        require_posix("finding out which process computes what")
        try:
            descriptor = os.open(self.folder / "work" / chunk / "lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            import fcntl  # not there on other systems, where a store can still be read

            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
