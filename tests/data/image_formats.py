"""Image sets in their real formats, written byte by byte."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dynamics.data import image_files as images
from dynamics.data.image_files import ImageSet, load_image_set
from dynamics.errors import InputError

REAL = os.environ.get("DYNAMICS_DATA", "")


BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def refused(name: str, folder: Path | str) -> str:
    """The one line that says why."""
    with pytest.raises(InputError) as told:
        load_image_set(name, str(folder))
    assert "\n" not in str(told.value)
    return str(told.value)


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def digits_of(label: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 28, 28), the i-th with the value 100 + i at row 3, column 20, and one label for all."""
    pictures = np.zeros((count, 28, 28), np.uint8)
    pictures[:, 3, 20] = 100 + np.arange(count)
    return pictures, np.full(count, label)


def put_mnist(put, part: str, label: int, count: int, folder="", zipped=False) -> None:
    for kind, array in zip(("images-idx3", "labels-idx1"), digits_of(label, count), strict=True):
        name, content = f"{folder}{part}-{kind}-ubyte", idx(array)
        put(f"{name}.gz", content, gzip.compress(content)) if zipped else put(name, content)


def planes_of(number: int, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Values (count, 3072): all of red 200, green 77 at row 2, column 5, blue the batch's number;
    labels count up from it."""
    planes = np.zeros((count, 3, 1024), np.uint8)
    planes[:, 0], planes[:, 1, 2 * 32 + 5], planes[:, 2] = 200, 77, number
    return planes.reshape(count, 3072), np.arange(number, number + count)


def text(value: bytes) -> bytes:
    """A string of Python 2, in which CIFAR's pickles were written."""
    return b"T" + len(value).to_bytes(4, "little") + value


def pickled_array(array: np.ndarray) -> bytes:
    whole = [b"M" + size.to_bytes(2, "little") for size in array.shape]
    kind = text(array.dtype.str[1:].encode()) + b"K\x00K\x01\x87"
    state = b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
    return (
        start
        + b"(K\x01("
        + b"".join(whole)
        + b"tcnumpy\ndtype\n"
        + kind
        + b"R"
        + state
        + b"\x89"
        + text(array.tobytes())
        + b"tb"
    )


def pickled(values: np.ndarray, classes: np.ndarray, /, **more: bytes) -> bytes:
    """Protocol 2, byte keys."""
    fields = {
        "batch_label": text(b"training batch 1 of 5"),
        "labels": b"](" + b"".join(b"K" + bytes([label]) for label in classes) + b"e",
        "data": pickled_array(values),
        "filenames": b"](" + b"".join(text(b"a_%d.png" % i) for i in range(len(classes))) + b"e",
        **more,
    }
    return b"\x80\x02}(" + b"".join(text(key.encode()) + value for key, value in fields.items()) + b"u."


def binary(values: np.ndarray, labels: np.ndarray) -> bytes:
    return b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, values, strict=True))


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


PYTHON, BINARY = (
    ("cifar-10-batches-py", "cifar-10-python.tar.gz", ""),
    ("cifar-10-batches-bin", "cifar-10-binary.tar.gz", ".bin"),
)


def put_cifar(put, monkeypatch, version, how: str, place="", batches=BATCHES) -> Path:
    """The version's batches, numbered from 0, unpacked in their `folder`, `bare` or in an `archive`."""
    folder, archive, ending = version
    files = {
        f"{name}{ending}": (binary if ending else pickled)(*planes_of(BATCHES.index(name)))
        for name in reversed(batches)  # an archive's order is its own
    }
    if how == "archive":
        for name, content in files.items():
            monkeypatch.setitem(images.MD5, name, md5(content))
        return put(place + archive, packed({f"{folder}/{name}": content for name, content in files.items()}))
    for name, content in files.items():
        put(f"{place}{folder}/{name}" if how == "folder" else place + name, content)
    return Path()


def check_cifar(found: ImageSet) -> None:
    assert found.pixels.shape == (10, 32, 32, 3) and found.pixels.dtype == np.uint8 and found.highest == 255
    assert found.test_pixels is not None and found.test_classes is not None and found.test_pixels.shape == (2, 32, 32, 3)
    for pixels in (found.pixels, found.test_pixels):
        assert pixels.flags.c_contiguous
        assert (pixels[..., 0] == 200).all()
        green = np.zeros((32, 32), int)
        green[2, 5] = 77
        assert (pixels[..., 1] == green).all()
    np.testing.assert_array_equal(found.pixels[:, 9, 9, 2], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    np.testing.assert_array_equal(found.classes, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5])
    np.testing.assert_array_equal(found.test_pixels[:, 9, 9, 2], [5, 5])
    np.testing.assert_array_equal(found.test_classes, [5, 6])
    assert found.classes.dtype == found.test_classes.dtype == np.int32
