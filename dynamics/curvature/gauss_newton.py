"""The Gauss-Newton part of the squared loss's Hessian through its n x n kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from dynamics.curvature.lanczos import TopEigenpair, top_eigenpair
from dynamics.models.base import Batch, Model


def gauss_newton_kernel(model: Model, params: Any, batch: Batch) -> jax.Array:
    """Return K_ij = sqrt(w_i w_j) <grad f(x_i), grad f(x_j)>, (n, n), in closed form where the model has one.

    With C outputs it is (n C, n C), over the outputs of all samples.

    With w_i = 1/n its nonzero spectrum is that of (1/n) sum_i grad f(x_i) grad f(x_i)^T.
    """
    if model.gauss_newton is not None:
        return model.gauss_newton(params, batch)
    flat, unravel = ravel_pytree(params)
    jacobian = jax.jacrev(lambda p: model.apply(unravel(p), batch).reshape(-1))(flat)
    scaled = _root_weights(batch).reshape(-1)[:, None] * jacobian
    return scaled @ scaled.T


def _root_weights(batch: Batch) -> jax.Array:
    """Return sqrt(w_i) of every output of every sample, shaped like the labels."""
    return jnp.broadcast_to(
        jnp.sqrt(batch.weights).reshape(*batch.weights.shape, *[1] * (batch.labels.ndim - batch.weights.ndim)),
        batch.labels.shape,
    )


def build_kernel_product(model: Model, params: Any, batch: Batch) -> Callable[[jax.Array], jax.Array]:
    """Return the function u (n,) -> K u, which never forms the kernel K.

    It takes a pass back to the parameters and one forth, O(n P) each at most.
    """
    root = _root_weights(batch)
    _, push = jax.linearize(lambda p: model.apply(p, batch), params)
    pull = jax.linear_transpose(push, params)

    def product(u: jax.Array) -> jax.Array:
        return (root * push(*pull(root * u.reshape(root.shape)))).reshape(-1)

    return product


def gauss_newton_sharpness(model: Model, params: Any, batch: Batch, factor: float, num_steps: int = 64) -> TopEigenpair:
    """Return the top eigenpair of the Gauss-Newton matrix of factor * mean (f - y)^2; its vector is (n,).

    It is computed as that of 2 factor K.

    By guarded Lanczos on products with the kernel, which is never formed: for n <= num_steps exact like a full
    decomposition, above that to the returned residual.
    """
    product = build_kernel_product(model, params, batch)
    ones = jnp.ones((batch.labels.size,), batch.weights.dtype)
    return top_eigenpair(lambda u: 2 * factor * product(u), ones, num_steps)


def lift_eigenvector(model: Model, params: Any, batch: Batch, vector: jax.Array) -> Any:
    """Return the Gauss-Newton matrix's eigenvector from the kernel's (n,): sum_i sqrt(w_i) u_i grad f(x_i)."""
    scaled = _root_weights(batch) * vector.reshape(batch.labels.shape)
    return jax.vjp(lambda p: model.apply(p, batch), params)[1](scaled)[0]
