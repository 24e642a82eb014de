"""`data.law=arrays`: samples from one's own file (`array_files.py`), as they are; `data.scale` multiplies them.

With a test part in the file the test samples are from there, otherwise from what the training samples leave over.
Labels, if there are any, are for `target.kind` = `labels` (as they are), `one_hot` or `part_index` (classes).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.dynamics import Hyper
from dynamics.data import array_files
from dynamics.data.law import LAWS, DataSpec, Law, Source
from dynamics.data.pools import POOL_ARRAYS, check_digest, check_sizes, pool_source
from dynamics.data.targets import TARGETS, Target, TargetContext, TargetKind
from dynamics.errors import InputError, require


def _resolve(data: DataSpec) -> DataSpec:
    """Return the data with the digest of the file's content and, if it is 0, the number of coordinates."""
    pool = array_files.load_array_file(data.file)
    check_digest(data, "data.file", data.file, pool.digest)
    return replace(data, digest=pool.digest, input_dim=data.input_dim or math.prod(pool.grid))


def _check(data: DataSpec) -> None:
    pool = array_files.load_array_file(data.file)
    size = math.prod(pool.grid)
    fits = f"must be {size} (or 0), so many coordinates {data.file} has"
    require(data.input_dim == size, "data.input_dim", data.input_dim, fits)
    check_sizes(data, len(pool.inputs), None if pool.test_inputs is None else len(pool.test_inputs))


def _shared_arrays(data: DataSpec) -> dict[str, np.ndarray]:
    pool = array_files.load_array_file(data.file)
    arrays = dict(zip(POOL_ARRAYS, (pool.inputs, pool.parts, pool.test_inputs, pool.test_parts), strict=True))
    return {name: array for name, array in (arrays | {"pool_values": pool.values}).items() if array is not None}


def _source(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
    values = hyper.get("data.pool_values")
    return pool_source(key, hyper, lambda row: row.astype(dtype), stands_for=None if values is None else values.astype(dtype))


def _num_parts(data: DataSpec) -> int:
    """Return the number of classes; 1 if labels are numbers, which are no classes, or if there are none."""
    return max(1, array_files.load_array_file(data.file).classes)


def _label_outputs(data: DataSpec) -> int:
    """Return how many numbers a label of the file is, 0 for one."""
    values = array_files.load_array_file(data.file).values if data.law == "arrays" else None
    if values is None:
        allowed = "needs data.law = arrays and a data.file with labels that are numbers; for words use one_hot or part_index"
        raise InputError("target.kind", "labels", allowed)
    return values.shape[1] if values.ndim == 2 else 0


def _are_shares(data: DataSpec) -> bool:
    """Return whether the labels of the file are shares of classes, at least 0 and 1 in sum."""
    values = array_files.load_array_file(data.file).values
    if values is None or values.ndim != 2 or values.min() < 0:
        return False
    return bool(np.allclose(values.sum(axis=1), 1, atol=1e-5))


def _labels(key: jax.Array, setting: TargetContext) -> Target:
    """Return f_0(x) = the label that the file has for the sample."""
    values = setting.parts
    assert values is not None  # `_label_outputs` sees to it
    return lambda x, part: jnp.asarray(values)[part]


LAWS.add(
    "arrays",
    Law(
        _source,
        _check,
        grid=lambda data: array_files.load_array_file(data.file).grid,
        num_parts=_num_parts,
        shared_arrays=_shared_arrays,
        resolve=_resolve,
    ),
    uses=("file", "digest"),
)
TARGETS.add("labels", TargetKind(_labels, _label_outputs, pads=False, reads_parts=True, are_shares=_are_shares))
