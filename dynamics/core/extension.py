"""Fields that pieces bring with them: a frozen dataclass is given more fields, or fewer, in place.

A law that somebody registers may have parameters of its own. They become fields of `DataSpec`, beside the suite's, and
since the class stays the same object, whatever refers to it has them too: the config's schema, axes, identities and the
store.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import lru_cache
from typing import Any, TypeVar

from dynamics.core.options import DESCRIPTION, check_value, option_of
from dynamics.errors import require

KINDS = (bool, int, float, str)
GENERATED = (  # what the dataclass decorator writes into a class, and does not overwrite
    "__init__",
    "__repr__",
    "__eq__",
    "__hash__",
    "__setattr__",
    "__delattr__",
    "__match_args__",
    "__replace__",
)

F = TypeVar("F", bound=Callable[..., Any])
_caches: list[Any] = []


def until_registration(function: Callable[..., Any] | None = None, *, maxsize: int | None = None) -> Any:
    """`functools.cache` for what depends on the fields of specs or on pieces:
    emptied whenever a piece is registered."""

    def cached(function: F) -> F:
        kept = lru_cache(maxsize=maxsize)(function)
        _caches.append(kept)
        return kept  # type: ignore[return-value]

    return cached if function is None else cached(function)


def forget() -> None:
    """Empty every cache of `until_registration`."""
    for cache in _caches:
        cache.cache_clear()


def own_fields(cls: type) -> dict[str, Field[Any]]:
    """Return the fields of a spec class that registered pieces brought with them."""
    return {f.name: f for f in fields(cls) if "pieces" in f.metadata}


def claim(cls: type, where: str, selector: str, piece: str, wanted: Mapping[str, Field[Any]], *, static: bool = False) -> None:
    """Give a piece exactly these own fields of a spec class; nothing changes if one of them is not available.

    where: the path of the spec, for messages; selector: the field that names the piece in use
    static: whether numbers are static choices too, as for pieces that work on the host
    """
    own = {name: _without(f, piece) for name, f in own_fields(cls).items()}
    own = {name: f for name, f in own.items() if f.metadata["pieces"]}
    builtin = {f.name for f in fields(cls)} - set(own_fields(cls))
    for name, given in wanted.items():
        _check(cls, f"{where}.{name}", name, given, builtin)
        there = own.get(name)
        made = _field(given, selector, (piece,), static)
        if there is not None:
            allowed = (
                f"is a field of {' and '.join(there.metadata['pieces'])} too, with another definition; choose another name"
            )
            require(_definition(there) == _definition(made), f"{where}.{name}", given.default, allowed)
            made = _field(given, selector, (*there.metadata["pieces"], piece), static)
        own[name] = made
    if own or own_fields(cls):
        _rebuild(cls, own)
    forget()


def _check(cls: type, path: str, name: str, given: Any, builtin: Iterable[str]) -> None:
    """Raise an `InputError` for what cannot become a field."""
    require(isinstance(given, Field), path, given, "must be an option such as dyn.option(0.5, above=0)")
    default = given.default
    require(name.isidentifier() and not keyword.iskeyword(name), path, default, "must have the name of a variable")
    allowed = "is a field of the suite's; name it in uses=(...) instead, or choose another name"
    require(name not in builtin, path, default, allowed)
    taken = hasattr(cls, name) and name not in own_fields(cls)
    require(not taken and not name.startswith("_"), path, default, "cannot be the name of a field; choose another one")
    require(
        type(default) in KINDS,
        path,
        None if default is MISSING else default,
        "needs a default that is one number, name or flag",
    )
    check_value(path, default, option_of(given))


def _field(given: Field[Any], selector: str, pieces: tuple[str, ...], static: bool) -> Any:
    marks = {"static": True} if static or given.metadata.get("static") else {}
    marks |= {"unhashed": True} if given.metadata.get("unhashed") else {"added": True}
    metadata = {DESCRIPTION: option_of(given), "pieces": pieces, "selector": selector, **marks}
    return field(default=given.default, metadata=metadata)


def _without(own: Field[Any], piece: str) -> Any:
    pieces = tuple(name for name in own.metadata["pieces"] if name != piece)
    return field(default=own.default, metadata={**own.metadata, "pieces": pieces})


def _definition(own: Field[Any]) -> tuple[Any, ...]:
    """Return what two pieces must agree on to share a field."""
    rest = {key: value for key, value in own.metadata.items() if key != "pieces"}
    return type(own.default), own.default, rest


def _rebuild(cls: type, own: Mapping[str, Field[Any]]) -> None:
    """Make a frozen dataclass anew, in place, with its builtin fields and these; and then its subclasses."""
    for name in own_fields(cls):
        delattr(cls, name)
        del cls.__annotations__[name]
    for name, made in own.items():
        cls.__annotations__[name] = type(made.default)
        setattr(cls, name, made)
    _decorate(cls, set(own))


def _decorate(cls: type, fresh: set[str]) -> None:
    """Run the dataclass decorator again; `fresh` fields stand in the class already, the others are put back there."""
    declared = inspect.get_annotations(cls)
    for f in fields(cls):
        if f.name in declared and f.name not in fresh:
            setattr(cls, f.name, f)
    for name in GENERATED:
        if name in cls.__dict__:
            delattr(cls, name)
    dataclass(frozen=True)(cls)
    for below in cls.__subclasses__():
        if "__dataclass_fields__" in below.__dict__:
            _decorate(below, set())
