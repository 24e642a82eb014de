"""Find the studies of an output folder and the size of their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dynamics.errors import require

STORE_FOLDERS = ("parts", "work", "failed", "asked", "damaged")


def find_studies(folder: Path, *, follow: bool = True) -> Iterator[tuple[str, Path]]:
    """Yield the name and store folder of every study in an output folder, each once.

    follow: follow symbolic links. Raises `InputError` if the folder holds no results.
    """
    results = folder / "results"
    require(results.is_dir(), "folder", str(folder), "holds no results; name the output folder of a study")
    seen: set[Path] = set()

    def search(inside: Path) -> Iterator[tuple[str, Path]]:
        kinds = {child.name for child in inside.iterdir()}
        is_store = "store.json" in kinds or any(kind in kinds for kind in STORE_FOLDERS)
        if is_store and inside != results:
            yield str(inside.relative_to(results)), inside
        for child in sorted(inside.iterdir()):
            own = is_store and child.name in STORE_FOLDERS
            if own or child.name.startswith(".") or not child.is_dir() or (child.is_symlink() and not follow):
                continue
            if child.resolve() not in seen:
                seen.add(child.resolve())
                yield from search(child)

    return search(results)


def folder_bytes(path: Path) -> int:
    """Return the total bytes of the files in a folder (or of one file); symbolic links are not followed."""
    try:
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        return sum(folder_bytes(child) for child in path.iterdir())
    except FileNotFoundError:
        return 0
