"""Patch networks with several outputs: filters shared over positions or not, a readout vector for each filter or each
unit.

    f(x) = share * sum_l sum_k v_k(l) phi(w_k(l) . x^(l) + b_k(l)) + c,   v_k, c in R^C

For regression on vectors and for classification, where the papers' theory of scalar networks says nothing; gradients by
autodiff.

Where filters and readout are shared, a filter sees of a sample what passes its open gates, and all that f needs of L
views is their sum:

    a_k = share * sum_l 1{w_k . x^(l) + b_k > 0} (1, x^(l)),   f(x) = sum_k v_k (b_k, w_k) . a_k + c

Gates are constant where f is smooth, so f is differentiated with the a_k held fixed: with m + 1 < L they are fewer
numbers than the activations, and the way back does not touch the views again. Elsewhere the activations are computed
again on the way back, block by block.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dynamics.core.dynamics import Hyper
from dynamics.kernels import gates
from dynamics.models.base import Batch, Model, seen_norm
from dynamics.models.row_streams import are_too_many, count_sample_blocks, cut_into_blocks
from dynamics.models.two_layer import ACTIVATIONS, INITS


class SeveralOutputs(NamedTuple):
    """The parameters of a patch network with several outputs.

    hidden (P, m + 1, K), row 0 of m + 1 the bias; readout (Q, K, C); offset (C,). P and Q are L, or 1 where positions
    share.
    """

    hidden: jax.Array
    readout: jax.Array
    offset: jax.Array


def build_several_outputs(
    views: np.ndarray,
    width: int,
    outputs: int,
    activation: str,
    init: str,
    dtype,
    *,
    shared_filters: bool = True,
    readout: str = "shared",
    pooling: str = "mean",
    kernels: bool = True,
) -> Model:
    """Return the model of `width` filters on views (L, m) with so many outputs; kernels: False for plain JAX."""
    num_views, size = views.shape
    share = 1 / num_views if pooling == "mean" else 1.0
    filters, readouts = (1 if shared_filters else num_views), (1 if readout == "shared" else num_views)
    phi, draw = ACTIVATIONS[activation], INITS[init]
    pools = shared_filters and readout == "shared" and activation == "relu" and size + 1 < num_views
    fused = pools and kernels and size > 1 and gates.has_kernels(size + 1, dtype)

    def init_params(key: jax.Array, hyper: Hyper) -> SeveralOutputs:
        hidden_key, readout_key, offset_key = (jax.random.fold_in(key, i) for i in range(3))
        fan_in, fan_mid = jnp.asarray(size, dtype), jnp.asarray(width * readouts, dtype)
        bias = draw.bias(jax.random.fold_in(hidden_key, 0), (filters, 1, width), fan_in, dtype)
        weight = draw.weight(jax.random.fold_in(hidden_key, 1), (filters, size, width), fan_in, dtype)
        shape = (readouts, width, outputs)  # drawn flat: few outputs a row compile slowly
        outer = draw.readout(readout_key, (math.prod(shape),), fan_mid, dtype).reshape(shape)
        offset = draw.bias(offset_key, (outputs,), fan_mid, dtype)
        params = SeveralOutputs(jnp.concatenate([bias, weight], axis=1), outer, offset)
        return jax.tree.map(lambda p: hyper["model.init_scale"] * p, params)

    def prepare(inputs: jax.Array, labels: jax.Array, weights: jax.Array) -> Batch:
        """Inputs (blocks, L, size of a block, m + 1), or views last but one where they are pooled; labels (blocks, size
        of a block, C). Inputs (blocks, size of a block, d) where all views of all samples are too many."""
        n, itemsize = inputs.shape[0], jnp.dtype(dtype).itemsize
        blocks = count_sample_blocks(n * num_views, width, size + 1, itemsize, jax.default_backend())
        if are_too_many(n * num_views, (size + 1) * itemsize):
            return Batch(*(cut_into_blocks(a, blocks) for a in (inputs, labels, weights)))
        seen = cut_into_blocks(look(inputs), blocks)
        return Batch(
            seen if pools else jnp.swapaxes(seen, 1, 2), cut_into_blocks(labels, blocks), cut_into_blocks(weights, blocks)
        )

    def look(x: jax.Array) -> jax.Array:
        """The views of samples (n, d) with a leading 1, (n, L, m + 1)."""
        return jnp.concatenate([jnp.ones((len(x), num_views, 1), dtype), x[:, views]], axis=-1)

    def passed(hidden: jax.Array, x: jax.Array) -> jax.Array:
        """The sum over views of what passes the open gates, (L, m + 1) -> (m + 1, K), of each sample."""
        if not fused:
            return jnp.einsum("nld,nlk->ndk", x, (x @ hidden > 0).astype(dtype))
        silent, ones = jnp.zeros(width, dtype), jnp.ones(num_views, dtype)
        return jax.vmap(lambda x: gates.moments(x, gates.open_gates(x, hidden, silent)[1], ones, width))(x)

    def apply_pooled(params: SeveralOutputs, batch: Batch) -> jax.Array:
        hidden = params.hidden[0]

        def block(x):
            x = look(x) if x.ndim == 2 else x
            a = share * passed(lax.stop_gradient(hidden), x)
            return jnp.einsum("ndk,dk->nk", a, hidden) @ params.readout[0] + params.offset

        held = math.prod(batch.weights.shape) * (size + 1) * width
        return lax.map(jax.checkpoint(block) if are_too_many(held, jnp.dtype(dtype).itemsize) else block, batch.inputs)

    def apply(params: SeveralOutputs, batch: Batch) -> jax.Array:
        @jax.checkpoint
        def block(x):
            x = jnp.swapaxes(look(x), 0, 1) if x.ndim == 2 else x
            h = phi.value(x @ params.hidden)  # (L, size, K)
            pooled = share * jnp.sum(h, axis=0, keepdims=True) if readouts == 1 else share * h
            return jnp.sum(pooled @ params.readout, axis=0) + params.offset

        return lax.map(block, batch.inputs)

    def is_weight(params: SeveralOutputs) -> SeveralOutputs:
        weights = (jnp.arange(size + 1) > 0)[:, None]
        return SeveralOutputs(weights.astype(dtype), jnp.ones((), dtype), jnp.zeros((), dtype))

    return Model(
        init_params, prepare, apply_pooled if pools else apply, None, None, None, is_weight, seen_norm=seen_norm(views)
    )
