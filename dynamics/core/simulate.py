"""Run a dynamics over a recording schedule, segment by segment.

A segment is the interval between two recorded steps. Its length is a traced number, so one compiled program serves all
segments. Everything on the host (progress, checkpoints, the check for divergence) happens between segments; long
segments are split for this purpose, which changes no number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from dynamics.core.checked_arguments import check_arguments
from dynamics.core.dynamics import Dynamics, Hyper, State
from dynamics.core.given_arrays import read_hyper, read_key
from dynamics.core.recording import check_schedule
from dynamics.core.segments import FINITE, STOPPED_AT, advance, advance_pursuit, start, start_pursuit
from dynamics.core.stop_spec import StopSpec
from dynamics.core.triple_checks import check_triple
from dynamics.errors import choose, require

# how a run that was computed may have ended
OK, REACHED, DIVERGED, NOT_FINITE = "ok", "reached", "diverged", "not_finite"


class Trajectory(NamedTuple):
    """The result of a run, or of an ensemble of runs on a leading axis.

    steps: the recorded steps, shape (T,)
    records: observations by name, shape (..., T, *)
    finite: whether the state was finite at each record, shape (..., T)
    state: the final state
    undefined: the observations that are NaN where they have no value
    stopped_at: the step at which a goal was reached, -1 where it was not, shape (...); None for runs without a goal
    """

    steps: np.ndarray
    records: dict[str, np.ndarray]
    finite: np.ndarray
    state: State
    undefined: tuple[str, ...] = ()
    stopped_at: np.ndarray | None = None

    @property
    def status(self) -> np.ndarray:
        """Return `ok`, `reached` if it stopped at its goal, `diverged` if the state was not finite at some record, or
        `not_finite` if only a measure was not.

        Shape (...).
        """
        ended = OK if self.stopped_at is None else np.where(self.stopped_at >= 0, REACHED, OK)
        kept = np.where(self.wrong_measures.any(-1), NOT_FINITE, ended)
        return np.where(self.finite.all(-1), kept, DIVERGED)

    @property
    def wrong_measures(self) -> np.ndarray:
        """Return whether an observation is not finite though the state is, (..., T);
        NaN of those `undefined` is no fault."""
        wrong = np.zeros(self.finite.shape, bool)
        for name, values in self.records.items():
            if np.issubdtype(values.dtype, np.inexact):
                bad = np.isinf(values) if name in self.undefined else ~np.isfinite(values)
                wrong |= bad.any(axis=tuple(range(wrong.ndim, bad.ndim)))
        return wrong & self.finite

    @property
    def not_finite_at(self) -> np.ndarray:
        """Return the first recorded step at which only a measure was not finite, -1 if there is none; shape (...)."""
        wrong = self.wrong_measures
        return np.where(wrong.any(-1), self.steps[np.argmax(wrong, axis=-1)], -1)

    @property
    def diverged_at(self) -> np.ndarray:
        """Return the first recorded step at which the state was not finite, -1 if none; shape (...)."""
        return np.where(self.finite.all(-1), -1, self.steps[np.argmin(self.finite, axis=-1)])


class ResumeState(NamedTuple):
    """An unfinished run (or ensemble): its state after `step` steps, and its records so far.

    step: how many steps were taken; state: the state after them; steps, records: the recorded steps and their records
    """

    step: int
    state: State
    steps: list[int]
    records: list[dict[str, np.ndarray]]


class SegmentHook:
    """Host-side hook between segments. The base class lets every segment run through and saves nothing."""

    def limit_steps(self, steps: int) -> int:
        """Return how many of the next `steps` steps to take before control returns to the host; at least 1."""
        return steps

    def after_steps(self, steps: int) -> None:
        """Called after `steps` further steps have been computed."""

    def should_save(self) -> bool:
        """Return whether to save at this boundary."""
        return False

    def save(self, resume_state: ResumeState) -> None:
        """Save the state; may raise to stop the run here."""


def drive(
    advance: Callable[[State, np.int32, np.int32, bool], tuple[State, dict[str, jax.Array]]],
    state: State,
    schedule: Sequence[int],
    watch: Callable[[int, dict[str, np.ndarray]], None] | None = None,
    hook: SegmentHook | None = None,
    resume_from: ResumeState | None = None,
    *,
    stops: bool = False,
) -> Trajectory:
    """Advance a state (of one run or of an ensemble) over the schedule and return its trajectory.

    advance: (state, begin, end, record) -> (state, observations), a compiled program
    watch: called with the step and the observations after every segment; hook: called between segments
    resume_from: continue from this state instead of `state`; the result equals that of an uninterrupted run
    stops: whether the state is a `Pursuit`, of runs that end at a goal

    The next segment is dispatched before the last record is fetched, so the device does not wait for the host. When
    every run has diverged, one further segment is computed and the remaining ones are skipped. Of runs that end at a
    goal a record is fetched at once, and nothing is computed any more when all have ended: the rest of the schedule
    repeats the record at which a run was seen to have stopped.
    """
    hook = hook or SegmentHook()
    position, state, steps, records = resume_from or ResumeState(0, state, [], [])
    steps, records = list(steps), list(records)
    all_ended_at = next((step for step, r in zip(steps, records, strict=True) if _all_ended(r)), None)
    waiting: tuple[int, int, bool, dict[str, Any]] | None = None  # the record that is still to be fetched

    def fetch() -> None:
        nonlocal waiting, all_ended_at
        if waiting is None:
            return
        (step, taken, recorded, record), waiting = waiting, None
        host = {name: np.asarray(value) for name, value in record.items() if recorded or name in (FINITE, STOPPED_AT)}
        hook.after_steps(taken)
        if recorded:
            steps.append(step)
            records.append(host)
            all_ended_at = step if all_ended_at is None and _all_ended(host) else all_ended_at
        if watch is not None:
            watch(step, host)

    for end in schedule:
        if (steps and end <= steps[-1]) or (all_ended_at is not None and (stops or all_ended_at < steps[-1])):
            continue
        while True:
            to = min(end, position + hook.limit_steps(end - position)) if end > position else end
            state, record = advance(state, np.int32(position), np.int32(to), to == end)
            fetch()
            waiting, position = (to, to - position, to == end, record), to
            if stops:
                fetch()
            if hook.should_save():
                fetch()
                hook.save(ResumeState(position, state, steps, records))
            if position == end:
                break
        # not `<=`: the run must end at the same segment whether or not this record has been fetched
        if all_ended_at is not None and all_ended_at < position:
            break
    fetch()

    axis = records[0][FINITE].ndim
    table = {name: np.stack([r[name] for r in records], axis=axis) for name in records[0]}
    if not stops:
        return Trajectory(np.array(steps), table, table.pop(FINITE), state)
    stopped_at, state = table.pop(STOPPED_AT)[..., -1], state.state
    last = np.where(stopped_at < 0, len(steps) - 1, np.searchsorted(steps, stopped_at))
    table = {name: _repeat_last(value, last, len(schedule)) for name, value in table.items()}
    finite = table.pop(FINITE)
    return Trajectory(np.array(schedule), table, finite, state, stopped_at=np.where(finite.all(-1), stopped_at, -1))


def _all_ended(record: dict[str, np.ndarray]) -> bool:
    """Return whether no run of the record has a finite state and a goal before it."""
    return not (record[FINITE] & (record.get(STOPPED_AT, -1) < 0)).any()


def _repeat_last(values: np.ndarray, last: np.ndarray, num_records: int) -> np.ndarray:
    """Return the values (..., T, *) with so many records: up to number `last` (...) as they are,
    from there on that one."""
    index = np.minimum(np.arange(num_records), last[..., None])
    return np.take_along_axis(values, index.reshape(index.shape + (1,) * (values.ndim - index.ndim)), axis=index.ndim - 1)


@check_arguments("simulate", types=False)
def simulate(
    dynamics: Dynamics,
    key: jax.Array | int,
    hyper: Hyper,
    schedule: Sequence[int],
    *,
    precision: str | None = None,
    stop: StopSpec | None = None,
) -> Trajectory:
    """Compile and run a dynamics once over the schedule; return its trajectory.

    key: a JAX key, or a seed that stands for `jax.random.key(seed)`; hyper: the run's scalars, numbers or arrays,
        by name
    schedule: the steps to record, integers that increase, 0 for the start
    precision: `float32` or `float64`; what JAX is set to, unless said. Arrays are never narrowed to it
    stop: a `dyn.Stop`, the goal at which the run ends; its step is then `stopped_at`, and later records repeat what is
        seen there

    The trajectory has `steps` (T,), `records` by name (T, ...), `finite` (T,), `status` and the final `state`. Raises
    `InputError`, before anything is computed, for arguments that are none of these and functions that do
    not fit together.

    >>> import dynamics as dyn
    >>> halve = dyn.Dynamics(lambda key, h: (h, h["x0"]), lambda x, h, key: x / 2, lambda x, h: {"x": x})
    >>> dyn.simulate(halve, 0, {"x0": 8.0}, (0, 1, 3)).records["x"].tolist()
    [8.0, 4.0, 1.0]
    """
    steps = check_schedule(schedule)
    if precision is not None:
        choose("precision", precision, dict.fromkeys(("float32", "float64")))
    require(stop is None or isinstance(stop, StopSpec), "stop", stop, "must be a dyn.Stop")
    set_now = jax.dtypes.canonicalize_dtype(np.float64) == np.float64
    with jax.enable_x64(set_now if precision is None else precision == "float64"):
        key, hyper = read_key(key), read_hyper(hyper)
        observed = check_triple(dynamics, key, hyper)
        if stop is not None:
            stop.check(steps[-1])
        if not stop:
            fixed, state = jax.jit(lambda k, h: start(dynamics, k, h))(key, hyper)
            segment = jax.jit(lambda s, begin, end, record: advance(dynamics, key, fixed, s, begin, end, record))
            return drive(segment, state, steps)._replace(undefined=dynamics.undefined)
        stop.check_measure(observed)
        return _simulate_to_goal(dynamics, stop, key, hyper, steps)


def _simulate_to_goal(dynamics: Dynamics, stop: StopSpec, key: jax.Array, hyper: Hyper, steps: tuple[int, ...]) -> Trajectory:
    """Return the trajectory of a run that ends at a goal; the start is checked, whether or not it is to be recorded."""
    goal = {"stop.below": stop.below, "stop.above": stop.above}
    goal = {name: np.asarray(value, jax.dtypes.canonicalize_dtype(np.float64)) for name, value in goal.items()}
    fixed, state = jax.jit(lambda k, h: start_pursuit(dynamics, k, h))(key, {**hyper, **goal})
    segment = jax.jit(lambda s, begin, end, record: advance_pursuit(dynamics, stop, key, fixed, s, begin, end, record))
    seen = drive(segment, state, tuple(sorted({0, *steps})), stops=True)._replace(undefined=dynamics.undefined)
    kept = np.isin(seen.steps, steps)
    records = {name: values[kept] for name, values in seen.records.items()}
    return seen._replace(steps=seen.steps[kept], records=records, finite=seen.finite[kept])
