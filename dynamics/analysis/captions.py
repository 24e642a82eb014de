"""The settings of a study for its caption: every value that a field has, not that of the first run alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import polars as pl

from dynamics.study.contents import StudyContents

MOST_LISTED = 12


class Settings(Mapping[str, Any]):
    """The columns of a run table by name. A column of one value has that; one of several has the first, printed as all.

    So `f"{settings['data.noise_std']:g}"` is `0.5, 1` for two noise levels; whoever calculates with it takes the first.
    """

    def __init__(self, runs: pl.DataFrame):
        self._runs = runs

    def __getitem__(self, name: str) -> Any:
        values = self._runs[name].unique(maintain_order=True).to_list()
        if len(values) == 1:
            return values[0]
        kind = type(values[0]) if isinstance(values[0], int | float | str) and not isinstance(values[0], bool) else str
        several = _several(kind)(values[0] if kind is not str else str(values[0]))
        several.values = values
        return several

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs.columns)

    def __len__(self) -> int:
        return len(self._runs.columns)


def read_settings(study: StudyContents) -> Settings:
    """Return the settings of a study, or of a part of one, to be printed in its caption."""
    return Settings(study.runs)


@cache
def _several(kind: type) -> type:
    """Return a subclass of int, float or str whose instances print all of `values`."""

    def format_all(self: Any, spec: str) -> str:
        texts = [format(value, spec) for value in self.values]
        return ", ".join(texts if len(texts) <= MOST_LISTED else [*texts[:4], "...", f"{texts[-1]} ({len(texts)} values)"])

    return type(
        f"Several{kind.__name__.title()}", (kind,), {"__format__": format_all, "__str__": lambda self: format(self, "")}
    )
