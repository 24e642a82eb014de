"""The two kernels of `gpu.py` for more than `UNROLLED_ROWS` inputs: matrix products of blocks, in full precision (no TF32).

A program has the moments of `DOT_ROWS` inputs in its registers, and computes the pre-activations of its block for itself.
With inputs in the hundreds that is done too often, and two plain matrix products by XLA are better.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from dynamics.kernels.gpu_blocks import Span, Tile, load, repeat, span

DOT_ROWS = 128  # inputs whose moments one program has
DOT_DEPTH = 32  # inputs to one product of blocks


def slabs(rows: int) -> int:
    """Among how many programs the inputs are shared out."""
    return pl.cdiv(rows, DOT_ROWS)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, precision=lax.Precision.HIGHEST)


def _product(inputs_ref: Any, samples: Span, hidden_ref: Any, neurons: Span) -> jax.Array:
    """z = X W of one block."""
    rows = inputs_ref.shape[1]

    def add(j, z):
        depth = span(j * DOT_DEPTH, DOT_DEPTH, rows)
        x = load(inputs_ref, (samples.where, depth.where), samples.inside[:, None] & depth.inside)
        return z + _dot(x, load(hidden_ref, (depth.where, neurons.where), depth.inside[:, None] & neurons.inside))

    zero = jnp.zeros((samples.inside.size, neurons.inside.size), inputs_ref.dtype)
    return repeat(pl.cdiv(rows, DOT_DEPTH), add, zero)


def outputs_kernel(hidden_ref, readout_ref, inputs_ref, out_ref, *, tile: Tile, share: int) -> None:
    n, width, part = inputs_ref.shape[0], readout_ref.size, pl.program_id(1)
    samples = span(pl.program_id(0) * tile.samples, tile.samples, n)

    def add(i, total):
        neurons = span((part * share + i) * tile.neurons, tile.neurons, width)
        z = _product(inputs_ref, samples, hidden_ref, neurons)
        return total + load(readout_ref, *neurons) * jnp.where(z <= 0, 0, z)

    total = repeat(share, add, jnp.zeros((tile.samples, tile.neurons), inputs_ref.dtype))
    triton.store(out_ref.at[part, samples.where], jnp.sum(total, axis=1), mask=samples.inside)


def moments_kernel(hidden_ref, inputs_ref, residual_ref, out_ref, *, tile: Tile, share: int) -> None:
    (rows, width), n, part = hidden_ref.shape, residual_ref.size, pl.program_id(1)
    height = min(DOT_ROWS, pl.next_power_of_2(rows))
    neurons = span(pl.program_id(0) * tile.neurons, tile.neurons, width)
    slab = span(pl.program_id(2) * height, height, rows)

    def add(i, total):
        samples = span((part * share + i) * tile.samples, tile.samples, n)
        z = _product(inputs_ref, samples, hidden_ref, neurons)
        r = jnp.where(z <= 0, 0, load(residual_ref, *samples)[:, None])
        x = load(inputs_ref, (samples.where, slab.where), samples.inside[:, None] & slab.inside)
        return total + _dot(x.T, r)

    total = repeat(share, add, jnp.zeros((height, tile.neurons), inputs_ref.dtype))
    triton.store(out_ref.at[part, slab.where, neurons.where], total, mask=slab.inside[:, None] & neurons.inside)
