"""Activation functions by name, each with its derivative and what theory asks of it.

All of them vanish at 0, so a neuron whose incoming and outgoing weights are zero has zero gradient and stays what it
is: padding a width by such neurons is exact for each of them. Second derivatives of the loss are spared too where the
slope vanishes at 0 (`flat_at_zero`); elsewhere a padded neuron couples to the residual in the Hessian.

Pieces are joined by `where` and not by `maximum` or `jax.nn.relu`: the former has slope 1/2 at ties, the rule of the
latter is lost in a scan that is differentiated twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

LEAK = 0.01  # PyTorch's


class Activation(NamedTuple):
    """An activation function phi and its derivative phi'.

    degree: k where phi(a z) = a^k phi(z) for all a > 0, None where there is no such k
    flat_at_zero: whether phi'(0) = 0, at a kink as the derivative is defined here
    """

    value: Callable[[jax.Array], jax.Array]
    slope: Callable[[jax.Array], jax.Array]
    degree: int | None = None
    flat_at_zero: bool = False


def _normal_cdf(z: jax.Array) -> jax.Array:
    """Return the normal distribution function, written alike in phi and phi', so that it is evaluated once for both."""
    return 0.5 * (1 + jax.scipy.special.erf(z * math.sqrt(0.5)))


def _gelu_slope(z: jax.Array) -> jax.Array:
    density = jnp.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return _normal_cdf(z) + z * density


def _swish_slope(z: jax.Array) -> jax.Array:
    gate = jax.nn.sigmoid(z)
    return gate + z * gate * (1 - gate)


ACTIVATIONS = {
    # at the kink phi' = 0
    "relu": Activation(lambda z: jnp.where(z <= 0, 0, z), lambda z: (z > 0).astype(z.dtype), 1, True),
    # z Phi(z), not its approximation by tanh (Hendrycks and Gimpel 2016)
    "gelu": Activation(lambda z: z * _normal_cdf(z), _gelu_slope),
    # slope 0.01 on the negative side, and at 0
    "leaky_relu": Activation(lambda z: jnp.where(z <= 0, LEAK * z, z), lambda z: jnp.where(z <= 0, LEAK, 1).astype(z.dtype), 1),
    "tanh": Activation(jnp.tanh, lambda z: 1 - jnp.tanh(z) ** 2),
    # erf(z) itself, as in Williams 1997; Saad and Solla 1995 have erf(z / sqrt 2)
    "erf": Activation(jax.scipy.special.erf, lambda z: 2 / math.sqrt(math.pi) * jnp.exp(-(z**2))),
    # z sigmoid(z), also called SiLU
    "swish": Activation(lambda z: z * jax.nn.sigmoid(z), _swish_slope),
    "quadratic": Activation(lambda z: z**2, lambda z: 2 * z, 2, True),
    "linear": Activation(lambda z: z, jnp.ones_like, 1),
}
