"""Functions that check their arguments by their annotations, in one line and before anything happens."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from dynamics.errors import InputError, suggest

P = ParamSpec("P")
R = TypeVar("R")
WORDS = {
    NoneType: "None",
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "a text",
    os.PathLike: "a path",
    Callable: "a function",
    Mapping: "a mapping",
    Sequence: "a list of names",
    Collection: "a list of names",
}


def check_arguments(label: str, *, types: bool = True, decorator: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return the decorator after which a function raises `InputError` for an unknown argument and one of another type.

    label: what messages call the function; an argument is then `label name`
    types: False where the function reads its arguments itself
    decorator: whether the function returns a decorator, so that one given a function lacks its parentheses
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        hints = cache(lambda: get_type_hints(function))  # resolved when it is first called

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            if decorator and args and callable(args[0]):
                called = getattr(args[0], "__name__", "?")
                raise InputError(label, called, "write the decorator with parentheses: ()")
            for name, value in kwargs.items():
                if name not in signature.parameters:
                    known = signature.parameters
                    raise InputError(f"{label} {name}", value, f"no such argument{suggest(name, known)}")
            for name, value in signature.bind(*args, **kwargs).arguments.items():
                hint = hints().get(name, Any)
                if types and not is_of(value, hint):
                    raise InputError(f"{label} {name}", value, f"must be {describe(hint)}")
            return function(*args, **kwargs)

        return checked

    return decorate


def is_of(value: Any, hint: Any) -> bool:
    """Return whether a value is what an annotation says; what is not in `WORDS` may be anything."""
    if get_origin(hint) in (Union, UnionType):
        return any(is_of(value, part) for part in get_args(hint))
    kind = get_origin(hint) or hint
    if kind in (Sequence, Collection) and get_args(hint) == (str,):
        listed = isinstance(value, kind) and not isinstance(value, str | bytes)
        return listed and getattr(value, "ndim", 1) == 1 and all(isinstance(part, str) for part in value)
    if kind is os.PathLike:
        return isinstance(value, os.PathLike)
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is _callable:
        return callable(value)
    return isinstance(value, kind) if kind in WORDS and kind not in (Sequence, Collection) else True


def describe(hint: Any) -> str:
    """Return in words what an annotation allows."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [Callable if (get_origin(part) or part) is _callable else get_origin(part) or part for part in parts]
    return " or ".join(dict.fromkeys(WORDS[kind] for kind in kinds if kind in WORDS and kind is not NoneType))


_callable = get_origin(Callable[..., Any])
