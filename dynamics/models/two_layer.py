"""Two-layer network f(x) = sum_k v_k phi(w_k . x + b_k) + c with its gradient in closed form.

The same neurons may look at several views of a sample, x^(1) to x^(L), and f is then the mean over views: a
convolutional network with shared filters and global average pooling (paper 3 of the suite's core, equation for shared
patch networks).

UnitLayout, for speed: neurons lie on the fast axis. The hidden weights are one array of shape (d + 1, K) whose
row 0 is the bias, inputs carry a leading 1. Samples come in blocks small enough for the cache, and since a
sample's residual needs its own block only, one pass over the blocks gives the whole gradient:

    Z = X W,  r = f - y,  G = (r * X)^T phi'(Z),  dW = v * G,  dv = r . phi(Z),  dc = sum r

and for the ReLU dv_k = w_k . G_k, because phi(z) = z phi'(z). Padded neurons (w = b = v = 0), padded input
coordinates and padded samples (weight 0) have zero gradient and stay what they are.

Where there are kernels for it (`dynamics.kernels.gates`: ReLU, float32, a CPU, few inputs) the same sums are theirs. A
single input is sorted, for then a ReLU is a position among the samples.

The theory writes w . x - b; the sign of b is a convention.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dynamics.core.dynamics import Hyper
from dynamics.kernels import gates
from dynamics.models.activations import ACTIVATIONS
from dynamics.models.base import Batch, Model, Neurons, UnitLayout, seen_norm
from dynamics.models.initial_laws import INITS
from dynamics.models.row_streams import (
    Layer,
    RowStream,
    count_sample_blocks,
    cut_into_blocks,
    moments_of_sides,
    moments_of_units,
    needs_stream,
    pass_units,
    stream_rows,
    sum_of_units,
    sum_rows,
)


class TwoLayer(NamedTuple):
    """The parameters of a network with one hidden layer: hidden (d + 1, K), row 0 the bias; readout (K,); offset ()."""

    hidden: jax.Array
    readout: jax.Array
    offset: jax.Array


def build_two_layer(
    input_dim: int,
    width: int,
    activation: str,
    init: str,
    dtype,
    *,
    kernels: bool = True,
    views: np.ndarray | None = None,
    pooling: str = "mean",
) -> Model:
    """Return the model at padded sizes `input_dim` and `width`; true sizes are read from `hyper`.

    kernels: False for plain JAX; views: the coordinates (L, input_dim) of a sample that neurons see, None for all,
    once;
    pooling: whether the output is the `mean` or the `sum` over them
    """
    num_views = 1 if views is None else len(views)
    share = 1 / num_views if pooling == "mean" else 1.0
    sorts = input_dim == 1 and views is None
    phi, draw = ACTIVATIONS[activation], INITS[init]
    homogeneous = activation == "relu"
    fused = kernels and homogeneous and gates.has_kernels(input_dim + 1, dtype) and (sorts or input_dim > 1)
    layer = Layer(phi, kernels and homogeneous and gates.has_kernels(input_dim + 1, dtype, streamed=True))

    def init_params(key: jax.Array, hyper: Hyper) -> TwoLayer:
        hidden_key, readout_key, offset_key = (jax.random.fold_in(key, i) for i in range(3))
        fan_in = (hyper["data.input_dim"] if views is None else jnp.asarray(input_dim)).astype(dtype)
        fan_mid = hyper["model.width"].astype(dtype)
        scale = hyper["model.init_scale"]

        def neuron(k):
            own = jax.random.fold_in(hidden_key, k)
            bias = draw.bias(jax.random.fold_in(own, 0), (1,), fan_in, dtype)
            return jnp.concatenate([bias, draw.weight(jax.random.fold_in(own, 1), (input_dim,), fan_in, dtype)])

        index = jnp.arange(width, dtype=jnp.int32)
        rows = jnp.arange(input_dim + 1) <= fan_in
        used = index < hyper["model.width"]
        hidden = jnp.where(rows[:, None] & used, jax.vmap(neuron)(index).T, 0)
        readout = jnp.where(used, draw.readout(readout_key, (width,), fan_mid, dtype), 0)
        offset = draw.bias(offset_key, (), fan_mid, dtype)
        return jax.tree.map(lambda p: scale * p, TwoLayer(hidden, readout, offset))

    def prepare(inputs: jax.Array, labels: jax.Array, weights: jax.Array) -> Batch:
        n = inputs.shape[0]
        if fused:  # kernels do not promote
            inputs, labels, weights = (jnp.asarray(a, dtype) for a in (inputs, labels, weights))
        itemsize = jnp.dtype(dtype).itemsize
        if not (fused and sorts) and needs_stream(n, num_views, width, input_dim + 1, itemsize, fused):
            return Batch(with_one(inputs) if views is None else inputs, labels, weights)
        if views is not None:
            inputs = inputs[:, views]
        if sorts:
            order = jnp.argsort(inputs[:, 0])
            inputs, labels, weights = inputs[order], labels[order], weights[order]
        blocks = 1  # of kernels that see to the cache themselves, and want sorted samples to stay sorted
        if not fused:
            blocks = count_sample_blocks(n * num_views, width, input_dim + 1, itemsize, jax.default_backend())
        return Batch(*(cut_into_blocks(a, blocks) for a in (with_one(inputs), labels, weights)))

    def with_one(inputs: jax.Array) -> jax.Array:
        return jnp.concatenate([jnp.ones((*inputs.shape[:-1], 1), dtype), inputs], axis=-1)

    def stream(batch: Batch) -> RowStream | None:
        """The rows of a batch whose samples are too many for its rows to lie in blocks, None of another."""
        if batch.inputs.ndim > 2:
            return None

        def take(numbers: jax.Array) -> jax.Array:
            if views is None:
                return batch.inputs[numbers]
            sample, position = numbers // num_views, numbers % num_views
            return with_one(batch.inputs[sample[:, None], jnp.asarray(views)[position]])

        count, itemsize = len(batch.inputs) * num_views, jnp.dtype(dtype).itemsize
        return stream_rows(count, width, input_dim + 1, itemsize, layer.fused, take, together=num_views)

    def rows(x: jax.Array) -> jax.Array:
        """All views of all samples, one below the other: (n L, d + 1)."""
        return x.reshape(-1, input_dim + 1)

    def pool(s: jax.Array) -> jax.Array:
        return s if views is None else share * jnp.sum(s.reshape(-1, num_views, *s.shape[1:]), axis=1)

    def spread(r: jax.Array) -> jax.Array:
        """The transpose of `pool`."""
        return r if views is None else jnp.repeat(share * r, num_views)

    def apply(params: TwoLayer, batch: Batch) -> jax.Array:
        if (many := stream(batch)) is not None:
            return pool(sum_of_units(many, layer, params.hidden, params.readout)) + params.offset
        if fused:
            s, _ = gates.open_gates(rows(batch.inputs), params.hidden, params.readout)
            return pool(s).reshape(batch.labels.shape) + params.offset

        def block(x):
            return pool(phi.value(rows(x) @ params.hidden) @ params.readout) + params.offset

        return lax.map(block, batch.inputs)

    def streamed_gradient(params: TwoLayer, batch: Batch, factor: float, many: RowStream) -> TwoLayer:
        def residual(output: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
            return 2 * factor * weights * (pool(output) + params.offset - labels)

        def block(x: jax.Array, of_samples: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            s, back = pass_units(layer, x, params.hidden, params.readout)
            r = residual(s, *of_samples)
            return *back(spread(r)), jnp.sum(r)

        if many.size % num_views == 0:
            slope, readout, offset = sum_rows(many, block, jnp.stack([batch.labels, batch.weights]))
        else:  # forth to the residuals, then back
            r = residual(sum_of_units(many, layer, params.hidden, params.readout), batch.labels, batch.weights)
            (slope, readout), offset = moments_of_units(many, layer, params.hidden, spread(r)), jnp.sum(r)
        if homogeneous:
            readout = jnp.sum(params.hidden * slope, axis=0)
        return TwoLayer(params.readout * slope, readout, offset)

    def gradient(params: TwoLayer, batch: Batch, factor: float) -> TwoLayer:
        if (many := stream(batch)) is not None:
            return streamed_gradient(params, batch, factor, many)
        return (fused_gradient if fused else blocked_gradient)(params, batch, factor)

    def fused_gradient(params: TwoLayer, batch: Batch, factor: float) -> TwoLayer:
        x = rows(batch.inputs)
        s, on = gates.open_gates(x, params.hidden, params.readout)
        r = 2 * factor * batch.weights.reshape(-1) * (pool(s) + params.offset - batch.labels.reshape(-1))
        slope = gates.moments(x, on, spread(r), width)
        return TwoLayer(params.readout * slope, jnp.sum(params.hidden * slope, axis=0), jnp.sum(r))

    def blocked_gradient(params: TwoLayer, batch: Batch, factor: float) -> TwoLayer:
        def block(total: TwoLayer, samples: Batch) -> tuple[TwoLayer, None]:
            x, (_, y, w) = rows(samples.inputs), samples
            z = x @ params.hidden
            h = phi.value(z)
            r = 2 * factor * w * (pool(h @ params.readout) + params.offset - y)
            each = spread(r)
            part = TwoLayer(
                (each[:, None] * x).T @ phi.slope(z),
                jnp.zeros_like(params.readout) if homogeneous else each @ h,
                jnp.sum(r),
            )
            return jax.tree.map(jnp.add, total, part), None

        slope, readout, offset = lax.scan(block, jax.tree.map(jnp.zeros_like, params), batch)[0]
        if homogeneous:
            readout = jnp.sum(params.hidden * slope, axis=0)
        return TwoLayer(params.readout * slope, readout, offset)

    def gauss_newton(params: TwoLayer, batch: Batch) -> jax.Array:
        root = jnp.sqrt(batch.weights.reshape(-1))
        if views is not None and (many := stream(batch)) is not None:

            def of_sample(i: jax.Array) -> tuple[jax.Array, jax.Array]:
                x = many.take(i * num_views + jnp.arange(num_views, dtype=jnp.int32))
                z = x @ params.hidden
                return pool(phi.value(z))[0], share * x.T @ (phi.slope(z) * params.readout)

            h, seen = lax.map(of_sample, jnp.arange(len(root), dtype=jnp.int32))
            inner = jnp.tensordot(seen, seen, ([1, 2], [1, 2]))
            return root[:, None] * (1 + h @ h.T + inner) * root
        x = rows(batch.inputs)
        z = x @ params.hidden
        h, slope = pool(phi.value(z)), phi.slope(z) * params.readout
        if views is None:
            inner = (x @ x.T) * (slope @ slope.T)
        else:
            seen = pool(slope[:, None] * x[:, :, None]).reshape(len(h), -1)  # a_ik of every filter, (n, D K)
            inner = seen @ seen.T
        return root[:, None] * (1 + h @ h.T + inner) * root

    def half_spaces(params: TwoLayer, batch: Batch, coefficients: jax.Array) -> jax.Array:
        count = coefficients.shape[0]
        if (many := stream(batch)) is not None:
            return moments_of_sides(many, layer, params.hidden, jax.vmap(spread)(coefficients))
        if fused:
            x, c = rows(batch.inputs), coefficients.reshape(count, -1)
            sides = [gates.open_gates(x, side * params.hidden, params.readout)[1] for side in (1, -1)]
            return jnp.stack([jnp.stack([gates.moments(x, on, spread(each), width) for each in c]) for on in sides])

        def block(total, samples):
            x, c = rows(samples[0]), jax.vmap(spread)(samples[1])
            z = x @ params.hidden
            moments = (c.T[:, :, None] * x[:, None, :]).reshape(len(x), count * (input_dim + 1)).T  # (C (d + 1), size)
            return total + jnp.stack([moments @ (z > 0).astype(dtype), moments @ (z < 0).astype(dtype)]), None

        start = jnp.zeros((2, count * (input_dim + 1), width), dtype)
        sums = lax.scan(block, start, (batch.inputs, jnp.moveaxis(coefficients, 0, 1)))[0]
        return sums.reshape(2, count, input_dim + 1, -1)

    def is_weight(params: TwoLayer) -> TwoLayer:
        weights = (jnp.arange(input_dim + 1) > 0)[:, None]
        return TwoLayer(weights.astype(dtype), jnp.ones((), dtype), jnp.zeros((), dtype))

    return Model(
        init_params,
        prepare,
        apply,
        gradient,
        gauss_newton,
        half_spaces,
        is_weight,
        lambda params: Neurons(params.hidden, params.readout),
        UnitLayout(np.arange(width), np.arange(width), share, share * num_views, share * num_views),
        seen_norm(views),
    )
