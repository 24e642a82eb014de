"""Values of whatever library made plain: Python's numbers and texts, and lists and mappings of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, get_args, get_origin

import numpy as np

from dynamics.errors import InputError, require


def plain_value(path: str, value: Any) -> Any:
    """Return a value as configs have it: numbers, texts, and lists and mappings of them.

    Ranges, tuples, sets, NumPy and JAX arrays and polars columns become lists. A number in single precision becomes the
    shortest decimal that rounds to it, so `np.float32(0.2)` is 0.2. Raises `InputError` for anything else.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic) or (hasattr(value, "dtype") and getattr(value, "shape", None) == ()):
        scalar = np.asarray(value)[()]
        if isinstance(scalar, np.bool_ | np.str_ | np.integer):
            return scalar.item()
        real = np.issubdtype(scalar.dtype, np.floating) or str(scalar.dtype) == "bfloat16"
        require(real, path, value, "must be a number or a name")
        return float(scalar) if scalar.dtype == np.float64 else float(str(scalar))
    if isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain_value(f"{path}.{name}", part) for name, part in value.items()}
    if isinstance(value, set | frozenset):
        return [plain_value(path, part) for part in sorted(value)]
    if isinstance(value, list | tuple | range):
        return [plain_value(path, part) for part in value]
    if hasattr(value, "to_numpy") or hasattr(value, "__array__"):
        array = value.to_numpy() if hasattr(value, "to_numpy") else np.asarray(value)
        return [plain_value(path, part) for part in array]
    if hasattr(value, "__iter__") and not isinstance(value, bytes | bytearray | memoryview):
        return [plain_value(path, part) for part in value]
    raise InputError(path, value, "must be a number, a name, or a list, range or array of them")


def coerce(path: str, value: Any, kind: Any) -> Any:
    """Return the value as the field's type, or raise an `InputError`.

    An integer may stand for a float, and a float that is whole (1e3) for an integer; nothing else bends.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float:
        fits = number and not math.isnan(value) and (math.isinf(value) or abs(value) <= sys.float_info.max)
        require(fits, path, value, "must be a number")
        return float(value)
    if kind is int:
        require(number and math.isfinite(value) and value == int(value), path, value, "must be an integer")
        return int(value)
    if kind is bool:
        require(isinstance(value, bool), path, value, "must be true or false")
    elif kind is str:
        require(isinstance(value, str), path, value, "must be a name")
    elif isinstance(value, list | tuple):
        part = get_args(kind)[0] if get_origin(kind) is list else Any
        return tuple(coerce(path, item, part) if part is int else item for item in value)
    elif isinstance(value, float) and value.is_integer() and int in get_args(kind):
        return int(value)
    return value


def check_type(path: str, value: Any, kind: Any) -> Any:
    """Return a plain value as the field's type, or raise an `InputError`."""
    if get_origin(kind) in (list, tuple):
        require(isinstance(value, list | tuple), path, value, "must be a list")
        part = (get_args(kind) or (Any,))[0]
        return [coerce(path, plain_value(path, item), part) for item in value]
    union = get_args(kind)
    if union and int in union and str in union:
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        fits = isinstance(whole, int | str) and not isinstance(whole, bool)
        require(fits, path, value, "must be an integer or a text such as 4n")
        return whole
    return coerce(path, value, kind)
