"""`dynamics export`: a study's tables as one file for other programs: CSV, Parquet, or netCDF for xarray."""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from dynamics.errors import InputError, choose, require
from dynamics.store.files import flush_to_disk
from dynamics.study import trust
from dynamics.study.config import compose
from dynamics.study.run import find_missing, load_study, open_store
from dynamics.study.tables import Study

TABLES = ("records", "runs")
SUFFIXES = (".csv", ".parquet", ".nc")


def export(name: str, overrides: list[str], target: str | Path, *, table: str | None = None, overwrite: bool = False) -> int:
    """Write a finished study to the file `target`, whole or not at all; return its number of runs.

    table: `records` (where nothing is said) or `runs`; a netCDF file holds both.
    """
    named, target = bool(str(target)), Path(target)
    require(named, "to", str(target) if named else "", f"name the file to write, ending in {', '.join(SUFFIXES)}")
    require(target.suffix in SUFFIXES, "to", str(target), f"must end in one of {', '.join(SUFFIXES)}")
    require(target.suffix != ".nc" or table is None, "table", table, "a netCDF file holds runs and records together")
    choose("table", table or "records", dict.fromkeys(TABLES))
    require(overwrite or not target.exists(), "to", str(target), "exists already; add --overwrite to replace it")
    require(not target.is_dir(), "to", str(target), "is a folder")
    missing = [package for package in ("xarray", "netCDF4") if importlib.util.find_spec(package) is None]
    if target.suffix == ".nc" and missing:
        allowed = f"needs {' and '.join(missing)}: pip install 'learning-dynamics[xarray]'"
        raise InputError("to", str(target), allowed)

    study = open_finished(name, *overrides)
    with new_file(target) as file:
        if target.suffix == ".nc":
            from dynamics.study.labelled import to_dataset

            to_dataset(study).to_netcdf(file, engine="netcdf4")
        elif target.suffix == ".parquet":
            build_export_table(study, table or "records").write_parquet(file)
        else:
            encode_lists_as_json(build_export_table(study, table or "records")).write_csv(file)
    return study.runs["run"].n_unique()


def open_finished(name: str, *overrides: str) -> Study:
    """Return the study from its store; an `InputError` if some of its runs are not there."""
    trust.check([f"experiment={name}", *overrides])
    request = compose(name, *overrides)
    store = open_store(request)
    missing = find_missing(request, store)
    allowed = f"{len(missing)} of its {len(request.runs)} runs are not in {store.folder}; run it first, with the same overrides"
    require(not missing, "experiment", name, allowed)
    return load_study(request, store)


def build_export_table(study: Study, table: str) -> pl.DataFrame:
    """Return the run table, or the record table with the configuration and the status of its run in every row."""
    if table == "runs":
        return study.runs
    status = study.runs.select("run", "status").unique("run")
    records = study.records.join(status, on="run", how="left", maintain_order="left")
    return records.select("panel", "run", "status", pl.exclude("panel", "run", "status"))


def encode_lists_as_json(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the same table with vectors and matrices as JSON, for formats that have none."""
    nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
    columns = [
        pl.Series(name, [None if value is None else json.dumps(value) for value in frame[name].to_list()], pl.String)
        for name in nested
    ]
    return frame.with_columns(columns)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A name to write to, whose file becomes `target` when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        file = Path(folder) / target.name
        yield file
        flush_to_disk(file)
        os.replace(file, target)
    flush_to_disk(target.parent)
