"""The closed-form gradient of a two-layer ReLU net on a GPU, never writing an array of size K n to its memory.

Of f(x) = sum_k v_k relu(w_k . x + b_k) + c and the loss factor * sum_i weights_i (f(x_i) - y_i)^2, in the notation of
`models/two_layer.py`, in two Pallas kernels:

    outputs    f_i - c = sum_k v_k relu(z_ik)         a program a block of samples, going over blocks of neurons
    moments    G_k = sum_i r_i x_i 1{z_ik > 0}        a program a block of neurons, going over blocks of samples

Both compute the pre-activations z = X W for themselves: with few inputs, d + 1 multiply-adds are cheaper than moving a number
to memory and back. What is left to XLA are arrays of n or (d + 1) K numbers: the residual r, and dW = v G, dv = w . G, dc = sum r.

A thread owns neurons and sees all samples of its block, so sums over samples stay in a thread's registers. Where one
way of cutting gives too few programs to fill a GPU, the loop is shared out too, and its partial sums are added by XLA in a fixed
order: results do not depend on timing. Blocks that overhang are masked, so no array is padded; padded neurons (w = b = v = 0)
and padded samples (weight 0) have zero gradient exactly.

Up to `UNROLLED_ROWS` inputs the products are written out on the vector units, all in full precision. Above, they are matrix
products with `precision=HIGHEST`: no TF32. Far above (d in the hundreds) the second kernel has to compute z
once for each `DOT_ROWS` inputs; plain XLA is better there.

Runs of an ensemble come as `jax.vmap`, which adds a dimension to the grid. The kernels are Triton's; derivatives of `gradient`
do not exist, curvature takes the plain closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from dynamics.models.two_layer import TwoLayer

UNROLLED_ROWS = 16  # largest d + 1 whose products are written out
DOT_ROWS = 128  # of inputs whose moments one program holds, beyond that
DOT_DEPTH = 32  # inputs to a product of blocks
PROGRAMS = 512  # wanted of one run: some four for each of an H100's 132 processors
SHORTEST_LOOP = 4  # blocks, lest a program is over before it has begun


class Tile(NamedTuple):
    """Samples and neurons in a block, and warps of 32 threads that a program has."""

    samples: int
    neurons: int
    warps: int


class Tiles(NamedTuple):
    outputs: Tile
    moments: Tile


def default_tiles(rows: int) -> Tiles:
    """Blocks whose values fit in the 255 registers of a thread at d + 1 = `rows`; it has 2 to 4 neurons."""
    if rows <= UNROLLED_ROWS:
        few = rows <= 8
        return Tiles(Tile(16 if few else 8, 256, 4), Tile(8 if few else 4, 512, 4))
    return Tiles(Tile(32, 64, 4), Tile(32, 64, 4))


def gradient(
    params: TwoLayer,
    inputs: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    factor: float,
    *,
    tiles: Tiles | None = None,
    interpret: bool = False,
) -> TwoLayer:
    """Gradient of factor * sum_i weights_i (f(x_i) - y_i)^2 at `params`.

    inputs (n, d + 1) with a leading 1, labels and weights (n,); any n, K and d
    tiles: how to cut, for who wants to measure
    interpret: run as plain JAX, on any device and slowly
    """
    tiles = tiles or default_tiles(inputs.shape[1])
    predictions = outputs(params, inputs, tiles.outputs, interpret) + params.offset
    residual = 2 * factor * weights * (predictions - labels)
    slope = moments(params, inputs, residual, tiles.moments, interpret)
    return TwoLayer(params.readout * slope, jnp.sum(params.hidden * slope, axis=0), jnp.sum(residual))


def outputs(params: TwoLayer, inputs: jax.Array, tile: Tile, interpret: bool) -> jax.Array:
    """f(x_i) - c, shape (n,)."""
    blocks, loop = pl.cdiv(len(inputs), tile.samples), pl.cdiv(params.readout.size, tile.neurons)
    share, parts = _share(loop, blocks)
    call = _call(
        partial(_outputs_kernel, tile=tile, share=share), (blocks, parts), (parts, len(inputs)), inputs.dtype, tile, interpret
    )
    return jnp.sum(call(params.hidden, params.readout, inputs), axis=0)


def moments(params: TwoLayer, inputs: jax.Array, residual: jax.Array, tile: Tile, interpret: bool) -> jax.Array:
    """G_k = sum_i r_i x_i 1{z_ik > 0}, shape (d + 1, K)."""
    (rows, width), blocks = params.hidden.shape, pl.cdiv(params.readout.size, tile.neurons)
    slabs = 1 if rows <= UNROLLED_ROWS else pl.cdiv(rows, DOT_ROWS)
    share, parts = _share(pl.cdiv(len(inputs), tile.samples), blocks * slabs)
    kernel = partial(_unrolled_moments_kernel if rows <= UNROLLED_ROWS else _dot_moments_kernel, tile=tile, share=share)
    inputs = inputs.reshape(-1) if rows <= UNROLLED_ROWS else inputs
    call = _call(kernel, (blocks, parts, slabs), (parts, rows, width), inputs.dtype, tile, interpret)
    return jnp.sum(call(params.hidden, inputs, residual), axis=0)


def _share(loop: int, programs: int) -> tuple[int, int]:
    """A loop of so many blocks cut into parts: (blocks a part, parts), enough parts to fill a GPU and none too short."""
    parts = min(pl.cdiv(PROGRAMS, programs), pl.cdiv(loop, SHORTEST_LOOP))
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


def span(start: Any, size: int, end: int) -> tuple[Any, jax.Array]:
    """The indices from `start`, `size` of them, and which of them lie before `end`."""
    return pl.ds(start, size), start + jnp.arange(size, dtype=jnp.int32) < end


def load(ref: Any, index: Any, mask: jax.Array) -> jax.Array:
    return triton.load(ref.at[index], mask=mask, other=0)


def columns(inputs_ref: Any, where: Any, mask: jax.Array) -> list[jax.Array]:
    """The inputs of a block of samples, one coordinate after another, each (samples, 1)."""
    return [load(inputs_ref, (where, pl.ds(j, 1)), mask[:, None]) for j in range(inputs_ref.shape[1])]


def lines(hidden_ref: Any, where: Any, mask: jax.Array) -> list[jax.Array]:
    """The hidden weights of a block of neurons, one coordinate after another, each (1, neurons)."""
    return [load(hidden_ref, (pl.ds(j, 1), where), mask[None]) for j in range(hidden_ref.shape[0])]


def unrolled(x: Sequence[jax.Array], w: Sequence[jax.Array]) -> jax.Array:
    """z = sum_j x_j w_j, written out."""
    z = x[0] * w[0]
    for a, b in zip(x[1:], w[1:], strict=True):
        z += a * b
    return z


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, precision=lax.Precision.HIGHEST)


def _product(inputs_ref: Any, samples: tuple, hidden_ref: Any, neurons: tuple, tile: Tile) -> jax.Array:
    """z = X W of one block, by matrix products over `DOT_DEPTH` inputs at a time."""
    rows = inputs_ref.shape[1]

    def add(j, z):
        depth, there = span(j * DOT_DEPTH, DOT_DEPTH, rows)
        x = load(inputs_ref, (samples[0], depth), samples[1][:, None] & there)
        return z + _dot(x, load(hidden_ref, (depth, neurons[0]), there[:, None] & neurons[1]))

    zero = jnp.zeros((tile.samples, tile.neurons), inputs_ref.dtype)
    return lax.fori_loop(np.int32(0), np.int32(pl.cdiv(rows, DOT_DEPTH)), add, zero)


def _outputs_kernel(hidden_ref, readout_ref, inputs_ref, out_ref, *, tile: Tile, share: int) -> None:
    (n, rows), width = inputs_ref.shape, readout_ref.size
    part = pl.program_id(1)
    samples = span(pl.program_id(0) * tile.samples, tile.samples, n)
    x = columns(inputs_ref, *samples) if rows <= UNROLLED_ROWS else []

    def add(i, total):
        neurons = where, mask = span((part * share + i) * tile.neurons, tile.neurons, width)
        if x:
            z = unrolled(x, lines(hidden_ref, where, mask))
        else:
            z = _product(inputs_ref, samples, hidden_ref, neurons, tile)
        return total + load(readout_ref, where, mask) * jnp.where(z <= 0, 0, z)

    # one sum for each pair of sample and thread: only at the end do threads have to talk
    total = lax.fori_loop(np.int32(0), np.int32(share), add, jnp.zeros((tile.samples, tile.neurons), inputs_ref.dtype))
    triton.store(out_ref.at[part, samples[0]], jnp.sum(total, axis=1), mask=samples[1])


def _unrolled_moments_kernel(hidden_ref, inputs_ref, residual_ref, out_ref, *, tile: Tile, share: int) -> None:
    (rows, width), n = hidden_ref.shape, residual_ref.size
    part = pl.program_id(1)
    neurons, there = span(pl.program_id(0) * tile.neurons, tile.neurons, width)
    w = lines(hidden_ref, neurons, there)

    def add(i, total):
        # sample by sample, for a chain of fused multiply-adds; the sum of a block would be a tree of products and sums
        for s in range(tile.samples):
            sample = (part * share + i) * tile.samples + s
            x = [load(inputs_ref, sample * rows + j, sample < n) for j in range(rows)]
            r = jnp.where(unrolled(x, w) <= 0, 0, load(residual_ref, sample, sample < n))
            total = tuple(t + r * a for t, a in zip(total, x, strict=True))
        return total

    start = (jnp.zeros((1, tile.neurons), inputs_ref.dtype),) * rows
    for j, total in enumerate(lax.fori_loop(np.int32(0), np.int32(share), add, start)):
        triton.store(out_ref.at[part, pl.ds(j, 1), neurons], total, mask=there[None])


def _dot_moments_kernel(hidden_ref, inputs_ref, residual_ref, out_ref, *, tile: Tile, share: int) -> None:
    (rows, width), n = hidden_ref.shape, residual_ref.size
    part, height = pl.program_id(1), min(DOT_ROWS, pl.next_power_of_2(rows))
    neurons = span(pl.program_id(0) * tile.neurons, tile.neurons, width)
    slab, within = span(pl.program_id(2) * height, height, rows)

    def add(i, total):
        where, mask = span((part * share + i) * tile.samples, tile.samples, n)
        z = _product(inputs_ref, (where, mask), hidden_ref, neurons, tile)
        r = jnp.where(z <= 0, 0, load(residual_ref, where, mask)[:, None])
        return total + _dot(load(inputs_ref, (where, slab), mask[:, None] & within).T, r)

    total = lax.fori_loop(np.int32(0), np.int32(share), add, jnp.zeros((height, tile.neurons), inputs_ref.dtype))
    triton.store(out_ref.at[part, slab, neurons[0]], total, mask=within[:, None] & neurons[1])
