"""Fields of a spec: what is allowed in each, what it means, and how it counts in a run's identity."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from dynamics.core.checked_arguments import check_arguments
from dynamics.errors import InputError, require, suggest

LARGEST_INTEGER = 2**31 - 1
DESCRIPTION = "option"  # the key of a field's metadata under which its `Option` lies


@dataclass(frozen=True)
class Option:
    """What a field allows and means.

    at_least, above, at_most, below: bounds of a number, each of them optional
    choices: the names that are allowed; a registry may stand here, whose names at the time of the check are meant
    infinite: whether `inf` is allowed; integer: whether only whole numbers are, of at most 32 bits
    doc: one line on what the field means; unit: of a number, if it has one
    placeholder: a value that stands for one which is found out before a run is checked
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: Collection[str] | None = None
    infinite: bool = False
    integer: bool = False
    doc: str = ""
    unit: str = ""
    placeholder: Any = None

    @property
    def bounded(self) -> bool:
        """Whether there is anything to check."""
        return self.choices is not None or any(b is not None for b in (self.at_least, self.above, self.at_most, self.below))

    def allows(self, value: Any) -> bool:
        """Return whether a field may have this value."""
        if isinstance(value, tuple | list):
            return all(self.allows(part) for part in value)
        if self.choices is not None:
            return isinstance(value, Hashable) and value in self.choices
        if isinstance(value, bool) or not isinstance(value, Real):
            return True
        return self._allows_number(value)

    def _allows_number(self, value: Any) -> bool:
        whole = isinstance(value, Integral)
        if self.integer and (not whole or abs(int(value)) > LARGEST_INTEGER):
            return False
        value = float(value)
        if math.isinf(value):
            return self.infinite and value > 0
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def describe(self, value: Any) -> str:
        """What is allowed, in the words of an error message about `value`."""
        if self.choices is not None:
            wrong = (
                next((part for part in value if part not in self.choices), value) if isinstance(value, tuple | list) else value
            )
            return f"choose one of {', '.join(sorted(self.choices))}{suggest(str(wrong), self.choices)}"
        if self.integer:
            low = self.at_least if self.above is None else self.above + 1
            high = self.at_most if self.below is None else self.below - 1
            low_text = "-2^31" if low is None else f"{low:g}"
            return f"must be an integer from {low_text} to {'2^31 - 1' if high is None else int(high)}"
        bounds = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        said = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
        infinite = ", or inf" if self.infinite else ""
        if len(said) == 1:
            return f"must be a number{',' if said[0].startswith('at') else ''} {said[0]}{infinite}"
        return f"must be a number {' and '.join(said)}{infinite}"


@check_arguments("option")
def option(
    default: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: Collection[str] | None = None,
    infinite: bool = False,
    doc: str = "",
    unit: str = "",
    placeholder: Any = None,
    added: bool = False,
    unhashed: bool = False,
    static: bool = False,
) -> Any:
    """Return a field of a spec with this default, and what is allowed in it (see `Option`).

    A field of type `float` is swept: one compiled program serves all its values, which the functions of a dynamics find
    in `hyper`. Every other field is a static choice, found in the spec; runs that differ in one need programs of their
    own.

    added: the field came after runs had been stored; while it has its default it does not count in a run's identity
    unhashed: the field says where something lies and not what it is; it never counts in a run's identity
    static: a number that programs cannot have as an array, such as one that decides on a shape

    >>> option(0.5, above=0, doc="how far the law leans to one side").default
    0.5
    """
    plain = isinstance(default, bool | int | float | str | list | tuple | dict | set | None) and default == default
    require(plain, "option default", default, "must be a number, a text, a flag or a list of them")
    lows, highs = [b for b in (at_least, above) if b is not None], [b for b in (at_most, below) if b is not None]
    if lows and highs and (max(lows) > min(highs) or (max(lows) == min(highs) and (above in lows or below in highs))):
        raise InputError("option bounds", (*lows, *highs), "leave no number between them")
    if isinstance(choices, list | tuple | dict):  # a registry stays what it is: it may grow
        choices = tuple(choices)
    integer = isinstance(default, int) and not isinstance(default, bool)
    allowed = Option(at_least, above, at_most, below, choices, infinite, integer, doc, unit, placeholder)
    marks = {"added": added, "unhashed": unhashed, "static": static}
    if default != placeholder and not isinstance(choices, Mapping):  # a registry has no names yet where it is declared
        check_value("option default", default, allowed)
    metadata = {DESCRIPTION: allowed, **{mark: True for mark, present in marks.items() if present}}
    if isinstance(default, list | dict | set):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def added_field(default: Any, **allowed: Any) -> Any:
    """Return an `option` that came after runs had been stored: while it has this default it does not count in a run's
    identity."""
    return option(default, added=True, **allowed)


def unhashed_field(default: Any, **allowed: Any) -> Any:
    """Return an `option` that says where something lies and not what it is: it never counts in a run's identity."""
    return option(default, unhashed=True, **allowed)


def option_of(spec_field: Any) -> Option:
    """Return the `Option` of a dataclass field; one that allows anything if it was declared without."""
    return spec_field.metadata.get(DESCRIPTION, Option())


def check_value(path: str, value: Any, allowed: Option) -> None:
    """Raise an `InputError` that names the field unless the value is allowed."""
    if not allowed.allows(value):
        raise InputError(path, list(value) if isinstance(value, tuple) else value, allowed.describe(value))
