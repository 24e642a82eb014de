"""Work that does not fit into memory, or cannot be computed, and the rest of it."""

from __future__ import annotations

import contextlib
import signal

import jax
import pytest
from work_cases import TWO_GROUPS, Diary, do, ids_of, plan_of, runs_of

from dynamics.engine.execute import Executor
from dynamics.engine.interrupt import Interrupt, Stopped
from dynamics.engine.plan import make_plan
from dynamics.engine.worker import ExecutionOptions, work_on_plan
from dynamics.store.store import Store

# ---- memory


def program_bytes(runs) -> int:
    """What the program of these runs, all of one group, needs."""
    measured = Executor()
    assert measured.find_memory_excess(make_plan(runs).groups[0], tuple(runs)) is None
    return next(iter(measured._programs.values())).result().bytes


@pytest.fixture(scope="module")
def needed():
    """The bytes of the six runs below."""
    return program_bytes(runs_of(form="net", width=4))


@pytest.mark.parametrize(("room", "parts"), [(1.0, 1), (0.5, 3)])
def test_a_chunk_that_does_not_fit_is_cut_by_what_its_program_needs(tmp_path, needed, room, parts):
    runs = runs_of(form="net", width=4)
    memory = room * needed
    store = Store(tmp_path)
    plan = plan_of(runs)
    diary = Diary()
    failures = work_on_plan(plan, store, ExecutionOptions(save_final=True), Interrupt(), diary, Executor(memory))
    assert not failures
    assert len(list((tmp_path / "parts").iterdir())) >= parts
    assert (parts == 1) == (not diary.told)
    if diary.told:
        assert "split into parts of" in diary.told[0] and "GB are available" in diary.told[0]
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
    assert [line.split("; ")[-1] for line in diary.told] == ["split into parts of 3"] + ["split into parts of 1"] * 2
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


def parts_of(folder):
    return sorted(p.name for p in (folder / "parts").iterdir())


def test_a_chunk_that_was_cut_is_cut_the_same_way_after_a_kill(tmp_path):
    """Twelve runs in room for about five; stopped after one part, or two, and gone on with."""
    runs = runs_of(range(12), form="net", width=4, edge_ratio=0.7)
    memory = 0.5 * program_bytes(runs)
    for name, stop in (("whole", 0), ("killed after 1", 1), ("killed after 2", 2)):
        interrupt = Interrupt()

        class Stopping(Diary):
            def done(self, group, runs, seconds, diverged):
                self.told.append(f"{len(runs)} done")
                if stop and sum("done" in line for line in self.told) == stop:
                    interrupt.signal_number = signal.SIGTERM

        with pytest.raises(Stopped) if stop else contextlib.nullcontext():
            store = Store(tmp_path / name)
            work_on_plan(plan_of(runs, memory=memory), store, ExecutionOptions(), interrupt, Stopping(), Executor(memory))
    assert len(parts_of(tmp_path / "whole")) > 2
    for stop in (1, 2):
        folder = tmp_path / f"killed after {stop}"
        _, _, failures = do(folder, runs, executor=Executor(memory), memory=memory)
        assert not failures and parts_of(folder) == parts_of(tmp_path / "whole")


def test_a_small_run_is_not_given_up_with_a_large_one_that_shares_its_padded_program(tmp_path):
    runs = [*runs_of(range(2), form="net", width=4), *runs_of(range(2), form="net", width=20_000)]
    plan = plan_of(runs, compile_seconds=1e6)
    assert len(plan.groups) == 1
    store, diary = Store(tmp_path), Diary()
    failures = work_on_plan(plan, store, ExecutionOptions(), Interrupt(), diary, Executor(1e5))
    assert store.finished() == set(ids_of(runs[:2]))
    assert {run for failure in failures for run in failure.runs} == set(runs[2:])


def test_every_run_of_a_program_that_does_not_fit_has_its_reason(tmp_path):
    """Two groups, of 400 and of 800 steps, share the program."""
    runs = [*runs_of(range(2), form="net", width=20_000), *runs_of(range(2), form="net", width=20_000, steps=800)]
    assert len(make_plan(runs).groups) == 2
    store, _, failures = do(tmp_path, runs, executor=Executor(1e5))
    assert store.failures().keys() == set(ids_of(runs))
    assert {run for failure in failures for run in failure.runs} == set(runs)
