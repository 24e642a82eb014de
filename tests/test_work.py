"""Working on a plan: by several, in parts, from a checkpoint, past what cannot be computed; to the same store always."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading

import jax
import numpy as np
import polars as pl
import pytest
from faults import WHEN
from filelock import FileLock

from dynamics.core import spec as specs
from dynamics.core.recording import RecordSpec
from dynamics.core.simulate import FINITE, ResumeState, SegmentHook
from dynamics.store.files import write_manifest
from dynamics.store.store import Store, chunk_name
from dynamics.sweep import checkpoint
from dynamics.sweep.checkpoint import Checkpoints
from dynamics.sweep.execute import Executor
from dynamics.sweep.interrupt import Interrupt, Stopped
from dynamics.sweep.plan import make_plan
from dynamics.sweep.worker import ExecutionOptions, ProgressReporter, work
from dynamics.systems.catapult import CatapultSpec


class Diary(ProgressReporter):
    """Writes down what it is told."""

    def __init__(self):
        self.told, self.begun, self.at = [], [], []

    def watch(self, group, runs):
        self.begun.append((group.static.width, len(runs)))
        return lambda step, record: self.at.append(step)

    def tell(self, line):
        self.told.append(line)


def runs_of(seeds=range(6), width=20, form="map", **values):
    base = CatapultSpec(0, 400, RecordSpec(num=0, at=[1, 100, 200, 300]), "float32", form=form, width=width)
    runs = [specs.put(base, {"seed": seed, "edge_ratio": 0.5 + 0.4 * seed, **values}) for seed in seeds]
    return [specs.freeze(run.resolve()) for run in runs]


TWO_GROUPS = [*runs_of(), *runs_of(form="net", width=4)]


def plan_of(runs, there=frozenset(), workers=1, **machine):
    plan = make_plan(runs, there=there, workers=workers)
    return make_plan(runs, plan.machine._replace(**machine), there, workers)


def do(folder, runs, how=None, interrupt=None, executor=None, **machine):
    """Work on these runs as far as the folder does not have them; (store, diary, failures)."""
    store, diary, how = Store(folder), Diary(), how or ExecutionOptions()
    plan = plan_of(runs, store.finished(with_final=how.save_final), how.workers, **machine)
    failures = work(plan, store, how, interrupt or Interrupt(), diary, executor or Executor(plan.machine.memory))
    return store, diary, failures


def same(one, other, ids):
    """Bit for bit, but for what tells when and how long."""
    for own, expected in zip(Store(one).read(ids), Store(other).read(ids), strict=True):
        own, expected = (t.drop([c for c in (*WHEN, "group") if c in t.columns]) for t in (own, expected))
        order = [c for c in ("run", "step") if c in own.columns]
        assert own.sort(order).equals(expected.sort(order).select(own.columns))


def ids_of(runs):
    return [specs.run_id(run) for run in runs]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    _, diary, failures = do(folder, TWO_GROUPS, ExecutionOptions(save_final=True))
    assert not failures and len(diary.begun) == 2
    return folder


# ---- pieces and checkpoints


class Counting(SegmentHook):
    """Cuts segments into pieces of so many steps and saves at every boundary."""

    def __init__(self, steps, stop=None):
        self.steps, self.stop, self.saved = steps, stop, []

    def piece(self, steps):
        return min(steps, self.steps)

    def due(self):
        return True

    def save(self, partway):
        state = jax.tree.map(np.array, partway.state)
        self.saved.append(ResumeState(partway.step, state, list(partway.steps), list(partway.records)))
        if self.stop is not None and partway.step >= self.stop:
            raise Stopped(signal.SIGTERM)


@pytest.mark.parametrize("ratio", [1.5, 4.5], ids=["converging", "diverging"])
@pytest.mark.parametrize("stop", [1, 37, 100, 137, 400])
def test_a_run_cut_into_pieces_and_gone_on_with_is_the_run_in_one_go(ratio, stop):
    (run,) = runs_of([0], edge_ratio=ratio)
    group = make_plan([run]).groups[0]
    whole = Executor().compute(group, (run,)).trajectory
    keeper = Counting(37, stop)
    with pytest.raises(Stopped) if whole.finite.all() or stop < 100 else _nothing():
        Executor().compute(group, (run,), keeper=_loading(keeper, None))
    saved = keeper.saved[-1]
    again = Executor().compute(group, (run,), keeper=_loading(Counting(53), saved)).trajectory
    assert again.steps.tolist() == whole.steps.tolist()
    for name, value in whole.records.items():
        np.testing.assert_array_equal(again.records[name], value)
    np.testing.assert_array_equal(again.finite, whole.finite)
    for own, expected in zip(jax.tree.leaves(again.state), jax.tree.leaves(whole.state), strict=True):
        np.testing.assert_array_equal(own, expected)


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        return kind is Stopped


def _loading(keeper, partway):
    keeper.load = lambda state: partway
    return keeper


def test_a_segment_is_cut_by_the_time_its_steps_take():
    keeper = Checkpoints(None, "", 1e9, Interrupt(), step_seconds=0.1)
    assert keeper.piece(1000) == int(checkpoint.PIECE_SECONDS / 0.1)
    assert keeper.piece(7) == 7
    keeper.step_seconds = 1e9
    assert keeper.piece(1000) == 1  # however slow, it goes on


def test_what_a_checkpoint_holds_comes_back_bit_for_bit(tmp_path):
    state = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, -1], np.int32), "c": ()}
    records = [{"x": np.array([np.nan, 2.0]), FINITE: np.array([False, True])} for _ in range(3)]
    file = tmp_path / "checkpoint"
    checkpoint.write(file, "print", ResumeState(17, state, [0, 1, 10], records))
    found = checkpoint.read(file, "print", state)
    assert (found.step, found.steps) == (17, [0, 1, 10])
    np.testing.assert_array_equal(found.state["a"], state["a"])
    assert found.state["a"].dtype == np.float32 and found.state["b"].dtype == np.int32
    np.testing.assert_array_equal([r["x"] for r in found.records], [r["x"] for r in records])
    assert checkpoint.read(file, "another program", state) is None
    assert checkpoint.read(tmp_path / "none", "print", state) is None


def test_a_signal_stops_at_the_next_boundary_and_the_same_work_goes_on(tmp_path, reference):
    """The interrupt comes while the first group is under way."""
    interrupt = Interrupt()

    class Interrupting(Diary):
        def watch(self, group, runs):
            seen = super().watch(group, runs)

            def at(step, record):
                seen(step, record)
                if step == 100:
                    interrupt.asked = signal.SIGTERM

            return at

    store, how = Store(tmp_path), ExecutionOptions(save_final=True)
    plan = plan_of(TWO_GROUPS)
    with pytest.raises(Stopped) as stopped:
        work(plan, store, how, interrupt, Interrupting())
    assert stopped.value.exit_code == 143
    assert len(list(tmp_path.rglob("checkpoint"))) == 1
    _, diary, _ = do(tmp_path, TWO_GROUPS, how)
    assert diary.at[0] in (100, 200)  # not from the start
    same(tmp_path, reference, ids_of(TWO_GROUPS))
    assert not list((tmp_path / "work").iterdir())


def test_signals_are_caught_only_while_working():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.asked == signal.SIGTERM
        with pytest.raises(Stopped):
            interrupt.check()
        with pytest.raises(Stopped):  # a second one does not wait
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


# ---- memory


@pytest.mark.parametrize(("room", "parts"), [(1.0, 1), (0.7, 2), (0.5, 3)])
def test_a_chunk_that_does_not_fit_is_cut_by_what_its_program_needs(tmp_path, reference, room, parts):
    runs = runs_of(form="net", width=4)
    measured = Executor()
    assert measured.excess(make_plan(runs).groups[0], tuple(runs)) is None
    programs = next(iter(measured._programs.values())).result()
    memory = room * programs.bytes
    store = Store(tmp_path)
    plan = plan_of(runs)
    diary = Diary()
    failures = work(plan, store, ExecutionOptions(save_final=True), Interrupt(), diary, Executor(memory))
    assert not failures
    assert len(list((tmp_path / "parts").iterdir())) >= parts
    assert (parts == 1) == (not diary.told)
    if diary.told:
        assert "cut into parts of" in diary.told[0] and "GB may be used" in diary.told[0]
    assert store.finished(with_final=True) == set(ids_of(runs))


@pytest.mark.parametrize(
    "words",
    [
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99 bytes.",
        "INTERNAL: Error dispatching computation: Out of memory allocating 2560000000 bytes.",  # a CPU's
    ],
)
def test_an_out_of_memory_of_the_device_halves_the_chunk(tmp_path, monkeypatch, words):
    """As a GPU and a CPU report it, while the program runs."""
    compute = Executor._compute

    def small(self, group, runs, watch, keeper):
        if len(runs) > 2:
            raise jax.errors.JaxRuntimeError(words)
        return compute(self, group, runs, watch, keeper)

    monkeypatch.setattr(Executor, "_compute", small)
    store, diary, failures = do(tmp_path, runs_of())
    assert not failures and store.finished() == set(ids_of(runs_of()))
    assert [line.split("; ")[-1] for line in diary.told] == ["cut into parts of 3"] + ["cut into parts of 1"] * 2
    assert "the device is out of memory" in diary.told[0]


def test_one_run_that_does_not_fit_alone_is_an_error_and_the_rest_goes_on(tmp_path):
    """The net is too large for the room there is, the map is not."""
    runs = [*runs_of(), *runs_of(form="net", width=20_000)]
    store, diary, failures = do(tmp_path, runs, executor=Executor(2e5))
    assert store.finished() == set(ids_of(runs[:6]))
    ((failed, reason),) = failures
    assert set(failed) == set(runs[6:])
    assert "one run alone needs" in reason and "memory=" in reason
    assert store.failures() == dict.fromkeys(ids_of(runs[6:]), reason)
    assert sum("failed: 6 runs" in line for line in diary.told) == 1
    store, _, failures = do(tmp_path, runs)  # with room for it
    assert not failures and not store.failures()
    assert store.finished() == set(ids_of(runs))


# ---- what cannot be computed


def test_an_error_in_one_group_is_told_and_noted_and_the_rest_goes_on(tmp_path, monkeypatch):
    compute = Executor.compute

    def broken(self, group, runs, *rest):
        if group.static.form == "net":
            raise FloatingPointError("the compiler gave up\nwith many lines")
        return compute(self, group, runs, *rest)

    monkeypatch.setattr(Executor, "compute", broken)
    store, diary, failures = do(tmp_path, TWO_GROUPS)
    assert store.finished() == set(ids_of(TWO_GROUPS[:6]))
    assert [f.reason for f in failures] == ["FloatingPointError: the compiler gave up"]
    assert diary.told == [f"failed: 6 runs ({ids_of(failures[0].runs)[0]}, ...): FloatingPointError: the compiler gave up"]
    monkeypatch.undo()
    store, _, failures = do(tmp_path, TWO_GROUPS)
    assert not failures and not store.failures()


# ---- several at once


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
    work(plan, store, how, Interrupt(), diary)
    assert len(diary.begun) == 1
    assert store.finished() == set(ids_of(TWO_GROUPS))  # what the other stored is seen
    same(tmp_path, reference, ids_of(TWO_GROUPS))


def test_a_chunk_whose_process_died_is_taken_over(tmp_path, reference):
    """It has left its lock file, a checkpoint of another program and a half-written part."""
    plan, how = plan_of(TWO_GROUPS), ExecutionOptions(save_final=True)
    name = chunk_name(plan.groups[0].chunks[0], with_final=True)
    (tmp_path / "work" / name).mkdir(parents=True)
    (tmp_path / "work" / name / "lock").touch()
    checkpoint.write(tmp_path / "work" / name / "checkpoint", "other", ResumeState(7, {}, [], []))
    (tmp_path / "parts" / f".{name}~half").mkdir(parents=True)
    work(plan, Store(tmp_path), how, Interrupt(), Diary())
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
        work(three, Store(tmp_path / str(worker)), ExecutionOptions(worker=worker, workers=3), Interrupt(), diary)
        assert len(diary.begun) == 6
        begun.append(sorted(p.name for p in (tmp_path / str(worker) / "parts").iterdir()))
    assert begun[0] == begun[1] == begun[2]


# ---- growing


def test_a_plan_does_not_depend_on_how_far_it_was_carried_out():
    whole = plan_of(TWO_GROUPS, workers=3, compile_seconds=0.0)
    done = set(ids_of(whole.groups[0].chunks[0])) | set(ids_of(whole.groups[1].chunks[2]))
    rest = plan_of(TWO_GROUPS, there=done, workers=3, compile_seconds=0.0)
    assert [g.chunks for g in rest.groups] == [whole.groups[0].chunks[1:], whole.groups[1].chunks[:2]]
    assert rest.finished == len(done)


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


# ---- what a reading of the code by others found


def test_a_signal_while_the_last_part_is_written_is_not_lost(tmp_path, monkeypatch):
    interrupt, write = Interrupt(), Store.write

    def signalled(self, *args, **kwargs):
        interrupt.asked = signal.SIGTERM
        return write(self, *args, **kwargs)

    monkeypatch.setattr(Store, "write", signalled)
    with pytest.raises(Stopped):
        do(tmp_path, runs_of(), interrupt=interrupt)
    assert Store(tmp_path).finished() == set(ids_of(runs_of()))


def parts_of(folder):
    return sorted(p.name for p in (folder / "parts").iterdir())


@pytest.mark.parametrize("stop", [1, 2])
def test_a_chunk_that_was_cut_is_cut_the_same_way_after_a_kill(tmp_path, stop):
    """Twelve runs in room for about five; stopped after so many parts, and gone on with."""
    runs = runs_of(range(12), form="net", width=4, edge_ratio=0.7)
    measured = Executor()
    assert measured.excess(make_plan(runs).groups[0], tuple(runs)) is None
    memory = 0.5 * next(iter(measured._programs.values())).result().bytes
    for name in ("whole", "killed"):
        interrupt = Interrupt()

        class Stopping(Diary):
            def done(self, group, runs, seconds, diverged):
                self.told.append(f"{len(runs)} done")
                if name == "killed" and sum("done" in line for line in self.told) == stop:
                    interrupt.asked = signal.SIGTERM

        with pytest.raises(Stopped) if name == "killed" else contextlib.nullcontext():
            store = Store(tmp_path / name)
            work(plan_of(runs, memory=memory), store, ExecutionOptions(), interrupt, Stopping(), Executor(memory))
    _, _, failures = do(tmp_path / "killed", runs, executor=Executor(memory), memory=memory)
    assert not failures and len(parts_of(tmp_path / "whole")) > 2
    assert parts_of(tmp_path / "killed") == parts_of(tmp_path / "whole")


def test_a_small_run_is_not_given_up_with_a_large_one_that_shares_its_padded_program(tmp_path):
    runs = [*runs_of(range(2), form="net", width=4), *runs_of(range(2), form="net", width=20_000)]
    plan = plan_of(runs, compile_seconds=1e6)
    assert len(plan.groups) == 1
    store, diary = Store(tmp_path), Diary()
    failures = work(plan, store, ExecutionOptions(), Interrupt(), diary, Executor(1e5))
    assert store.finished() == set(ids_of(runs[:2]))
    assert {run for failure in failures for run in failure.runs} == set(runs[2:])


def test_every_run_of_a_program_that_does_not_fit_has_its_reason(tmp_path):
    """Two groups, of 400 and of 800 steps, share the program."""
    runs = [*runs_of(range(2), form="net", width=20_000), *runs_of(range(2), form="net", width=20_000, steps=800)]
    assert len(make_plan(runs).groups) == 2
    store, _, failures = do(tmp_path, runs, executor=Executor(1e5))
    assert store.failures().keys() == set(ids_of(runs))
    assert {run for failure in failures for run in failure.runs} == set(runs)


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
    late.mend(told.append)
    assert not told and part.exists() and late.finished() == set(ids_of(runs_of()))
