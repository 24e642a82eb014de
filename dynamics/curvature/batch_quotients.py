"""Curvature along gradients: batch sharpness, and what it is the mean of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree


def gradient_quotient(gradient: Callable[[Any], Any], params: Any) -> jax.Array:
    """Return g^T H g / |g|^2 () of the loss with this gradient (params -> pytree like them); NaN where g = 0."""
    flat, unravel = ravel_pytree(params)

    def slope(p: jax.Array) -> jax.Array:
        return ravel_pytree(gradient(unravel(p)))[0]

    g = slope(flat)
    norm = jnp.linalg.norm(g)
    unit = g / jnp.where(norm > 0, norm, 1)
    return jnp.where(norm > 0, unit @ jax.jvp(slope, (flat,), (unit,))[1], jnp.nan)


def batch_sharpness(gradient: Callable[[Any, jax.Array], Any], params: Any, batches: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the mean of g_B^T H_B g_B / |g_B|^2 over batches (M, b) of indices, and the standard error of that mean.

    gradient(params, indices (b,)): of the loss on this batch. H_B is the batch's own Hessian: the expected curvature of
    a batch's loss along its own gradient (Andreyev and Beneventano 2024, Definition 3), a mean of ratios and not the
    ratio of means. A batch whose gradient vanishes has no direction and is left out. Of one batch the error is NaN.
    """
    each = lax.map(lambda batch: gradient_quotient(lambda p: gradient(p, batch), params), batches)
    there = ~jnp.isnan(each)
    count = jnp.sum(there).astype(each.dtype)
    mean = jnp.sum(jnp.where(there, each, 0)) / count
    spread = jnp.sqrt(jnp.sum(jnp.where(there, each - mean, 0) ** 2) / jnp.where(count > 1, count - 1, jnp.nan))
    return mean, spread / jnp.sqrt(count)


def draw_batches(key: jax.Array, num_batches: int, num_samples: int, size: int) -> jax.Array:
    """Return indices (num_batches, size) of batches without replacement, as epochs give them.

    Every num_samples // size batches are parts of one random order of the samples, so that none of them overlap.
    """
    per_epoch = num_samples // size
    epochs = -(-num_batches // per_epoch)
    orders = jax.vmap(lambda k: jax.random.permutation(k, num_samples))(jax.random.split(key, epochs))
    return orders[:, : per_epoch * size].reshape(-1, size)[:num_batches]


def gradient_norms(gradient: Callable[[Any, jax.Array], Any], params: Any, num_samples: int, chunk: int = 32) -> jax.Array:
    """Return |g_i|^2 (num_samples,) of every sample's own gradient; gradient(params, indices (1,)),
    `chunk` at a time."""

    def one(index: jax.Array) -> jax.Array:
        return jnp.sum(ravel_pytree(gradient(params, index[None]))[0] ** 2)

    return lax.map(one, jnp.arange(num_samples), batch_size=min(chunk, num_samples))
