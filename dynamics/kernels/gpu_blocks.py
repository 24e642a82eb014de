"""What the GPU kernels share: blocks of samples and neurons, read with what overhangs masked, and products written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

UNROLLED_ROWS = 16  # largest d + 1 whose products are written out


class Tile(NamedTuple):
    """Samples and neurons in a block (powers of two), and warps of 32 threads that a program has."""

    samples: int
    neurons: int
    warps: int


class Span(NamedTuple):
    """Indices of a block, and which of them there are."""

    where: Any
    inside: jax.Array


def span(start: Any, size: int, end: int) -> Span:
    """`size` indices from `start`, those inside that lie before `end`."""
    return Span(pl.ds(start, size), start + jnp.arange(size, dtype=jnp.int32) < end)


def load(ref: Any, index: Any, inside: jax.Array) -> jax.Array:
    """What lies at `index`, 0 outside."""
    return triton.load(ref.at[index], mask=inside, other=0)


def columns(inputs_ref: Any, samples: Span) -> list[jax.Array]:
    """The inputs of a block of samples, one coordinate after another, each (samples, 1)."""
    return [load(inputs_ref, (samples.where, pl.ds(j, 1)), samples.inside[:, None]) for j in range(inputs_ref.shape[1])]


def lines(hidden_ref: Any, neurons: Span) -> list[jax.Array]:
    """The hidden weights of a block of neurons, one coordinate after another, each (1, neurons)."""
    return [load(hidden_ref, (pl.ds(j, 1), neurons.where), neurons.inside[None]) for j in range(hidden_ref.shape[0])]


def unrolled(x: Sequence[jax.Array], w: Sequence[jax.Array]) -> jax.Array:
    """sum_j x_j w_j, written out for the vector units."""
    total = x[0] * w[0]
    for a, b in zip(x[1:], w[1:], strict=True):
        total += a * b
    return total


def repeat(count: int, body: Any, start: Any) -> Any:
    """body(i, value) for i = 0 ... count - 1, which stay 32 bits long where JAX's own are 64."""
    return lax.fori_loop(np.int32(0), np.int32(count), body, start)
