"""What the command line does with studies: plan, compute what is missing, store; then draw and judge, or tell of each job.

One study and the ten thousand of a sweep take the same way: the runs of all are one plan a store.
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
from rich.console import Console

from dynamics.cli.progress import Live
from dynamics.cli.report import print_claims, print_frame, print_plan, print_table, summary
from dynamics.core import spec as specs
from dynamics.core.provenance import provenance
from dynamics.engine.distributed import join_processes
from dynamics.engine.interrupt import Interrupt
from dynamics.engine.worker import Failure, describe_runs
from dynamics.errors import InputError, require
from dynamics.store.files import write_file
from dynamics.store.store import Store
from dynamics.study.experiments import experiment_file, experiment_module
from dynamics.study.jobs import Job
from dynamics.study.request import EXECUTION_FIELDS, StudySpec
from dynamics.study.run import load_study, plan_runs, require_there, run_study

SHOWN_JOBS = 40


def run_jobs(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Do what the jobs ask; what came of each: its status (`ok`, `diverged`, `failed`, `planned`) and numbers of runs."""
    out, err = Console(width=None if sys.stdout.isatty() else 160), Console(stderr=True)
    for notice in dict.fromkeys(n for job in jobs for n in job.request.notices):
        print(notice, file=sys.stderr)
    settings = _shared_settings(jobs)
    studies = _open(jobs, settings)  # what is wrong with any of them is told before anything is computed
    output = Path(settings.output)
    with join_processes(settings.worker, settings.workers, settings.coordinator, settings.distributed, output) as (
        worker,
        workers,
    ):
        return _run(jobs, studies, replace(settings, worker=worker, workers=workers), out, err)


def _open(jobs: Sequence[Job], settings: StudySpec) -> list[tuple[list[Job], Store, dict[str, ModuleType]]]:
    """The jobs of each store with the store and their experiments' modules (a plan draws nothing and has none), all checked."""
    by_store: dict[Path, list[Job]] = {}
    for job in jobs:
        by_store.setdefault(job.request.results_folder, []).append(job)
    studies = []
    for folder, members in by_store.items():
        store, files = Store(folder), {job.request.name: experiment_file(job.request.name) for job in members}
        modules = {name: experiment_module(name) for name in files if settings.mode != "plan"}
        if settings.mode == "run":
            store.check_writable()
            for place in {job.sweep if job.in_sweep else job.request.figures_folder for job in members}:
                _check_writable(place)
        for job in members if settings.mode == "figure" else ():
            require_there(job.request, store)
        studies.append((members, store, modules))
    return studies


def _run(jobs: Sequence[Job], studies: list, settings: StudySpec, out: Console, err: Console) -> list[dict[str, Any]]:
    tables: list[pl.DataFrame] = []
    results: dict[int, dict[str, Any]] = {job.number: {"status": "ok"} for job in jobs}
    for members, store, modules in studies:
        if settings.mode == "plan":
            print_plan(out, plan_runs(_union(members), settings, store))
            results |= {job.number: {"status": "planned", "runs": len(job.request.runs)} for job in members}
            continue
        if settings.mode == "run":
            failures = compute(members, store, settings, err)
            for failure in failures:  # told when it happened, and again where it will be read
                print(f"failed: {describe_runs(failure.runs)}: {failure.reason}", file=sys.stderr)
            tables.append(job_table(members, store, failures))
            results |= outcomes(members, tables[-1])
        if settings.worker == 0:  # of the processes that share a study one draws and writes the jobs' results
            for job in members:
                if settings.mode == "figure" or (not job.in_sweep and not results[job.number]["failed"]):
                    draw(job, store, modules[job.request.name], out)
    if jobs[0].in_sweep and tables and settings.worker == 0:
        table = pl.concat(tables, how="diagonal_relaxed").sort("job", maintain_order=True)
        write_results(jobs, results, table)
        print_sweep(out, jobs, results)
    return [results[job.number] for job in jobs]


def _shared_settings(jobs: Sequence[Job]) -> StudySpec:
    """How to go about it, which must be the same for all: only what is computed may differ."""
    first = jobs[0].request.settings
    for job in jobs:
        for name in EXECUTION_FIELDS:
            value = getattr(job.request.settings, name)
            allowed = (
                f"must be the same in all jobs of a folded sweep (first {getattr(first, name)!r}); use hydra/launcher=basic"
            )
            require(value == getattr(first, name), name, value, allowed)
    return first


def compute(jobs: Sequence[Job], store: Store, settings: StudySpec, err: Console) -> list[Failure]:
    """Compute and store what is missing of these jobs' runs; all of them in one plan."""
    store.mend(lambda line: print(line, file=sys.stderr))
    runs = _union(jobs)
    plan = plan_runs(runs, settings, store)
    for job in jobs if settings.worker == 0 else ():
        for name, text in job.files().items():
            (job.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (job.folder / name).write_text(text)
    store.write_asked(map(specs.run_id, runs), size=settings.size)
    if not plan.groups:
        return []
    with Interrupt() as interrupt, Live(plan, err) as live:
        return run_study(plan, store, settings, live, interrupt)


def _union(jobs: Sequence[Job]) -> list[specs.RunSpec]:
    """Every run of the jobs once."""
    return list({specs.run_id(run): run for job in jobs for run in job.request.runs}.values())


def job_table(jobs: Sequence[Job], store: Store, failures: Sequence[Failure] = ()) -> pl.DataFrame:
    """One row a job, panel and run: configuration, status, and the metrics at the run's last record."""
    members = [(job.number, panel, run) for job in jobs for panel, run in job.request.members]
    table = pl.DataFrame(members, schema={"job": pl.Int64, "panel": pl.String, "run": pl.String}, orient="row")
    runs, records = store.read(table["run"].unique())
    if len(records):
        last = records.filter(pl.col("step") == pl.col("step").max().over("run"))
        runs = runs.join(last.drop(c for c in last.columns if c != "run" and c in runs.columns), on="run", how="left")
    reasons = [(specs.run_id(run), failure.reason) for failure in failures for run in failure.runs]
    noted = pl.DataFrame(reasons, schema={"run": pl.String, "reason": pl.String}, orient="row")
    table = table.join(runs, on="run", how="left", maintain_order="left").join(
        noted, on="run", how="left", maintain_order="left"
    )
    status = pl.col("status") if "status" in table.columns else pl.lit(None, pl.String)
    return table.with_columns(status.fill_null("failed").alias("status"))


def outcomes(jobs: Sequence[Job], table: pl.DataFrame) -> dict[int, dict[str, Any]]:
    """What came of each job, by its number."""
    counts = table.unique(["job", "run"]).group_by("job", "status").len()
    by_job: dict[int, Counter[str]] = defaultdict(Counter)
    for number, status, count in counts.iter_rows():
        by_job[number][status] = count
    found = {}
    for job in jobs:
        count = by_job[job.number]
        bad = "diverged" if count["diverged"] and not job.request.settings.may_diverge else "ok"
        status = "failed" if count["failed"] else bad
        found[job.number] = {"status": status, "runs": count.total(), "diverged": count["diverged"], "failed": count["failed"]}
    return found


def draw(job: Job, store: Store, module: Any, out: Console) -> None:
    """Figure, tables and claims of a study, in its figures folder or in the job's own."""
    import matplotlib

    from dynamics.analysis.claims import write_claims
    from dynamics.analysis.figures import style, write_page

    matplotlib.use("Agg")  # the command line writes files and opens no window
    request = job.request
    study = load_study(request, store)
    print(f"{request.name} ({request.settings.size}): {summary(study.runs)}")
    folder = job.folder if job.in_sweep else request.figures_folder
    with style():
        page = module.figure(study)
    name = Path(request.name).name
    written = write_page(page, folder, name)
    claims = [replace(claim, seconds=study.seconds) for claim in module.claims(study)]
    write_claims(claims, folder / f"{name}.claims.json")
    if not job.in_sweep:
        for title, frame in page.shown.items():
            print_frame(out, title, frame)
        print_claims(out, claims)
    for path in written:
        print(path)


def write_results(jobs: Sequence[Job], results: dict[int, dict[str, Any]], table: pl.DataFrame) -> None:
    """`result.json` in every job's folder and, for all together, `results.parquet` and `results.csv` beside those."""
    fields = {path for job in jobs[:1] for path in specs.paths(job.request.runs[0])} | set(provenance())
    told = table.select(c for c in table.columns if c not in fields or (c not in provenance() and table[c].n_unique() > 1))
    own: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in told.iter_rows(named=True):
        own[row.pop("job")].append({name: _json(value) for name, value in row.items() if value is not None})
    for job in jobs:
        about = {"job": job.number, "experiment": job.request.name, "overrides": list(job.overrides), **results[job.number]}
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / "result.json").write_text(
            json.dumps({**about, "results": own[job.number]}, indent=1, allow_nan=False) + "\n"
        )
    if len(jobs) > 1:
        flat = table.select(pl.exclude([name for name, kind in table.schema.items() if kind.is_nested()]))
        write_file(jobs[0].sweep / f"results{_batch(jobs)}.csv", flat.write_csv())
        buffer = io.BytesIO()
        table.write_parquet(buffer)
        write_file(jobs[0].sweep / f"results{_batch(jobs)}.parquet", buffer.getvalue())


def _json(value: Any) -> Any:
    """As JSON has it, which knows no NaN and no infinity: those are null."""
    if isinstance(value, list):
        return [_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _batch(jobs: Sequence[Job]) -> str:
    """Jobs of a sweep launched in batches (`hydra.sweeper.max_batch_size`) have a table a batch."""
    return f".{jobs[0].number}" if jobs[0].number else ""


def print_sweep(out: Console, jobs: Sequence[Job], results: dict[int, dict[str, Any]]) -> None:
    """The jobs that did not end well, or all if they are few, and a line on the whole."""
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    own = {job.number: " ".join(o for o in job.overrides if o not in shared) for job in jobs}
    rows = [{"job": job.number, "overrides": own[job.number], **results[job.number]} for job in jobs]
    shown = rows if len(rows) <= SHOWN_JOBS else [row for row in rows if row["status"] != "ok"][:SHOWN_JOBS]
    print_table(out, "jobs", shown)
    count = Counter(row["status"] for row in rows)
    told = ", ".join(f"{n} {status}" for status, n in count.items())
    out.print(f"{len(jobs)} job{'s' if len(jobs) != 1 else ''}: {told}; in {jobs[0].sweep}", highlight=False, soft_wrap=True)


def _check_writable(folder: Path) -> None:
    """Raise before any compute if this folder could not be written afterwards."""
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise InputError("output", str(folder), "cannot be written to")
