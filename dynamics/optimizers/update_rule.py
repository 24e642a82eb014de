"""What an update rule is: its first state, and a step, which asks for gradients where it likes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax


class Gradient(Protocol):
    """The gradient of the training loss at any parameters, on the step's minibatch if there is one.

    relabel(labels): the labels to take in their place, of the same shape; None for the data's own
    """

    def __call__(self, params: Any, /, relabel: Callable[[jax.Array], jax.Array] | None = None) -> Any: ...


class Update(Protocol):
    """One step of a rule: returns the next (params, state).

    gradient: see `Gradient`; step: (), the steps taken so far; key: random, of this run and this step alone
    """

    def __call__(self, params: Any, state: Any, gradient: Gradient, *, step: jax.Array, key: jax.Array) -> tuple[Any, Any]: ...


class Rule(NamedTuple):
    """A rule with its numbers filled in. init(params): its first state; update: see `Update`."""

    init: Callable[[Any], Any]
    update: Update
