"""A study: what was asked and what the store holds of it, as tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from dynamics.core.spec import RunSpec
from dynamics.errors import InputError, suggest
from dynamics.store.store import Store


@dataclass(frozen=True)
class Study:
    """Runs and records of a study.

    runs: one row a run and panel: `panel`, `run`, every config field by dotted path, `status`, provenance
    records: one row a run, panel and recorded step: the metrics, with `panel` and the config fields joined
    specs: every requested run by its identity
    """

    name: str
    size: str
    runs: pl.DataFrame
    records: pl.DataFrame
    store: Store
    specs: dict[str, RunSpec]

    def select(self, **values: Any) -> Study:
        """The part of the study where columns have these values: `select(panel="stable", input_dim=3)`.

        A column may be named by the last part of its path where that is unambiguous; a list means any of.
        """
        wanted = pl.lit(True)
        for name, value in values.items():
            column = self.column(name)
            wanted &= pl.col(column).is_in(value if isinstance(value, list | tuple) else [value])
        return replace(self, runs=self.runs.filter(wanted), records=self.records.filter(wanted))

    def column(self, name: str) -> str:
        """The full column name for a path or for the last part of one."""
        columns = self.runs.columns
        if name in columns:
            return name
        found = [c for c in columns if c.split(".")[-1] == name]
        if len(found) != 1:
            allowed = f"is one of {', '.join(found)}" if found else f"no such column{suggest(name, columns)}"
            raise InputError("column", name, allowed)
        return found[0]

    def values(self, name: str) -> list[Any]:
        """The distinct values of a column, sorted."""
        return self.runs[self.column(name)].unique().sort().to_list()

    @property
    def seconds(self) -> float:
        """Seconds of computing that the runs took, compiling included."""
        runs = self.runs.unique("run")
        compiled = runs.unique(["group", "created", "compile_seconds"])
        return float(runs["seconds"].to_numpy().sum() + compiled["compile_seconds"].to_numpy().sum())

    @cached_property
    def final(self) -> pl.DataFrame:
        """Every run's record at its last step."""
        return self.records.filter(pl.col("step") == pl.col("steps"))

    def grid(self, metric: str, *axes: str) -> tuple[np.ndarray, list[list[Any]]]:
        """A metric of `records` (one step selected beforehand) as an array over the named columns, NaN where absent.

        Every run has its place, also one without a record there (because it had diverged).
        """
        names = [self.column(a) if a != "step" else "step" for a in axes]
        levels = [(self.records if n == "step" else self.runs)[n].unique().sort().to_list() for n in names]
        array = np.full([len(level) for level in levels], np.nan)
        index = [{v: i for i, v in enumerate(level)} for level in levels]
        for *where, value in self.records.select(*names, metric).iter_rows():
            array[tuple(ix[w] for ix, w in zip(index, where, strict=True))] = value
        return array, levels
