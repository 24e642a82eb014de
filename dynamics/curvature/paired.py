"""Gauss-Newton's sharpness and the Hessian's by one Lanczos: half the program, where compiling takes longer than
computing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from dynamics.curvature.hessian import build_hessian_product
from dynamics.curvature.lanczos import TopEigenpair, top_eigenpair
from dynamics.models.base import Batch, Model


def top_eigenpairs_of_both(
    model: Model,
    params: Any,
    batch: Batch,
    factor: float,
    gradient: Callable[[Any], Any],
    guess: Any,
    num_steps: int = 64,
) -> TopEigenpair:
    """Return the stacked top eigenpairs of the Gauss-Newton matrix and of the Hessian, in this order.

    Of factor * mean (f - y)^2.

    gradient: params -> that of the loss; guess: of both top eigenvectors, a pytree like params
    """
    flat, unravel = ravel_pytree(params)
    hessian = build_hessian_product(lambda p: jnp.zeros(()), params, gradient)
    _, push = jax.linearize(lambda p: model.apply(p, batch), params)
    pull = jax.linear_transpose(push, params)

    def product(share: jax.Array, v: jax.Array) -> jax.Array:
        squared = ravel_pytree(pull(2 * factor * batch.weights * push(unravel(v))))[0]
        return share * hessian(v) + (1 - share) * squared

    start, _ = ravel_pytree(guess)
    shares = jnp.asarray([0.0, 1.0], flat.dtype)
    return lax.map(lambda share: top_eigenpair(lambda v: product(share, v), start, num_steps), shares)
