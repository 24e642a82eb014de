"""Several processes that work on one plan."""

from __future__ import annotations

import threading

from filelock import FileLock
from work_cases import TWO_GROUPS, Diary, do, ids_of, plan_of, runs_of, same

from dynamics.core.simulate import ResumeState
from dynamics.engine import checkpoint
from dynamics.engine.execute import Executor
from dynamics.engine.interrupt import Interrupt
from dynamics.engine.worker import ExecutionOptions, work_on_plan
from dynamics.store.store import Store, chunk_name


def test_a_chunk_that_another_process_has_comes_last_and_is_not_computed_again(tmp_path, reference):
    """The other holds the lock of the first group, and stores it while we are at the second."""
    plan, how = plan_of(TWO_GROUPS), ExecutionOptions(save_final=True)
    first, *_ = plan.groups
    name = chunk_name(first.chunks[0], with_final=True)
    (tmp_path / "work" / name).mkdir(parents=True)
    lock = FileLock(tmp_path / "work" / name / "lock", thread_local=False)
    lock.acquire()
    result = Executor().compute(first, first.chunks[0])

    def finish():
        Store(tmp_path).write(result, save_final=True)
        lock.release()

    threading.Timer(1.5, finish).start()
    diary, store = Diary(), Store(tmp_path)
    work_on_plan(plan, store, how, Interrupt(), diary)
    assert len(diary.begun) == 1
    assert store.finished() == set(ids_of(TWO_GROUPS))  # what the other stored is seen
    same(tmp_path, reference, ids_of(TWO_GROUPS))


def test_a_chunk_whose_process_died_is_taken_over(tmp_path, reference):
    """It has left its lock file, a checkpoint of another program and a half-written part."""
    plan, how = plan_of(TWO_GROUPS), ExecutionOptions(save_final=True)
    name = chunk_name(plan.groups[0].chunks[0], with_final=True)
    (tmp_path / "work" / name).mkdir(parents=True)
    (tmp_path / "work" / name / "lock").touch()
    checkpoint.write_checkpoint(tmp_path / "work" / name / "checkpoint", "other", ResumeState(7, {}, [], []))
    (tmp_path / "parts" / f".{name}~half").mkdir(parents=True)
    work_on_plan(plan, Store(tmp_path), how, Interrupt(), Diary())
    same(tmp_path, reference, ids_of(TWO_GROUPS))
    assert not list((tmp_path / "parts").glob(".*"))


def test_workers_begin_at_different_chunks_and_a_long_group_is_cut_for_them(tmp_path):
    one = plan_of(TWO_GROUPS, workers=1, compile_seconds=0.0)
    three = plan_of(TWO_GROUPS, workers=3, compile_seconds=0.0)
    assert [len(g.chunks) for g in one.groups] == [1, 1]
    assert [len(g.chunks) for g in three.groups] == [3, 3]
    begun = []
    for worker in range(3):
        diary = Diary()
        work_on_plan(three, Store(tmp_path / str(worker)), ExecutionOptions(worker=worker, workers=3), Interrupt(), diary)
        assert len(diary.begun) == 6
        begun.append(sorted(p.name for p in (tmp_path / str(worker) / "parts").iterdir()))
    assert begun[0] == begun[1] == begun[2]


def test_what_another_chunk_of_the_same_runs_is_writing_is_no_leftover(tmp_path):
    """With and without final states a chunk's names begin alike."""
    name = chunk_name(runs_of(), with_final=False)
    store = Store(tmp_path)
    writing = tmp_path / "parts" / f".{name}-final~123"
    own = tmp_path / "parts" / f".{name}~123"
    for folder in (writing, own):
        folder.mkdir(parents=True)
    with store.claim(name):
        assert writing.exists() and not own.exists()


def test_a_part_that_another_process_has_mended_stays(tmp_path):
    do(tmp_path, runs_of())
    (part,) = (tmp_path / "parts").iterdir()
    sound = (part / "runs.parquet").read_bytes()
    (part / "runs.parquet").write_bytes(sound[:50])
    late = Store(tmp_path)
    assert late.damaged
    (part / "runs.parquet").write_bytes(sound)
    told = []
    late.repair(told.append)
    assert not told and part.exists() and late.finished() == set(ids_of(runs_of()))
