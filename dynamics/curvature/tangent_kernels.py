"""The empirical tangent kernel <df(x)/dtheta, df(x')/dtheta> of any model, by products: gradients are never stored."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dynamics.models.base import Batch, Model


def tangent_kernel(model: Model, params: Any, columns: Batch, rows: Batch | None = None) -> jax.Array:
    """Return the kernel between the samples of two batches, (rows, columns), by default those of one with themselves.

    With C outputs it is (1/C) sum_c <df_c(x)/dtheta, df_c(x')/dtheta>, the mean over outputs of each one's own: its
    limit in wide networks is the kernel that all of them share (Jacot et al. 2018). Samples are in the model's layout;
    those without weight have zeros.

    A column is a pass back to the parameters and one forth, so a kernel takes columns x C gradients, and of memory no
    more than one.
    """
    used = columns.weights.reshape(-1) > 0
    if rows is None and model.gauss_newton is not None:
        root = jnp.sqrt(columns.weights.reshape(-1))
        scale = root[:, None] * root
        return jnp.where(scale > 0, model.gauss_newton(params, columns) / jnp.where(scale > 0, scale, 1), 0)
    count, outputs = used.size, columns.labels.size // used.size
    _, push = jax.linearize(lambda p: model.apply(p, columns), params)
    pull = jax.linear_transpose(push, params)
    if rows is not None:
        _, push = jax.linearize(lambda p: model.apply(p, rows), params)

    def column(index: jax.Array) -> jax.Array:
        one = jnp.zeros((count * outputs,), columns.labels.dtype).at[index].set(1)
        return push(*pull(one.reshape(columns.labels.shape))).reshape(-1, outputs)[:, index % outputs]

    found = lax.map(column, jnp.arange(count * outputs)).reshape(count, outputs, -1)
    seen = used if rows is None else rows.weights.reshape(-1) > 0
    return jnp.where(seen[:, None] & used, jnp.mean(found, axis=1).T, 0)
