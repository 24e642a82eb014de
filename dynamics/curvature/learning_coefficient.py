"""The local learning coefficient lambda of a loss at a minimum, by sampling around it.

Watanabe's lambda says how the volume of parameters within epsilon of the loss falls: V(epsilon) ~ epsilon^lambda
(-log epsilon)^(m - 1). It is d/2 at a regular minimum of d parameters and less at a degenerate one. Lau, Furman, Wang,
Murfet and Wei 2023 ("The local learning coefficient") estimate it by

    lambda = n beta (E[L(w)] - L(w*)),   beta = 1 / log n,

the mean over the density exp(-n beta L(w) - localisation |w - w*|^2 / 2). The chain is theirs, Langevin dynamics

    w <- w - rate (grad L(w) + localisation (w - w*) / (n beta)) + sqrt(2 rate / (n beta)) xi,

with the full gradient and a Metropolis test of each step, so that the length of steps biases nothing: `rate` is on the
scale of gradient descent, stable below 2 / sharpness, and good where 50 to 80 % of the steps are accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

BLOCKS = 16  # of the chain behind its first half, for the standard error of their mean


class LearningCoefficient(NamedTuple):
    """value: lambda; error: its standard error; accepted: share of the chain's steps that were; each ()."""

    value: jax.Array
    error: jax.Array
    accepted: jax.Array


class _Point(NamedTuple):
    """A point of the chain: w (d,); its loss (); gradient (d,) of the potential over n beta."""

    w: jax.Array
    loss: jax.Array
    slope: jax.Array


def estimate_learning_coefficient(
    loss: Callable[[Any], jax.Array],
    params: Any,
    key: jax.Array,
    *,
    scale: jax.Array,
    rate: jax.Array,
    localisation: jax.Array,
    num_steps: int,
) -> LearningCoefficient:
    """Return the local learning coefficient of a loss at its minimum `params`, by a chain of `num_steps` steps.

    scale: n beta; the first half of the chain is left out. Blocks that are shorter than the chain remembers make the
    error too small.
    """
    centre, unravel = ravel_pytree(params)
    value_and_slope = jax.value_and_grad(lambda w: loss(unravel(w)))
    pull = localisation / scale

    def look(w: jax.Array) -> _Point:
        value, slope = value_and_slope(w)
        return _Point(w, value, slope + pull * (w - centre))

    def energy(point: _Point) -> jax.Array:
        return point.loss + pull * jnp.sum((point.w - centre) ** 2) / 2

    def step(point: _Point, key: jax.Array) -> tuple[_Point, tuple[jax.Array, jax.Array]]:
        noise_key, test_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, centre.shape, centre.dtype)
        new = look(point.w - rate * point.slope + jnp.sqrt(2 * rate / scale) * noise)
        there, back = (new.w - point.w + rate * point.slope), (point.w - new.w + rate * new.slope)
        gain = energy(point) - energy(new) + (jnp.sum(there**2) - jnp.sum(back**2)) / (4 * rate)
        accepted = jnp.log(jax.random.uniform(test_key, (), centre.dtype)) < scale * gain  # never where it is NaN
        kept = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, point)
        return kept, (kept.loss, accepted)

    def block(point: _Point, number: jax.Array) -> tuple[_Point, tuple[jax.Array, jax.Array]]:
        keys = jax.random.split(jax.random.fold_in(key, number), max(1, num_steps // (2 * BLOCKS)))
        point, (losses, accepted) = lax.scan(step, point, keys)
        return point, (jnp.mean(losses), jnp.mean(accepted.astype(centre.dtype)))

    first = look(centre)
    _, (losses, accepted) = lax.scan(block, first, jnp.arange(2 * BLOCKS))
    means = scale * (losses[BLOCKS:] - first.loss)
    return LearningCoefficient(jnp.mean(means), jnp.std(means, ddof=1) / jnp.sqrt(BLOCKS), jnp.mean(accepted[BLOCKS:]))
