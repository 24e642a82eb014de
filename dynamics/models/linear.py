"""The linear model f(x) = w . x: the network whose loss is a quadratic, with every threshold exact."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Hyper
from dynamics.models.base import Batch, Model, flat_batch


def build_linear_model(input_dim: int, dtype) -> Model:
    """Return the linear model without bias, weights (d,) drawn from N(0, init_scale^2).

    The squared loss has the Hessian 2 factor X^T X / n.
    """

    def init(key: jax.Array, hyper: Hyper) -> jax.Array:
        drawn = hyper["model.init_scale"] * jax.random.normal(key, (input_dim,), dtype)
        return jnp.where(jnp.arange(input_dim) < hyper["data.input_dim"], drawn, 0)

    def apply(params: jax.Array, batch: Batch) -> jax.Array:
        return batch.inputs @ params

    def squared_gradient(params: jax.Array, batch: Batch, factor: float) -> jax.Array:
        return 2 * factor * (batch.weights * (batch.inputs @ params - batch.labels)) @ batch.inputs

    def gauss_newton(params: jax.Array, batch: Batch) -> jax.Array:
        x = jnp.sqrt(batch.weights)[:, None] * batch.inputs
        return x @ x.T

    return Model(init, flat_batch, apply, squared_gradient, gauss_newton, None, lambda p: jnp.ones((), p.dtype))
