"""Work that is cut into pieces or stopped by a signal, and goes on to the same store."""

from __future__ import annotations

import signal

import jax
import numpy as np
import pytest
from work_cases import TWO_GROUPS, Diary, do, ids_of, plan_of, runs_of, same

from dynamics.core.simulate import FINITE, ResumeState, SegmentHook
from dynamics.engine import checkpoint
from dynamics.engine.checkpoint import CheckpointHook
from dynamics.engine.execute import Executor
from dynamics.engine.interrupt import Interrupt, Stopped
from dynamics.engine.plan import make_plan
from dynamics.engine.worker import ExecutionOptions, work_on_plan
from dynamics.store.store import Store

# ---- pieces and checkpoints


class Counting(SegmentHook):
    """Cuts segments into pieces of so many steps and saves at every boundary."""

    def __init__(self, steps, stop=None):
        self.steps, self.stop, self.saved = steps, stop, []

    def limit_steps(self, steps):
        return min(steps, self.steps)

    def should_save(self):
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
        Executor().compute(group, (run,), hook=_loading(keeper, None))
    saved = keeper.saved[-1]
    again = Executor().compute(group, (run,), hook=_loading(Counting(53), saved)).trajectory
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
    keeper = CheckpointHook(None, "", 1e9, Interrupt(), step_seconds=0.1)
    assert keeper.limit_steps(1000) == int(checkpoint.MAX_SIGNAL_DELAY / 0.1)
    assert keeper.limit_steps(7) == 7
    keeper.step_seconds = 1e9
    assert keeper.limit_steps(1000) == 1  # however slow, it goes on


def test_what_a_checkpoint_holds_comes_back_bit_for_bit(tmp_path):
    state = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, -1], np.int32), "c": ()}
    records = [{"x": np.array([np.nan, 2.0]), FINITE: np.array([False, True])} for _ in range(3)]
    file = tmp_path / "checkpoint"
    checkpoint.write_checkpoint(file, "print", ResumeState(17, state, [0, 1, 10], records))
    found = checkpoint.read_checkpoint(file, "print", state)
    assert (found.step, found.steps) == (17, [0, 1, 10])
    np.testing.assert_array_equal(found.state["a"], state["a"])
    assert found.state["a"].dtype == np.float32 and found.state["b"].dtype == np.int32
    np.testing.assert_array_equal([r["x"] for r in found.records], [r["x"] for r in records])
    assert checkpoint.read_checkpoint(file, "another program", state) is None
    assert checkpoint.read_checkpoint(tmp_path / "none", "print", state) is None


def test_a_signal_stops_at_the_next_boundary_and_the_same_work_goes_on(tmp_path, reference):
    """The interrupt comes while the first group is under way."""
    interrupt = Interrupt()

    class Interrupting(Diary):
        def watch(self, group, runs):
            seen = super().watch(group, runs)

            def at(step, record):
                seen(step, record)
                if step == 100:
                    interrupt.signal_number = signal.SIGTERM

            return at

    store, how = Store(tmp_path), ExecutionOptions(save_final=True)
    plan = plan_of(TWO_GROUPS)
    with pytest.raises(Stopped) as stopped:
        work_on_plan(plan, store, how, interrupt, Interrupting())
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
        assert interrupt.signal_number == signal.SIGTERM
        with pytest.raises(Stopped):
            interrupt.check()
        with pytest.raises(Stopped):  # a second one does not wait
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


# ---- what a reading of the code by others found


def test_a_signal_while_the_last_part_is_written_is_not_lost(tmp_path, monkeypatch):
    interrupt, write = Interrupt(), Store.write

    def signalled(self, *args, **kwargs):
        interrupt.signal_number = signal.SIGTERM
        return write(self, *args, **kwargs)

    monkeypatch.setattr(Store, "write", signalled)
    with pytest.raises(Stopped):
        do(tmp_path, runs_of(), interrupt=interrupt)
    assert Store(tmp_path).finished() == set(ids_of(runs_of()))
