"""The closed-form gradient of a two-layer ReLU net on a GPU, never writing an array of size K n to its memory.

Of f(x) = sum_k v_k relu(w_k . x + b_k) + c and the loss factor * sum_i weights_i (f(x_i) - y_i)^2, in the notation of
`models/two_layer.py`, in two Pallas kernels:

    outputs    f_i - c = sum_k v_k relu(z_ik)         a program a block of samples, going over blocks of neurons
    moments    G_k = sum_i r_i x_i 1{z_ik > 0}        a program a block of neurons, going over blocks of samples

Both compute the pre-activations z = X W for themselves: with few inputs, d + 1 multiply-adds are cheaper than moving a
number to memory and back. XLA is left with arrays of n or (d + 1) K numbers: the residual r, dW = v G, dv = w . G, dc = sum r.

A thread owns neurons and sees all samples of its block, so sums over samples stay in a thread's registers. Where one
way of cutting gives too few programs to fill a GPU, the loop is shared out too, and XLA adds its partial sums in a fixed order:
results do not depend on timing. Blocks that overhang are masked, so no array is padded; padded neurons (w = b = v = 0)
and padded samples (weight 0) have zero gradient exactly.

Up to `UNROLLED_ROWS` inputs the products are written out on the vector units, in full precision; above, `gpu_wide.py`
has the kernels. Runs of an ensemble come as `jax.vmap`, which adds a dimension to the grid. The kernels are Triton's.
They cannot be differentiated: curvature takes the plain closed form.
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
from dynamics.kernels.gpu_blocks import UNROLLED_ROWS, Tile, columns, lines, load, repeat, span, unrolled

PROGRAMS = 512  # wanted of all runs: some four for each of an H100's 132 processors
SHORTEST_LOOP = 4  # blocks, lest a program is over before it has begun


class Tiles(NamedTuple):
    outputs: Tile
    moments: Tile


def default_tiles(rows: int) -> Tiles:
    """Blocks whose values fit in the 255 registers of a thread at d + 1 = `rows`; it has 2 to 4 neurons."""
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
    """Gradient of factor * sum_i weights_i (f(x_i) - y_i)^2 at `params`.

    inputs (n, d + 1) with a leading 1, labels and weights (n,); any n, K and d
    runs: of how many a `jax.vmap` will make an ensemble; more of them fill a GPU with fewer partial sums
    tiles: how to cut, for who wants to measure
    interpret: run as plain JAX, on any device and slowly
    """
    tiles = tiles or default_tiles(inputs.shape[1])
    predictions = outputs(params, inputs, runs, tiles.outputs, interpret) + params.offset
    residual = 2 * factor * weights * (predictions - labels)
    slope = moments(params, inputs, residual, runs, tiles.moments, interpret)
    hidden, readout = params.readout * slope, jnp.sum(params.hidden * slope, axis=0)
    return params._replace(hidden=hidden, readout=readout, offset=jnp.sum(residual))


def outputs(params: Any, inputs: jax.Array, runs: int, tile: Tile, interpret: bool) -> jax.Array:
    """f(x_i) - c, shape (n,)."""
    n, rows = inputs.shape
    kernel = outputs_kernel if rows <= UNROLLED_ROWS else gpu_wide.outputs_kernel
    blocks = pl.cdiv(n, tile.samples)
    share, parts = shared_out(pl.cdiv(params.readout.size, tile.neurons), blocks * runs, PROGRAMS)
    call = _call(partial(kernel, tile=tile, share=share), (blocks, parts), (parts, n), inputs.dtype, tile, interpret)
    return jnp.sum(call(params.hidden, params.readout, inputs), axis=0)


def moments(params: Any, inputs: jax.Array, residual: jax.Array, runs: int, tile: Tile, interpret: bool) -> jax.Array:
    """G_k = sum_i r_i x_i 1{z_ik > 0}, shape (d + 1, K)."""
    (n, rows), width = inputs.shape, params.readout.size
    kernel, slabs = (moments_kernel, 1) if rows <= UNROLLED_ROWS else (gpu_wide.moments_kernel, gpu_wide.slabs(rows))
    hidden = params.hidden
    if rows <= UNROLLED_ROWS:
        hidden, inputs = hidden.reshape(-1), inputs.reshape(-1)
    blocks = pl.cdiv(width, tile.neurons)
    most = n // (4 * rows)  # the partial sums are to stay well below n K numbers
    share, parts = shared_out(pl.cdiv(n, tile.samples), blocks * slabs * runs, most)
    grid, shape = (blocks, parts, slabs), (parts, *hidden.shape)
    call = _call(partial(kernel, tile=tile, share=share), grid, shape, inputs.dtype, tile, interpret)
    return jnp.sum(call(hidden, inputs, residual), axis=0).reshape(rows, width)


def shared_out(loop: int, programs: int, most: int) -> tuple[int, int]:
    """A loop of so many blocks cut into parts: (blocks a part, parts). Enough to fill a GPU, none too short, `most` of them."""
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
    n, width, part = inputs_ref.shape[0], readout_ref.size, pl.program_id(1)
    samples = span(pl.program_id(0) * tile.samples, tile.samples, n)
    x = columns(inputs_ref, samples)

    def add(i, total):
        neurons = span((part * share + i) * tile.neurons, tile.neurons, width)
        z = unrolled(x, lines(hidden_ref, neurons))
        return total + load(readout_ref, *neurons) * jnp.where(z <= 0, 0, z)

    # a sum for each pair of sample and neuron of the block: only at the end do threads have to talk
    total = repeat(share, add, jnp.zeros((tile.samples, tile.neurons), inputs_ref.dtype))
    triton.store(out_ref.at[part, samples.where], jnp.sum(total, axis=1), mask=samples.inside)


def moments_kernel(hidden_ref, inputs_ref, residual_ref, out_ref, *, tile: Tile, share: int) -> None:
    """Hidden weights and inputs are flat, ((d + 1) K,) and (n (d + 1),), and so are the moments of a part."""
    n, part, first = residual_ref.size, pl.program_id(1), pl.program_id(0) * tile.neurons
    rows = inputs_ref.size // n
    width = hidden_ref.size // rows
    inside = span(first, tile.neurons, width).inside
    lines = [pl.ds(j * width + first, tile.neurons) for j in range(rows)]
    w = [load(hidden_ref, line, inside) for line in lines]

    def add(i, total):
        # sample by sample, for a chain of fused multiply-adds: a block's sum would be a tree of products and sums
        for s in range(tile.samples):
            sample = (part * share + i) * tile.samples + s
            x = [load(inputs_ref, sample * rows + j, sample < n) for j in range(rows)]
            r = jnp.where(unrolled(x, w) <= 0, 0, load(residual_ref, sample, sample < n))
            total = tuple(t + r * a for t, a in zip(total, x, strict=True))
        return total

    for line, total in zip(lines, repeat(share, add, (jnp.zeros(tile.neurons, inputs_ref.dtype),) * rows), strict=True):
        triton.store(out_ref.at[part, line], total, mask=inside)
