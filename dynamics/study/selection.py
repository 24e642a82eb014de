"""Which of a column's values somebody means who types `0.1`, `np.float32(0.1)`, `range(4)` or an array."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dynamics.errors import InputError, require

TOLERANCES = {"float16": 1e-3, "bfloat16": 1e-2}  # relative; of all other numbers DEFAULT_TOLERANCE
DEFAULT_TOLERANCE = 1e-6
MOST_SHOWN = 12


def find_levels(name: str, asked: Any, levels: Sequence[Any], place: str = "here") -> list[Any]:
    """Return those of a column's distinct values that `asked` names.

    asked: one value, or any collection of values (list, tuple, set, range, array, column), of which any is meant, or a
    slice, whose ends are included. Numbers match to a relative tolerance that their precision allows, whole numbers
    exactly. Raises `InputError`, which says what values there are in which place, if none is named.
    """
    _require_values(name, asked)
    if isinstance(asked, slice):
        found = [level for level in levels if _inside(level, asked)]
    elif isinstance(asked, list | tuple) and json.dumps(list(asked), default=str) in levels:  # a list is one value there
        found = [json.dumps(list(asked), default=str)]
    else:
        known = {level: level for level in levels}
        matched = [level for value in _each(asked) for level in _match(value, known)]
        found = list(dict.fromkeys(matched))
    if not found:
        shown = asked if isinstance(asked, str) else _plain(asked)
        there = f"there {'is' if len(levels) == 1 else 'are'} {show_levels(levels)}"
        raise InputError(name, shown, f"no such value {place}; {there}")
    return found


def _require_values(name: str, asked: Any) -> None:
    """Raise `InputError` for what is no value and no collection of values."""
    allowed = "must be one value, a list, set, range or array of values, or a slice of numbers with both ends included"
    flat = getattr(asked, "ndim", 0) <= 1 and not isinstance(asked, Mapping | bytes) and not callable(asked)
    require(flat, name, asked, allowed)
    if isinstance(asked, slice):
        ends = [_plain(end) for end in (asked.start, asked.stop) if end is not None]
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
        texts = all(isinstance(end, str) for end in ends)
        require((numbers or texts) and asked.step is None, name, asked, allowed)


def show_levels(levels: Sequence[Any]) -> str:
    """Return values in a few words: all of them if they are few, else the first ones, the last, and how many."""
    texts = [f"{level:.6g}" if isinstance(level, float) else str(level) for level in levels]
    if not texts:
        return "none"
    if len(texts) <= MOST_SHOWN:
        return ", ".join(texts)
    if all(isinstance(level, int) for level in levels) and levels[-1] - levels[0] == len(levels) - 1:
        return f"{texts[0]} to {texts[-1]}"
    return f"{', '.join(texts[:4])}, ..., {texts[-1]} ({len(texts)} values)"


def _each(asked: Any) -> Iterable[Any]:
    """Return the single values of whatever collection was given; a text and a zero-dimensional array are one value."""
    if isinstance(asked, str) or asked is None or getattr(asked, "shape", None) == ():
        return [asked]
    if hasattr(asked, "to_numpy"):
        return list(asked.to_numpy())
    if hasattr(asked, "__array__") and not isinstance(asked, np.generic):
        return list(np.asarray(asked).ravel())
    return list(asked) if isinstance(asked, Iterable) else [asked]


def _match(value: Any, known: dict[Any, Any]) -> list[Any]:
    """Return the level that a single value means: the equal one, else the nearest within the value's tolerance."""
    kind = str(getattr(value, "dtype", ""))
    value = _plain(value)
    truth = isinstance(value, bool)
    try:
        if value in known and isinstance(known[value], bool) == truth:
            return [known[value]]
    except TypeError:  # not hashable
        return []
    if truth or not isinstance(value, int | float):
        return []
    numbers = [level for level in known if isinstance(level, int | float) and not isinstance(level, bool)]
    if math.isnan(value):
        return [level for level in numbers if math.isnan(level)]
    tolerance = TOLERANCES.get(kind, DEFAULT_TOLERANCE)
    close = [level for level in numbers if _is_close(level, value, tolerance)]
    return [min(close, key=lambda level: abs(level - value))] if close else []


def _is_close(level: float, value: float, tolerance: float) -> bool:
    if isinstance(level, int):  # 3.0 is 3 and so is 2.9999999; but 1000001 is not 1000000
        tolerance = 0.0 if isinstance(value, int) else min(tolerance, 0.01 / max(abs(level), 1))
    if math.isinf(level) or math.isinf(value):
        return level == value
    return math.isfinite(level) and abs(level - value) <= tolerance * max(abs(level), abs(value))


def _inside(level: Any, bounds: slice) -> bool:
    if level is None or bounds.step is not None:
        return False
    low, high = _plain(bounds.start), _plain(bounds.stop)
    kind = str if isinstance(low if low is not None else high, str) else int | float
    if not isinstance(level, kind) and (low is not None or high is not None):
        return False
    return (low is None or level >= low) and (high is None or level <= high)


def _plain(value: Any) -> Any:
    """Return NumPy's and JAX's scalars as Python's."""
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
