"""Pictures with the statistics of natural images and nothing to load: discs that lie on one another like dead leaves.

Lee, Mumford and Huang, "Occlusion Models for Natural Images", IJCV 41 (2001): a picture is made of objects that hide
what is behind them. With radii of density r^-3 the picture looks the same from near and far, as pictures of the world
do.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def draw_dead_leaves(
    key: jax.Array, side: int, channels: int, leaves: int, smallest: Any, exponent: Any, texture: Any, dtype: Any
) -> jax.Array:
    """Return a random picture (side, side, channels) of overlapping discs in uniform colours, plus noise.

    A pixel has the colour of the topmost leaf that covers its centre.

    The leaves are discs. Their centres are uniform on [-side, 2 side]^2, as far outside the frame as the largest leaf
    reaches; their radii have density ~ r^-exponent on [smallest, side]; their colours are uniform on [0, 1]^channels,
    as is that of the background, which shows where no leaf is. The noise has standard deviation `texture` in every
    pixel and channel. `side`, `channels` and `leaves` are static, the others may be traced. More leaves lie below those
    that are there already, so they change no pixel but those of the background.

    All pixels have mean 1/2, channels are uncorrelated, and the covariance of two pixels in a channel is

        P(the same leaf is on top of both, or none on either) / 12 + texture^2 1{the same pixel}.

    With p and q a leaf's chances to cover one of them and both, the probability is q / w (1 - (1 - w)^leaves) + (1 -
    w)^leaves, w = 2 p - q, where p = pi E[r^2] / (9 side^2), and q -> p as the radii grow against the pixels' distance.
    So

    * large leaves (`smallest` near `side`, a small `exponent`) make patches that are small against them nearly
      constant: their covariance is near 1/12 times the matrix of ones, of rank one in each channel. So do leaves too
      few to cover the frame (leaves p < 1), where most of it is background; with an `exponent` of 3 most are small, and
      many are needed;
    * small leaves in such number, or a `texture` well above 12^-1/2 = 0.29, make patches white: their covariance is
      near a multiple of the identity.
    """
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, 0), i))(jnp.arange(leaves, dtype=jnp.int32))
    drawn = jax.vmap(lambda k: jax.random.uniform(k, (3 + channels,), dtype))(keys)
    centres = side * (3 * drawn[:, :2] - 1)
    radii = power_law_quantile(drawn[:, 2], smallest, side, exponent)
    background = jax.random.uniform(jax.random.fold_in(key, 1), (1, channels), dtype)
    colours = jnp.concatenate([drawn[:, 3:], background])

    position = jnp.arange(side, dtype=dtype) + 0.5

    def lay(top, leaf):
        number, (row, column), radius = leaf
        inside = (position[:, None] - row) ** 2 + (position - column) ** 2 <= radius**2
        return jnp.where(inside, number, top), None

    ground = jnp.full((side, side), leaves, jnp.int32)
    top, _ = lax.scan(lay, ground, (jnp.arange(leaves, dtype=jnp.int32), centres, radii), reverse=True)
    noise = jax.random.normal(jax.random.fold_in(key, 2), (side, side, channels), dtype)
    return colours[top] + jnp.asarray(texture, dtype) * noise


def power_law_quantile(level: jax.Array, smallest: Any, largest: Any, exponent: Any) -> jax.Array:
    """Return the quantile at `level` of the density ~ r^-exponent on [smallest, largest].

    0 < smallest; any real exponent.
    """
    power = 1 - jnp.asarray(exponent, level.dtype)
    span = jnp.log(jnp.asarray(largest, level.dtype) / smallest)
    safe = jnp.where(power == 0, 1, power)
    share = jnp.where(power == 0, level * span, jnp.log1p(level * jnp.expm1(safe * span)) / safe)
    return smallest * jnp.exp(jnp.clip(share, 0, span))
