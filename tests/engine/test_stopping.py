"""Runs that end at a goal: where they stop, against closed forms, and that nothing is computed for them afterwards.

The triple is x <- r x from x = 1, so x = r^t exactly in floating point for r = 1/2, and the first step below theta is
known: the least t with 2^-t < theta.
"""

from __future__ import annotations

import math
import signal
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change

import dynamics as dyn
from dynamics.core import spec as specs
from dynamics.core.segments import advance_pursuit, start_pursuit
from dynamics.core.simulate import FINITE, STOPPED_AT, ResumeState, SegmentHook, drive
from dynamics.engine import execute
from dynamics.engine.execute import Executor, build_programs, stack_hyperparameters
from dynamics.engine.interrupt import Stopped
from dynamics.engine.plan import Machine, make_plan
from dynamics.store.counts import count_runs
from dynamics.systems.training import TrainingSpec

MACHINE = Machine("cpu", 4, 2.5e10, 2e-6, 2.0, 1e9, 0)
GOALS = (2.0, 1.0, 0.3, 0.25, 2.0**-9, 1e-4, 1e-30)
RECORDED = (0, 1, 5, 10, 20)


@dataclass(frozen=True)
class Halving(dyn.RunSpec):
    rate: float = 0.5

    system = "halving"

    def dynamics(self):
        def observe(x, h):
            return {"x": x, "inverse": 1 / x, "both": jnp.stack([x, x])}

        return dyn.Dynamics(lambda key, h: (h, jnp.ones((), h["rate"].dtype)), lambda x, h, key: h["rate"] * x, observe)


def runs_of(goals=GOALS, rate=0.5, **stop):
    base = Halving(steps=20, record=dyn.Record(num=0, at=[1, 5, 10]), rate=rate, stop=dyn.Stop("x", **stop))
    runs = [specs.freeze(specs.put(base, {"stop.below": goal})) for goal in goals]
    for run in runs:
        run.check()
    return runs


def first_below(goal, every, checks):
    """The step at which x = 2^-t stops: -1 where that is past the last step."""
    first = max(0, math.floor(-math.log2(goal)) + 1)
    times = [t for t in (range(0, 21, every) if every else RECORDED) if t >= first]
    return times[checks - 1] if len(times) >= checks else -1


@pytest.mark.parametrize("every, checks, lanes", [(0, 1, 1), (0, 2, 2), (1, 1, 2), (3, 1, 1), (3, 2, 2)])
def test_a_run_stops_at_the_step_of_the_closed_form_and_its_neighbours_go_on(every, checks, lanes):
    runs = runs_of(every=every, checks=checks)
    (group,) = make_plan(runs, MACHINE).groups
    seen = Executor().compute(change(group, lanes=lanes), group.runs).trajectory
    expected = np.array([first_below(goal, every, checks) for goal in GOALS])
    assert -1 in expected and len(set(expected.tolist())) > 3
    np.testing.assert_array_equal(seen.stopped_at, expected)
    assert seen.status.tolist() == ["ok" if step < 0 else "reached" for step in expected]
    assert seen.steps.tolist() == list(RECORDED)
    stays = np.where(expected < 0, 20, expected)
    np.testing.assert_array_equal(seen.state, 0.5**stays)
    np.testing.assert_array_equal(seen.records["x"], 0.5 ** np.minimum(RECORDED, stays[:, None]))
    np.testing.assert_array_equal(seen.records["both"][..., 1], seen.records["x"])


def test_one_device_equals_four():
    runs = runs_of(every=1)
    programs = build_programs(runs[0].dynamics(), 1, len(runs), jax.local_devices()[:1], stop=runs[0].stop)
    keys = jax.vmap(jax.random.key)(np.zeros(len(runs), np.uint32))
    fixed, state = programs.start(keys, stack_hyperparameters(tuple(runs), len(runs)), {})
    alone = drive(lambda s, *to: programs.advance(keys, fixed, s, *to), state, RECORDED, stops=True)
    assert alone.stopped_at is not None and alone.stopped_at.tolist() == [first_below(goal, 1, 1) for goal in GOALS]


def test_nothing_is_computed_once_all_runs_have_ended(monkeypatch):
    """One stops at step 4 and is seen to at record 5, the other diverges before."""
    asked, compiled = [], execute.compile_programs

    def counting(programs, *given):
        found = compiled(programs, *given)
        advance = found.advance
        return execute.replace(found, advance=lambda *rest: (asked.append(tuple(map(int, rest[3:5]))), advance(*rest))[1])

    monkeypatch.setattr(execute, "compile_programs", counting)
    runs = [*runs_of((0.1,), every=1), *runs_of((1e-3,), rate=1e30, every=1)]
    (group,) = make_plan(runs, MACHINE).groups
    seen = Executor().compute(group, group.runs).trajectory
    assert asked == [(0, 0), (0, 1), (1, 5)]
    assert seen.status.tolist() == ["reached", "diverged"]
    assert seen.steps.tolist() == list(RECORDED) and seen.records["x"][0].tolist() == [1, 0.5, 0.0625, 0.0625, 0.0625]


def test_a_run_that_has_stopped_takes_no_step_and_is_not_observed():
    """Counted in the compiled program itself."""
    counts = {"step": 0, "observe": 0}

    def counted(name, value):
        jax.debug.callback(lambda: counts.update({name: counts[name] + 1}))
        return value

    triple = dyn.Dynamics(
        lambda key, h: (h, jnp.float32(1)),
        lambda x, h, key: counted("step", x / 2),
        lambda x, h: {"x": counted("observe", x)},
    )
    for every, steps, looks in ((0, 5, 3), (1, 3, None)):
        counts |= {"step": 0, "observe": 0}
        seen = dyn.simulate(triple, 0, {}, RECORDED, stop=dyn.Stop("x", below=0.2, every=every))
        assert seen.stopped_at is not None
        jax.effects_barrier()
        assert (int(seen.stopped_at), counts["step"]) == (steps, steps)
        assert looks is None or counts["observe"] == looks
        stop, key = dyn.Stop("x", below=1.0, every=every), jax.random.key(0)
        (fixed, ended) = start_pursuit(triple, key, {"stop.below": jnp.float32(2), "stop.above": jnp.float32(9)})
        segment = jax.jit(lambda state, *span: advance_pursuit(triple, stop, key, fixed, state, *span))
        for to, seen_so_far in ((0, 1), (7, 0), (20, 0)):  # its neighbours go on
            counts |= {"step": 0, "observe": 0}
            ended, _ = segment(ended, 0, to, True)
            jax.effects_barrier()
            assert counts["step"] == 0 and (counts["observe"] > 0) == bool(seen_so_far)


def test_neither_a_diverged_state_nor_a_measure_that_is_not_a_number_reaches_a_goal():
    """1 / x of an infinite x is 0, which is below any goal; x / x of it is NaN."""
    base = change(runs_of((0.1,), rate=1e20, every=1)[0], stop__measure="inverse", stop__below=1e-30)
    up = change(base, stop__measure="x", stop__below=-math.inf, stop__above=1e30)
    for run in (base, up):  # of the one the state is no number where the goal is passed, of the other the measure
        (group,) = make_plan([run], MACHINE).groups
        seen = Executor().compute(group, group.runs).trajectory
        assert (seen.status, seen.stopped_at) == ("diverged", -1)


class Cutting(SegmentHook):
    """Cuts segments into pieces of three steps, saves at every boundary and is killed at one."""

    def __init__(self, killed_at=None, saved=None):
        self.killed_at, self.saved = killed_at, saved

    def load(self, state):
        return self.saved

    def limit_steps(self, steps):
        return min(steps, 3)

    def should_save(self):
        return True

    def save(self, resume_state):
        state = jax.tree.map(np.array, resume_state.state)
        self.saved = ResumeState(resume_state.step, state, list(resume_state.steps), list(resume_state.records))
        if resume_state.step == self.killed_at:
            raise Stopped(signal.SIGTERM)


@pytest.mark.parametrize("every, checks", [(0, 2), (2, 2)])
def test_a_run_that_is_killed_and_resumed_is_the_run_in_one_go(every, checks):
    (group,) = make_plan(runs_of(rate=0.7, every=every, checks=checks), MACHINE).groups
    executor = Executor()
    whole = executor.compute(group, group.runs).trajectory
    assert len(set(whole.stopped_at.tolist())) > 1
    for killed_at in (0, 4, 5, 8, 10, 19):
        cutting = Cutting(killed_at)
        with pytest.raises(Stopped):
            executor.compute(group, group.runs, hook=cutting)  # type: ignore[arg-type]
        again = executor.compute(group, group.runs, hook=Cutting(saved=cutting.saved)).trajectory  # type: ignore[arg-type]
        np.testing.assert_array_equal(again.stopped_at, whole.stopped_at)
        np.testing.assert_array_equal(again.state, whole.state)
        for name, value in whole.records.items():
            np.testing.assert_array_equal(again.records[name], value)


def test_a_driver_of_runs_with_goals_looks_at_a_record_before_it_goes_on():
    order = []

    def step(state, begin, end, record):
        order.append(int(end))
        return state, {"x": np.array([end, -end]), FINITE: np.array([True, True]), STOPPED_AT: np.array([0, end])}

    class Held:
        state = "final"

    seen = drive(step, Held, (0, 2, 7, 9), stops=True)
    assert order == [0] and seen.state == "final"
    assert seen.records["x"].tolist() == [[0] * 4, [0] * 4]


# ---- training runs and their tables


def test_a_trained_network_stops_where_its_recorded_loss_says_so(tmp_path):
    """The reference is the same run without a goal; on a CPU its segments are taken by one kernel."""
    record = dyn.Record(num=0, at=[*range(0, 61, 4)])
    spec = TrainingSpec(
        steps=60,
        record=record,
        data=dyn.Data(input_dim=2, num_samples=16, num_test=8),
        model=dyn.Model(width=6),
        measures=["train_loss", "weight_norm"],
    )
    free = dyn.sweep(spec, output=tmp_path).records
    loss, steps = free["train_loss"].to_numpy(), free["step"].to_numpy()
    goals = [float(np.sqrt(loss[i] * loss[i + 1])) for i in (2, 9)]
    study = dyn.sweep(spec, {"stop.below": [*goals, 1e-20]}, output=tmp_path, stop=dyn.Stop("train_loss", every=4))
    last = study.final.sort("stop.below", descending=True)["train_loss"].to_numpy()
    ends = study.runs.sort("stop.below", descending=True)
    assert ends["stopped_at"].to_list() == [steps[3], steps[10], None]
    assert ends["status"].to_list() == ["reached", "reached", "ok"] and ends["steps_done"].to_list() == [12, 40, 60]
    np.testing.assert_allclose(last, [loss[3], loss[10], loss[-1]], rtol=1e-5)
    counts = count_runs(study.store)
    assert (counts.done, counts.reached, counts.diverged) == (4, 2, 0)
    assert dyn.plan(spec, {"stop.below": [*goals, 1e-20]}, output=tmp_path, stop=dyn.Stop("train_loss", every=4)).num_runs == 0


def test_a_goal_is_part_of_a_runs_identity_and_its_absence_is_not():
    plain, goal = Halving(), Halving(stop=dyn.Stop("x", below=0.1))
    ids = [specs.run_id(change(goal, **v)) for v in ({}, {"stop__below": 0.2}, {"stop__every": 5}, {"stop__checks": 2})]
    assert len({specs.run_id(plain), *ids}) == 5
    payload = {"system": "halving", **{p: v for p, v in specs.flatten(plain).items() if not p.startswith("stop.")}}
    assert specs.run_id(plain) == specs.content_hash(payload)
    assert not [name for run in (plain, goal) for name in specs.hyper(run) if name.startswith("stop")]
    (one,), (other,) = (make_plan([specs.freeze(run)], MACHINE).groups for run in (goal, change(goal, stop__below=0.2)))
    assert one.program == other.program != make_plan([specs.freeze(plain)], MACHINE).groups[0].program


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"measure": "y", "below": 0.1}, "stop.measure = 'y': is not recorded; choose one of inverse, x"),
    "vector": ({"measure": "both", "below": 0.1}, "stop.measure = 'both': is no single number; choose one of inverse, x"),
    "neither": ({"measure": "x"}, "stop.measure = 'x': needs a goal: give one of stop.below and stop.above"),
    "both": (
        {"measure": "x", "below": 0.1, "above": 3.0},
        "stop.above = 3.0: stands beside stop.below = 0.1: give one of them",
    ),
    "nan": ({"measure": "x", "below": math.nan}, "stop.below = nan: must be a number"),
    "none": ({"below": 0.1}, "stop.below = 0.1: has no effect without stop.measure"),
    "every": ({"measure": "x", "below": 0.1, "every": 30}, "stop.every = 30: must be from 0 to steps = 20"),
    "checks": ({"measure": "x", "below": 0.1, "checks": 0}, "stop.checks = 0: must be an integer from 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_goal_that_is_none_is_refused_before_anything_is_computed(case):
    values, line = REFUSED[case]
    triple = Halving().dynamics()
    for call in (
        lambda: dyn.plan(Halving(steps=20, stop=dyn.Stop(**values))),
        lambda: dyn.simulate(triple, 0, {"rate": np.float32(0.5)}, (0, 20), stop=dyn.Stop(**values)),  # type: ignore[dict-item]
        lambda: dyn.plan(triple, {"rate": 0.5}, schedule=(0, 20), stop=dyn.Stop(**values)),
    ):
        with pytest.raises(dyn.InputError) as error:
            call()
        assert str(error.value).startswith(line)
