"""Run a dynamics over a recording schedule, segment by segment.

A segment is the interval between two recorded steps. Its length is a traced number, so one compiled program serves all
segments. Everything on the host (progress, checkpoints, the check for divergence) happens between segments; long segments
are split for this purpose, which changes no number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dynamics.core.checked_arguments import check_arguments
from dynamics.core.dynamics import Dynamics, Fixed, Hyper, State
from dynamics.core.given_arrays import read_hyper, read_key
from dynamics.core.recording import check_schedule
from dynamics.core.triple_checks import check_triple
from dynamics.errors import choose

FINITE = "finite"
OK, DIVERGED, NOT_FINITE = "ok", "diverged", "not_finite"  # how a run that was computed may have ended


class Trajectory(NamedTuple):
    """The result of a run, or of an ensemble of runs on a leading axis.

    steps: the recorded steps, shape (T,)
    records: observations by name, shape (..., T, *)
    finite: whether the state was finite at each record, shape (..., T)
    state: the final state
    undefined: the observations that are NaN where they have no value
    """

    steps: np.ndarray
    records: dict[str, np.ndarray]
    finite: np.ndarray
    state: State
    undefined: tuple[str, ...] = ()

    @property
    def status(self) -> np.ndarray:
        """Return `ok`, `diverged` if the state was not finite at some record, or `not_finite` if only a measure was not.

        Shape (...).
        """
        kept = np.where(self.wrong_measures.any(-1), NOT_FINITE, OK)
        return np.where(self.finite.all(-1), kept, DIVERGED)

    @property
    def wrong_measures(self) -> np.ndarray:
        """Return whether an observation is not finite though the state is, (..., T); NaN of those `undefined` is no fault."""
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


def start(dynamics: Dynamics, key: jax.Array, hyper: Hyper) -> tuple[Fixed, State]:
    """Return the fixed data and the initial state of a run with this key and these swept scalars."""
    return dynamics.init(jax.random.fold_in(key, 0), hyper)


def advance(
    dynamics: Dynamics,
    key: jax.Array,
    fixed: Fixed,
    state: State,
    begin: jax.Array,
    end: jax.Array,
    record: jax.Array | bool = True,
) -> tuple[State, dict[str, jax.Array]]:
    """Take the steps `begin, ..., end - 1`; return the state and its observations (zeros unless `record`).

    The bounds and `record` are traced: one program serves every segment, whole or split, so the numbers are the same.
    """
    step_key = jax.random.fold_in(key, 1)
    if dynamics.leap is not None:
        state = dynamics.leap(state, fixed, end - begin)
    else:
        state = lax.fori_loop(begin, end, lambda t, s: dynamics.step(s, fixed, jax.random.fold_in(step_key, t)), state)
    observe = jax.jit(dynamics.observe, inline=True)  # traced once for both its shapes and the branch
    shapes = jax.eval_shape(observe, state, fixed)
    nothing = jax.tree.map(lambda seen: jnp.zeros(seen.shape, seen.dtype), shapes)
    observed = lax.cond(record, lambda s: observe(s, fixed), lambda s: nothing, state)
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return state, {**observed, FINITE: jnp.all(jnp.stack(leaves))}


def drive(
    advance: Callable[[State, np.int32, np.int32, bool], tuple[State, dict[str, jax.Array]]],
    state: State,
    schedule: Sequence[int],
    watch: Callable[[int, dict[str, np.ndarray]], None] | None = None,
    hook: SegmentHook | None = None,
    resume_from: ResumeState | None = None,
) -> Trajectory:
    """Advance a state (of one run or of an ensemble) over the schedule and return its trajectory.

    advance: (state, begin, end, record) -> (state, observations), a compiled program
    watch: called with the step and the observations after every segment; hook: called between segments
    resume_from: continue from this state instead of `state`; the result equals that of an uninterrupted run

    The next segment is dispatched before the last record is fetched, so the device does not wait for the host. When
    every run has diverged, one further segment is computed and the remaining ones are skipped.
    """
    hook = hook or SegmentHook()
    position, state, steps, records = resume_from or ResumeState(0, state, [], [])
    steps, records = list(steps), list(records)
    all_diverged_at = next((step for step, r in zip(steps, records, strict=True) if not r[FINITE].any()), None)
    waiting: tuple[int, int, bool, dict[str, Any]] | None = None  # the record that is still to be fetched

    def fetch() -> None:
        nonlocal waiting, all_diverged_at
        if waiting is None:
            return
        (step, taken, recorded, record), waiting = waiting, None
        host = {name: np.asarray(value) for name, value in record.items()} if recorded else {FINITE: np.asarray(record[FINITE])}
        hook.after_steps(taken)
        if recorded:
            steps.append(step)
            records.append(host)
            all_diverged_at = step if all_diverged_at is None and not host[FINITE].any() else all_diverged_at
        if watch is not None:
            watch(step, host)

    for end in schedule:
        if (steps and end <= steps[-1]) or (all_diverged_at is not None and all_diverged_at < steps[-1]):
            continue
        while True:
            to = min(end, position + hook.limit_steps(end - position)) if end > position else end
            state, record = advance(state, np.int32(position), np.int32(to), to == end)
            fetch()
            waiting, position = (to, to - position, to == end, record), to
            if hook.should_save():
                fetch()
                hook.save(ResumeState(position, state, steps, records))
            if position == end:
                break
        # not `<=`: the run must end at the same segment whether or not this record has been fetched
        if all_diverged_at is not None and all_diverged_at < position:
            break
    fetch()

    axis = records[0][FINITE].ndim
    table = {name: np.stack([r[name] for r in records], axis=axis) for name in records[0]}
    return Trajectory(np.array(steps), {k: v for k, v in table.items() if k != FINITE}, table[FINITE], state)


@check_arguments("simulate", types=False)
def simulate(
    dynamics: Dynamics,
    key: jax.Array | int,
    hyper: Hyper,
    schedule: Sequence[int],
    *,
    precision: str | None = None,
) -> Trajectory:
    """Compile and run a dynamics once over the schedule; return its trajectory.

    key: a JAX key, or a seed that stands for `jax.random.key(seed)`; hyper: the run's scalars, numbers or arrays, by name
    schedule: the steps to record, integers that increase, 0 for the start
    precision: `float32` or `float64`; what JAX is set to, unless said. Arrays are never narrowed to it

    The trajectory has `steps` (T,), `records` by name (T, ...), `finite` (T,), `status` and the final `state`. Raises
    `InputError`, before anything is computed, for arguments that are none of these and functions that do not fit together.

    >>> import dynamics as dyn
    >>> halve = dyn.Dynamics(lambda key, h: (h, h["x0"]), lambda x, h, key: x / 2, lambda x, h: {"x": x})
    >>> dyn.simulate(halve, 0, {"x0": 8.0}, (0, 1, 3)).records["x"].tolist()
    [8.0, 4.0, 1.0]
    """
    steps = check_schedule(schedule)
    if precision is not None:
        choose("precision", precision, dict.fromkeys(("float32", "float64")))
    set_now = jax.dtypes.canonicalize_dtype(np.float64) == np.float64
    with jax.enable_x64(set_now if precision is None else precision == "float64"):
        key, hyper = read_key(key), read_hyper(hyper)
        check_triple(dynamics, key, hyper)
        fixed, state = jax.jit(lambda k, h: start(dynamics, k, h))(key, hyper)
        segment = jax.jit(lambda s, begin, end, record: advance(dynamics, key, fixed, s, begin, end, record))
        return drive(segment, state, steps)._replace(undefined=dynamics.undefined)
