"""One's own arrays from a file: `.npz`, `.npy`, `.csv` or Parquet, read by numpy and polars, never through pickle.

An `.npz` holds `inputs` and, if there are any, `labels`, `test_inputs`, `test_labels`; other usual names (`NAMES`) will
do. An `.npy` holds inputs. A table has a column a coordinate, or one column `inputs` of lists; a column named like
labels holds those, several named `label_...` the outputs of one sample; a column `split` says `train` or `test`.

Inputs are (N, d), (N, height, width) or (N, height, width, channels). Labels that are integers, words or true and false
are classes, numbered in the order of their values; labels with a decimal point are numbers, (N,) or (N, outputs).
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dynamics.errors import InputError, require

NAMES = {
    "inputs": ("inputs", "x", "X", "x_train", "X_train"),
    "labels": ("labels", "label", "y", "Y", "y_train", "Y_train", "target", "targets", "class"),
    "test_inputs": ("test_inputs", "x_test", "X_test"),
    "test_labels": ("test_labels", "y_test", "Y_test"),
}
SUFFIXES = (".npz", ".npy", ".csv", ".parquet")


class ArrayPool(NamedTuple):
    """The samples of a file of arrays.

    inputs, test_inputs: (N, d), the latter None if there is no test part; grid: how one of them lies
    parts, test_parts: (N,) int32, the sample's class, or its row in `values` where labels are numbers
    values: what a part stands for, float64: (classes,), (rows,) or (rows, outputs); None without labels or if they are
    words
    classes: how many there are, 0 where labels are numbers or missing
    digest: of the content, whatever the file is called and wherever it lies
    """

    inputs: np.ndarray
    parts: np.ndarray
    test_inputs: np.ndarray | None
    test_parts: np.ndarray | None
    grid: tuple[int, ...]
    values: np.ndarray | None
    classes: int
    digest: str


def load_array_file(file: str) -> ArrayPool:
    """Return the samples of a file, read once a process as long as it does not change.

    Raises `InputError` on `data.file` for what is no such file or holds what cannot be trained on.
    """
    require(file != "", "data.file", file, f"for data.law = arrays name a file that ends in {', '.join(SUFFIXES)}")
    path = Path(file).expanduser()
    require(path.suffix in SUFFIXES, "data.file", file, f"must end in one of {', '.join(SUFFIXES)}")
    require(path.is_file(), "data.file", file, f"is no file (sought from {Path.cwd()})")
    stat = path.stat()
    return _load(file, path.resolve(), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _load(file: str, path: Path, modified: int, size: int) -> ArrayPool:
    try:
        arrays = _read(file, path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError) as error:
        if isinstance(error, InputError):
            raise
        if "allow_pickle" in str(error) or isinstance(error, pickle.UnpicklingError):
            raise InputError(
                "data.file", file, "holds Python objects, which are never unpickled; save arrays of numbers"
            ) from None
        raise InputError("data.file", file, f"cannot be read: {' '.join(str(error).split())}") from None
    return _pool(file, arrays)


# Reading


def _read(file: str, path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by the names that `NAMES` lists first."""
    if path.suffix in (".csv", ".parquet"):
        return _read_table(file, path)
    if path.suffix == ".npy":
        return {"inputs": np.load(path, allow_pickle=False)}
    with np.load(path, allow_pickle=False) as archive:
        require(isinstance(archive, np.lib.npyio.NpzFile), "data.file", file, "is no .npz archive")
        named: dict[str, np.ndarray] = {}
        for name in archive.files:
            meant = next((key for key, names in NAMES.items() if name in names), None)
            allowed = f"holds an array {name!r}; it may hold {', '.join(NAMES)}"
            if meant is None or meant in named:
                raise InputError("data.file", file, allowed)
            named[meant] = archive[name]
    require("inputs" in named, "data.file", file, "holds no array `inputs`")
    return named


def _read_table(file: str, path: Path) -> dict[str, np.ndarray]:
    import polars as pl

    try:
        frame = pl.read_csv(path, infer_schema_length=None) if path.suffix == ".csv" else pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise InputError("data.file", file, f"cannot be read: {str(error).splitlines()[0]}") from None
    for name in frame.columns:
        require(not _is_number(name), "data.file", file, f"needs a line of column names at the top, not {name!r}")
        require(frame[name].null_count() == 0, "data.file", file, f"has an empty cell in column {name!r}")
    together = [name for name in frame.columns if name.startswith(("label_", "labels_"))]
    single = [name for name in frame.columns if name in NAMES["labels"]]
    require(len(single) + bool(together) <= 1, "data.file", file, f"has labels in {', '.join(single + together)}; name one")
    columns = [name for name in frame.columns if name not in (*single, *together, "split")]
    require(len(columns) > 0, "data.file", file, "has no column of inputs")
    arrays = {"inputs": _columns(file, frame, columns)}
    if single or together:
        arrays["labels"] = _labels(file, frame, single, together)
    if "split" not in frame.columns:
        return arrays
    split = frame["split"].to_list()
    other = sorted({str(name) for name in split} - {"train", "test"})
    require(not other, "data.file", file, f"column 'split' may say train or test, not {', '.join(other[:3])}")
    test = np.asarray([name == "test" for name in split])
    parts = {name: array[~test] for name, array in arrays.items()}
    return parts | ({f"test_{name}": array[test] for name, array in arrays.items()} if test.any() else {})


def _labels(file: str, frame: Any, single: list[str], together: list[str]) -> np.ndarray:
    """Return the column of labels, or the columns of several outputs."""
    if together:
        return _columns(file, frame, together)
    column = frame[single[0]]
    return np.asarray(column.to_list(), str) if str(column.dtype) in ("String", "Categorical") else column.to_numpy()


def _columns(file: str, frame: Any, names: list[str]) -> np.ndarray:
    """Return columns of numbers (N, columns), or of lists of numbers of one length."""
    if len(names) == 1 and frame[names[0]].dtype.is_nested():
        rows = frame[names[0]].to_list()
        require(len({len(row) for row in rows}) <= 1, "data.file", file, f"column {names[0]!r} has lists of unequal length")
        return np.asarray(rows)
    for name in names:
        kind = frame[name].dtype
        numeric = kind.is_numeric() or str(kind) == "Boolean"
        require(numeric, "data.file", file, f"column {name!r} holds {kind}; inputs are numbers, labels are called `label`")
    return frame.select(names).to_numpy()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# What a file must hold


def _pool(file: str, arrays: dict[str, np.ndarray]) -> ArrayPool:
    inputs = {name: _inputs(file, name, arrays[name]) for name in ("inputs", "test_inputs") if name in arrays}
    labels = {name: _plain_labels(file, name, arrays) for name in ("labels", "test_labels") if name in arrays}
    train, test = inputs["inputs"], inputs.get("test_inputs")
    require(len(train) > 1 or test is not None, "data.file", file, f"holds {len(train)} samples; to train and test takes 2")
    if test is not None:
        same = f"inputs of shape {train.shape[1:]} and test inputs of {test.shape[1:]}; they must be of one shape"
        require(train.shape[1:] == test.shape[1:], "data.file", file, same)
    require(len(labels) in (0, len(inputs)), "data.file", file, "has labels for one of its training and test parts alone")
    grid = train.shape[1:] if train.ndim != 3 else (*train.shape[1:], 1)
    digest = _digest({**inputs, **labels})
    parts, values, classes = _parts(file, labels, len(train) + (0 if test is None else len(test)))
    flat = [_shared(x.reshape(len(x), -1)) for x in inputs.values()]
    split = np.split(parts, [len(train)])
    return ArrayPool(
        flat[0], split[0], *((flat[1], split[1]) if test is not None else (None, None)), grid, values, classes, digest
    )


def _inputs(file: str, name: str, array: np.ndarray) -> np.ndarray:
    """Return the inputs: bytes unchanged, floats as float32 or float64, everything else as float64."""
    about = f"{name} of shape {array.shape} and type {array.dtype}"
    require(array.dtype.kind in "buif", "data.file", file, f"has {about}; they must be numbers")
    shaped = array.ndim in (2, 3, 4) and 0 not in array.shape[1:]
    require(shaped, "data.file", file, f"has {about}; they must be (N, d), (N, height, width) or (N, height, width, channels)")
    require(len(array) > 0, "data.file", file, f"has {about}, so none; to train and test takes 2")
    _check_finite(file, name, array)
    return array if array.dtype in (np.uint8, np.float32, np.float64) else array.astype(np.float64)


def _plain_labels(file: str, name: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Return labels as words (N,), classes (N,) int64, or numbers float64 (N,) or (N, outputs)."""
    labels, inputs = arrays[name], arrays.get(name.replace("labels", "inputs"))
    require(inputs is not None, "data.file", file, f"has {name} without inputs for them")
    assert inputs is not None
    count = len(inputs)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    about = f"has {name} of shape {labels.shape} and type {labels.dtype}"
    allowed = f"{about}; they must be ({count},) or ({count}, outputs), as there are {count} samples"
    require(labels.ndim in (1, 2) and len(labels) == count and 0 not in labels.shape[1:], "data.file", file, allowed)
    require(
        labels.dtype.kind in ("buifU" if labels.ndim == 1 else "buif"), "data.file", file, f"{about}; numbers or words will do"
    )
    _check_finite(file, name, labels)
    if labels.dtype.kind == "U":
        return labels
    return labels.astype(np.int64 if labels.dtype.kind in "bui" and labels.ndim == 1 else np.float64)


def _check_finite(file: str, name: str, array: np.ndarray) -> None:
    if array.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
        require(len(bad) == 0, "data.file", file, f"{name} has NaN or infinity in {len(bad)} rows, the first is row {bad[:1]}")


def _parts(file: str, labels: dict[str, np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Return the part of every sample, what parts stand for, and the number of classes."""
    if not labels:
        return np.zeros(count, np.int32), None, 0
    both = np.concatenate(list(labels.values()))
    if both.dtype.kind == "f":
        return np.arange(count, dtype=np.int32), both, 0
    known = np.unique(labels["labels"])
    unknown = np.setdiff1d(both, known)
    allowed = f"has test samples of {', '.join(map(str, unknown[:3]))}, a class without training samples"
    require(len(unknown) == 0, "data.file", file, allowed)
    values = None if known.dtype.kind == "U" else known.astype(np.float64)
    return np.searchsorted(known, both).astype(np.int32), values, len(known)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """Return sixteen hexadecimal digits of the SHA-256 of names, types, shapes and values."""
    found = hashlib.sha256()
    for name, array in arrays.items():
        plain = array if array.dtype.kind != "U" else np.frombuffer("\0".join(array.tolist()).encode(), np.uint8)
        found.update(f"{name} {plain.dtype.newbyteorder('<').str} {array.shape} ".encode())
        found.update(np.ascontiguousarray(plain.astype(plain.dtype.newbyteorder("<"), copy=False)).data)
    return found.hexdigest()[:16]


def _shared(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
