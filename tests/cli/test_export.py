"""`dynamics export`: tables as the study has them, in every format."""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command_stores import NAME, OVERRIDES

from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.store.store import Store
from dynamics.study.config import compose
from dynamics.study.run import open_study


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    request = compose(NAME, *OVERRIDES)
    store = Store(folder / "results" / NAME)
    for result in Executor().compute_plan(make_plan(request.runs)):
        store.write(result)
    return folder


@pytest.fixture
def study(output):
    return open_study(NAME, *OVERRIDES, f"output={output}")


@pytest.fixture
def export(cli, output):
    def call(*arguments):
        return cli("export", f"experiment={NAME}", *OVERRIDES, f"output={output}", *arguments)

    return call


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_exported_tables_are_the_studys_own(suffix, export, study):
    assert export(f"to=records.{suffix}")[0] == 0
    assert export(f"to=runs.{suffix}", "table=runs")[0] == 0
    read = pl.read_parquet if suffix == "parquet" else lambda file: pl.read_csv(file, infer_schema_length=None)
    runs, records = read(f"runs.{suffix}"), read(f"records.{suffix}")
    status = {row["run"]: row["status"] for row in study.runs.iter_rows(named=True)}
    assert records["status"].to_list() == [status[run] for run in records["run"]]
    for found, own in ((runs, study.runs), (records.drop("status"), study.records)):
        assert set(found.columns) == set(own.columns)
        if suffix == "csv":
            found = found.cast({name: own[name].dtype for name in own.columns})
            own = own.with_columns(pl.col(pl.String).replace("", None))
            found = found.with_columns(pl.col(pl.String).replace("", None))
        assert found.select(own.columns).equals(own)
    assert set(os.listdir()) == {f"records.{suffix}", f"runs.{suffix}"}


def test_an_export_replaces_a_file_only_if_told_to(export):
    Path("x.csv").write_text("mine")
    code, _, err = export("to=x.csv")
    assert (code, Path("x.csv").read_text()) == (2, "mine")
    assert "--overwrite" in err
    assert export("to=x.csv", "--overwrite")[0] == 0
    assert Path("x.csv").read_text().startswith("panel,run,status,")


def test_an_export_that_fails_leaves_nothing(export, monkeypatch):
    def full(self, file):
        Path(file).write_text("half")
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(pl.DataFrame, "write_csv", full)
    assert export("to=x.csv")[0] == 3
    assert os.listdir() == []


def test_vectors_are_kept_in_every_format(study):
    from dynamics.study.export import encode_lists_as_json

    frame = pl.DataFrame({"a": [1, 2, 3], "v": [[1.5, float("nan")], [0.1], None], "m": np.arange(12.0).reshape(3, 2, 2)})
    text = encode_lists_as_json(frame)
    assert text["a"].to_list() == [1, 2, 3]
    assert text["v"].to_list() == ["[1.5, NaN]", "[0.1]", None]
    assert json.loads(text["m"][2]) == [[8.0, 9.0], [10.0, 11.0]]


def test_netcdf_holds_runs_by_steps_with_everything_along_them(export, study):
    xr = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    assert export("to=x.nc")[0] == 0
    with xr.open_dataset("x.nc") as data:
        runs = study.runs.unique("run", maintain_order=True)
        assert data["run"].values.tolist() == runs["run"].to_list()
        assert data["step"].values.tolist() == sorted(set(study.records["step"]))
        for name in ("edge_ratio", "form", "width", "status", "record.num"):
            assert data[name].dims == ("run",) and data[name].values.tolist() == runs[name].to_list()
        np.testing.assert_array_equal(data["diverged_at"], runs["diverged_at"].cast(float).to_numpy())
        records = study.records.unique(["run", "step"])
        assert int(data["loss"].notnull().sum()) == len(records.filter(pl.col("loss").is_not_nan()))
        assert len(records) < data["loss"].size  # growth has another schedule, and a run diverges
        assert set(data["status"].values) == {"ok", "diverged"}
        for record in records.iter_rows(named=True):
            for metric in ("loss", "kernel", "output", "edge"):
                np.testing.assert_equal(data[metric].sel(run=record["run"], step=record["step"]).item(), record[metric])
        for panel in study.values("panel"):
            inside = data["run"][data["in_panel"].sel(panel=panel).values].values
            assert set(inside) == set(study.select(panel=panel).runs["run"])
        assert data.attrs["experiment"] == NAME and data.attrs["version_jax"] and "command" in data.attrs
        grid = data.isel(run=data["in_panel"].sel(panel="growth").values).set_index(run=["width"]).rename(run="width_")
        expected, (widths, steps) = study.select(panel="growth").grid("loss", "width", "step")
        np.testing.assert_array_equal(grid["loss"].sel(step=steps).sortby("width_"), expected)
        assert grid["width_"].values.tolist() == widths


def test_vectors_become_axes_of_their_own(study):
    pytest.importorskip("xarray")
    from dataclasses import replace

    from dynamics.study.labelled import to_dataset

    vectors = [[float(i)] * (1 + i % 3) for i in range(len(study.records))]
    records = study.records.with_columns(pl.Series("spectrum", vectors), pl.col("loss").cast(pl.Float32))
    data = to_dataset(replace(study, records=records))
    assert data["spectrum"].dims == ("run", "step", "spectrum_0") and data.sizes["spectrum_0"] == 3
    assert data["loss"].dtype == np.float32
    for record in records.unique(["run", "step"], keep="first").iter_rows(named=True):
        found = data["spectrum"].sel(run=record["run"], step=record["step"]).values
        np.testing.assert_array_equal(found, record["spectrum"] + [np.nan] * (3 - len(record["spectrum"])))


def test_without_xarray_the_extra_is_named(export, monkeypatch):
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "xarray" else there(name, *a))
    code, _, err = export("to=x.nc")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "pip install 'learning-dynamics[xarray]'" in err
