"""What takes long to find out about one's own images, kept in the user's cache folder where that can be written to.

The digest of the files by their names, sizes and times; decoded pixels by digest and version of the decoder.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]


def cache_folder() -> Path:
    """Return the folder that keeps digests and decoded pixels; it may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynamics" / "images"


def _keep(name: str, write: Callable[[Any], object]) -> None:
    """Write a file atomically: whole or not at all."""
    with suppress(OSError, RuntimeError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}~")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
            os.replace(temporary, folder / name)
        except BaseException:
            os.unlink(temporary)
            raise


def load_digest(stamp: str) -> str:
    """Return the digest kept under this stamp, or an empty string."""
    with suppress(OSError, RuntimeError, UnicodeDecodeError):
        text = (cache_folder() / f"{stamp}.digest").read_text()
        return text if len(text) == 16 else ""
    return ""


def save_digest(stamp: str, digest: str) -> None:
    """Keep a digest under the stamp of its files."""
    _keep(f"{stamp}.digest", lambda file: file.write(digest.encode()))


def _arrays_name(digest: str) -> str:
    import PIL

    return f"{digest}-pillow{PIL.__version__}.npz"  # versions may decode to other pixels


def save_pixels(digest: str, arrays: list[Arrays]) -> None:
    """Keep the decoded pixels and classes of every part under the digest of their files."""
    named = {f"{kind}_{i}": array for i, both in enumerate(arrays) for kind, array in zip("xy", both, strict=True)}
    _keep(_arrays_name(digest), lambda file: np.savez(file, allow_pickle=False, **named))


def load_pixels(digest: str) -> list[Arrays]:
    """Return the decoded pixels and classes of every part; an empty list if they are missing or broken."""
    try:
        with np.load(cache_folder() / _arrays_name(digest), allow_pickle=False) as kept:
            arrays = [(kept[f"x_{i}"], kept[f"y_{i}"]) for i in range(len(kept.files) // 2)]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError):
        return []
    for array in (array for both in arrays for array in both):
        array.flags.writeable = False
    return arrays
