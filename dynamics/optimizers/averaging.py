"""Averages of the parameters over the steps of a run, kept beside them: exponential (EMA) and uniform (SWA).

With theta_t the parameters after t steps and s = `average_start`, the average is theta_t up to step s. After it
`ema` takes average <- decay * average + (1 - decay) * theta_t (Tarvainen and Valpola 2017; without bias correction,
since it begins at theta_s), and `uniform` is the mean of theta_s, ..., theta_t, every step counted (Polyak and Juditsky
1992; SWA, Izmailov et al. 2018, with a cycle of one step). The steps themselves see nothing of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Hyper
from dynamics.optimizers.update_rule import Gradient, Rule

NO_AVERAGE, EMA, UNIFORM = AVERAGES = ("none", "ema", "uniform")


class Averaged(NamedTuple):
    """The state of a rule with an average of the parameters beside it.

    inner: the rule's own state; mean: the average, shaped like the parameters
    lost: what rounding has taken from the mean so far, so that 10^6 small changes are not lost in 32 bits
    """

    inner: Any
    mean: Any
    lost: Any


def average_parameters(rule: Rule, kind: str, hyper: Hyper) -> Rule:
    """Return the same rule with an average of this kind (`ema` or `uniform`) in its state, which becomes `Averaged`."""

    def init(params: Any) -> Averaged:
        return Averaged(rule.init(params), params, jax.tree.map(jnp.zeros_like, params))

    def update(params: Any, state: Averaged, gradient: Gradient, *, step: jax.Array, key: jax.Array) -> tuple[Any, Averaged]:
        moved, inner = rule.update(params, state.inner, gradient, step=step, key=key)
        after = (step + 1).astype(hyper["optimizer.average_start"].dtype) - hyper["optimizer.average_start"]
        gain = 1 / (after + 1) if kind == UNIFORM else 1 - hyper["optimizer.average_decay"]
        begun = after > 0

        def add(mean, lost, new):
            change = gain * (new - mean) - lost
            total = mean + change
            return jnp.where(begun, total, new), jnp.where(begun, (total - mean) - change, 0)

        pairs = jax.tree.map(add, state.mean, state.lost, moved)
        mean, lost = jax.tree.transpose(jax.tree.structure(params), jax.tree.structure((0, 0)), pairs)
        return moved, Averaged(inner, mean, lost)

    return Rule(init, update)
