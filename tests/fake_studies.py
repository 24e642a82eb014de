"""Studies whose tables were never computed: every column is a function of the run and the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from dynamics.core import spec as specs
from dynamics.core.spec import RunSpec
from dynamics.store.encoding import encode_config
from dynamics.store.store import Store
from dynamics.study.config import compose
from dynamics.study.tables import Study


def fake_study(name: str, *overrides: str, columns: Mapping[str, Callable[[Any, int], float]]) -> Study:
    """Return the study that the overrides ask for, with these metrics at every step that is due."""
    request = compose(name, *overrides)
    ended = {"status": "ok", "diverged_at": None, "seconds": 1.0, "compile_seconds": 0.0, "group": "", "created": ""}
    rows = [{"run": specs.run_id(run), "system": run.system, **encode_config(run), **ended} for run in request.runs]
    records = [
        {"run": specs.run_id(run), "step": step, **{column: float(value(run, step)) for column, value in columns.items()}}
        for run in request.runs
        for step in _schedule(run)
    ]
    members = pl.DataFrame(request.members, schema={"panel": pl.String, "run": pl.String}, orient="row")
    runs = members.join(pl.DataFrame(rows, infer_schema_length=None), on="run", how="left", maintain_order="left")
    config = runs.select("panel", *(c for c in runs.columns if c == "run" or c in specs.paths(request.runs[0])))
    joined = config.join(pl.DataFrame(records, infer_schema_length=None), on="run", how="left", maintain_order="left")
    by_id = {specs.run_id(run): run for run in request.runs}
    return Study(name, request.settings.size, runs, joined, Store(Path("nowhere")), by_id, True, request.needs)


def _schedule(run: RunSpec) -> tuple[int, ...]:
    return tuple(run.record.schedule(run.steps))
