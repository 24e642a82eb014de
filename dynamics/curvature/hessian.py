"""Hessians of any loss over any pytree of parameters, by products or dense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from dynamics.curvature.lanczos import TopEigenpair, top_eigenpair


def hessian_product(loss: Callable[[Any], jax.Array], params: Any) -> Callable[[jax.Array], jax.Array]:
    """v (P,) -> H v (P,) for the Hessian of `loss` at `params`, parameters raveled; one forward over one reverse pass."""
    flat, unravel = ravel_pytree(params)
    _, product = jax.linearize(jax.grad(lambda p: loss(unravel(p))), flat)
    return product


def dense_hessian(loss: Callable[[Any], jax.Array], params: Any) -> jax.Array:
    """The whole Hessian, (P, P): the oracle for small nets."""
    flat, unravel = ravel_pytree(params)
    return jax.hessian(lambda p: loss(unravel(p)))(flat)


def sharpness(
    loss: Callable[[Any], jax.Array], params: Any, num_steps: int = 40, tolerance: float | jax.Array = 1e-3
) -> TopEigenpair:
    """Largest algebraic eigenvalue of the Hessian of exactly this loss, by guarded Lanczos.

    Started from one random direction plus the gradient, whose part in the top eigenspace is large late in training.
    """
    flat, unravel = ravel_pytree(params)
    gradient = jax.grad(lambda p: loss(unravel(p)))(flat)
    noise = jax.random.normal(jax.random.key(0), flat.shape, flat.dtype)
    size = jnp.linalg.norm(gradient)
    start = noise / jnp.linalg.norm(noise) + gradient / jnp.where(size > 0, size, 1)
    return top_eigenpair(hessian_product(loss, params), start, num_steps, tolerance)
