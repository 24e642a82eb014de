"""Patch networks with filters of their own at every position: f(x) = (1/L) sum_l sum_k v_k phi(w_kl . x^(l) + b_kl) +
c.

The readout is shared over positions (v_k, as in the theory of Liang et al. 2026b) or there is one for each unit (v_kl).
A position is a two-layer net on its view, so gradients are those of `two_layer.py` position by position, and where
there are kernels they take the positions as an ensemble.

As units of the theory, (k, l) looks at all n L patches and is on for those at position l alone: then p, s and e of the
weight function carry a factor 1/L each, g~ one of 1/L^2, and

    lambda_GN >= 1 + 2 sum_kl |v_k| |w_kl| s_kl sqrt(p_kl^2 + |e_kl|^2) = 1 + (2/L^2) sum_kl |v_k| |w_kl| g~_l(u_kl,
    t_kl)

with g~_l of the n patches at l: the constraint is weaker by 1/L than with shared filters, whose coefficients are L
times larger.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dynamics.core.dynamics import Hyper
from dynamics.kernels import gates
from dynamics.models.base import Batch, Model, Neurons, UnitLayout, seen_norm
from dynamics.models.row_streams import (
    Layer,
    RowStream,
    count_sample_blocks,
    cut_into_blocks,
    moments_of_sides,
    moments_of_units,
    needs_stream,
    stream_rows,
    sum_of_units,
)
from dynamics.models.two_layer import ACTIVATIONS, INITS


class LocallyConnected(NamedTuple):
    """The parameters of a network with filters of its own at each view.

    hidden (L, m + 1, K), row 0 of m + 1 the bias; readout (K,), or (L, K) where each unit has its own; offset ().
    """

    hidden: jax.Array
    readout: jax.Array
    offset: jax.Array


def build_locally_connected(
    views: np.ndarray,
    width: int,
    activation: str,
    init: str,
    dtype,
    *,
    readout: str = "shared",
    pooling: str = "mean",
    kernels: bool = True,
) -> Model:
    """Return the model of `width` filters at each of the views (L, m); readout `shared` over positions or by `unit`."""
    (num_views, size), shared = views.shape, readout == "shared"
    share = 1 / num_views if pooling == "mean" else 1.0
    phi, draw = ACTIVATIONS[activation], INITS[init]
    homogeneous = activation == "relu"
    fused = kernels and homogeneous and size > 1 and gates.has_kernels(size + 1, dtype)
    layer = Layer(phi, kernels and homogeneous and size > 1 and gates.has_kernels(size + 1, dtype, streamed=True))
    itemsize = jnp.dtype(dtype).itemsize

    def init_params(key: jax.Array, hyper: Hyper) -> LocallyConnected:
        """Fan-in is m for a filter, and for the readout the number of its weights."""
        hidden_key, readout_key, offset_key = (jax.random.fold_in(key, i) for i in range(3))
        fan_in = jnp.asarray(size, dtype)
        fan_mid = jnp.asarray(width if shared else width * num_views, dtype)
        bias = draw.bias(jax.random.fold_in(hidden_key, 0), (num_views, 1, width), fan_in, dtype)
        weight = draw.weight(jax.random.fold_in(hidden_key, 1), (num_views, size, width), fan_in, dtype)
        outer = draw.readout(readout_key, (width,) if shared else (num_views, width), fan_mid, dtype)
        params = LocallyConnected(jnp.concatenate([bias, weight], axis=1), outer, draw.bias(offset_key, (), fan_mid, dtype))
        return jax.tree.map(lambda p: hyper["model.init_scale"] * p, params)

    def prepare(inputs: jax.Array, labels: jax.Array, weights: jax.Array) -> Batch:
        """Inputs (blocks, L, size of a block, m + 1), a leading 1 in the last axis."""
        inputs, labels, weights = (jnp.asarray(a, dtype) for a in (inputs, labels, weights))
        n = inputs.shape[0]
        if needs_stream(n, num_views, width, size + 1, itemsize, fused):
            return Batch(inputs, labels, weights)
        blocks = 1 if fused else count_sample_blocks(n * num_views, width, size + 1, itemsize, jax.default_backend())
        seen = jnp.concatenate([jnp.ones((n, num_views, 1), dtype), inputs[:, views]], axis=-1)
        return Batch(
            jnp.swapaxes(cut_into_blocks(seen, blocks), 1, 2), *(cut_into_blocks(a, blocks) for a in (labels, weights))
        )

    def is_streamed(batch: Batch) -> bool:
        """Return whether the samples are so many that they lie as they are, (n, d),
        and their views are taken in turn."""
        return batch.inputs.ndim == 2

    def position(batch: Batch, view: jax.Array) -> RowStream:
        """The rows of all samples at one view (m,)."""

        def take(numbers: jax.Array) -> jax.Array:
            return jnp.concatenate([jnp.ones((len(numbers), 1), dtype), batch.inputs[numbers[:, None], view]], axis=1)

        return stream_rows(len(batch.inputs), width, size + 1, itemsize, layer.fused, take)

    def outer(params: LocallyConnected) -> jax.Array:
        """The readout of every unit, (L, K)."""
        return jnp.broadcast_to(params.readout, (num_views, width))

    def pass_gates(params: LocallyConnected, x: jax.Array, side: int = 1) -> tuple[jax.Array, jax.Array]:
        """The output before the offset, (n,), and the gates of every position, of inputs (L, n, m + 1)."""
        s, on = jax.vmap(gates.open_gates)(x, side * params.hidden, outer(params))
        return share * jnp.sum(s, axis=0), on

    def all_moments(x: jax.Array, on: jax.Array, r: jax.Array) -> jax.Array:
        """share * sum_i r_i 1_ilk (1, x_i^(l)), (L, m + 1, K)."""
        return jax.vmap(lambda x, on: gates.moments(x, on, share * r, width))(x, on)

    def streamed_output(params: LocallyConnected, batch: Batch) -> jax.Array:
        def add_position(total: jax.Array, here: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            view, hidden, readout = here
            return total + sum_of_units(position(batch, view), layer, hidden, readout), None

        parts = (jnp.asarray(views), params.hidden, outer(params))
        return share * lax.scan(add_position, jnp.zeros_like(batch.labels), parts)[0] + params.offset

    def streamed_gradient(params: LocallyConnected, batch: Batch, factor: float) -> LocallyConnected:
        r = 2 * factor * batch.weights * (streamed_output(params, batch) - batch.labels)

        def at(here: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            view, hidden = here
            return moments_of_units(position(batch, view), layer, hidden, share * r)

        slope, units = lax.map(at, (jnp.asarray(views), params.hidden))
        units = jnp.sum(params.hidden * slope, axis=1) if homogeneous else units
        return assemble(params, slope, units, jnp.sum(r))

    def apply(params: LocallyConnected, batch: Batch) -> jax.Array:
        if is_streamed(batch):
            return streamed_output(params, batch)
        if fused:
            return pass_gates(params, batch.inputs[0])[0].reshape(batch.labels.shape) + params.offset

        def block(x):
            return share * jnp.einsum("lnk,lk->n", phi.value(x @ params.hidden), outer(params)) + params.offset

        return lax.map(block, batch.inputs)

    def assemble(params: LocallyConnected, slope: jax.Array, units: jax.Array, total: jax.Array) -> LocallyConnected:
        """The gradient from slope (L, m + 1, K), before the readout is multiplied in, and that of every unit's readout
        (L, K)."""
        return LocallyConnected(outer(params)[:, None] * slope, jnp.sum(units, axis=0) if shared else units, total)

    def fused_gradient(params: LocallyConnected, batch: Batch, factor: float) -> LocallyConnected:
        x = batch.inputs[0]
        f, on = pass_gates(params, x)
        r = 2 * factor * batch.weights[0] * (f + params.offset - batch.labels[0])
        slope = all_moments(x, on, r)
        return assemble(params, slope, jnp.sum(params.hidden * slope, axis=1), jnp.sum(r))

    def blocked_gradient(params: LocallyConnected, batch: Batch, factor: float) -> LocallyConnected:
        def block(total, samples):
            x, y, w = samples
            z = x @ params.hidden
            h = phi.value(z)
            r = 2 * factor * w * (share * jnp.einsum("lnk,lk->n", h, outer(params)) + params.offset - y)
            slope = jnp.swapaxes(share * r[:, None] * x, 1, 2) @ phi.slope(z)
            units = jnp.sum(params.hidden * slope, axis=1) if homogeneous else share * jnp.einsum("n,lnk->lk", r, h)
            return jax.tree.map(jnp.add, total, (slope, units, jnp.sum(r))), None

        start = (jnp.zeros_like(params.hidden), jnp.zeros((num_views, width), dtype), jnp.zeros((), dtype))
        return assemble(params, *lax.scan(block, start, batch)[0])

    def gradient(params: LocallyConnected, batch: Batch, factor: float) -> LocallyConnected:
        if is_streamed(batch):
            return streamed_gradient(params, batch, factor)
        return (fused_gradient if fused else blocked_gradient)(params, batch, factor)

    def gauss_newton(params: LocallyConnected, batch: Batch) -> jax.Array:
        if is_streamed(batch):
            return streamed_gauss_newton(params, batch)
        x = jnp.swapaxes(batch.inputs, 1, 2).reshape(-1, num_views, size + 1).swapaxes(0, 1)  # (L, n, m + 1)
        root = jnp.sqrt(batch.weights.reshape(-1))
        z = x @ params.hidden
        h, slope = share * phi.value(z), share * phi.slope(z) * outer(params)[:, None]
        inner = jnp.sum((x @ x.swapaxes(1, 2)) * (slope @ slope.swapaxes(1, 2)), axis=0)
        pooled = jnp.sum(h, axis=0)
        through = pooled @ pooled.T if shared else jnp.sum(h @ h.swapaxes(1, 2), axis=0)
        return root[:, None] * (1 + through + inner) * root

    def streamed_gauss_newton(params: LocallyConnected, batch: Batch) -> jax.Array:
        def add_position(totals: tuple[jax.Array, jax.Array, jax.Array], here: tuple[jax.Array, ...]) -> Any:
            (pooled, through, inner), (view, hidden, readout) = totals, here
            x = position(batch, view).take(jnp.arange(len(batch.inputs), dtype=jnp.int32))
            z = x @ hidden
            h, slope = share * phi.value(z), share * phi.slope(z) * readout
            through = through if shared else through + h @ h.T
            return (pooled + h, through, inner + (x @ x.T) * (slope @ slope.T)), None

        root, zeros = jnp.sqrt(batch.weights), jnp.zeros((len(batch.inputs),) * 2, dtype)
        start = (jnp.zeros((len(batch.inputs), width), dtype), zeros, zeros)
        pooled, through, inner = lax.scan(add_position, start, (jnp.asarray(views), params.hidden, outer(params)))[0]
        return root[:, None] * (1 + (pooled @ pooled.T if shared else through) + inner) * root

    def half_spaces(params: LocallyConnected, batch: Batch, coefficients: jax.Array) -> jax.Array:
        if is_streamed(batch):

            def at(here: tuple[jax.Array, jax.Array]) -> jax.Array:
                return moments_of_sides(position(batch, here[0]), layer, here[1], share * coefficients)

            sums = jnp.moveaxis(lax.map(at, (jnp.asarray(views), params.hidden)), 0, 2)
        elif fused:
            x, c = batch.inputs[0], coefficients[:, 0]
            sides = [pass_gates(params, x, side)[1] for side in (1, -1)]
            sums = jnp.stack([jnp.stack([all_moments(x, on, each) for each in c]) for on in sides])  # (2, C, L, m + 1, K)
        else:

            def block(total, samples):
                x, c = samples  # (L, size, m + 1), (C, size)
                z, weighted = x @ params.hidden, share * c[:, None, :, None] * x
                parts = [jnp.swapaxes(weighted, 2, 3) @ on.astype(dtype) for on in (z > 0, z < 0)]
                return total + jnp.stack(parts), None

            start = jnp.zeros((2, len(coefficients), num_views, size + 1, width), dtype)
            sums = lax.scan(block, start, (batch.inputs, jnp.moveaxis(coefficients, 0, 1)))[0]
        return jnp.moveaxis(sums, 2, 3).reshape(2, len(coefficients), size + 1, num_views * width)

    def neurons(params: LocallyConnected) -> Neurons:
        return Neurons(jnp.swapaxes(params.hidden, 0, 1).reshape(size + 1, -1), outer(params).reshape(-1))

    def is_weight(params: LocallyConnected) -> LocallyConnected:
        weights = (jnp.arange(size + 1) > 0)[:, None]
        return LocallyConnected(weights.astype(dtype), jnp.ones((), dtype), jnp.zeros((), dtype))

    index = np.tile(np.arange(width), num_views)
    # a unit sees one patch of a sample, and a block's parts of several positions are orthogonal
    coupling = share * math.sqrt(num_views) if shared else share
    return Model(
        init_params,
        prepare,
        apply,
        gradient,
        gauss_newton,
        half_spaces,
        is_weight,
        neurons,
        UnitLayout(index, index if shared else np.arange(len(index)), share, share, coupling),
        seen_norm(views),
    )
