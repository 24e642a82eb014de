"""A study as an `xarray.Dataset`: what is measured over runs and steps, what was asked along the runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import xarray as xr

from dynamics.core import spec as specs
from dynamics.study.contents import StudyContents


def to_dataset(study: StudyContents) -> xr.Dataset:
    """Return metrics as variables over (run, step) and their own axes, NaN where there is no such record.

    Along `run`, as coordinates: every config field, `status` and all else that the run table says, except for what is
    the same for all runs and no config field (device, versions, command, ...): these are attributes. `in_panel` over
    (panel, run) says which panels a run is in.
    """
    fields = specs.paths(next(iter(study.specs.values())))
    runs = study.runs.drop("panel").unique("run", maintain_order=True)
    records = study.records.drop("panel", *fields).unique(["run", "step"], maintain_order=True).drop_nulls("step")
    steps = records["step"].unique().sort()

    own = [c for c in runs.columns if c not in records.columns]  # what is recorded too (the loss factor) is a variable
    shared = [c for c in own if c not in (*fields, "status") and runs[c].n_unique() == 1 and not runs[c].null_count()]
    coordinates: dict[str, Any] = {c: ("run", column_to_array(runs[c])) for c in own if c not in shared}
    attributes = {c: to_netcdf_attribute(runs[c][0]) for c in shared}
    attributes |= {"experiment": study.name, "size": study.size, "exported": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}

    panels = study.runs["panel"].unique(maintain_order=True).to_list()
    members = set(study.runs.select("panel", "run").iter_rows())
    inside = np.array([[(panel, run) in members for run in runs["run"]] for panel in panels])
    variables: dict[str, Any] = {"in_panel": (("panel", "run"), inside)}

    row = {run: i for i, run in enumerate(runs["run"])}
    where = np.array([row[run] for run in records["run"]], int), steps.search_sorted(records["step"]).to_numpy()
    for name in records.columns:
        if name not in ("run", "step"):
            values = spread_records(records[name], where, (len(runs), len(steps)))
            variables[name] = (("run", "step", *(f"{name}_{axis}" for axis in range(values.ndim - 2))), values)
    coordinates |= {"run": column_to_array(runs["run"]), "step": steps.to_numpy(), "panel": np.array(panels)}
    return xr.Dataset(variables, coordinates, attributes)


def column_to_array(column: pl.Series) -> np.ndarray:
    """Return a column as an array; where a number is missing it is NaN, where a text is missing it is empty."""
    if column.dtype == pl.String:
        return np.array(column.fill_null("").to_list())
    if column.dtype == pl.Null or column.null_count():
        return column.cast(pl.Float64).to_numpy()
    return column.to_numpy()


def to_netcdf_attribute(value: Any) -> Any:
    """netCDF has no truth values."""
    return int(value) if isinstance(value, bool) else value


def spread_records(column: pl.Series, where: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return a metric's records over (run, step, own axes);
    a vector that is shorter than others is filled up with NaN."""
    dtype = column.dtype
    while isinstance(dtype, pl.List | pl.Array):
        dtype = dtype.inner
    kind = np.float32 if dtype == pl.Float32 else np.float64
    if not column.dtype.is_nested():
        array = np.full(shape, np.nan, kind)
        array[where] = column_to_array(column)
        return array
    values = column.to_list()
    array = np.full((*shape, *enclosing_shape(values)), np.nan, kind)
    for run, step, value in zip(*where, values, strict=True):
        if value is not None:
            own = np.array(value, kind)
            array[(run, step, *(slice(length) for length in own.shape))] = own
    return array


def enclosing_shape(values: list) -> tuple[int, ...]:
    """Return the smallest shape that every one of these nested lists fits into."""
    shapes = [np.shape(value) for value in values if value is not None]
    return tuple(max(lengths) for lengths in zip(*shapes, strict=True))
