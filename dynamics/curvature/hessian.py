"""Hessians of any loss over any pytree of parameters, by products or dense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.flatten_util import ravel_pytree

from dynamics.curvature.lanczos import TopEigenpair, top_eigenpair


def build_hessian_product(
    loss: Callable[[Any], jax.Array], params: Any, gradient: Callable[[Any], Any] | None = None
) -> Callable[[jax.Array], jax.Array]:
    """Return the function v (P,) -> H v (P,) for the Hessian of `loss` at `params`, parameters raveled.

    It is the gradient's derivative along v.

    A closed-form `gradient` (params -> pytree like them) takes the reverse pass's place, at about a third of its price.
    What does not depend on v is computed once.
    """
    unravel = ravel_pytree(params)[1]
    _, along = jax.linearize(gradient or jax.grad(loss), params)

    def product(v: jax.Array) -> jax.Array:
        return ravel_pytree(along(unravel(v)))[0]

    return product


def dense_hessian(loss: Callable[[Any], jax.Array], params: Any) -> jax.Array:
    """Return the whole Hessian (P, P), against which others are tested on small networks."""
    flat, unravel = ravel_pytree(params)
    return jax.hessian(lambda p: loss(unravel(p)))(flat)


def hessian_sharpness(
    loss: Callable[[Any], jax.Array],
    params: Any,
    num_steps: int = 64,
    tolerance: float | jax.Array | None = None,
    gradient: Callable[[Any], Any] | None = None,
    guess: Any = None,
) -> TopEigenpair:
    """Return the top eigenpair, the largest eigenvalue in algebraic order, of this loss's Hessian, by guarded Lanczos.

    Started from a guess of the top eigenvector (a pytree like params): that of the Gauss-Newton part where it is known,
    else the gradient, whose part in the top eigenspace is large late in training.
    """
    if guess is None:
        guess = (gradient or jax.grad(loss))(params)
    return top_eigenpair(build_hessian_product(loss, params, gradient), ravel_pytree(guess)[0], num_steps, tolerance)
