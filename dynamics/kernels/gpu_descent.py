"""Many steps of full-batch gradient descent on a two-layer ReLU net in one kernel launch, for problems that fit on chip.

One program is one run: its parameters and their gradient stay in registers from the first step to the last, its data in the
first-level cache of its processor. A step needs no launch and no traffic with the device's memory, and since a block of
samples sees all neurons at once, pre-activations are computed once instead of twice (`gpu.py`). A GPU takes as many
runs at a time as it has processors (132 on an H100) or a few times that; with fewer runs the rest of it idles.

The step is that of the rule `gd`, in its order: the gradient is clipped to a global norm as by
`optax.clip_by_global_norm`, decay is added, learning rate times the sum is subtracted.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from dynamics.kernels.gpu_blocks import UNROLLED_ROWS, columns, lines, load, repeat, span, unrolled

SAMPLES = 8  # in a block: a thread holds their pre-activations
THREAD_NEURONS = 4  # wanted: fewer, and the sums over neurons cost more than the rest
WARPS = (4, 16)  # a program has at least and at most
CACHE_BYTES = 128 * 1024  # of a processor's 256 KB first-level cache and shared memory, left for data
REGISTERS = 65536  # of a processor, 4 bytes each
THREAD_REGISTERS = 255  # at most
OVERHEAD = 40  # registers a thread for indices, a block's inputs and what is on its way


def fits(num_samples: int, width: int, input_dim: int) -> bool:
    """Whether `descend` is meant for this shape in float32: an estimate for processors of the H100's size."""
    rows, warps = input_dim + 1, _warps(width)
    held = _padded(width) // (32 * warps)
    registers = held * (2 * (rows + 1) + SAMPLES) + OVERHEAD
    data = 4 * num_samples * (rows + 2)
    small = registers <= min(THREAD_REGISTERS, REGISTERS // (32 * warps))
    return rows <= UNROLLED_ROWS and small and data <= CACHE_BYTES


def _padded(width: int) -> int:
    return max(32 * WARPS[0], pl.next_power_of_2(width))


def _warps(width: int) -> int:
    low, high = WARPS
    return min(high, max(low, _padded(width) // (32 * THREAD_NEURONS)))


def descend(
    params: Any,
    inputs: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    factor: float,
    begin: jax.Array | int,
    end: jax.Array | int,
    learning_rate: jax.Array | float,
    clip_norm: jax.Array | float,
    weight_decay: jax.Array | float,
    *,
    decay: str = "all",
    interpret: bool = False,
) -> Any:
    """The parameters after the steps `begin` to `end` of gradient descent on factor * sum_i weights_i (f(x_i) - y_i)^2.

    inputs (n, d + 1) with a leading 1, labels and weights (n,)
    begin, end: traced integers; only their difference matters
    learning_rate, clip_norm (may be inf), weight_decay: traced scalars
    decay: what weight_decay acts on, `all` parameters or `weights` alone
    interpret: run as plain JAX, on any device and slowly

    An ensemble is a `jax.vmap`: a program a run.
    """
    dtype, (rows, width) = inputs.dtype, params.hidden.shape
    bounds = jnp.stack([jnp.asarray(begin, jnp.int32), jnp.asarray(end, jnp.int32)])
    scalars = jnp.stack([jnp.asarray(s, dtype) for s in (learning_rate, clip_norm, weight_decay)])
    hidden, readout, offset = pl.pallas_call(
        partial(_kernel, factor=factor, decay=decay),
        grid=(1,),
        out_shape=[jax.ShapeDtypeStruct(shape, dtype) for shape in ((rows * width,), (width,), (1,))],
        compiler_params=triton.CompilerParams(num_warps=_warps(width)),
        interpret=interpret,
    )(bounds, scalars, params.hidden, params.readout, params.offset[None], inputs, labels, weights)
    return params._replace(hidden=hidden.reshape(rows, width), readout=readout, offset=offset[0])


def _kernel(
    bounds_ref,
    scalars_ref,
    hidden_ref,
    readout_ref,
    offset_ref,
    inputs_ref,
    labels_ref,
    weights_ref,
    hidden_out,
    readout_out,
    offset_out,
    *,
    factor: float,
    decay: str,
) -> None:
    rows, width = hidden_ref.shape
    first = pl.program_id(0) * _padded(width)
    neurons = span(first, _padded(width), width)
    rate, clip_norm, coefficient = (scalars_ref[i] for i in range(3))

    def step(_, params):
        gradient = _clip(_gradient(params, inputs_ref, labels_ref, weights_ref, factor), clip_norm)
        return _move(params, gradient, rate, coefficient, decay)

    start = tuple(lines(hidden_ref, neurons)), load(readout_ref, *neurons)[None], offset_ref[0]
    w, v, c = lax.fori_loop(bounds_ref[0], bounds_ref[1], step, start)
    for j in range(rows):
        triton.store(hidden_out.at[pl.ds(j * width + first, neurons.inside.size)], w[j].reshape(-1), mask=neurons.inside)
    triton.store(readout_out.at[neurons.where], v.reshape(-1), mask=neurons.inside)
    offset_out[0] = c


def _gradient(params, inputs_ref, labels_ref, weights_ref, factor: float):
    """In one pass over the samples: their residuals need all neurons, and these are at hand."""
    (w, v, c), n, dtype = params, labels_ref.size, inputs_ref.dtype

    def add(i, sums):
        samples = span(i * SAMPLES, SAMPLES, n)
        x = columns(inputs_ref, samples)
        z = unrolled(x, w)
        error = jnp.sum(v * jnp.where(z <= 0, 0, z), axis=1) + c - load(labels_ref, *samples)
        r = 2 * factor * load(weights_ref, *samples) * error
        active = jnp.where(z <= 0, 0, r[:, None])
        slope, total = sums
        return tuple(s + jnp.sum(active * a, axis=0, keepdims=True) for s, a in zip(slope, x, strict=True)), total + jnp.sum(r)

    zero = (jnp.zeros_like(v),) * len(w), jnp.zeros((), dtype)
    slope, total = repeat(pl.cdiv(n, SAMPLES), add, zero)
    return tuple(v * s for s in slope), unrolled(slope, w), total


def _clip(gradient, clip_norm):
    """As optax does: untouched below the norm, so that inf is no clipping."""
    w, v, c = gradient
    norm = jnp.sqrt(jnp.sum(unrolled((*w, v), (*w, v))) + c * c)
    return jax.tree.map(lambda g: jnp.where(norm < clip_norm, g, g / norm * clip_norm), gradient)


def _move(params, gradient, rate, coefficient, decay: str):
    biased = 0.0 if decay == "weights" else 1.0
    masks = (biased, *(1.0 for _ in params[0][1:])), 1.0, biased
    return jax.tree.map(lambda p, g, m: p - rate * (g + coefficient * m * p), params, gradient, masks)
