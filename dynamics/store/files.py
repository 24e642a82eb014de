"""Write files and folders atomically, and verify folders by checksum.

A file or folder is written under a temporary name beside its target, flushed to disk and renamed. Each such folder
contains `checksums.json` with the size and SHA-256 of its files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "checksums.json"


class DamageError(ValueError):
    """Raised when a file on disk differs from what was written; the message names the file and the difference."""


def write_file(path: Path, data: bytes | str) -> None:
    """Write a file atomically, creating its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}~")
    try:
        with os.fdopen(descriptor, "wb") as f:
            f.write(data.encode() if isinstance(data, str) else data)
        flush_to_disk(Path(temporary))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    flush_to_disk(path.parent)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `target`, with checksums, when the block ends without an error.

    An existing `target` (written by a faster process) is kept, and the new folder is discarded.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}~", dir=target.parent))
    try:
        yield temporary
        write_manifest(temporary)
        for file in temporary.rglob("*"):
            flush_to_disk(file)
        flush_to_disk(temporary)
        os.chmod(temporary, 0o755)
        if not target.exists():
            try:
                os.rename(temporary, target)
            except OSError:
                if not target.exists():
                    raise
        flush_to_disk(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(target: Path) -> None:
    """Delete temporary files of processes killed while writing `target`; call only while no other process writes it."""
    for leftover in target.parent.glob(f".{target.name}~*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def write_manifest(folder: Path) -> None:
    """Write `checksums.json` with the size and SHA-256 of every file in the folder."""
    files = {str(f.relative_to(folder)): _entry(f.read_bytes()) for f in sorted(folder.rglob("*")) if f.is_file()}
    write_file(folder / MANIFEST, json.dumps({"files": files}, indent=1))


def read_manifest(folder: Path) -> dict[str, dict]:
    """Return size and checksum of every file of a folder by relative path; raises `DamageError` for a bad manifest."""
    try:
        files = json.loads((folder / MANIFEST).read_bytes())["files"]
        if not all(isinstance(entry["sha256"], str) for entry in files.values()):
            raise ValueError
    except FileNotFoundError:
        raise DamageError(f"{MANIFEST} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DamageError(f"{MANIFEST} is not valid") from None
    for name in files:
        check_inside(folder, name)
    return files


def check_inside(folder: Path, name: str) -> None:
    """Raise `DamageError` if the path `name` leads out of the folder, by `..` or a link. The file need not exist."""
    if Path(name).is_absolute() or (folder / name).resolve() != folder.resolve() / name:
        raise DamageError(f"{name} leads out of the folder")


def read_checked(folder: Path, name: str, files: dict[str, dict] | None = None) -> bytes:
    """Return the content of one file of a folder; raises `DamageError` if it does not match its checksum.

    files: the manifest, read from the folder by default
    """
    files = read_manifest(folder) if files is None else files
    if name not in files:
        raise DamageError(f"{name} is not listed in {MANIFEST}")
    check_inside(folder, name)
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError:
        raise DamageError(f"{name} is missing") from None
    if len(data) != files[name].get("bytes"):
        raise DamageError(f"{name} has {len(data)} bytes instead of {files[name].get('bytes')}")
    if _entry(data) != files[name]:
        raise DamageError(f"{name} does not match its checksum")
    return data


def check_folder(folder: Path) -> None:
    """Raise `DamageError` unless every file of the folder matches its checksum."""
    files = read_manifest(folder)
    for name in files:
        read_checked(folder, name, files)


def _entry(data: bytes) -> dict:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def flush_to_disk(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
