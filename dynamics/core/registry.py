"""Tables of pieces by name (laws, targets, models, rules, measures, systems ...), to which anybody may add.

A piece says which fields of its spec it uses, and may bring fields of its own (`dynamics.core.extension`). The suite's
pieces are registered by the same call as a user's; they cannot be replaced, and a user's can by the module that
registered it, so that a cell of a notebook may be run again.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, Generic, NamedTuple, TypeVar

from dynamics.core import extension
from dynamics.core.extension import until_registration
from dynamics.errors import require, suggest

T = TypeVar("T")
EXPERIMENT_FILES = "dynamics.study.experiment_files."  # modules of experiments, whoever wrote them
Uses = Sequence[str] | Callable[[Any], Sequence[str]]


class Origin(NamedTuple):
    """Where a piece was written: module and file."""

    module: str
    file: str

    @property
    def is_suite(self) -> bool:
        """Whether the piece is one of the suite's own."""
        return self.module.partition(".")[0] == "dynamics" and not self.module.startswith(EXPERIMENT_FILES)

    def may_replace(self, other: Origin) -> bool:
        """Return whether a piece from here is a later version of one from there,
        and not another one of the same name."""
        return self.module == other.module or (self.file == other.file != "")


def origin_of(thing: Any) -> Origin:
    """Return where a function or class was written; the module that called the registry's method for anything else."""
    thing = inspect.unwrap(thing) if callable(thing) else thing
    if inspect.isfunction(thing):
        return Origin(thing.__module__, thing.__code__.co_filename)
    if inspect.isclass(thing):
        return Origin(thing.__module__, getattr(sys.modules.get(thing.__module__), "__file__", "") or "")
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    assert frame is not None
    return Origin(frame.f_globals["__name__"], frame.f_code.co_filename)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A piece as it was registered: the piece, the fields of its spec that it uses (its own among them), its origin,
    and its version."""

    piece: T
    uses: Uses
    own: tuple[str, ...]
    origin: Origin
    version: int = 1

    def used_fields(self, spec: Any) -> set[str]:
        """Return the names of the fields that the piece uses in this spec."""
        return {*(self.uses(spec) if callable(self.uses) else self.uses), *self.own}


class Registry(Mapping[str, T]):
    """Pieces of one kind by name: a read-only mapping with `add`.

    kind: what the pieces are, for messages (`law`, `measure`)
    where: the path of the spec that holds their fields (`data`); spec: returns the spec's class, None for pieces
    without one
    selector: the field that names the piece in use, in the spec or in the one that it lies in
    common: the fields of the spec that do not depend on the piece
    static: whether own numbers are static choices, as for pieces that work on the host
    """

    def __init__(
        self,
        kind: str,
        where: str = "",
        spec: Callable[[], type] | None = None,
        *,
        selector: str = "kind",
        common: Sequence[str] = (),
        static: bool = False,
    ):
        self.kind, self.where, self.selector, self.static = kind, where, selector, static
        self.common = frozenset(common) | {selector}
        self._spec = spec
        self._entries: dict[str, Entry[T]] = {}
        REGISTRIES.append(self)

    def __getitem__(self, name: str) -> T:
        return self._entries[name].piece

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def spec(self) -> type | None:
        """The spec class that declares the fields of this registry's pieces; None if there is none."""
        return self._spec() if self._spec is not None else None

    def look_for(self, names: Any) -> None:
        """Import one's own code, which may register it, if one of these names (or this name) is not known."""
        asked = names if isinstance(names, list | tuple) else [names]
        if any(isinstance(name, str) and name not in self for name in asked):
            load_own_code()

    def entry(self, name: str) -> Entry[T]:
        """Return what was registered under a name."""
        return self._entries[name]

    def add(
        self,
        name: str,
        piece: T,
        *,
        uses: Uses | None = None,
        fields: Mapping[str, Any] | None = None,
        origin: Origin | None = None,
        version: int = 1,
    ) -> T:
        """Put a piece under a name that is free, or that the same module gave to an earlier version of it; returns the
        piece.

        uses: the fields of the spec that the piece uses beside the common ones, `piece.uses` if it is not given; a
            function of the spec where that depends on it
        fields: fields of the piece's own by name, each an `option`
        origin: where the piece was written, found out if it is not given
        version: to be raised when the piece is changed so that it computes other numbers (`dynamics.core.versions`)
        """
        whole = isinstance(version, int) and not isinstance(version, bool) and version >= 1
        require(whole, f"version of {self.kind} {name}", version, "must be an integer of at least 1")
        origin, wanted = origin or origin_of(piece), dict(fields or {})
        used: Uses = getattr(piece, "uses", ()) if uses is None else uses
        plain = isinstance(name, str) and name.replace("-", "_").isidentifier()
        require(plain, self.kind, name, "must be a name of letters, digits, _ and -, the first no digit")
        there = self._entries.get(name)
        if there is not None:
            allowed = f"is registered already, by {there.origin.module}; choose another name"
            require(origin.may_replace(there.origin), self.kind, name, allowed)
        if self.spec is not None:
            known = {f.name for f in dataclass_fields(self.spec)} | set(wanted)
            for field in () if callable(used) else used:
                allowed = f"no such field of {self.where}{suggest(field, known)}"
                require(field in known, f"uses of {self.kind} {name}", field, allowed)
            extension.claim(self.spec, self.where, self.selector, name, wanted, static=self.static)
        else:
            require(not wanted, self.kind, name, "declares its fields as those of a dataclass")
        self._entries[name] = Entry(piece, used, tuple(wanted), origin, version)
        if there is not None:
            _replaced.append((self.kind, name))
        extension.forget()
        return piece

    def update(self, pieces: Mapping[str, T], *, uses: Uses | None = None, versions: Mapping[str, int] | None = None) -> None:
        """Add several pieces that use the same fields, each its own if these are not given.

        versions: those of the pieces that are not at their first
        """
        for name, piece in pieces.items():
            self.add(name, piece, uses=uses, version=(versions or {}).get(name, 1))

    def remove(self, name: str) -> None:
        """Take a user's piece out again, with the fields that it alone brought."""
        require(not self._entries[name].origin.is_suite, self.kind, name, "is one of the suite's, which stay")
        if self.spec is not None:
            extension.claim(self.spec, self.where, self.selector, name, {}, static=self.static)
        del self._entries[name]
        _replaced.append((self.kind, name))
        extension.forget()

    def own_pieces(self) -> list[str]:
        """Return the names of the pieces that are not the suite's."""
        return [name for name, entry in self._entries.items() if not entry.origin.is_suite]


def names_of(value: Any) -> tuple[str, ...]:
    """Return the pieces that a field names: one, several in a list, or several joined by +."""
    if isinstance(value, str):
        return tuple(value.split("+")) if value else ()
    return tuple(value)


REGISTRIES: list[Registry[Any]] = []
OWN_CODE: list[Callable[[], None]] = []  # what imports the code that may register pieces, where somebody said so


def load_own_code() -> None:
    """Import the code that may register a piece or a field which is not known yet."""
    for load in OWN_CODE:
        load()


_replaced: list[tuple[str, str]] = []


def revision() -> int:
    """Return how often a piece was replaced or removed in this process:
    programs compiled before it may be out of date."""
    return len(_replaced)


@until_registration
def registry_of(spec: type) -> Registry[Any] | None:
    """Return the registry whose pieces have their fields in this class."""
    return next((registry for registry in REGISTRIES if registry.spec is spec), None)
