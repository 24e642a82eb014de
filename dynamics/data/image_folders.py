"""The png and jpeg files of a folder or a zip file by part (train, test) and class, and the digest of their content."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dynamics.errors import require

SUFFIXES = (".png", ".jpg", ".jpeg")
LAYOUT = "should hold <class>/<file>, or train/<class>/<file> and test/<class>/<file>, of png or jpeg files"
Part = dict[str, list[str]]  # the names of a class's files
Read = Callable[[str], bytes]


class FileTree(NamedTuple):
    """The files of a folder or zip file: names with slashes, and the folders, those without files too."""

    names: list[str]
    folders: list[str]


def content_stamp(path: Path) -> str:
    """Return a hash of the names, sizes and times of a folder's or zip file's files, which tells a change."""
    stamp = hashlib.sha256(str(path).encode())
    for name in _walk(path).names if path.is_dir() else ["."]:
        stat = (path / name).stat()
        stamp.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return stamp.hexdigest()


@contextmanager
def open_tree(path: Path) -> Iterator[tuple[FileTree, Read]]:
    """Return the files of a folder or zip file, and a function that reads one of them."""
    if path.is_dir():
        yield _walk(path), lambda name: (path / name).read_bytes()
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if all(map(_counts, PurePosixPath(name).parts))]
        files = [name for name in names if not name.endswith("/")]
        yield FileTree(files, [name.rstrip("/") for name in names if name.endswith("/")]), archive.read


def _walk(path: Path) -> FileTree:
    files, folders = [], []
    for place, names, found in os.walk(path):
        names[:] = sorted(filter(_counts, names))
        inside = PurePosixPath(Path(place).relative_to(path).as_posix())
        folders += [str(inside / name) for name in names]
        files += [str(inside / name) for name in sorted(filter(_counts, found))]
    return FileTree(files, folders)


def _counts(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def files_by_part(root: str, tree: FileTree) -> list[Part]:
    """Return the files by class of the training part and, if there is one, of the test part; no class is empty."""
    found = {name: PurePosixPath(name).parts for name in sorted(tree.names) if name.lower().endswith(SUFFIXES)}
    require(bool(found), "data.root", root, f"holds no png or jpeg file; it {LAYOUT}")
    around = 0  # folders around everything
    first = next(iter(found.values()))
    while all(len(parts) > around + 2 and parts[around] == first[around] for parts in found.values()):
        around += 1
    inside = {name: parts[around:] for name, parts in found.items()}
    split = all(len(parts) == 3 and parts[0] in ("train", "test") for parts in inside.values())
    for name, parts in inside.items():
        require(split or len(parts) == 2, "data.root", root, f"holds {name}; it {LAYOUT}")
    sorted_files: dict[str, Part] = {"train": {}}
    for name, parts in inside.items():
        sorted_files.setdefault(parts[0] if split else "train", {}).setdefault(parts[-2], []).append(name)
    for folder in tree.folders:  # a class folder without images
        parts = PurePosixPath(folder).parts
        outside = len(parts) <= around or parts[:around] != first[:around]
        part, own = (parts[around], parts[around + 1 :]) if split and not outside else ("train", parts[around:])
        if not outside and len(own) == 1:
            require(own[0] in sorted_files.get(part, {}), "data.root", root, f"class {folder} holds no png or jpeg file")
    for name in sorted_files.get("test", {}):
        require(name in sorted_files["train"], "data.root", root, f"class {name} has test images but no training images")
    test = sorted_files.get("test")
    for name in sorted_files["train"] if test else ():
        require(name in test, "data.root", root, f"class {name} has training images but no test images")  # type: ignore[operator]
    count = sum(map(len, sorted_files["train"].values()))
    require(count > 1 or test is not None, "data.root", root, f"holds {count} image; to train and test takes 2")
    return [dict(sorted(part.items())) for part in sorted_files.values()]


def content_digest(parts: Sequence[Part], read: Read) -> str:
    """Return sixteen hexadecimal digits of the SHA-256 of all files, by part and class."""
    whole = hashlib.sha256()
    for part in parts:
        for number, names in enumerate(part.values()):
            for name in names:
                whole.update(f"{len(part)} {number} ".encode() + hashlib.sha256(read(name)).digest())
        whole.update(b"end of part")
    return whole.hexdigest()[:16]
