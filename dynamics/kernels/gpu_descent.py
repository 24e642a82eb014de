"""Take many steps of full-batch gradient descent on a two-layer ReLU net in one kernel launch, if it fits on chip.

One program computes one run: its parameters and their gradient stay in registers from the first step to the last, and
its data in the first-level cache of its processor. A step needs no launch and no access to device memory. As a block of
samples sees all neurons at once, pre-activations are computed once, not twice as in `gpu.py`. A GPU computes as many
runs at a time as it has processors (132 on an H100), or a few times that; with fewer runs part of it is idle.

The step equals that of the rule `gd`, with operations in the same order: clip the gradient to a global norm as in
`optax.clip_by_global_norm`, add the decay, subtract the learning rate times the sum.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from dynamics.kernels.gpu_blocks import (
    UNROLLED_ROWS,
    load_input_columns,
    load_masked,
    load_weight_rows,
    repeat_body,
    span,
    unrolled_dot,
)

SAMPLES = 8  # per block; a thread holds their pre-activations
THREAD_NEURONS = 4  # target per thread; with fewer, the sums over neurons dominate
WARPS = (4, 16)  # smallest and largest number per program
CACHE_BYTES = 128 * 1024  # for data, of the 256 KB first-level cache and shared memory of a processor
REGISTERS = 65536  # per processor, 4 bytes each
THREAD_REGISTERS = 255  # limit per thread
OVERHEAD = 40  # registers per thread for indices, the inputs of a block and pending loads


def fits_on_chip(num_samples: int, width: int, input_dim: int) -> bool:
    """Return whether `descend` suits this shape in float32; an estimate for GPUs like the H100."""
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
    """Take the steps `begin` to `end` of gradient descent on factor * sum_i weights_i (f(x_i) - y_i)^2.

    Returns the parameters in the form of `params`. Not differentiable.

    inputs (n, d + 1) with a leading 1, labels and weights (n,)
    begin, end: traced integers; only their difference matters
    learning_rate, clip_norm (may be inf), weight_decay: traced scalars
    decay: what weight_decay acts on, `all` parameters or `weights` alone
    interpret: run as plain JAX, slowly, on any device

    An ensemble is a `jax.vmap`: one program per run.
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

    start = tuple(load_weight_rows(hidden_ref, neurons)), load_masked(readout_ref, *neurons)[None], offset_ref[0]
    w, v, c = lax.fori_loop(bounds_ref[0], bounds_ref[1], step, start)
    for j in range(rows):
        triton.store(hidden_out.at[pl.ds(j * width + first, neurons.inside.size)], w[j].reshape(-1), mask=neurons.inside)
    triton.store(readout_out.at[neurons.where], v.reshape(-1), mask=neurons.inside)
    offset_out[0] = c


def _gradient(params, inputs_ref, labels_ref, weights_ref, factor: float):
    """Return the gradient in one pass over the samples, possible because a program holds all neurons."""
    (w, v, c), n, dtype = params, labels_ref.size, inputs_ref.dtype

    def add(i, sums):
        samples = span(i * SAMPLES, SAMPLES, n)
        x = load_input_columns(inputs_ref, samples)
        z = unrolled_dot(x, w)
        error = jnp.sum(v * jnp.where(z <= 0, 0, z), axis=1) + c - load_masked(labels_ref, *samples)
        r = 2 * factor * load_masked(weights_ref, *samples) * error
        active = jnp.where(z <= 0, 0, r[:, None])
        slope, total = sums
        return tuple(s + jnp.sum(active * a, axis=0, keepdims=True) for s, a in zip(slope, x, strict=True)), total + jnp.sum(r)

    zero = (jnp.zeros_like(v),) * len(w), jnp.zeros((), dtype)
    slope, total = repeat_body(pl.cdiv(n, SAMPLES), add, zero)
    return tuple(v * s for s in slope), unrolled_dot(slope, w), total


def _clip(gradient, clip_norm):
    """Return the gradient clipped as in optax; it is unchanged below the norm, so inf means no clipping."""
    w, v, c = gradient
    norm = jnp.sqrt(jnp.sum(unrolled_dot((*w, v), (*w, v))) + c * c)
    return jax.tree.map(lambda g: jnp.where(norm < clip_norm, g, g / norm * clip_norm), gradient)


def _move(params, gradient, rate, coefficient, decay: str):
    biased = 0.0 if decay == "weights" else 1.0
    masks = (biased, *(1.0 for _ in params[0][1:])), 1.0, biased
    return jax.tree.map(lambda p, g, m: p - rate * (g + coefficient * m * p), params, gradient, masks)
