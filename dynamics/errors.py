"""One way to say no: the field, the value, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class InputError(ValueError):
    """Bad input, told in one line; the command line turns it into exit code 2."""

    def __init__(self, field: str, value: Any, allowed: str):
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{field} = {value!r}: {allowed}")


def suggest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest known name, or nothing."""
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def choose(field: str, name: str, table: Mapping[str, Any]) -> Any:
    """`table[name]`, or an `InputError` that lists the choices and the closest of them."""
    if name not in table:
        raise InputError(field, name, f"choose one of {', '.join(sorted(table))}{suggest(name, table)}")
    return table[name]


def require(condition: bool, field: str, value: Any, allowed: str) -> None:
    """Raise `InputError(field, value, allowed)` unless `condition` holds."""
    if not condition:
        raise InputError(field, value, allowed)
