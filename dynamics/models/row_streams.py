"""Passes of units over blocks of samples, and over more rows than are held at once.

The rows are what units see: all samples, or all views of all samples. So many units see so many rows that what they
make of them, an array of rows x units, would not fit. Here rows are made and taken block by block, forth and back, and
derivatives of any order compute a block again and keep nothing of it (`jax.checkpoint`): a gradient costs half as much
again as one that keeps its activations, and its memory does not grow with the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dynamics.core.lanes import runs_at_once
from dynamics.kernels import gates

BLOCK_BYTES = 512 * 1024  # of pre-activations in a block, on a CPU: half of a common second-level cache
HELD_BYTES = 2**28  # of one array over rows and units that the runs of a lane may hold on a CPU
ON_ACCELERATOR = 8  # so many times as much on another device, which has more to do at once


def are_too_many(rows: float, row_bytes: float) -> bool:
    """Return whether an array of so many rows, of `row_bytes` bytes each, is more than a run may hold."""
    return rows * row_bytes > held_bytes(jax.default_backend())


def held_bytes(backend: str) -> float:
    """Return how many bytes of one array over rows and units a run may hold."""
    return HELD_BYTES * (1 if backend == "cpu" else ON_ACCELERATOR) / runs_at_once.get()


def count_sample_blocks(num_samples: int, width: int, num_inputs: int, itemsize: int, backend: str) -> int:
    """Return in how many blocks of samples to take a pass: as few as keep one block's activations in cache.

    Where a sample has so many numbers that the weights themselves do not fit, a block of as many bytes as they have. On
    an accelerator a block is as large as an array may be.
    """
    room = max(BLOCK_BYTES, num_inputs * width * itemsize) if backend == "cpu" else held_bytes(backend)
    return max(1, math.ceil(num_samples * width * itemsize / room))


def cut_into_blocks(array: jax.Array, blocks: int) -> jax.Array:
    """Return an array over samples as (blocks, size of a block, ...),
    zeros filling up the last of at most `blocks` blocks."""
    size = math.ceil(len(array) / blocks)
    blocks = math.ceil(len(array) / size) if size else 1
    array = jnp.pad(array, [(0, blocks * size - len(array))] + [(0, 0)] * (array.ndim - 1))
    return array.reshape(blocks, size, *array.shape[1:])


def needs_stream(num_samples: int, num_views: int, width: int, num_inputs: int, itemsize: int, fused: bool) -> bool:
    """Return whether what `width` units make of all views of so many samples is more than a run may hold,
    or the views are."""
    seen = num_inputs * itemsize if num_views > 1 else 0
    return are_too_many(num_samples * num_views, max(width * (1 / 8 if fused else itemsize), seen))


Back = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class Layer(NamedTuple):
    """Units with one activation: phi, with `value` and `slope`; fused: whether kernels of gates take their place."""

    phi: Any
    fused: bool


class RowStream(NamedTuple):
    """Rows (N, D) that are never all there: count is N, size how many are in a block.

    take(numbers (size,)): the rows of these numbers, (size, D)
    """

    count: int
    size: int
    take: Callable[[jax.Array], jax.Array]


def stream_rows(
    count: int,
    width: int,
    num_inputs: int,
    itemsize: int,
    fused: bool,
    take: Callable[[jax.Array], jax.Array],
    *,
    together: int = 1,
) -> RowStream:
    """Return the stream of `count` rows of `num_inputs` numbers for `width` units,
    in blocks of as many bytes as `block_bytes`.

    together: how many rows make a sample; a block is of whole samples if one fits
    """
    room = block_bytes(width, num_inputs, itemsize, fused, jax.default_backend())
    most = max(1, int(room / (width * (1 / 8 if fused else itemsize))))
    unit = together if most >= together else 1
    blocks = math.ceil(count / (most - most % unit))
    return RowStream(count, math.ceil(count / unit / blocks) * unit, take)


def block_bytes(width: int, num_inputs: int, itemsize: int, fused: bool, backend: str) -> float:
    """Return how many bytes of activations, or of gates, to take at once."""
    if backend != "cpu":
        return held_bytes(backend) / 8
    if fused:  # kernels see to the caches themselves; gates and rows stay in the last one
        return HELD_BYTES / 64
    return max(BLOCK_BYTES, num_inputs * width * itemsize)


def map_rows(stream: RowStream, function: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Return function(rows) (N, ...) of all rows, where function takes a block (size, D) to (size, ...)."""
    again = jax.checkpoint(lambda block: function(_rows(stream, block)), prevent_cse=False)
    found = lax.map(again, jnp.arange(_blocks(stream), dtype=jnp.int32))
    return found.reshape(-1, *found.shape[2:])[: stream.count]


def sum_rows(stream: RowStream, function: Callable[[jax.Array, jax.Array], Any], coefficients: jax.Array) -> Any:
    """Return the sum over blocks of function(rows (size, D), coefficients (..., size)), a pytree.

    coefficients (..., N), or (..., n) of samples that have N / n rows each, of which blocks then are;
    zeros where no row is
    """
    blocks, each = _blocks(stream), stream.size * coefficients.shape[-1] // stream.count
    padded = jnp.pad(coefficients, [(0, 0)] * (coefficients.ndim - 1) + [(0, blocks * each - coefficients.shape[-1])])
    parts = jnp.moveaxis(padded.reshape(*coefficients.shape[:-1], blocks, each), -2, 0)
    again = jax.checkpoint(lambda block, c: function(_rows(stream, block), c), prevent_cse=False)

    def add(total: Any, part: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, again(*part)), None

    start = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(again, jnp.int32(0), parts[0]))
    return lax.scan(add, start, (jnp.arange(blocks, dtype=jnp.int32), parts))[0]


def _blocks(stream: RowStream) -> int:
    return math.ceil(stream.count / stream.size)


def _rows(stream: RowStream, block: jax.Array) -> jax.Array:
    """Return the rows of a block (size, D); the last row stands for those beyond it."""
    numbers = block * stream.size + jnp.arange(stream.size, dtype=jnp.int32)
    return stream.take(jnp.minimum(numbers, stream.count - 1))


def pass_units(layer: Layer, x: jax.Array, hidden: jax.Array, readout: jax.Array) -> tuple[jax.Array, Back]:
    """Return sum_k v_k phi(w_k . x_i) of a block of rows, (size,), and the way back.

    That is the function c (size,) -> sum_i c_i phi'(w_k . x_i) x_i (D, K), sum_i c_i phi(w_k . x_i) (K,); zeros for the
    latter where a kernel takes the pass, for v phi is then known from the former.
    """
    if layer.fused:
        s, on = gates.open_gates(x, hidden, readout)
        return s, lambda c: (gates.moments(x, on, c, hidden.shape[1]), jnp.zeros_like(readout))
    z = x @ hidden
    h = layer.phi.value(z)
    return h @ readout, lambda c: ((c[:, None] * x).T @ layer.phi.slope(z), c @ h)


def sum_of_units(stream: RowStream, layer: Layer, hidden: jax.Array, readout: jax.Array) -> jax.Array:
    """Return sum_k v_k phi(w_k . x_i) of every row, (N,)."""
    return map_rows(stream, lambda x: pass_units(layer, x, hidden, readout)[0])


def moments_of_units(
    stream: RowStream, layer: Layer, hidden: jax.Array, coefficients: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return what `pass_units` has on its way back, of all rows with these coefficients (N,)."""
    silent = jnp.zeros(hidden.shape[1:], hidden.dtype)
    return sum_rows(stream, lambda x, c: pass_units(layer, x, hidden, silent)[1](c), coefficients)


def moments_of_sides(stream: RowStream, layer: Layer, hidden: jax.Array, coefficients: jax.Array) -> jax.Array:
    """Return sum_i c_i 1{z_ik > 0} x_i and the same over z_ik < 0, (2, C, D, K); coefficients (C, N)."""
    (rows, width), count = hidden.shape, len(coefficients)

    def block(x: jax.Array, c: jax.Array) -> jax.Array:
        if layer.fused:
            sides = [open_units(x, side * hidden) for side in (1, -1)]
            return jnp.stack([jnp.stack([gates.moments(x, on, each, width) for each in c]) for on in sides])
        z, weighted = x @ hidden, (c.T[:, :, None] * x[:, None, :]).reshape(len(x), -1).T
        return jnp.stack([weighted @ on.astype(hidden.dtype) for on in (z > 0, z < 0)]).reshape(2, count, rows, width)

    return sum_rows(stream, block, coefficients)


def open_units(x: jax.Array, hidden: jax.Array) -> jax.Array:
    """Return the gates of a block, for `gates.moments`; they do not depend on the readout."""
    return gates.open_gates(x, lax.stop_gradient(hidden), jnp.zeros(hidden.shape[1:], hidden.dtype))[1]
