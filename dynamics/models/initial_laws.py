"""Laws of initial parameters by name, in terms of how many inputs a layer has (its fan-in) and how many outputs.

Every draw is for one unit and has a key of its own, so that padding and growing a layer leave what was there. The
square or oblong matrices of `orthogonal` are no such draws: their columns depend on one another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Draw = Callable[[jax.Array, tuple[int, ...], jax.Array, Any], jax.Array]


class Init(NamedTuple):
    """How the weights and biases of a layer of fan-in m are drawn: bound or standard deviation in terms of m.

    outer: the weights of the readout, where they are drawn otherwise
    mean_fan: whether m is the mean of fan-in and fan-out
    """

    weight: Draw
    bias: Draw
    outer: Draw | None = None
    mean_fan: bool = False

    @property
    def readout(self) -> Draw:
        return self.outer or self.weight


def _uniform(bound: Callable[[jax.Array], jax.Array]):
    return lambda key, shape, fan_in, dtype: bound(fan_in) * jax.random.uniform(key, shape, dtype, -1, 1)


def _normal(gain: float) -> Draw:
    return lambda key, shape, fan_in, dtype: (gain / fan_in) ** 0.5 * jax.random.normal(key, shape, dtype)


def _no_bias(key, shape, fan_in, dtype):
    return jnp.zeros(shape, dtype)


INITS = {
    # torch.nn.Linear's own: weights and biases uniform on +-1/sqrt(fan_in)
    "torch_default": Init(_uniform(lambda m: m**-0.5), _uniform(lambda m: m**-0.5)),
    # He et al. 2015, gain sqrt(2) in both layers, biases zero
    "kaiming_normal": Init(_normal(2.0), _no_bias),
    # the same in the hidden layer, readout N(0, 1/fan_in) (Liang et al. 2026b)
    "kaiming_lecun": Init(_normal(2.0), _no_bias, _normal(1.0)),
    "kaiming_uniform": Init(_uniform(lambda m: (6 / m) ** 0.5), _no_bias),
}

FLAX_DEFAULT, ORTHOGONAL = "flax_default", "orthogonal"
LAYER_INITS: dict[str, Init] = {  # of fully connected networks, which have `FLAX_DEFAULT` and `ORTHOGONAL` beside
    **INITS,
    # N(0, 1/fan_in) (LeCun et al. 1998)
    "lecun_normal": Init(_normal(1.0), _no_bias),
    # Glorot and Bengio 2010: N(0, 2/(fan_in + fan_out)), and the uniform law of this variance
    "xavier_normal": Init(_normal(1.0), _no_bias, mean_fan=True),
    "xavier_uniform": Init(_uniform(lambda m: (3 / m) ** 0.5), _no_bias, mean_fan=True),
}


def draw_orthogonal(key: jax.Array, rows: int, columns: int, dtype: Any) -> jax.Array:
    """Return a matrix (rows, columns) with orthonormal columns, or rows if they are fewer,
    uniform over all such matrices.

    Gram-Schmidt, taken twice, of a Gaussian matrix (Saxe et al. 2014 start deep linear networks so). By products alone:
    LAPACK may deadlock in a program that is mapped over devices.
    """
    if rows < columns:
        return draw_orthogonal(key, columns, rows, dtype).T
    drawn = jax.random.normal(key, (rows, columns), dtype)

    def orthogonalise(k: jax.Array, found: jax.Array) -> jax.Array:
        column = drawn[:, k]
        for _ in range(2):
            column = column - found @ (found.T @ column)
        return found.at[:, k].set(column / jnp.linalg.norm(column))

    return lax.fori_loop(0, columns, orthogonalise, jnp.zeros_like(drawn))
