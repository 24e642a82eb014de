"""The two kernels of `gpu.py` for more than `UNROLLED_ROWS` inputs: block matrix products in full precision (no TF32).

A program keeps the moments of `DOT_ROWS` inputs in registers and computes the pre-activations of its block itself. With
hundreds of inputs this repeats too much work, and two plain matrix products by XLA are faster.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from dynamics.kernels.gpu_blocks import Span, Tile, load_masked, repeat_body, span

DOT_ROWS = 128  # inputs whose moments one program keeps
DOT_DEPTH = 32  # inputs per block product


def count_slabs(rows: int) -> int:
    """Return the number of slabs of at most `DOT_ROWS` inputs, one program each."""
    return pl.cdiv(rows, DOT_ROWS)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, precision=lax.Precision.HIGHEST)


def _product(inputs_ref: Any, samples: Span, hidden_ref: Any, neurons: Span) -> jax.Array:
    """Return the pre-activations z = X W of one block."""
    rows = inputs_ref.shape[1]

    def add(j, z):
        depth = span(j * DOT_DEPTH, DOT_DEPTH, rows)
        x = load_masked(inputs_ref, (samples.where, depth.where), samples.inside[:, None] & depth.inside)
        return z + _dot(x, load_masked(hidden_ref, (depth.where, neurons.where), depth.inside[:, None] & neurons.inside))

    zero = jnp.zeros((samples.inside.size, neurons.inside.size), inputs_ref.dtype)
    return repeat_body(pl.cdiv(rows, DOT_DEPTH), add, zero)


def outputs_kernel(hidden_ref, readout_ref, inputs_ref, out_ref, *, tile: Tile, share: int) -> None:
    """Pallas kernel: write the partial outputs of one block of samples over `share` blocks of neurons."""
    n, width, part = inputs_ref.shape[0], readout_ref.size, pl.program_id(1)
    samples = span(pl.program_id(0) * tile.samples, tile.samples, n)

    def add(i, total):
        neurons = span((part * share + i) * tile.neurons, tile.neurons, width)
        z = _product(inputs_ref, samples, hidden_ref, neurons)
        return total + load_masked(readout_ref, *neurons) * jnp.where(z <= 0, 0, z)

    total = repeat_body(share, add, jnp.zeros((tile.samples, tile.neurons), inputs_ref.dtype))
    triton.store(out_ref.at[part, samples.where], jnp.sum(total, axis=1), mask=samples.inside)


def moments_kernel(hidden_ref, inputs_ref, residual_ref, out_ref, *, tile: Tile, share: int) -> None:
    """Pallas kernel: write the partial moments of one block of neurons and inputs over `share` blocks of samples."""
    (rows, width), n, part = hidden_ref.shape, residual_ref.size, pl.program_id(1)
    height = min(DOT_ROWS, pl.next_power_of_2(rows))
    neurons = span(pl.program_id(0) * tile.neurons, tile.neurons, width)
    slab = span(pl.program_id(2) * height, height, rows)

    def add(i, total):
        samples = span((part * share + i) * tile.samples, tile.samples, n)
        z = _product(inputs_ref, samples, hidden_ref, neurons)
        r = jnp.where(z <= 0, 0, load_masked(residual_ref, *samples)[:, None])
        x = load_masked(inputs_ref, (samples.where, slab.where), samples.inside[:, None] & slab.inside)
        return total + _dot(x.T, r)

    total = repeat_body(share, add, jnp.zeros((height, tile.neurons), inputs_ref.dtype))
    triton.store(out_ref.at[part, slab.where, neurons.where], total, mask=slab.inside[:, None] & neurons.inside)
