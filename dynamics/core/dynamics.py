"""The one idea: a dynamics is a triple of pure functions, written for a single run.

    init(key, hyper)         -> fixed, state
    step(state, fixed, key)  -> state
    observe(state, fixed)    -> {name: array}

`hyper` holds the swept scalars of the run as array leaves, so one compiled program serves every value.
`fixed` is all that stays constant during the run: the swept scalars that the step needs, the data, the
teacher, precomputed products. It is drawn once and never carried through the loop. A map without data
returns `hyper` itself as `fixed`. Static choices (shapes, kinds) are closed over by the three functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

Hyper = Mapping[str, jax.Array]
Fixed = Any
State = Any


class Dynamics(NamedTuple):
    """A dynamics: how a run starts, how it moves, what is seen of it.

    `init(key, hyper)` returns `(fixed, state)`; `step(state, fixed, key)` the next state, where `key` is
    fresh at every step; `observe(state, fixed)` a dict of scalars (or arrays of fixed shape) to record.
    `leap(state, fixed, steps)`, where there is one, takes so many steps that need no key at once, quicker than one by
    one. `undefined` names observations that are NaN where they have no value;
    NaN in another is told in the run's status.

    >>> import dynamics as dyn, jax.numpy as jnp
    >>> descent = dyn.Dynamics(
    ...     init=lambda key, hyper: (hyper, hyper["start"]),
    ...     step=lambda x, hyper, key: x - hyper["rate"] * x**3,
    ...     observe=lambda x, hyper: {"loss": x**4 / 4},
    ... )
    >>> dyn.simulate(descent, 0, {"start": 1.0, "rate": 0.5}, (0, 1, 2)).records["loss"].round(3)
    array([0.25 , 0.016, 0.009], dtype=float32)
    """

    init: Callable[[jax.Array, Hyper], tuple[Fixed, State]]
    step: Callable[[State, Fixed, jax.Array], State]
    observe: Callable[[State, Fixed], dict[str, jax.Array]]
    leap: Callable[[State, Fixed, jax.Array], State] | None = None
    undefined: tuple[str, ...] = ()


class Cost(NamedTuple):
    """What one run asks of a machine; estimates for the plan, never for a result.

    flops_per_step: useful floating-point operations of one step
    flops_per_record: the same of one observation
    bytes_resident: state and fixed data of one run, kept for the whole group
    bytes_working: temporary arrays while one run steps or is observed
    speed: how many times the machine's plain rate the operations run at, where kernels of our own take them

    >>> import dynamics as dyn
    >>> dyn.Training(data=dyn.Data(num_samples=100), model=dyn.Model(width=50)).cost().flops_per_step
    80000
    """

    flops_per_step: float
    flops_per_record: float
    bytes_resident: float
    bytes_working: float
    speed: float = 1.0
