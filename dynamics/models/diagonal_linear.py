"""Diagonal linear networks: f(x) = beta . x, where every coordinate of beta is a product of parameters of its own.

With D = depth + 1 layers

    difference    beta = u^D - v^D, from u = v = alpha                                       (Woodworth et al. 2020)
    product       beta = a_1 a_2 ... a_D, from a_1 = ... = a_(D-1) = alpha and a_D = 0       (Gunasekar et al. 2018)

entry by entry, alpha = `model.init_scale`; both start at beta = 0. Along the gradient flow u v (for D = 2) and every
a_l^2 - a_m^2 are conserved. Padded coordinates start at 0 and stay there.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Hyper
from dynamics.models.base import Batch, Model, flat_batch

DIAGONAL_FORMS = ("difference", "product")


def build_diagonal_linear(input_dim: int, depth: int, form: str, dtype: Any) -> Model:
    """Return the diagonal linear network of `depth` + 1 layers; its parameters are one array.

    (2, d), rows u and v, for `difference`; (depth + 1, d), a row a layer, for `product`. Gradient and Gauss-Newton
    kernel are in closed form.
    """
    layers = depth + 1

    def init(key: jax.Array, hyper: Hyper) -> jax.Array:
        rows = 2 if form == "difference" else layers
        start = jnp.full((rows, input_dim), hyper["model.init_scale"], dtype)
        if form == "product":
            start = start.at[-1].set(0)
        return jnp.where(jnp.arange(input_dim) < hyper["data.input_dim"], start, 0)

    def weights(params: jax.Array) -> jax.Array:
        if form == "difference":
            return params[0] ** layers - params[1] ** layers
        return jnp.prod(params, axis=0)

    def slopes(params: jax.Array) -> jax.Array:
        """The derivative of beta_i by every parameter of coordinate i, shaped like the parameters."""
        if form == "difference":
            return layers * params ** (layers - 1) * jnp.asarray([[1], [-1]], dtype)
        others = [jnp.prod(jnp.delete(params, row, axis=0), axis=0) for row in range(layers)]
        return jnp.stack(others)

    def apply(params: jax.Array, batch: Batch) -> jax.Array:
        return batch.inputs @ weights(params)

    def squared_gradient(params: jax.Array, batch: Batch, factor: float) -> jax.Array:
        slope = 2 * factor * (batch.weights * (apply(params, batch) - batch.labels)) @ batch.inputs
        return slopes(params) * slope

    def gauss_newton(params: jax.Array, batch: Batch) -> jax.Array:
        x = jnp.sqrt(batch.weights)[:, None] * batch.inputs
        return (x * jnp.sum(slopes(params) ** 2, axis=0)) @ x.T

    return Model(init, flat_batch, apply, squared_gradient, gauss_newton, None, lambda p: jnp.ones((), p.dtype))
