"""The squared loss in its two normalisations, and cross-entropy.

`mse` is (1/n) sum (f - y)^2, PyTorch's MSELoss, in which the papers' learning rates are given; `half` is
(1/2n) sum (f - y)^2, in which their theorems are. H_mse = 2 H_half, so eta under `mse` is 2 eta under `half`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dynamics.core.spec import added_field
from dynamics.errors import choose, require
from dynamics.models.base import Batch

FACTORS = {"mse": 1.0, "half": 0.5}


@dataclass(frozen=True)
class LossSpec:
    """normalization: of the squared loss, `mse` (1/n) or `half` (1/2n); kind: `squared` or `cross_entropy` (natural
    logarithms).

    >>> import dynamics as dyn
    >>> dyn.Loss(normalization="half").factor  # of the mean square
    0.5
    """

    normalization: str = "mse"
    kind: str = added_field("squared")

    @property
    def factor(self) -> float:
        """The loss is factor * the mean over samples of |f - y|^2, summed over outputs, or of the cross-entropy."""
        return FACTORS[self.normalization] if self.kind == "squared" else 1.0

    def check(self, outputs: int) -> None:
        choose("loss.normalization", self.normalization, FACTORS)
        choose("loss.kind", self.kind, LOSSES)
        allowed = "cross_entropy is for a target.kind of several outputs, such as one_hot"
        require(self.kind == "squared" or outputs > 1, "loss.kind", self.kind, allowed)


def squares(residual: jax.Array, weights: jax.Array) -> jax.Array:
    """|f - y|^2 of every sample, shaped like the weights: summed over outputs where there are several."""
    return residual**2 if residual.ndim == weights.ndim else jnp.sum(residual**2, axis=-1)


def squared(prediction: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
    """|f - y|^2 of every sample."""
    return squares(prediction - labels, weights)


def cross_entropy(prediction: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
    """-sum_c y_c log softmax(f)_c of every sample."""
    return optax.losses.softmax_cross_entropy(prediction, labels)


LOSSES = {"squared": squared, "cross_entropy": cross_entropy}


def loss(kind: str, factor: float, apply: Callable[[Any, Batch], jax.Array], params: Any, batch: Batch) -> jax.Array:
    """factor * the weighted mean over the batch."""
    return factor * jnp.sum(batch.weights * LOSSES[kind](apply(params, batch), batch.labels, batch.weights))
