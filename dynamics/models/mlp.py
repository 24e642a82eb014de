"""A fully connected network through flax; gradients by autodiff."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Hyper
from dynamics.models.base import Model, plain_model

MLP_ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "gelu": lambda z: jax.nn.gelu(z, approximate=False)}


def build_mlp(input_dim: int, width: int, depth: int, activation: str, dtype) -> Model:
    """Return the fully connected network of `depth` hidden layers of `width` units.

    Initialised by flax's default (LeCun normal) times init_scale.
    """
    from flax import linen as nn  # imported here: flax takes a second to load and most studies do without

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(depth):
                x = MLP_ACTIVATIONS[activation](nn.Dense(width, dtype=dtype, param_dtype=dtype)(x))
            return nn.Dense(1, dtype=dtype, param_dtype=dtype)(x)[..., 0]

    net = Net()

    def init(key: jax.Array, hyper: Hyper):
        params = net.init(key, jnp.zeros((1, input_dim), dtype))
        return jax.tree.map(lambda p: hyper["model.init_scale"] * p, params)

    def apply(params, inputs: jax.Array) -> jax.Array:
        return jnp.asarray(net.apply(params, inputs))

    def is_weight(params):
        return jax.tree.map(lambda p: jnp.asarray(p.ndim > 1, p.dtype), params)

    return plain_model(init, apply, is_weight)
