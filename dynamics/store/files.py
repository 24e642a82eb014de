"""Files that are there whole or not at all, and folders whose every file can be checked.

Nothing is written under its final name: a file (or a folder) is made under a temporary one beside it, flushed to the
disk and renamed. A folder made so carries `checksums.json`, the SHA-256 of each of its files.
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


class Damage(ValueError):
    """What is on disk is not what was written; the text says which file and how it differs."""


def write_file(path: Path, data: bytes | str) -> None:
    """Write a whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}~")
    try:
        with os.fdopen(descriptor, "wb") as f:
            f.write(data.encode() if isinstance(data, str) else data)
        flush(Path(temporary))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    flush(path.parent)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `target`, checksums and all, when the block ends well.

    If `target` is there already (another process was quicker), it is kept and ours is dropped.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}~", dir=target.parent))
    try:
        yield temporary
        write_manifest(temporary)
        for file in temporary.rglob("*"):
            flush(file)
        flush(temporary)
        os.chmod(temporary, 0o755)
        if not target.exists():
            try:
                os.rename(temporary, target)
            except OSError:
                if not target.exists():
                    raise
        flush(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(target: Path) -> None:
    """Delete what processes that were killed while making `target` have left; call only while nobody else may make it."""
    for leftover in target.parent.glob(f".{target.name}~*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def write_manifest(folder: Path) -> None:
    """Put the checksums of all files of a folder beside them."""
    files = {str(f.relative_to(folder)): _entry(f.read_bytes()) for f in sorted(folder.rglob("*")) if f.is_file()}
    write_file(folder / MANIFEST, json.dumps({"files": files}, indent=1))


def manifest(folder: Path) -> dict[str, dict]:
    """Size and checksum of every file of a folder, by its path in it."""
    try:
        files = json.loads((folder / MANIFEST).read_bytes())["files"]
        if not all(isinstance(entry["sha256"], str) for entry in files.values()):
            raise ValueError
    except FileNotFoundError:
        raise Damage(f"{MANIFEST} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise Damage(f"{MANIFEST} is torn") from None
    for name in files:
        check_inside(folder, name)
    return files


def check_inside(folder: Path, name: str) -> None:
    """Raise `Damage` unless `name` is a file of this folder and not a way out of it, by `..` or by a link."""
    if Path(name).is_absolute() or (folder / name).resolve() != folder.resolve() / name:
        raise Damage(f"{name} leads out of the folder")


def read_checked(folder: Path, name: str, files: dict[str, dict] | None = None) -> bytes:
    """The content of one file of a folder, if it is what was written there; else `Damage`."""
    files = manifest(folder) if files is None else files
    if name not in files:
        raise Damage(f"{MANIFEST} does not know {name}")
    check_inside(folder, name)
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError:
        raise Damage(f"{name} is missing") from None
    if len(data) != files[name].get("bytes"):
        raise Damage(f"{name} has {len(data)} bytes instead of {files[name].get('bytes')}")
    if _entry(data) != files[name]:
        raise Damage(f"{name} does not match its checksum")
    return data


def check_folder(folder: Path) -> None:
    """Raise `Damage` unless every file of the folder is what was written."""
    files = manifest(folder)
    for name in files:
        read_checked(folder, name, files)


def _entry(data: bytes) -> dict:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
