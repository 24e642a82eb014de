"""From a request to its study: plan what is missing, compute it, load the tables."""

from __future__ import annotations

import logging

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
from dynamics.study.older_results import NO_OLDER_RESULTS, find_older_results
from dynamics.study.request import Request, StudySpec
from dynamics.study.tables import Study

LOG = logging.getLogger(__name__)


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
    if settings.reuse == "older":
        stored = stored | find_older_results(runs, store, with_final=settings.save_final).stored.keys()
    return make_plan(runs, machine, stored, settings.workers)


def run_study(
    plan: Plan, store: Store, settings: StudySpec, reporter: ProgressReporter | None = None, interrupt: Interrupt | None = None
) -> list[Failure]:
    """Compute what the plan names and store each chunk as soon as it is there; says what could not be computed."""
    require_posix("computing runs")
    options = ExecutionOptions(settings.save_final, settings.checkpoint_seconds, settings.worker, settings.workers)
    return work_on_plan(plan, store, options, interrupt or Interrupt(), reporter or ProgressReporter())


def tell_what_is_outdated(runs: list[RunSpec], settings: StudySpec, store: Store) -> None:
    """Say in one line which stored results earlier versions made, if they are about to be computed again."""
    found = find_older_results(runs, store, with_final=settings.save_final)
    if found.stored and settings.reuse == "current":
        LOG.warning(f"note: {found}; they are kept, and computed again (reuse=older takes them as they are)")


def find_missing(request: Request, store: Store) -> set[str]:
    """Return the identities of the requested runs of which the store has nothing, not even from earlier versions."""
    asked = {specs.run_id(run) for run in request.runs}
    return asked - store.finished() - find_older_results(request.runs, store).stored.keys()


def require_there(request: Request, store: Store) -> None:
    """Raise `InputError` if runs of the request are missing, and say how many."""
    asked = {run for _, run in request.members}
    missing = find_missing(request, store)
    allowed = f"{len(missing)} of {len(asked)} runs are not in the store; run without mode=figure first"
    require(not missing, "mode", request.settings.mode, allowed)


def load_study(request: Request, store: Store) -> Study:
    """Return the requested runs from the store, and only those; an `InputError` says how many are missing.

    Runs that only earlier versions have made are taken as they are, and a warning says how many these are.
    """
    require_there(request, store)
    return load_what_is_there(request, store, older=True)


def load_what_is_there(request: Request, store: Store, *, is_experiment: bool = True, older: bool = False) -> Study:
    """Return the requested runs; those that the store lacks have the status `failed`, and the reason where it is noted.

    older: whether results of earlier versions stand in for runs that are not there as they would be computed now
    """
    found = find_older_results(request.runs, store) if older else NO_OLDER_RESULTS
    if found.stored:
        LOG.warning(f"warning: {request.name}: {found}, taken as they are")
    members = [(panel, found.stand_in(run)) for panel, run in request.members]
    membership = pl.DataFrame(members, schema={"panel": pl.String, "run": pl.String}, orient="row")
    runs, records = store.read(membership["run"])
    late = specs.latecomers(type(request.runs[0]))  # what was stored before such a field came has its default
    runs = runs.with_columns(
        pl.col(path).fill_null(value) if path in runs.columns else pl.lit(value).alias(path) for path, value in late.items()
    )
    by_id = {found.stand_in(specs.run_id(run)): run for run in request.runs}
    missing = [run for name, run in by_id.items() if name not in set(runs["run"])]
    if missing:
        runs = pl.concat([runs, _failed_rows(missing, store)], how="diagonal_relaxed")
    runs = membership.join(runs, on="run", how="left", maintain_order="left")
    fields = [c for c in runs.columns if c in specs.paths(request.runs[0])]
    if "step" not in records.columns:
        records = pl.DataFrame(schema={"run": pl.String, "step": pl.Int64})
    joined = runs.select("panel", "run", *fields).join(records, on="run", how="left", maintain_order="left")
    return Study(request.name, request.settings.size, runs, joined, store, by_id, is_experiment, request.needs)


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
