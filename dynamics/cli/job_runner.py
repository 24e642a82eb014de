"""What the command line does with studies: plan, compute what is missing, store; then draw and judge, or list the jobs.

One study and the ten thousand of a sweep take the same way: the runs of all are one plan a store.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
from rich.console import Console

from dynamics.cli.job_pages import draw
from dynamics.cli.job_results import job_outcomes, print_sweep, tabulate_jobs, write_results
from dynamics.cli.progress import LiveProgress
from dynamics.cli.report import print_plan
from dynamics.core import spec as specs
from dynamics.engine.distributed import join_processes
from dynamics.engine.interrupt import Interrupt
from dynamics.engine.worker import Failure, describe_runs
from dynamics.errors import InputError, require
from dynamics.store.store import Store
from dynamics.study.alterations import figures_folder
from dynamics.study.analysis_needs import split_parts
from dynamics.study.experiments import experiment_file, experiment_module
from dynamics.study.jobs import Job
from dynamics.study.request import EXECUTION_FIELDS, StudySpec
from dynamics.study.run import plan_runs, require_there, run_study, tell_what_is_outdated

log = logging.getLogger(__name__)

COMPUTING = ("run", "compute")


@dataclass(frozen=True)
class StoreJobs:
    """The jobs whose runs lie in one store, and the modules by name of those experiments that are to be drawn."""

    jobs: list[Job]
    store: Store
    modules: dict[str, ModuleType]


def run_jobs(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Do what the jobs ask; return the outcome of each.

    `status` (ok, not_finite, diverged, failed, planned) and numbers of runs.
    """
    out = Console(width=None if sys.stdout.isatty() else 160)
    for notice in dict.fromkeys(notice for job in jobs for notice in job.request.notices):
        log.log(logging.WARNING if notice.startswith("warning") else logging.INFO, notice)
    settings = require_same_settings(jobs)
    stores = open_stores(jobs, settings)  # whatever is wrong with any of them is found before anything is computed
    place = settings.coordinator, settings.distributed, Path(settings.output)
    with join_processes(settings.worker, settings.workers, *place) as (worker, workers):
        settings = replace(settings, worker=worker, workers=workers)
        if settings.mode == "plan":
            return print_plans(jobs, stores, settings, out)
        return run_stores(jobs, stores, settings, out)


def require_same_settings(jobs: Sequence[Job]) -> StudySpec:
    """Return how to compute, which must be the same for all jobs: only what is computed may differ."""
    first = jobs[0].request.settings
    for job in jobs:
        for name in EXECUTION_FIELDS:
            value, expected = getattr(job.request.settings, name), getattr(first, name)
            allowed = f"must be the same in all jobs of a folded sweep (first {expected!r}); use hydra/launcher=basic"
            require(value == expected, name, value, allowed)
    return first


def open_stores(jobs: Sequence[Job], settings: StudySpec) -> list[StoreJobs]:
    """Open the store of each job; check that what is needed is there and that what will be written can be."""
    by_folder: dict[Path, list[Job]] = {}
    for job in jobs:
        by_folder.setdefault(job.request.results_folder, []).append(job)
    opened = []
    for folder, members in by_folder.items():
        store, names = Store(folder), list(dict.fromkeys(job.request.name for job in members))
        log.debug(f"store {folder}: {len(store.finished())} runs")
        for name in names:
            experiment_file(name)
        drawn = dict.fromkeys(job.request.name for job in members if is_to_be_drawn(job))
        modules = {name: experiment_module(name) for name in drawn}
        for job in members:
            check_analysis(job)
        if settings.mode in COMPUTING:
            store.check_writable()
            for place in {job.sweep if job.in_sweep else figures_folder(job.request) for job in members}:
                check_writable(place)
        if settings.mode == "figure":
            for job in members:
                require_there(job.request, store)
        opened.append(StoreJobs(members, store, modules))
    return opened


def is_to_be_drawn(job: Job) -> bool:
    """Return whether figure and claims are to be made: of a single study, and of a sweep's jobs with mode=figure."""
    mode = job.request.settings.mode
    return mode == "figure" or (mode == "run" and not job.in_sweep)


def check_analysis(job: Job) -> None:
    """Raise `InputError` if a job is to be drawn and lacks what that needs; say so in a plan,
    and which axes make pages."""
    request, planned = job.request, job.request.settings.mode == "plan" and not job.in_sweep
    if request.needs is None or not (planned or is_to_be_drawn(job)):
        return
    try:
        request.needs.require_met(request.name, request.panels)
    except InputError as error:
        if not planned:
            raise
        log.warning(f"warning: {error}")
        return
    parts = split_parts(request.name, request.panels, request.needs)
    if len(parts) > 1:
        log.info(f"note: a page and claims of their own for each of {'; '.join(parts)}, axes that {request.name} does not know")


def check_writable(folder: Path) -> None:
    """Raise an `InputError` before any compute if this folder could not be written afterwards."""
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise InputError("output", str(folder), "cannot be written to")


def print_plans(jobs: Sequence[Job], stores: list[StoreJobs], settings: StudySpec, out: Console) -> list[dict[str, Any]]:
    """Print what would be computed, store by store; return the jobs' outcomes."""
    for part in stores:
        runs = unique_runs(part.jobs)
        tell_what_is_outdated(runs, settings, part.store)
        print_plan(out, plan_runs(runs, settings, part.store))
    return [{"status": "planned", "runs": len(job.request.runs)} for job in jobs]


def run_stores(jobs: Sequence[Job], stores: list[StoreJobs], settings: StudySpec, out: Console) -> list[dict[str, Any]]:
    """Compute and store what is missing (unless mode=figure), draw, and write the results of a sweep's jobs."""
    tables: list[pl.DataFrame] = []
    results: dict[int, dict[str, Any]] = {job.number: {"status": "ok"} for job in jobs}
    leads = settings.worker == 0  # of the processes that share a study one draws and writes the jobs' results
    for part in stores:
        if settings.mode in COMPUTING:
            failures = compute(part.jobs, part.store, settings)
            for failure in failures:  # reported as it happened, and again here, where it will be read
                log.error(f"failed: {describe_runs(failure.runs)}: {failure.reason}")
            tables.append(tabulate_jobs(part.jobs, part.store, failures))
            results |= job_outcomes(part.jobs, tables[-1])
        for job in part.jobs if leads else ():
            if is_to_be_drawn(job) and not results[job.number].get("failed"):
                drawn = draw(job, part.store, part.modules[job.request.name], out)
                results[job.number] |= {} if drawn else {"drawn": False}
    if jobs[0].in_sweep and tables and leads:
        table = pl.concat(tables, how="diagonal_relaxed").sort("job", maintain_order=True)
        write_results(jobs, results, table)
        print_sweep(out, jobs, results)
    return [results[job.number] for job in jobs]


def compute(jobs: Sequence[Job], store: Store, settings: StudySpec) -> list[Failure]:
    """Compute and store what is missing of these jobs' runs, all of them in one plan; return what failed."""
    store.repair(log.warning)
    runs = unique_runs(jobs)
    begun = time.monotonic()
    tell_what_is_outdated(runs, settings, store)
    plan = plan_runs(runs, settings, store)
    log.debug(f"planned {plan.num_runs} runs in {len(plan.groups)} groups in {time.monotonic() - begun:.2f} s")
    for job in jobs if settings.worker == 0 else ():
        for name, text in job.files().items():
            (job.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (job.folder / name).write_text(text)
    store.write_request(map(specs.run_id, runs), size=settings.size)
    if not plan.groups:
        return []
    with Interrupt() as interrupt, LiveProgress(plan) as progress:
        return run_study(plan, store, settings, progress, interrupt)


def unique_runs(jobs: Sequence[Job]) -> list[specs.RunSpec]:
    """Return every run of the jobs once."""
    return list({specs.run_id(run): run for job in jobs for run in job.request.runs}.values())
