"""From a request to its study: plan what is missing, compute it, load the tables."""

from __future__ import annotations

import polars as pl

from dynamics.core import spec as specs
from dynamics.core.spec import RunSpec
from dynamics.errors import require
from dynamics.store.store import Store
from dynamics.study.config import compose
from dynamics.study.request import Request, StudySpec
from dynamics.study.tables import Study
from dynamics.sweep.interrupt import Interrupt
from dynamics.sweep.plan import Plan, make_plan, this_machine
from dynamics.sweep.worker import ExecutionOptions, Failure, ProgressReporter, work


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
    plan: Plan, store: Store, settings: StudySpec, reporter: ProgressReporter | None = None, interrupt: Interrupt | None = None
) -> list[Failure]:
    """Compute what the plan names and store each chunk as soon as it is there; says what could not be computed."""
    options = ExecutionOptions(settings.save_final, settings.checkpoint_seconds, settings.worker, settings.workers)
    return work(plan, store, options, interrupt or Interrupt(), reporter or ProgressReporter())


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
