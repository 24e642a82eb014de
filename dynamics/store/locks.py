"""Who computes which chunk: locks in the file system that die with their process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dynamics.errors import InputError, require_posix
from dynamics.store.files import remove_leftovers


def refuse_link(path: Path) -> None:
    """Raise `InputError` if the path is a link: a store from elsewhere must not lead us to write or delete beside it."""
    if path.is_symlink():
        raise InputError("output", str(path), "is a link; a store keeps its files itself")


class ChunkLocks:
    """The chunks under way in a store's folder `work/`, each with a lock and perhaps a checkpoint."""

    folder: Path
    parts: Path

    @contextmanager
    def claim(self, chunk: str) -> Iterator[Path | None]:
        """The folder where a chunk's work is kept, or None while another process has it; a process that dies lets go."""
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

    def under_way(self) -> dict[str, bool]:
        """The chunks that a living process has (True) or that have a checkpoint and wait to be gone on with (False)."""
        found = {}
        for folder in sorted((self.folder / "work").glob("[!.]*")):
            held = self.held(folder.name)
            if held or (folder / "checkpoint").exists():
                found[folder.name] = held
        return found

    def held(self, chunk: str) -> bool:
        """Whether a living process has a chunk; only looks, and creates no file."""
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
