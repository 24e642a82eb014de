"""What a study holds: the tables of its runs, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from dynamics.core.spec import RunSpec
from dynamics.errors import InputError, require, suggest
from dynamics.store.store import Store
from dynamics.study.analysis_needs import AnalysisNeeds


@dataclass(frozen=True, repr=False)
class StudyContents:
    """Runs and records of a study; `Study` documents them."""

    name: str
    size: str
    runs: pl.DataFrame
    records: pl.DataFrame
    store: Store
    specs: dict[str, RunSpec]
    is_experiment: bool = True
    needs: AnalysisNeeds | None = None

    @property
    def place(self) -> str:
        """Where the study's tables come from, in words for messages: its name,
        and the folder of its results if it stays."""
        folder = None if hasattr(self.store, "place") else getattr(self.store, "folder", None)
        return f"in {self.name} ({folder})" if folder is not None else f"in {self.name}"

    def column(self, name: str) -> str:
        """Return the full column name for a path or for the last part of one; raises `InputError` if there is none."""
        columns = self.runs.columns
        require(isinstance(name, str), "column", name, "must be the name of a column")
        if name in columns:
            return name
        found = [c for c in columns if c.split(".")[-1] == name]
        if len(found) != 1:
            close = suggest(name, [*columns, *(c.split(".")[-1] for c in columns)])
            told = f"is one of {', '.join(found)}" if found else f"no such column {self.place}{close}"
            raise InputError("column", name, told)
        return found[0]

    def values(self, name: str) -> list[Any]:
        """Return the distinct values of a column (or of `step`), sorted."""
        return levels_of(self.runs[self.column(name)] if not _is_step(name) else self.records["step"].drop_nulls())

    @property
    def seconds(self) -> float:
        """Seconds of computing that the runs took, compiling included."""
        runs = self.runs.unique("run")
        if "seconds" not in runs.columns:
            return 0.0
        compiled = runs.unique(["group", "created", "compile_seconds"])
        return float(runs["seconds"].sum() or 0) + float(compiled["compile_seconds"].sum() or 0)


def _is_step(name: Any) -> bool:
    return isinstance(name, str) and name == "step"


def levels_of(column: pl.Series) -> list[Any]:
    """Return the distinct values of a column, sorted, a missing one first."""
    return column.unique().sort().to_list()
