"""What a model is to the training room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from dynamics.core import Hyper

Params = Any


class Batch(NamedTuple):
    """Samples in the layout a model likes; labels and weights have the shape of its predictions.

    The weights sum to one over true samples and vanish on padding, so that for any layout the empirical
    mean of a per-sample quantity q is `sum(weights * q)`.
    """

    inputs: Any
    labels: jax.Array
    weights: jax.Array


class Model(NamedTuple):
    """A scalar-valued network.

    init(key, hyper): parameters, a pytree
    prepare(inputs (n, d), labels (n,), weights (n,)): the same samples as a `Batch`, once a run
    apply(params, batch): predictions, shaped like `batch.labels`
    squared_gradient(params, batch, factor): gradient of factor * sum(weights (f - y)^2) in closed form, or None
    gauss_newton(params, batch): the kernel K_ij = sqrt(w_i w_j) <grad f(x_i), grad f(x_j)>, shape (n, n), or None
    half_spaces(params, batch, coefficients (C, *weights.shape)): sum_i c_i 1{z_ik > 0} (1, x_i) and the same over
        z_ik < 0, shape (2, C, d + 1, K), where z is a neuron's pre-activation; None for a model without such neurons
    is_weight(params): masks that broadcast to the parameters, 1 on weights and 0 on biases
    """

    init: Callable[[jax.Array, Hyper], Params]
    prepare: Callable[[jax.Array, jax.Array, jax.Array], Batch]
    apply: Callable[[Params, Batch], jax.Array]
    squared_gradient: Callable[[Params, Batch, float], Params] | None
    gauss_newton: Callable[[Params, Batch], jax.Array] | None
    half_spaces: Callable[[Params, Batch, jax.Array], jax.Array] | None
    is_weight: Callable[[Params], Any]


def flat_batch(inputs: jax.Array, labels: jax.Array, weights: jax.Array) -> Batch:
    """The plain layout: inputs (n, d), labels and weights (n,)."""
    return Batch(inputs, labels, weights)
