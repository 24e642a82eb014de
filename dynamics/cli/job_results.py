"""The results of a sweep's jobs: one table, a file in each job's folder, and a few lines to read."""

from __future__ import annotations

import io
import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import polars as pl
from rich.console import Console

from dynamics.cli.report import print_table
from dynamics.core import spec as specs
from dynamics.core.provenance import provenance
from dynamics.core.text import counted
from dynamics.engine.worker import Failure
from dynamics.store.files import write_file
from dynamics.store.store import Store
from dynamics.study.jobs import Job
from dynamics.study.older_results import NO_OLDER_RESULTS, find_older_results

SHOWN_JOBS = 40


def tabulate_jobs(jobs: Sequence[Job], store: Store, failures: Sequence[Failure] = ()) -> pl.DataFrame:
    """Return one row a job, panel and run: configuration, status, and the metrics at the run's last record."""
    members = list_members(jobs, store)
    table = pl.DataFrame(members, schema={"job": pl.Int64, "panel": pl.String, "run": pl.String}, orient="row")
    runs, records = store.read(table["run"].unique())
    if len(records):
        last = records.filter(pl.col("step") == pl.col("step").max().over("run"))
        runs = runs.join(last.drop(c for c in last.columns if c != "run" and c in runs.columns), on="run", how="left")
    reasons = [(specs.run_id(run), failure.reason) for failure in failures for run in failure.runs]
    failed = pl.DataFrame(reasons, schema={"run": pl.String, "reason": pl.String}, orient="row")
    table = table.join(runs, on="run", how="left", maintain_order="left").join(
        failed, on="run", how="left", maintain_order="left"
    )
    status = pl.col("status") if "status" in table.columns else pl.lit(None, pl.String)
    return table.with_columns(status.fill_null("failed").alias("status"))


def list_members(jobs: Sequence[Job], store: Store) -> list[tuple[int, str, str]]:
    """Return (job, panel, stored run) of all jobs; with `reuse=older` the run may be one that an
    earlier version made."""
    older = NO_OLDER_RESULTS
    if jobs[0].request.settings.reuse == "older":
        older = find_older_results((run for job in jobs for run in job.request.runs), store)
    return [(job.number, panel, older.stand_in(run)) for job in jobs for panel, run in job.request.members]


def job_outcomes(jobs: Sequence[Job], table: pl.DataFrame) -> dict[int, dict[str, Any]]:
    """Return the outcome of each job by its number: `status` (ok, not_finite, diverged, failed) and numbers of runs."""
    counts = table.unique(["job", "run"]).group_by("job", "status").len()
    by_job: dict[int, Counter[str]] = defaultdict(Counter)
    for number, status, count in counts.iter_rows():
        by_job[number][status] = count
    found = {}
    for job in jobs:
        count = by_job[job.number]
        worst = next((status for status in ("diverged", "not_finite") if count[status]), "ok")
        status = "failed" if count["failed"] else "ok" if job.request.settings.may_diverge else worst
        numbers = {status: count[status] for status in ("diverged", "not_finite", "failed")}
        found[job.number] = {"status": status, "runs": count.total(), **numbers}
    return found


def write_results(jobs: Sequence[Job], results: dict[int, dict[str, Any]], table: pl.DataFrame) -> None:
    """Write `result.json` in every job's folder and, for all together,
    `results.parquet` and `results.csv` beside those."""
    fields = {path for job in jobs[:1] for path in specs.paths(job.request.runs[0])} | set(provenance())
    varying = [c for c in table.columns if c not in fields or (c not in provenance() and table[c].n_unique() > 1)]
    rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in table.select(varying).iter_rows(named=True):
        rows[row.pop("job")].append({name: finite_only(value) for name, value in row.items() if value is not None})
    for job in jobs:
        about = {"job": job.number, "experiment": job.request.name, "overrides": list(job.overrides), **results[job.number]}
        job.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**about, "results": rows[job.number]}, indent=1, allow_nan=False)
        (job.folder / "result.json").write_text(f"{text}\n")
    if len(jobs) > 1:
        flat = table.select(pl.exclude([name for name, kind in table.schema.items() if kind.is_nested()]))
        write_file(jobs[0].sweep / f"results{batch_suffix(jobs)}.csv", flat.write_csv())
        buffer = io.BytesIO()
        table.write_parquet(buffer)
        write_file(jobs[0].sweep / f"results{batch_suffix(jobs)}.parquet", buffer.getvalue())


def finite_only(value: Any) -> Any:
    """Return the value with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, list):
        return [finite_only(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def batch_suffix(jobs: Sequence[Job]) -> str:
    """Return what sets apart the tables of a sweep launched in batches (`hydra.sweeper.max_batch_size`)."""
    return f".{jobs[0].number}" if jobs[0].number else ""


def print_sweep(out: Console, jobs: Sequence[Job], results: dict[int, dict[str, Any]]) -> None:
    """Print the jobs that did not end well, or all if they are few, and a line on the whole."""
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    own = {job.number: " ".join(o for o in job.overrides if o not in shared) for job in jobs}
    rows = [{"job": job.number, "overrides": own[job.number], **results[job.number]} for job in jobs]
    shown = rows if len(rows) <= SHOWN_JOBS else [row for row in rows if row["status"] != "ok"][:SHOWN_JOBS]
    print_table(out, "jobs", shown)
    numbers = Counter(row["status"] for row in rows)
    by_status = ", ".join(f"{number} {status}" for status, number in numbers.items())
    out.print(f"{counted(len(jobs), 'job')}: {by_status}; in {jobs[0].sweep}", highlight=False, soft_wrap=True)
