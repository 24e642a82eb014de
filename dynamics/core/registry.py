"""Tables of pieces by name (laws, targets, models, rules, measures, systems ...), to which anybody may add."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Pieces of one kind by name: a read-only mapping with `add`.

    kind: what the pieces are, for messages (`law`, `measure`).
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._pieces: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        return self._pieces[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, name: str, piece: T) -> T:
        """Put a piece under a name that is not taken; returns the piece."""
        if name in self._pieces:
            raise ValueError(f"{self.kind} = {name!r}: is registered already; choose another name")
        self._pieces[name] = piece
        return piece

    def update(self, pieces: Mapping[str, T]) -> None:
        """Add several pieces."""
        for name, piece in pieces.items():
            self.add(name, piece)
