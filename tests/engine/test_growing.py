"""More seeds, more steps: what was there stays."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest
from work_cases import TWO_GROUPS, do, ids_of, plan_of, runs_of, same

from dynamics.core import spec as specs
from dynamics.core.recording import RecordSpec
from dynamics.engine.worker import ExecutionOptions
from dynamics.store.files import write_manifest
from dynamics.store.store import Store
from dynamics.systems.one_sample_descent import CatapultSpec


def test_a_plan_does_not_depend_on_how_far_it_was_carried_out():
    whole = plan_of(TWO_GROUPS, workers=3, compile_seconds=0.0)
    done = set(ids_of(whole.groups[0].chunks[0])) | set(ids_of(whole.groups[1].chunks[2]))
    rest = plan_of(TWO_GROUPS, there=done, workers=3, compile_seconds=0.0)
    assert [g.chunks for g in rest.groups] == [whole.groups[0].chunks[1:], whole.groups[1].chunks[:2]]
    assert rest.num_stored == len(done)


def test_more_seeds_are_computed_alone_and_those_that_were_there_stay(tmp_path):
    store, _, _ = do(tmp_path, runs_of(range(4)))
    before = store.read(ids_of(runs_of(range(4))))[1]
    _, diary, _ = do(tmp_path, runs_of(range(6)))
    assert diary.begun == [(20, 2)]
    assert Store(tmp_path).read(ids_of(runs_of(range(4))))[1].equals(before)


@pytest.mark.parametrize("ratio", [1.5, 4.5], ids=["converging", "diverging"])
def test_more_steps_go_on_from_the_shorter_runs(tmp_path, ratio):
    """To the very numbers of runs that were long from the start."""

    def long(steps):
        runs = [CatapultSpec(seed, steps, RecordSpec(num=0, at=[1, 5, 100]), form="net", width=4) for seed in range(5)]
        return [specs.freeze(specs.put(run, {"edge_ratio": ratio}).resolve()) for run in runs]

    how = ExecutionOptions(save_final=True)
    do(tmp_path / "grown", long(200), how)
    _, grown, _ = do(tmp_path / "grown", long(500), how)
    _, fresh, _ = do(tmp_path / "fresh", long(500), how)
    assert grown.at[0] == 200 and fresh.at[0] == 0
    same(tmp_path / "grown", tmp_path / "fresh", ids_of(long(500)))
    ours, theirs = (Store(tmp_path / name).final(ids_of(long(500))[3]) for name in ("grown", "fresh"))
    assert all(np.array_equal(ours[path], value, equal_nan=True) for path, value in theirs.items())


def test_steps_that_were_not_recorded_or_kept_are_computed_from_the_start(tmp_path):
    for i, (first, how) in enumerate([({}, ExecutionOptions()), ({"record.at": [7]}, ExecutionOptions(save_final=True))]):
        do(tmp_path / str(i), [specs.put(run, {**first}) for run in runs_of()], how)
        longer = [specs.put(run, {"steps": 800, **({} if not first else {"record.at": [9]})}) for run in runs_of()]
        _, diary, _ = do(tmp_path / str(i), longer, ExecutionOptions(save_final=True))
        assert diary.at[0] == 0


def test_the_comparison_tells_stores_apart_that_differ_in_one_bit(tmp_path, reference):
    """A control for every `same` above."""
    shutil.copytree(reference / "parts", tmp_path / "parts")
    same(tmp_path, reference, ids_of(TWO_GROUPS))
    part = next((tmp_path / "parts").iterdir())
    records = pl.read_parquet(part / "records.parquet")
    name = next(c for c, kind in records.schema.items() if kind == pl.Float32)
    bits = records[name].to_numpy().view(np.uint32).copy()
    bits[-1] ^= 1
    records.with_columns(pl.Series(name, bits.view(np.float32))).write_parquet(part / "records.parquet")
    write_manifest(part)
    with pytest.raises(AssertionError):
        same(tmp_path, reference, ids_of(TWO_GROUPS))
