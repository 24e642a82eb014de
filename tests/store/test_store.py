"""The store: nothing is lost, nothing is computed twice."""

import json
import os
import shutil

import numpy as np
import polars as pl
import pytest

from dynamics.core import spec as specs
from dynamics.engine.axes import expand_runs, parse_axes
from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.errors import InputError
from dynamics.store import files
from dynamics.store.store import FORMAT, Store
from dynamics.systems.one_sample_descent import CatapultSpec
from dynamics.systems.training import TrainingSpec


def results_of(tree, base=None):
    base = specs.freeze(base or TrainingSpec(steps=20, measures=["train_loss", "weight_norm"]))
    runs = expand_runs(base, parse_axes(tree, base))
    return runs, list(Executor().compute_plan(make_plan(runs)))


@pytest.fixture(scope="module")
def computed():
    return results_of({"seed": [0, 1, 2], "data": {"num_samples": 8}, "model": {"width": 4}})


def test_round_trip(tmp_path, computed):
    runs, (result,) = computed
    Store(tmp_path).write(result)
    table, records = Store(tmp_path).read([specs.run_id(r) for r in runs])
    assert set(table["run"]) == {specs.run_id(r) for r in runs}
    for i, run in enumerate(result.runs):
        row = table.row(by_predicate=pl.col("run") == specs.run_id(run), named=True)
        assert {path: row[path] for path in specs.swept(TrainingSpec)} == {
            p: specs.get(run, p) for p in specs.swept(TrainingSpec)
        }
        assert (row["seed"], row["status"], row["steps_done"], row["loss_factor"]) == (run.seed, "ok", 20, 1.0)
        own = records.filter(pl.col("run") == specs.run_id(run)).sort("step")
        assert own["step"].to_list() == list(result.trajectory.steps)
        np.testing.assert_array_equal(own["train_loss"], result.trajectory.records["train_loss"][i])
        assert own["loss_factor"].unique().to_list() == [1.0]
    assert {"device", "num_devices", "version_jax", "git_commit", "git_dirty", "command", "seconds"} <= set(table.columns)


def test_a_diverged_run_keeps_its_records_up_to_the_first_that_is_not_finite(tmp_path):
    base = CatapultSpec(precision="float64", steps=2000, width=100)
    runs, (result,) = results_of({"edge_ratio": [1.0, 4.5]}, base)
    Store(tmp_path).write(result)
    table, records = Store(tmp_path).read([specs.run_id(r) for r in runs])
    good, bad = (table.row(by_predicate=pl.col("edge_ratio") == r, named=True) for r in (1.0, 4.5))
    assert (good["status"], good["diverged_at"], good["steps_done"]) == ("ok", None, 2000)
    assert bad["status"] == "diverged"
    last = records.filter(pl.col("run") == bad["run"])["step"].max()
    assert bad["diverged_at"] == bad["steps_done"] == last < 2000
    assert records.filter(pl.col("run") == good["run"])["loss"].is_finite().all()


def test_final_states_are_kept_on_request_and_only_then(tmp_path, computed):
    runs, (result,) = computed
    store = Store(tmp_path)
    store.write(result)
    first = specs.run_id(result.runs[0])
    assert store.finished(with_final=True) == set()
    with pytest.raises(InputError, match="save_final"):
        store.final(first)
    store.write(result, save_final=True)
    arrays = Store(tmp_path).final(first)
    np.testing.assert_array_equal(arrays["params/hidden"], np.asarray(result.trajectory.state.params.hidden[0]))
    assert Store(tmp_path).finished(with_final=True) == {specs.run_id(r) for r in runs}
    table, records = Store(tmp_path).read([first])
    assert (len(table), records["step"].is_duplicated().any()) == (1, False)


def test_an_interrupted_write_leaves_finished_parts_and_nothing_else(tmp_path, computed, monkeypatch):
    _, (result,) = computed
    Store(tmp_path).write(result)
    other = result._replace(runs=tuple(specs.put(run, {"seed": 5 + run.seed}) for run in result.runs))

    def full(path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "flush_to_disk", full)
    with pytest.raises(OSError, match="No space left"):
        Store(tmp_path).write(other)
    monkeypatch.undo()
    assert Store(tmp_path).finished() == {specs.run_id(r) for r in result.runs}
    assert len(os.listdir(tmp_path / "parts")) == 1


def test_a_part_that_was_never_finished_is_not_read(tmp_path, computed):
    _, (result,) = computed
    part = Store(tmp_path).write(result)
    os.rename(part, part.parent / ".tmp123")
    assert Store(tmp_path).finished() == set()


def test_a_store_of_another_format_is_refused_and_left_alone(tmp_path, computed):
    _, (result,) = computed
    Store(tmp_path).write(result)
    (tmp_path / "store.json").write_text(json.dumps({"format": 99}))
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(InputError, match="format 99"):
        Store(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


DAMAGES = {
    "torn": lambda file: file.write_bytes(file.read_bytes()[:100]),
    "one bit": lambda file: file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:]),
    "a byte more": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("name", ["runs.parquet", "records.parquet", "checksums.json", "final/params/hidden.npy"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_and_its_part_set_aside(tmp_path, computed, name, damage):
    _, (result,) = computed
    part = Store(tmp_path).write(result, save_final=True)
    DAMAGES[damage](part / name)
    if (name, damage) == ("checksums.json", "a byte more"):
        (part / name).write_text("{")
    store, told = Store(tmp_path), []
    store.repair(told.append)
    assert len(told) == 1 and name.split("/")[-1] in told[0] and "3 runs" in told[0].replace("its runs", "3 runs")
    assert store.finished() == set()
    assert not part.exists() and len(list((tmp_path / "damaged").iterdir())) == 1
    store.write(result, save_final=True)
    assert Store(tmp_path).finished(with_final=True) == {specs.run_id(run) for run in result.runs}


def test_reading_damaged_records_names_the_file(tmp_path, computed):
    _, (result,) = computed
    part = Store(tmp_path).write(result)
    DAMAGES["one bit"](part / "records.parquet")
    with pytest.raises(InputError, match=r"records\.parquet does not match its checksum"):
        Store(tmp_path).read([specs.run_id(run) for run in result.runs])


def test_a_lost_marker_is_written_anew_and_a_torn_one_too(tmp_path, computed):
    _, (result,) = computed
    for content in (None, "{"):
        Store(tmp_path).write(result)
        (tmp_path / "store.json").unlink() if content is None else (tmp_path / "store.json").write_text(content)
        store = Store(tmp_path)
        assert len(store.finished()) == 3
        store.write(result)
        assert json.loads((tmp_path / "store.json").read_text())["format"] == FORMAT


def test_a_store_of_the_first_format_is_read_and_gets_checksums(tmp_path, computed):
    """Format 1: no checksums, a file a final state."""
    _, (result,) = computed
    part = Store(tmp_path).write(result, save_final=True)
    ids = [specs.run_id(run) for run in result.runs]
    expected = [Store(tmp_path).final(run) for run in ids]
    (part / "checksums.json").unlink()
    shutil.rmtree(part / "final")
    (part / "final").mkdir()
    for run, arrays in zip(ids, expected, strict=True):
        np.savez(part / "final" / f"{run}.npz", **arrays)
    (tmp_path / "store.json").write_text('{"format": 1}')
    store = Store(tmp_path)
    assert store.finished(with_final=True) == set(ids)
    for run, arrays in zip(ids, expected, strict=True):
        assert all(np.array_equal(store.final(run)[name], value) for name, value in arrays.items())
    store.repair()
    assert json.loads((tmp_path / "store.json").read_text())["format"] == FORMAT
    DAMAGES["one bit"](part / "runs.parquet")
    assert Store(tmp_path).finished() == set()


def test_two_that_write_the_same_part_leave_one(tmp_path, computed):
    _, (result,) = computed
    first, second = Store(tmp_path), Store(tmp_path)
    before = first.write(result)
    assert second.write(result) == before
    assert [p.name for p in (tmp_path / "parts").iterdir()] == [before.name]
    assert Store(tmp_path).finished() == {specs.run_id(run) for run in result.runs}


def test_opening_a_store_creates_nothing(tmp_path):
    Store(tmp_path / "new").check_writable()
    assert not (tmp_path / "new").exists()


def test_no_pickle_is_written_or_read(tmp_path, computed):
    _, (result,) = computed
    part = Store(tmp_path).write(result, save_final=True)
    assert {p.suffix for p in part.rglob("*") if p.is_file()} == {".parquet", ".npy", ".json"}
    for file in part.rglob("*.npy"):
        assert np.load(file, allow_pickle=False).dtype != object
