"""Run a dynamics over a measurement schedule, segment by segment.

Between two recorded steps lies a segment; its length is a traced number, so one compiled program serves
them all. What needs the host (progress, the non-finite check) happens at segment boundaries only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dynamics.core import Dynamics, Fixed, Hyper, State

FINITE = "finite"


class Trajectory(NamedTuple):
    """What came of a run, or of an ensemble of runs on a leading axis.

    steps: the recorded steps, shape (T,)
    records: observations by name, shape (..., T, *)
    finite: whether the state was finite at each record, shape (..., T)
    state: the final state
    """

    steps: np.ndarray
    records: dict[str, np.ndarray]
    finite: np.ndarray
    state: State

    @property
    def status(self) -> np.ndarray:
        """`ok`, or `diverged` if the state was not finite at some record; shape (...)."""
        return np.where(self.finite.all(-1), "ok", "diverged")

    @property
    def diverged_at(self) -> np.ndarray:
        """First recorded step at which the state was not finite, -1 if none; shape (...)."""
        return np.where(self.finite.all(-1), -1, self.steps[np.argmin(self.finite, axis=-1)])


def start(dynamics: Dynamics, key: jax.Array, hyper: Hyper) -> tuple[Fixed, State]:
    """Draw what the run keeps and its first state."""
    return dynamics.init(jax.random.fold_in(key, 0), hyper)


def advance(
    dynamics: Dynamics, key: jax.Array, fixed: Fixed, state: State, begin: jax.Array, end: jax.Array
) -> tuple[State, dict[str, jax.Array]]:
    """Take the steps `begin, ..., end - 1`, then observe. Both bounds are traced."""
    step_key = jax.random.fold_in(key, 1)
    state = lax.fori_loop(begin, end, lambda t, s: dynamics.step(s, fixed, jax.random.fold_in(step_key, t)), state)
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return state, {**dynamics.observe(state, fixed), FINITE: jnp.all(jnp.stack(leaves))}


def drive(
    advance: Callable[[State, np.int32, np.int32], tuple[State, dict[str, jax.Array]]],
    state: State,
    schedule: Sequence[int],
    watch: Callable[[int, dict[str, np.ndarray]], None] | None = None,
) -> Trajectory:
    """Carry a state (of one run or of an ensemble) over the schedule and collect its records.

    The next segment is dispatched before the last one's record is fetched, so the device does not wait for
    the host. Once every run has diverged the remaining segments are left out.
    """
    steps: list[int] = []
    records: list[dict[str, np.ndarray]] = []

    def fetch(step: int, record: dict[str, Any]) -> bool:
        host = {name: np.asarray(value) for name, value in record.items()}
        steps.append(step)
        records.append(host)
        if watch is not None:
            watch(step, host)
        return bool(host[FINITE].any())

    waiting: tuple[int, dict[str, Any]] | None = None
    alive, begin = True, 0
    for end in schedule:
        state, record = advance(state, np.int32(begin), np.int32(end))
        if waiting is not None:
            alive = fetch(*waiting)
        waiting, begin = (end, record), end
        if not alive:
            break
    if waiting is not None:
        fetch(*waiting)

    axis = records[0][FINITE].ndim
    table = {name: np.stack([r[name] for r in records], axis=axis) for name in records[0]}
    return Trajectory(np.array(steps), {k: v for k, v in table.items() if k != FINITE}, table[FINITE], state)


def simulate(dynamics: Dynamics, key: jax.Array, hyper: Hyper, schedule: Sequence[int]) -> Trajectory:
    """One run, compiled and driven over the schedule (increasing steps, 0 to record the start).

    >>> halve = Dynamics(lambda key, h: (h, h["x0"]), lambda x, h, key: x / 2, lambda x, h: {"x": x})
    >>> simulate(halve, jax.random.key(0), {"x0": jnp.float32(8.0)}, (0, 1, 3)).records["x"].tolist()
    [8.0, 4.0, 1.0]
    """
    fixed, state = jax.jit(lambda k, h: start(dynamics, k, h))(key, hyper)
    segment = jax.jit(lambda s, begin, end: advance(dynamics, key, fixed, s, begin, end))
    return drive(segment, state, schedule)
