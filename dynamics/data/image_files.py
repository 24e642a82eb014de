"""Real images as arrays: scikit-learn's digits, MNIST and CIFAR-10, from files that are there already.

Nothing is downloaded and nothing is unpacked to disk. The folder is `root` (the config's `data.root`) or else the
environment variable DYNAMICS_DATA; what is sought in it, and then in its subfolder `mnist` or `cifar10`, is

* mnist: train-images-idx3-ubyte and train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each as
  it is or with .gz; one pair is enough;
* cifar10: the python version (cifar-10-batches-py/ or its files, or cifar-10-python.tar.gz) or else the binary one
  (cifar-10-batches-bin/ or its files, or cifar-10-binary.tar.gz); the training batches or the test batch alone are
  enough.

Every file must have the MD5 sum of the original (`MD5`; for MNIST, of what is in the .gz). That tells a broken or
another file, not a forged one, so the python version, which is pickles, is read by an unpickler that knows numpy's
arrays and nothing else.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import pickle
import tarfile
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dynamics.errors import InputError, choose, require

Arrays = tuple[np.ndarray, np.ndarray]


class ImageSet(NamedTuple):
    """A set of images: pixels (N, h, w, c) uint8; classes (N,) int32; highest: the pixel value that means 1.

    test_pixels, test_classes: the set's own test part, or None. If only one part is there, be it the test part, it is
    `pixels`. The arrays are read-only: all who ask for a set share them.
    """

    pixels: np.ndarray
    classes: np.ndarray
    highest: int
    test_pixels: np.ndarray | None = None
    test_classes: np.ndarray | None = None


class Normalization(NamedTuple):
    """Per-channel mean and standard deviation of pixels / highest, as in the papers' code."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


NORMALIZATIONS = {
    "cifar10": Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar10_2023": Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),  # widespread, but too small
}

SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
CLASSES = {"digits": 10, "mnist": 10, "cifar10": 10}
SOURCES = {
    "mnist": "{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz] of yann.lecun.com/exdb/mnist or a mirror of it",
    "cifar10": "cifar-10-python.tar.gz or cifar-10-binary.tar.gz of www.cs.toronto.edu/~kriz/cifar.html, packed or unpacked",
}
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}


def image_shape(name: str) -> tuple[int, int, int]:
    """Return (h, w, c) of a set's images; reads no file."""
    return choose("data.law", name, SHAPES)


def count_classes(name: str) -> int:
    """Return the number of a set's classes; reads no file."""
    return choose("data.law", name, CLASSES)


def load_image_set(name: str, root: str = "") -> ImageSet:
    """Return the set of this name, read once a process; `digits` needs no folder.

    Raises `InputError`, which says where the files are available, for a folder or file that is not there and for a
    file that is not what it should be.
    """
    image_shape(name)
    if name == "digits":
        return _digits()
    folder = root or os.environ.get("DYNAMICS_DATA", "")
    require(folder != "", "data.root", root, f"for {name} set it, or DYNAMICS_DATA, to a folder with {SOURCES[name]}")
    path = Path(folder).expanduser()
    require(path.is_dir(), "data.root", folder, f"is no folder; for {name} it should hold {SOURCES[name]}")
    return _load(name, path.resolve())


def channel_statistics(pixels: np.ndarray, highest: int) -> Arrays:
    """Return mean (c,) and standard deviation (c,) of pixels / highest over all images and positions.

    From exact integer sums.
    """
    count = pixels[..., 0].size
    first = pixels.sum(axis=(0, 1, 2), dtype=np.int64)
    second = np.einsum("nhwc,nhwc->c", pixels, pixels, dtype=np.int64)
    variance = [(count * int(b) - int(a) ** 2) / count**2 for a, b in zip(first, second, strict=True)]
    return first / (count * highest), np.sqrt(variance) / highest


def standardize_pixels(pixels: np.ndarray, highest: int, mean: Sequence[float] | np.ndarray, std: Any) -> np.ndarray:
    """Return (pixels / highest - mean) / std per channel, float32 (N, h * w * c), for mean and std (c,).

    Row by row, channels last.
    """
    values = pixels.astype(np.float32)
    values /= highest
    values -= np.asarray(mean, np.float32)
    values /= np.asarray(std, np.float32)
    return values.reshape(len(pixels), -1)


@cache
def _digits() -> ImageSet:
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    return ImageSet(*_shared(digits.images[..., None].astype(np.uint8), digits.target), highest=16)


@cache
def _load(name: str, folder: Path) -> ImageSet:
    places = [(version, place) for place in (folder, folder / name) for version in VERSIONS[name]]
    try:
        for version, place in places:
            for where in (place / version.folder, place, place / version.archive):
                files = _in_archive(version, where) if where.is_file() else _in_folder(version, where)
                parts = [part for part in version.parts if not files.keys().isdisjoint(part)]
                for file in (file for part in parts for file in part):
                    require(file in files, str(where), ", ".join(files), f"lacks {file}")
                if parts:
                    pool, *rest = (_shared(*version.decode([files[file] for file in part])) for part in parts)
                    return ImageSet(*pool, 255, *(rest[0] if rest else ()))
        raise InputError("data.root", str(folder), f"holds no file of {name}")
    except InputError as error:
        raise InputError(error.field, error.value, f"{error.allowed}; available from {SOURCES[name]}") from None


def _shared(pixels: np.ndarray, classes: np.ndarray) -> Arrays:
    pixels, classes = np.ascontiguousarray(pixels), classes.astype(np.int32)
    for array in (pixels, classes):
        array.flags.writeable = False
    return pixels, classes


# Files


class _File(NamedTuple):
    where: str
    content: bytes


class _Version(NamedTuple):
    """Files that hold a set: in which folder or archive, of which parts, and what becomes of a part's files."""

    folder: str
    archive: str
    parts: tuple[tuple[str, ...], ...]
    decode: Callable[[list[_File]], Arrays]


def _checked(where: Path, name: str, content: bytes) -> _File:
    """The file, whose MD5 sum is what that of a file of this name should be."""
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    require(found == MD5[name], str(where), f"MD5 {found}, {len(content)} bytes", f"should be MD5 {MD5[name]}")
    return _File(str(where), content)


def _in_folder(version: _Version, folder: Path) -> dict[str, _File]:
    names = [name for part in version.parts for name in part]
    files = {name: folder / f"{name}{end}" for name in names for end in (".gz", "") if (folder / f"{name}{end}").is_file()}
    return {name: _checked(file, name, _read(file)) for name, file in files.items()}


def _read(file: Path) -> bytes:
    try:
        content = file.read_bytes()
        return gzip.decompress(content) if file.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(str(file), str(error), "should be a whole file that can be read") from None


def _in_archive(version: _Version, file: Path) -> dict[str, _File]:
    """The plain files of the archive's folder, out of one pass through it."""
    wanted = {f"{version.folder}/{name}": name for part in version.parts for name in part}
    found = {}
    try:
        packed = _checked(file, file.name, file.read_bytes()).content
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r|gz") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.name in wanted and member.isfile() else None
                if content is not None:
                    found[wanted[member.name]] = _checked(file / member.name, wanted[member.name], content.read())
    except (tarfile.TarError, OSError) as error:
        raise InputError(str(file), str(error), "should be a whole tar.gz archive that can be read") from None
    return found


def _mnist(files: list[_File]) -> Arrays:
    """Of a file of images and one of labels."""
    pixels, labels = _idx(files[0], (28, 28)), _idx(files[1], ())
    require(len(labels) == len(pixels), files[1].where, f"{len(labels)} labels", f"should be {len(pixels)}, one an image")
    require(labels.max(initial=0) < 10, files[1].where, f"label {labels.max(initial=0)}", "should be labels 0 to 9")
    return pixels[..., None], labels


def _idx(file: _File, rest: tuple[int, ...]) -> np.ndarray:
    """An idx file of bytes as (n, *rest): 0, 0, 8, number of axes; the axes' sizes, four bytes each, highest first;
    values."""
    where, content = file
    magic, start = bytes((0, 0, 8, 1 + len(rest))), 8 + 4 * len(rest)
    require(content[:4] == magic, where, f"magic number {content[:4].hex()}", f"should be magic number {magic.hex()}")
    sizes = np.frombuffer(content[4:start].ljust(start - 4, b"\0"), ">u4").tolist()
    values, count = len(content) - start, math.prod(sizes)
    expected = f"should be sizes {['n', *rest]} and as many values"
    require(tuple(sizes[1:]) == rest and values == count, where, f"sizes {sizes} and {values} values", expected)
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


class _Unpickler(pickle.Unpickler):
    """Knows the three names that a pickled array is made of."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return known[module, name]


def _pickled(file: _File) -> Arrays:
    """A batch of the python version: a dictionary of data (n, 3072) and n labels, among others."""
    try:
        batch = _Unpickler(io.BytesIO(file.content), encoding="bytes").load()
        data, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except Exception as error:  # a broken pickle can raise anything
        raise InputError(
            file.where, f"{type(error).__name__}: {error}", "should be a pickle of data and labels alone"
        ) from None
    found = f"data {data.dtype} {data.shape}, labels {labels.dtype} {labels.shape}"
    whole = data.dtype == np.uint8 and labels.dtype.kind in "iu" and labels.ndim == 1 and data.shape == (len(labels), 3072)
    require(whole, file.where, found, "should be data uint8 (n, 3072), labels whole numbers (n,)")
    return data, labels


def _binary(file: _File) -> Arrays:
    """A batch of the binary version: for each image a label and 3072 values."""
    size = len(file.content)
    require(size % 3073 == 0, file.where, f"{size} bytes", "should be 3073 bytes an image, its label and 3072 values")
    records = np.frombuffer(file.content, np.uint8).reshape(-1, 3073)
    return records[:, 1:], records[:, 0]


def _cifar(batch: Callable[[_File], Arrays]) -> Callable[[list[_File]], Arrays]:
    """Of any number of batches; an image's values are a red, a green and a blue plane, each row by row."""

    def decode(files: list[_File]) -> Arrays:
        batches = [batch(file) for file in files]
        for file, (_, labels) in zip(files, batches, strict=True):
            lowest, highest = labels.min(initial=0), labels.max(initial=0)
            require(lowest >= 0 and highest < 10, file.where, f"labels {lowest} to {highest}", "should be labels 0 to 9")
        planes, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels

    return decode


def _batches(ending: str) -> tuple[tuple[str, ...], ...]:
    return tuple(f"data_batch_{i}{ending}" for i in range(1, 6)), (f"test_batch{ending}",)


PAIRS = tuple((f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte") for part in ("train", "t10k"))
VERSIONS = {
    "mnist": (_Version("", "", PAIRS, _mnist),),
    "cifar10": (
        _Version("cifar-10-batches-py", "cifar-10-python.tar.gz", _batches(""), _cifar(_pickled)),
        _Version("cifar-10-batches-bin", "cifar-10-binary.tar.gz", _batches(".bin"), _cifar(_binary)),
    ),
}
