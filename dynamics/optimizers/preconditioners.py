"""What rules of adaptive rates divide a gradient by, from their own state after a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dynamics.core.dynamics import Hyper
from dynamics.core.registry import Registry

Preconditioner = Callable[[Any, Hyper], Any]

PRECONDITIONERS: Registry[Preconditioner] = Registry("preconditioner")
"""By `optimizer.kind`: (the rule's state after the step, the run's scalars) -> P, a pytree like the parameters, with
which that step was P^-1 of the mean of gradients that the rule keeps."""


def find_state(state: Any, kind: type) -> Any:
    """Return the one part of this type in the state of an optax chain."""
    found = [leaf for leaf in jax.tree.leaves(state, is_leaf=lambda s: isinstance(s, kind)) if isinstance(leaf, kind)]
    assert len(found) == 1, f"one {kind.__name__} in the state, not {len(found)}"
    return found[0]


def _adam(state: Any, hyper: Hyper) -> Any:
    """(1 - b1^t) (sqrt(v / (1 - b2^t)) + epsilon): theta - eta P^-1 m is Adam's step number t from its
    means m and v."""
    seen = find_state(state, optax.ScaleByAdamState)
    beta1, beta2, epsilon = (hyper[f"optimizer.{name}"] for name in ("beta1", "beta2", "epsilon"))
    first, second = (1 - beta**seen.count for beta in (beta1, beta2))
    return jax.tree.map(lambda v: first * (jnp.sqrt(v / second) + epsilon), seen.nu)


def _rmsprop(state: Any, hyper: Hyper) -> Any:
    nu = find_state(state, optax.ScaleByRmsState).nu
    return jax.tree.map(lambda v: jnp.sqrt(v + hyper["optimizer.epsilon"]), nu)


def _torch_rmsprop(state: Any, hyper: Hyper) -> Any:
    nu = find_state(state, optax.ScaleByRmsState).nu
    return jax.tree.map(lambda v: jnp.sqrt(v) + hyper["optimizer.epsilon"], nu)


PRECONDITIONERS.update({"adam": _adam, "adamw": _adam, "rmsprop": _rmsprop, "torch_rmsprop": _torch_rmsprop})
