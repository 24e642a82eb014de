"""Specs that check what they are made of: names, types and bounds,
as they are given and in the command line's words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Self, get_type_hints

from jax.core import Tracer

from dynamics.core.extension import until_registration
from dynamics.core.options import Option, check_value, option_of
from dynamics.core.plain_values import check_type, plain_value
from dynamics.core.registry import Registry, load_own_code, registry_of
from dynamics.errors import require, suggest

TRACED = float("nan")  # stands in a swept field of the spec that a program is built from; known by identity
_deferred: ContextVar[bool] = ContextVar("checks of fields are deferred", default=False)


class CheckedFields:
    """Base of the specs. Raises `InputError` for an unknown field, a value of another type, and one out of bounds.

    place: the path of the spec among a run's fields, for messages, where no registry says it

    NumPy's numbers become Python's, an integer in a float field a float, a path in the field of a file a text. What
    depends on other fields is left to `check`, which runs before anything is computed.
    """

    place: ClassVar[str] = ""

    def __new__(cls, *args: Any, **values: Any) -> Self:
        names = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        if not names.issuperset(values):
            load_own_code()  # which may bring fields
            known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
            for name, value in values.items():
                require(name in known, f"{place_of(cls)}{name}", value, f"no such field{suggest(name, known)}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        if _deferred.get():
            return
        for name, path, kind, allowed, is_path in _declared(type(self)):
            given = getattr(self, name)
            value = _check_field(path, given, kind, allowed, is_path)
            if value is not given:
                object.__setattr__(self, name, value)
        self.check_names()

    def check_names(self) -> None:
        """Raise `InputError` for a name that nothing is registered under, of fields whose choices no option can say."""


@contextmanager
def deferred_checks() -> Iterator[None]:
    """Let specs be made unchecked: of a config, whose runs are checked once its axes are laid over it."""
    token = _deferred.set(True)
    try:
        yield
    finally:
        _deferred.reset(token)


@until_registration
def place_of(cls: type) -> str:
    """Return what stands before the names of a spec's fields in a run, such as `optimizer.`; nothing for a run."""
    registry = registry_of(cls)
    place = registry.where if registry is not None else getattr(cls, "place", "")
    return f"{place}." if place else ""


@until_registration
def _declared(cls: type) -> tuple[tuple[str, str, Any, Option, bool], ...]:
    """Name, path and type of every field of a spec, what is allowed in it, and whether it is the path of a file."""
    hints, place = get_type_hints(cls), place_of(cls)
    return tuple(
        (f.name, place + f.name, hints[f.name], option_of(f), "unhashed" in f.metadata)
        for f in fields(cls)  # type: ignore[arg-type]
    )


def _check_field(path: str, value: Any, kind: Any, allowed: Option, is_path: bool) -> Any:
    """Return the value as the field's type; raises `InputError` unless it is of it and allowed."""
    if value is TRACED or isinstance(value, Tracer):
        return value
    if is_dataclass(kind):
        require(isinstance(value, kind), path, value, f"must be a {kind.__name__}")  # type: ignore[arg-type, union-attr]
        return value
    if is_path and isinstance(value, os.PathLike):
        value = os.fspath(value)
    plain = check_type(path, value if type(value) in (list, tuple) else plain_value(path, value), kind)
    if isinstance(value, tuple) and isinstance(plain, list):
        plain = tuple(plain)
    if isinstance(allowed.choices, Registry):
        allowed.choices.look_for(plain)
    if allowed.placeholder is None or plain != allowed.placeholder:
        check_value(path, plain, allowed)
    return value if type(plain) is type(value) and plain == value else plain
