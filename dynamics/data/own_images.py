"""One's own images: a folder or a zip file with a folder of png or jpeg files for each class.

`<class>/<file>`, or `train/<class>/<file>` and `test/<class>/<file>`; folders around these do not matter. Classes are
numbered in the order of their names, images of a class are in the order of theirs. All must be of one size; if any of
them has colours, grey ones are read as colours too. Names that begin with a dot, `__MACOSX` and files of other kinds
are passed over.

The digest is that of the files' bytes, by class and in order, so a folder and a zip of it are the same data. What takes
long is kept in the user's cache folder (`~/.cache/dynamics/images`): the digest by path, size and time of the files,
and the decoded pixels, if decoding took more than a second, by digest.
"""

from __future__ import annotations

import io
import time
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dynamics.data import image_files
from dynamics.data.image_cache import Arrays, load_digest, load_pixels, save_digest, save_pixels
from dynamics.data.image_files import ImageSet
from dynamics.data.image_folders import Part, Read, content_digest, content_stamp, files_by_part, open_tree
from dynamics.errors import InputError, require

KEPT_AFTER_SECONDS = 1.0  # of reading and decoding


class OwnImages(NamedTuple):
    """A user's images, read like every set, with num_classes and the digest of the files' content."""

    images: ImageSet
    num_classes: int
    digest: str


def load_own_images(root: str) -> OwnImages:
    """Return the images of a folder or zip file, read once a process as long as neither it nor its folders change.

    Raises `InputError` on `data.root`, or on the file, for what is not there and for what cannot be trained on.
    """
    require(root != "", "data.root", root, "for data.law = images name a folder or a zip file with a folder of images a class")
    path = Path(root).expanduser()
    require(path.exists(), "data.root", root, f"is not there (sought from {Path.cwd()})")
    require(path.is_dir() or path.suffix == ".zip", "data.root", root, "is neither a folder nor a .zip file")
    return _load(root, path.resolve(), _modification_times(path))


def load_images(law: str, root: str) -> ImageSet:
    """Return the images of the suite's set of this name, or for `images` those of the folder or zip file."""
    return load_own_images(root).images if law == "images" else image_files.load_image_set(law, root)


def _modification_times(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Return the times of a zip file, or of a folder and its subfolders down to the classes.

    They change when files come or go.
    """
    levels = [path]
    for _ in range(2 if path.is_dir() else 0):
        levels += [child for folder in levels for child in folder.iterdir() if child.is_dir() and child not in levels]
    stats = [(str(place), place.stat()) for place in levels]
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats))


@lru_cache(maxsize=4)
def _load(root: str, path: Path, times: tuple) -> OwnImages:
    try:
        digest, arrays = _load_cached(path) or _read(root, path)
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise InputError("data.root", root, f"cannot be read: {error}") from None
    train, *test = arrays
    images = ImageSet(*train, 255, *(test[0] if test else ()))
    return OwnImages(images, int(images.classes[-1]) + 1, digest)


def _load_cached(path: Path) -> tuple[str, list[Arrays]] | None:
    """Return (digest, pixels and classes of every part) if the cache folder has them."""
    digest = load_digest(content_stamp(path))
    arrays = load_pixels(digest) if digest else []
    return (digest, arrays) if arrays else None


def _read(root: str, path: Path) -> tuple[str, list[Arrays]]:
    """Return (digest, pixels and classes of every part) from the files, and cache them if that took long."""
    stamp, begun = content_stamp(path), time.perf_counter()
    with open_tree(path) as (tree, read):
        parts = files_by_part(root, tree)
        digest, arrays = content_digest(parts, read), _decode_all(root, parts, read)
    if time.perf_counter() - begun > KEPT_AFTER_SECONDS:
        save_digest(stamp, digest)
        save_pixels(digest, arrays)
    return digest, arrays


def _decode_all(root: str, parts: Sequence[Part], read: Read) -> list[Arrays]:
    """Return pixels (N, height, width, channels) and classes (N,) of every part.

    One channel if no image has colours.
    """
    arrays: list[Arrays] = []
    first, colours = "", False
    shape: tuple[int, ...] = ()
    for part in parts:
        pixels = np.empty((0,), np.uint8)
        names = [name for own in part.values() for name in own]
        for number, name in enumerate(names):
            picture = _decode(f"{root}: {name}", read(name))
            first, shape, colours = first or name, shape or picture.shape[:2], colours or picture.shape[2] > 1
            allowed = f"is {_size(picture.shape)} pixels where {first} is {_size(shape)}; all images must be of one size"
            require(picture.shape[:2] == shape, "image", f"{root}: {name}", allowed)
            pixels = pixels if number else np.empty((len(names), *shape, 3), np.uint8)
            pixels[number] = picture
        arrays.append((pixels, np.repeat(np.arange(len(part), dtype=np.int32), [len(own) for own in part.values()])))
    if not colours:
        arrays = [(np.ascontiguousarray(pixels[..., :1]), classes) for pixels, classes in arrays]
    for array in (array for both in arrays for array in both):
        array.flags.writeable = False
    return arrays


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _decode(name: str, content: bytes) -> np.ndarray:
    """Return an image (height, width, 1 or 3) of eight bits a channel."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            mode, clear = image.mode, "transparency" in image.info or "A" in image.getbands()
            plain = mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr") and not clear
            require(
                plain, "image", name, f"has mode {mode}{' with transparency' if clear else ''}; grey or RGB of 8 bits will do"
            )
            pixels = np.asarray(image.convert("L" if mode in ("1", "L") else "RGB"))
    except InputError:
        raise
    except Exception as error:  # a broken file can raise anything
        told = "is no png or jpeg" if type(error).__name__ == "UnidentifiedImageError" else " ".join(str(error).split())
        raise InputError("image", name, f"cannot be read: {told}") from None
    return pixels if pixels.ndim == 3 else pixels[..., None]
