"""The closed-form gradient of a two-layer ReLU net on a GPU, without writing an array of size K n to device memory.

Of f(x) = sum_k v_k relu(w_k . x + b_k) + c and the loss factor * sum_i weights_i (f(x_i) - y_i)^2, in the notation of
`models/two_layer.py`, in two Pallas kernels:

    outputs    f_i - c = sum_k v_k relu(z_ik)       one program per block of samples, looping over blocks of neurons
    moments    G_k = sum_i r_i x_i 1{z_ik > 0}      one program per block of neurons, looping over blocks of samples

Each computes the pre-activations z = X W itself: with few inputs, d + 1 multiply-adds are cheaper than writing a number
to memory and reading it back. XLA handles only arrays of n or (d + 1) K numbers: the residual r, dW = v G, dv = w . G
and dc = sum r.

A thread owns neurons and visits all samples of its block, so sums over samples stay in its registers. If the blocks are
too few to fill a GPU, the loop is split among several programs, and XLA adds the partial sums in a fixed order, so
results do not depend on timing. Overhanging blocks are masked, so no array is padded. Padded neurons (w = b = v = 0)
and padded samples (weight 0) have exactly zero gradient.

Up to `UNROLLED_ROWS` inputs, products are unrolled on the vector units in full precision; `gpu_wide.py` has the kernels
for more. An ensemble of runs is a `jax.vmap`, which adds a dimension to the grid. The kernels use Triton. They are not
differentiable: curvature uses the plain closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from dynamics.kernels import gpu_wide
from dynamics.kernels.gpu_blocks import (
    UNROLLED_ROWS,
    Tile,
    load_input_columns,
    load_masked,
    load_weight_rows,
    repeat_body,
    span,
    unrolled_dot,
)

PROGRAMS = 512  # target over all runs: about four per processor of an H100 (132)
SHORTEST_LOOP = 4  # blocks per program, so that start-up cost does not dominate


class Tiles(NamedTuple):
    """Block sizes of the two kernels."""

    outputs: Tile
    moments: Tile


def default_tiles(rows: int) -> Tiles:
    """Return block sizes for d + 1 = `rows` such that a thread (2 to 4 neurons) needs at most 255 registers."""
    if rows > UNROLLED_ROWS:
        return Tiles(Tile(32, 64, 4), Tile(32, 64, 4))
    few = rows <= 8
    return Tiles(Tile(16 if few else 8, 256, 4), Tile(8 if few else 4, 512, 4))


def gradient(
    params: Any,
    inputs: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    factor: float,
    *,
    runs: int = 1,
    tiles: Tiles | None = None,
    interpret: bool = False,
) -> Any:
    """Return the gradient of factor * sum_i weights_i (f(x_i) - y_i)^2 at `params`, in the form of `params`.

    inputs (n, d + 1) with a leading 1, labels and weights (n,); any n, K and d
    runs: size of the ensemble that `jax.vmap` will make; larger ensembles need fewer partial sums
    tiles: block sizes, by default `default_tiles`
    interpret: run as plain JAX, slowly, on any device
    """
    tiles = tiles or default_tiles(inputs.shape[1])
    predictions = outputs(params, inputs, runs, tiles.outputs, interpret) + params.offset
    residual = 2 * factor * weights * (predictions - labels)
    slope = moments(params, inputs, residual, runs, tiles.moments, interpret)
    hidden, readout = params.readout * slope, jnp.sum(params.hidden * slope, axis=0)
    return params._replace(hidden=hidden, readout=readout, offset=jnp.sum(residual))


def outputs(params: Any, inputs: jax.Array, runs: int, tile: Tile, interpret: bool) -> jax.Array:
    """Return the outputs without the offset, f(x_i) - c, shape (n,)."""
    n, rows = inputs.shape
    kernel = outputs_kernel if rows <= UNROLLED_ROWS else gpu_wide.outputs_kernel
    blocks = pl.cdiv(n, tile.samples)
    share, parts = split_loop(pl.cdiv(params.readout.size, tile.neurons), blocks * runs, PROGRAMS)
    call = _call(partial(kernel, tile=tile, share=share), (blocks, parts), (parts, n), inputs.dtype, tile, interpret)
    return jnp.sum(call(params.hidden, params.readout, inputs), axis=0)


def moments(params: Any, inputs: jax.Array, residual: jax.Array, runs: int, tile: Tile, interpret: bool) -> jax.Array:
    """Return G_k = sum_i r_i x_i 1{z_ik > 0}, shape (d + 1, K)."""
    (n, rows), width = inputs.shape, params.readout.size
    kernel, slabs = (moments_kernel, 1) if rows <= UNROLLED_ROWS else (gpu_wide.moments_kernel, gpu_wide.count_slabs(rows))
    hidden = params.hidden
    if rows <= UNROLLED_ROWS:
        hidden, inputs = hidden.reshape(-1), inputs.reshape(-1)
    blocks = pl.cdiv(width, tile.neurons)
    most = n // (4 * rows)  # keeps the partial sums well below n K numbers
    share, parts = split_loop(pl.cdiv(n, tile.samples), blocks * slabs * runs, most)
    grid, shape = (blocks, parts, slabs), (parts, *hidden.shape)
    call = _call(partial(kernel, tile=tile, share=share), grid, shape, inputs.dtype, tile, interpret)
    return jnp.sum(call(hidden, inputs, residual), axis=0).reshape(rows, width)


def split_loop(loop: int, programs: int, most: int) -> tuple[int, int]:
    """Split a loop over `loop` blocks into parts that fill a GPU; return (blocks per part, number of parts).

    programs: programs without splitting; most: largest number of parts
    """
    parts = max(1, min(pl.cdiv(PROGRAMS, programs), pl.cdiv(loop, SHORTEST_LOOP), most))
    share = pl.cdiv(loop, parts)
    return share, pl.cdiv(loop, share)


def _call(kernel: Callable, grid: tuple[int, ...], shape: tuple[int, ...], dtype: Any, tile: Tile, interpret: bool) -> Callable:
    return pl.pallas_call(
        kernel,
        grid=grid,
        out_shape=jax.ShapeDtypeStruct(shape, dtype),
        compiler_params=triton.CompilerParams(num_warps=tile.warps),
        interpret=interpret,
    )


def outputs_kernel(hidden_ref, readout_ref, inputs_ref, out_ref, *, tile: Tile, share: int) -> None:
    """Pallas kernel: write the partial outputs of one block of samples over `share` blocks of neurons."""
    n, width, part = inputs_ref.shape[0], readout_ref.size, pl.program_id(1)
    samples = span(pl.program_id(0) * tile.samples, tile.samples, n)
    x = load_input_columns(inputs_ref, samples)

    def add(i, total):
        neurons = span((part * share + i) * tile.neurons, tile.neurons, width)
        z = unrolled_dot(x, load_weight_rows(hidden_ref, neurons))
        return total + load_masked(readout_ref, *neurons) * jnp.where(z <= 0, 0, z)

    # one running sum per pair of sample and neuron: threads communicate only at the end
    total = repeat_body(share, add, jnp.zeros((tile.samples, tile.neurons), inputs_ref.dtype))
    triton.store(out_ref.at[part, samples.where], jnp.sum(total, axis=1), mask=samples.inside)


def moments_kernel(hidden_ref, inputs_ref, residual_ref, out_ref, *, tile: Tile, share: int) -> None:
    """Pallas kernel: write the partial moments of one block of neurons over `share` blocks of samples.

    Hidden weights and inputs are flat, ((d + 1) K,) and (n (d + 1),), and so are the moments of a part.
    """
    n, part, first = residual_ref.size, pl.program_id(1), pl.program_id(0) * tile.neurons
    rows = inputs_ref.size // n
    width = hidden_ref.size // rows
    inside = span(first, tile.neurons, width).inside
    slices = [pl.ds(j * width + first, tile.neurons) for j in range(rows)]
    w = [load_masked(hidden_ref, line, inside) for line in slices]

    def add(i, total):
        # one sample at a time gives a chain of fused multiply-adds; a sum over the block would not fuse
        for s in range(tile.samples):
            sample = (part * share + i) * tile.samples + s
            x = [load_masked(inputs_ref, sample * rows + j, sample < n) for j in range(rows)]
            r = jnp.where(unrolled_dot(x, w) <= 0, 0, load_masked(residual_ref, sample, sample < n))
            total = tuple(t + r * a for t, a in zip(total, x, strict=True))
        return total

    for line, total in zip(slices, repeat_body(share, add, (jnp.zeros(tile.neurons, inputs_ref.dtype),) * rows), strict=True):
        triton.store(out_ref.at[part, line], total, mask=inside)
