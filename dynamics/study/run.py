"""From a request to its study: plan what is missing, compute it, load the tables."""

from __future__ import annotations

import polars as pl

from dynamics.core import spec as specs
from dynamics.core.spec import RunSpec
from dynamics.engine.interrupt import Interrupt
from dynamics.engine.plan import Plan, detect_machine, make_plan
from dynamics.engine.worker import ExecutionOptions, Failure, ProgressReporter, work_on_plan
from dynamics.errors import require, require_posix
from dynamics.store.encoding import encode_config
from dynamics.store.store import Store
from dynamics.study.config import compose
from dynamics.study.request import Request, StudySpec
from dynamics.study.tables import Study


def open_study(name: str, *overrides: str) -> Study:
    """Return a study that was run, from its store:
    `open_study("stable_minima/rates", "size=paper", "output=/scratch")`."""
    request = compose(name, *overrides)
    return load_study(request, open_store(request))


def open_store(request: Request) -> Store:
    return Store(request.results_folder)


def plan_study(request: Request, store: Store) -> Plan:
    """Return what is left to compute."""
    return plan_runs(request.runs, request.settings, store)


def plan_runs(runs: list[RunSpec], settings: StudySpec, store: Store) -> Plan:
    """Return what is left to compute of these runs."""
    machine = detect_machine()
    if settings.memory:
        machine = machine._replace(memory=settings.memory * 1e9)
    stored = store.finished(with_final=settings.save_final)
    return make_plan(runs, machine, stored, settings.workers)


def run_study(
    plan: Plan, store: Store, settings: StudySpec, reporter: ProgressReporter | None = None, interrupt: Interrupt | None = None
) -> list[Failure]:
    """Compute what the plan names and store each chunk as soon as it is there; says what could not be computed."""
    require_posix("computing runs")
    options = ExecutionOptions(settings.save_final, settings.checkpoint_seconds, settings.worker, settings.workers)
    return work_on_plan(plan, store, options, interrupt or Interrupt(), reporter or ProgressReporter())


def require_there(request: Request, store: Store) -> None:
    """Raise `InputError` if runs of the request are missing, and say how many."""
    asked = {run for _, run in request.members}
    missing = asked - store.finished()
    allowed = f"{len(missing)} of {len(asked)} runs are not in the store; run without mode=figure first"
    require(not missing, "mode", request.settings.mode, allowed)


def load_study(request: Request, store: Store) -> Study:
    """Return the requested runs from the store, and only those; an `InputError` says how many are missing."""
    require_there(request, store)
    return load_what_is_there(request, store)


def load_what_is_there(request: Request, store: Store, *, is_experiment: bool = True) -> Study:
    """Return the requested runs; those that the store lacks have the status `failed`, and the reason where it is noted."""
    membership = pl.DataFrame(request.members, schema={"panel": pl.String, "run": pl.String}, orient="row")
    runs, records = store.read(membership["run"])
    late = specs.latecomers(type(request.runs[0]))  # what was stored before such a field came has its default
    runs = runs.with_columns(
        pl.col(path).fill_null(value) if path in runs.columns else pl.lit(value).alias(path) for path, value in late.items()
    )
    missing = [run for run in request.runs if specs.run_id(run) not in set(runs["run"])]
    if missing:
        runs = pl.concat([runs, _failed_rows(missing, store)], how="diagonal_relaxed")
    runs = membership.join(runs, on="run", how="left", maintain_order="left")
    fields = [c for c in runs.columns if c in specs.paths(request.runs[0])]
    if "step" not in records.columns:
        records = pl.DataFrame(schema={"run": pl.String, "step": pl.Int64})
    joined = runs.select("panel", "run", *fields).join(records, on="run", how="left", maintain_order="left")
    by_id = {specs.run_id(run): run for run in request.runs}
    return Study(request.name, request.settings.size, runs, joined, store, by_id, is_experiment)


def _failed_rows(missing: list[RunSpec], store: Store) -> pl.DataFrame:
    """Return run-table rows of runs that could not be computed."""
    reasons = store.failures()
    rows = [
        {
            "run": specs.run_id(run),
            "system": run.system,
            **encode_config(run),
            "status": "failed",
            "reason": reasons.get(specs.run_id(run), "was not computed"),
        }
        for run in missing
    ]
    return pl.DataFrame(rows, infer_schema_length=None)
