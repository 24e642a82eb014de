"""A study: what was asked and what the store holds of it, as tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from dynamics import spec as specs
from dynamics.config import Request, StudySpec, compose
from dynamics.errors import InputError, require, suggest
from dynamics.interrupt import Interrupt
from dynamics.spec import RunSpec
from dynamics.sweep.plan import Plan, make_plan, this_machine
from dynamics.sweep.store import Store
from dynamics.sweep.work import Desk, Failure, How, work


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


def open_study(name: str, *overrides: str) -> Study:
    """A study that was run, from its store: `open_study("stable_minima/rates", "size=paper", "output=/scratch")`."""
    request = compose(name, *overrides)
    return load_study(request, open_store(request))


def open_store(request: Request) -> Store:
    return Store(request.results_folder)


def plan_study(request: Request, store: Store) -> Plan:
    """What is left to compute."""
    return plan_runs(request.runs, request.settings, store)


def plan_runs(runs: list[RunSpec], settings: StudySpec, store: Store) -> Plan:
    """What is left to compute of these runs."""
    machine = this_machine()
    if settings.memory:
        machine = machine._replace(memory=settings.memory * 1e9)
    there = store.finished(with_final=settings.save_final)
    return make_plan(runs, machine, there, settings.workers)


def run_study(
    plan: Plan, store: Store, settings: StudySpec, desk: Desk | None = None, interrupt: Interrupt | None = None
) -> list[Failure]:
    """Compute what the plan names and store each chunk as soon as it is there; says what could not be computed."""
    how = How(settings.save_final, settings.checkpoint_seconds, settings.worker, settings.workers)
    return work(plan, store, how, interrupt or Interrupt(), desk or Desk())


def require_there(request: Request, store: Store) -> None:
    """Raise `InputError` if runs of the request are missing, and say how many."""
    asked = {run for _, run in request.members}
    missing = asked - store.finished()
    allowed = f"{len(missing)} of {len(asked)} runs are not in the store; run without mode=figure first"
    require(not missing, "mode", request.settings.mode, allowed)


def load_study(request: Request, store: Store) -> Study:
    """The requested runs from the store, and only those; an `InputError` says how many are missing."""
    require_there(request, store)
    membership = pl.DataFrame(request.members, schema={"panel": pl.String, "run": pl.String}, orient="row")
    runs, records = store.read(membership["run"])
    late = specs.latecomers(type(request.runs[0]))  # what was stored before such a field came has its default
    runs = runs.with_columns(
        pl.col(path).fill_null(value) if path in runs.columns else pl.lit(value).alias(path) for path, value in late.items()
    )
    runs = membership.join(runs, on="run", how="left", maintain_order="left")
    fields = [c for c in runs.columns if c in specs.paths(request.runs[0])]
    joined = runs.select("panel", "run", *fields).join(records, on="run", how="left", maintain_order="left")
    return Study(request.name, request.settings.size, runs, joined, store, {specs.run_id(run): run for run in request.runs})
