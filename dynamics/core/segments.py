"""One segment of one run: its steps, and what is seen at its end. Written for a single run, and traced.

A run that ends at a goal carries beside its state how often in a row it has passed it and where it stopped. From then
on its loops have no rounds: under `lax.map` nothing is computed for it, in a lane of others it is masked.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dynamics.core.dynamics import Dynamics, Fixed, Hyper, State
from dynamics.core.stop_spec import GOAL, StopSpec

FINITE = "finite"
STOPPED_AT = "stopped_at"


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
    state = take_steps(dynamics, key, fixed, state, begin, end)
    return state, {**_observe(dynamics, fixed, state, record), FINITE: _is_finite(state)}


def take_steps(dynamics: Dynamics, key: jax.Array, fixed: Fixed, state: State, begin: jax.Array, end: jax.Array) -> State:
    """Return the state after the steps `begin, ..., end - 1`; as it is where there are none."""
    step_key = jax.random.fold_in(key, 1)
    if dynamics.leap is not None:
        return dynamics.leap(state, fixed, end - begin)
    return lax.fori_loop(begin, end, lambda t, s: dynamics.step(s, fixed, jax.random.fold_in(step_key, t)), state)


def _observe(dynamics: Dynamics, fixed: Fixed, state: State, record: jax.Array | bool) -> dict[str, jax.Array]:
    observe = jax.jit(dynamics.observe, inline=True)  # traced once for both its shapes and the branch
    shapes = jax.eval_shape(observe, state, fixed)
    nothing = jax.tree.map(lambda seen: jnp.zeros(seen.shape, seen.dtype), shapes)
    return lax.cond(record, lambda s: observe(s, fixed), lambda s: nothing, state)


def _is_finite(state: State) -> jax.Array:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack(leaves))


# ---- runs that end at a goal


class Pursuit(NamedTuple):
    """The state of a run that ends at a goal.

    state: that of the dynamics; passed: checks in a row that passed, (); due: the step of the next check where checks
    have steps of their own, (); stopped_at: where it stopped, -1 before, (); shown: whether that has been recorded, ()
    """

    state: State
    passed: jax.Array
    due: jax.Array
    stopped_at: jax.Array
    shown: jax.Array


def start_pursuit(dynamics: Dynamics, key: jax.Array, hyper: Hyper) -> tuple[tuple[Fixed, dict[str, Any]], Pursuit]:
    """Return ((fixed data, goal), initial state) of a run that ends at a goal, which is found among its scalars."""
    goal = {name: jnp.asarray(hyper[name]) for name in GOAL}
    fixed, state = start(dynamics, key, {name: value for name, value in hyper.items() if name not in goal})
    return (fixed, goal), Pursuit(state, jnp.int32(0), jnp.int32(0), jnp.int32(-1), jnp.bool_(False))


def advance_pursuit(
    dynamics: Dynamics,
    stop: StopSpec,
    key: jax.Array,
    fixed: tuple[Fixed, dict[str, Any]],
    pursuit: Pursuit,
    begin: jax.Array,
    end: jax.Array,
    record: jax.Array | bool = True,
) -> tuple[Pursuit, dict[str, jax.Array]]:
    """Do as `advance` does until the run stops, and nothing after that.

    Observations are zeros at records after the first at which it has stopped: they are those of that record. Checks
    do not depend on how segments are split.
    """
    own, goal = fixed

    def check(pursuit: Pursuit, step: jax.Array, value: jax.Array) -> Pursuit:
        passes = ((value < goal["stop.below"]) | (value > goal["stop.above"])) & jnp.isfinite(value)
        passed = jnp.where(passes & _is_finite(pursuit.state), pursuit.passed + 1, 0)
        return pursuit._replace(passed=passed, stopped_at=jnp.where(passed >= stop.checks, step, -1).astype(jnp.int32))

    def look(pursuit: Pursuit, step: jax.Array) -> Pursuit:
        return check(pursuit, step, dynamics.observe(pursuit.state, own)[stop.measure])

    def goes_on(loop: tuple[jax.Array, Pursuit]) -> jax.Array:
        step, pursuit = loop
        return (pursuit.stopped_at < 0) & ((step < end) | (pursuit.due <= end))

    def to_next_check(loop: tuple[jax.Array, Pursuit]) -> tuple[jax.Array, Pursuit]:
        step, pursuit = loop
        to = jnp.minimum(end, pursuit.due)
        pursuit = pursuit._replace(state=take_steps(dynamics, key, own, pursuit.state, step, to))
        is_due = to == pursuit.due
        pursuit = lax.cond(is_due, look, lambda pursuit, step: pursuit, pursuit, to)
        return to, pursuit._replace(due=jnp.where(is_due, pursuit.due + stop.every, pursuit.due))

    if stop.every:
        _, pursuit = lax.while_loop(goes_on, to_next_check, (jnp.asarray(begin, jnp.int32), pursuit))
    else:
        last = jnp.where(pursuit.stopped_at < 0, end, begin)
        pursuit = pursuit._replace(state=take_steps(dynamics, key, own, pursuit.state, begin, last))
    seen = _observe(dynamics, own, pursuit.state, record & ~pursuit.shown)
    if not stop.every:
        is_due = record & (pursuit.stopped_at < 0)
        pursuit = lax.cond(is_due, check, lambda pursuit, *rest: pursuit, pursuit, end, seen[stop.measure])
    pursuit = pursuit._replace(shown=pursuit.shown | (record & (pursuit.stopped_at >= 0)))
    return pursuit, {**seen, FINITE: _is_finite(pursuit.state), STOPPED_AT: pursuit.stopped_at}
