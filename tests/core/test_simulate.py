"""Schedules, what a trajectory holds, when a run counts as diverged, and what the driver does between records."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamics.core.dynamics import Dynamics
from dynamics.core.recording import RecordSpec
from dynamics.core.simulate import FINITE, Trajectory, advance, drive, simulate, start
from dynamics.errors import InputError

# Schedules


@pytest.mark.parametrize(
    "record, steps, expected",
    [
        (RecordSpec(num=0), 7, (0, 7)),
        (RecordSpec(num=0), 1, (0, 1)),
        (RecordSpec(num=1), 100, (0, 1, 100)),
        (RecordSpec(num=3), 100, (0, 1, 10, 100)),
        (RecordSpec(num=5), 4, (0, 1, 2, 3, 4)),
        (RecordSpec(num=3, spacing="linear"), 10, (0, 5, 10)),
        (RecordSpec(num=1, spacing="linear"), 10, (0, 10)),
        (RecordSpec(num=0, spacing="linear"), 10, (0, 10)),
        (RecordSpec(num=0, at=[3, 0, 3, 10]), 10, (0, 3, 10)),
        (RecordSpec(num=0, dense=4), 9, (0, 1, 2, 3, 4, 9)),
        (RecordSpec(num=0, dense=9), 9, tuple(range(10))),
        (RecordSpec(num=0, at=[5], pairs=True), 9, (0, 1, 5, 6, 9)),
        (RecordSpec(num=0, at=[8], pairs=True), 9, (0, 1, 8, 9)),
        (RecordSpec(num=2, at=[20], dense=2, pairs=True), 50, (0, 1, 2, 3, 20, 21, 50)),
    ],
)
def test_schedule_by_hand(record, steps, expected):
    record.check(steps)
    assert record.schedule(steps) == expected


@given(
    st.integers(1, 10_000),
    st.integers(0, 60),
    st.sampled_from(["log", "linear"]),
    st.lists(st.integers(0, 10_000), max_size=4),
    st.integers(0, 30),
    st.booleans(),
)
def test_any_schedule_increases_from_zero_to_the_last_step_and_holds_what_was_asked(steps, num, spacing, at, dense, pairs):
    at, dense = [min(a, steps) for a in at], min(dense, steps)
    schedule = RecordSpec(num, spacing, at, dense, pairs).schedule(steps)
    assert schedule[0] == 0 and schedule[-1] == steps
    assert all(a < b for a, b in itertools.pairwise(schedule))
    assert {*at, *range(dense + 1)} <= set(schedule)
    assert all(isinstance(s, int) for s in schedule)
    if pairs:
        plain = RecordSpec(num, spacing, at, dense).schedule(steps)
        assert {min(s + 1, steps) for s in plain} <= set(schedule)


@pytest.mark.parametrize(
    "values",
    [{"num": -1}, {"spacing": "cubic"}, {"dense": 11}, {"dense": -1}, {"at": [11]}, {"at": [-1]}, {"at": [2.5]}],
    ids=str,
)
def test_a_schedule_that_cannot_be_kept_is_refused_by_name(values):
    with pytest.raises(InputError) as refusal:
        RecordSpec(**values).check(10)
    assert refusal.value.field == f"record.{next(iter(values))}"


# Trajectories of dynamics that can be followed by hand

COUNT = Dynamics(
    lambda key, h: (h["gain"], {"x": h["x0"], "n": jnp.int32(0)}),
    lambda s, gain, key: {"x": s["x"] * gain, "n": s["n"] + 1},
    lambda s, gain: {"x": s["x"], "square": s["x"] ** 2, "both": jnp.stack([s["x"], gain])},
)


def hyper(x0, gain):
    return {"x0": jnp.float32(x0), "gain": jnp.float32(gain)}


def test_a_trajectory_holds_every_record_at_its_step():
    trajectory = simulate(COUNT, jax.random.key(0), hyper(3, 2), (0, 1, 2, 5))
    assert trajectory.steps.tolist() == [0, 1, 2, 5]
    assert trajectory.records["x"].tolist() == [3, 6, 12, 96]
    assert trajectory.records["square"].tolist() == [9, 36, 144, 9216]
    assert trajectory.records["both"].tolist() == [[3, 2], [6, 2], [12, 2], [96, 2]]
    assert set(trajectory.records) == {"x", "square", "both"}  # the finite flag is kept apart
    assert (float(trajectory.state["x"]), int(trajectory.state["n"])) == (96, 5)
    assert trajectory.finite.tolist() == [True] * 4
    assert (trajectory.status, trajectory.diverged_at) == ("ok", -1)


@pytest.mark.parametrize("schedule", [(4,), (0, 4), (2, 3, 4)])
def test_a_schedule_need_not_start_at_zero_and_never_changes_the_path(schedule):
    trajectory = simulate(COUNT, jax.random.key(0), hyper(1, 3), schedule)
    assert trajectory.records["x"].tolist() == [3**s for s in schedule]


WALK = Dynamics(
    lambda key, h: (h, jax.random.normal(key)),
    lambda x, h, key: x + jax.random.normal(key),
    lambda x, h: {"x": x},
)


def test_a_step_has_a_key_of_its_own_that_depends_on_the_step_alone():
    """The recorded schedule must not change a random path; increments are fresh, and none is the initial draw."""
    every = simulate(WALK, jax.random.key(1), {}, tuple(range(31))).records["x"]
    some = simulate(WALK, jax.random.key(1), {}, (0, 7, 8, 30)).records["x"]
    np.testing.assert_array_equal(some, every[[0, 7, 8, 30]])
    moves = np.concatenate([every[:1], np.diff(every)])
    assert len(np.unique(moves.round(4))) == 31
    other = simulate(WALK, jax.random.key(2), {}, tuple(range(31))).records["x"]
    assert not np.any(np.isclose(np.diff(other), np.diff(every)))


def test_advance_takes_exactly_end_minus_begin_steps():
    fixed, state = start(COUNT, jax.random.key(0), hyper(1, 2))
    for begin, end, expected in ((0, 0, 1), (0, 1, 2), (3, 7, 16), (5, 5, 1)):
        moved, record = advance(COUNT, jax.random.key(0), fixed, state, jnp.int32(begin), jnp.int32(end))
        assert float(record["x"]) == expected and int(moved["n"]) == end - begin


# Divergence


def test_status_and_first_bad_record_of_a_run_that_overflows():
    """1e10^t overflows 32 bits at t = 4."""
    trajectory = simulate(COUNT, jax.random.key(0), hyper(1, 1e10), (0, 1, 3, 6, 9))
    assert trajectory.finite.tolist() == [True, True, True, False, False]
    assert (trajectory.status, trajectory.diverged_at) == ("diverged", 6)


def test_an_overflow_in_what_is_observed_alone_is_no_divergence():
    """It is told all the same; NaN of what has no value in some states is not."""
    trajectory = simulate(COUNT, jax.random.key(0), hyper(1e15, 1e3), (0, 1, 2, 3))
    assert np.isinf(trajectory.records["square"]).tolist() == [False, False, True, True]
    assert trajectory.finite.all() and trajectory.diverged_at == -1
    assert (trajectory.status, trajectory.not_finite_at) == ("not_finite", 2)

    def ratio(x, h):
        return {"ratio": x["n"] / x["n"].astype(jnp.float32)}

    for undefined, status in (((), "not_finite"), (("ratio",), "ok")):
        half = COUNT._replace(observe=ratio, undefined=undefined)
        assert simulate(half, jax.random.key(0), hyper(1, 1), (0, 1)).status == status


def test_integers_in_the_state_are_not_asked_whether_they_are_finite():
    dynamics = Dynamics(lambda k, h: ((), (jnp.int32(1), jnp.float32(1))), lambda s, f, k: s, lambda s, f: {"n": s[0]})
    assert simulate(dynamics, jax.random.key(0), {}, (0, 2)).status == "ok"


def table(finite):
    finite = np.array(finite)
    return Trajectory(np.array([0, 5, 9]), {}, finite, None)


def test_status_of_an_ensemble_by_hand():
    seen = table([[True, True, True], [True, False, False], [False, False, False], [True, False, True]])
    assert seen.status.tolist() == ["ok", "diverged", "diverged", "diverged"]
    assert seen.diverged_at.tolist() == [-1, 5, 0, 5]


def test_status_of_measures_of_an_ensemble_by_hand():
    """NaN and infinity count where the state is finite; in what may be undefined infinity alone does."""
    values = np.array([[1, 2, 3], [1, np.nan, 3], [1, np.nan, np.nan], [np.inf, 2, 3]], np.float32)
    finite = [[True] * 3, [True] * 3, [True, False, False], [True] * 3]
    pairs = np.stack([np.ones_like(values), values], axis=-1)
    for records in ({"a": values}, {"whole": np.ones(values.shape, int), "pairs": pairs}):
        seen = table(finite)._replace(records=records)
        assert seen.status.tolist() == ["ok", "not_finite", "diverged", "not_finite"]
        assert seen.not_finite_at.tolist() == [-1, 5, -1, 0]
        seen = seen._replace(undefined=("a", "pairs"))
        assert seen.status.tolist() == ["ok", "ok", "diverged", "not_finite"]


# The driver


def scripted(alive):
    """An `advance` over an ensemble that follows a script of finite flags, and a log of the segments asked for."""
    asked = []

    def step(state, begin, end, look):
        asked.append((int(begin), int(end)))
        return state + 1, {"seen": np.array([end, 10 * end]), FINITE: np.array(alive[len(asked) - 1])}

    return step, asked


def test_driver_goes_from_record_to_record_and_stacks_time_behind_the_ensemble():
    step, asked = scripted([[True, True]] * 3)
    watched = []
    trajectory = drive(step, 0, (0, 2, 7), lambda at, record: watched.append((at, record["seen"].tolist())))
    assert asked == [(0, 0), (0, 2), (2, 7)]
    assert watched == [(0, [0, 0]), (2, [2, 20]), (7, [7, 70])]
    assert trajectory.records["seen"].tolist() == [[0, 2, 7], [0, 20, 70]]
    assert trajectory.finite.shape == (2, 3) and trajectory.state == 3


def test_driver_goes_on_while_one_run_is_finite_and_stops_once_none_is():
    script = [[True, True], [False, True], [False, True], [False, False]] + [[False, False]] * 6
    step, asked = scripted(script)
    trajectory = drive(step, 0, tuple(range(10)))
    assert trajectory.diverged_at.tolist() == [1, 3]
    assert len(asked) == 5  # the segment after the bad record was under way already
    assert trajectory.steps.tolist() == [0, 1, 2, 3, 4]


def test_driver_dispatches_the_next_segment_before_it_looks_at_the_last_record():
    order = []

    class Slow:
        def __init__(self, step):
            self.step = step

        def __array__(self, dtype=None, copy=None):
            order.append(f"look {self.step}")
            return np.array(True)

    def step(state, begin, end, look):
        order.append(f"go {int(end)}")
        return state, {FINITE: Slow(int(end))}

    drive(step, 0, (0, 1, 2))
    assert order == ["go 0", "go 1", "look 0", "go 2", "look 1", "look 2"]
