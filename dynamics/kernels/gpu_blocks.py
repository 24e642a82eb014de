"""Shared by the GPU kernels: masked loads of blocks of samples and neurons, and unrolled products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

UNROLLED_ROWS = 16  # largest d + 1 with unrolled products


class Tile(NamedTuple):
    """Samples and neurons per block (powers of two) and warps of 32 threads per program."""

    samples: int
    neurons: int
    warps: int


class Span(NamedTuple):
    """The indices of a block, and a mask of those within the array."""

    where: Any
    inside: jax.Array


def span(start: Any, size: int, end: int) -> Span:
    """Return the block of `size` indices from `start`, with a mask of those below `end`."""
    return Span(pl.ds(start, size), start + jnp.arange(size, dtype=jnp.int32) < end)


def load_masked(ref: Any, index: Any, inside: jax.Array) -> jax.Array:
    """Return the values at `index`, 0 where the mask `inside` is false."""
    return triton.load(ref.at[index], mask=inside, other=0)


def load_input_columns(inputs_ref: Any, samples: Span) -> list[jax.Array]:
    """Return the inputs of a block of samples as one array (samples, 1) per coordinate."""
    return [load_masked(inputs_ref, (samples.where, pl.ds(j, 1)), samples.inside[:, None]) for j in range(inputs_ref.shape[1])]


def load_weight_rows(hidden_ref: Any, neurons: Span) -> list[jax.Array]:
    """Return the hidden weights of a block of neurons as one array (1, neurons) per coordinate."""
    return [load_masked(hidden_ref, (pl.ds(j, 1), neurons.where), neurons.inside[None]) for j in range(hidden_ref.shape[0])]


def unrolled_dot(x: Sequence[jax.Array], w: Sequence[jax.Array]) -> jax.Array:
    """Return sum_j x_j w_j, unrolled for the vector units."""
    total = x[0] * w[0]
    for a, b in zip(x[1:], w[1:], strict=True):
        total += a * b
    return total


def repeat_body(count: int, body: Any, start: Any) -> Any:
    """Apply body(i, value) for i = 0, ..., count - 1 and return the last value; i stays a 32-bit integer under x64."""
    return lax.fori_loop(np.int32(0), np.int32(count), body, start)
