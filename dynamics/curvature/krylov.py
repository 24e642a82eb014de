"""An orthonormal basis of the Krylov space of one start or several, and the matrix in it: Lanczos's, in bands.

From k starts the basis grows by a vector a product, row j + k being what A q_j has beyond the rows that are there (Ruhe
1979), so that k equal eigenvalues are k eigenvectors. The guard is that of `lanczos.py`: what is left below 64 machine
epsilons times the scale seen so far is rounding, and its row stays zero, as do the rows that would follow from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dynamics.curvature.lanczos import PATIENCE

GUARD = 64  # machine epsilons times the scale, below which a remainder is rounding


class Krylov(NamedTuple):
    """How far a basis has grown.

    basis (rows, N): orthonormal rows q_i, zero where there is none; table (rows, rows): row j holds q_i . A q_j, for
        the j below `done`, in whose products with A they are; alive (rows,): whether a row is there
    scale (): the largest |diagonal| + remainder seen
    """

    basis: jax.Array
    table: jax.Array
    alive: jax.Array
    done: jax.Array
    scale: jax.Array

    @property
    def counted(self) -> jax.Array:
        """Which rows are there and have been multiplied, (rows,)."""
        return self.alive & (jnp.arange(len(self.alive)) < self.done)

    @property
    def projected(self) -> jax.Array:
        """The matrix in the basis of the counted rows, (rows, rows), zero in the others."""
        both = jnp.where(self.counted[:, None] & self.counted, self.table, 0)
        return (both + both.T) / 2

    def exhausted(self, starts: int) -> jax.Array:
        """Whether nothing is left to multiply: the space is invariant."""
        return ~jnp.any(self.alive & (jnp.arange(len(self.alive)) >= self.done))


def orthogonalise(vector: jax.Array, basis: jax.Array, upto: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a vector (N,) without its part in the rows below `upto`, and its coefficients (rows,) in them.

    Twice, by blocks: rows that are not there yet cost nothing. The basis has a multiple of `PATIENCE` rows.
    """

    def without(i, pair):
        rest, coefficients = pair
        rows = lax.dynamic_slice_in_dim(basis, i * PATIENCE, PATIENCE)
        part = rows @ rest
        before = lax.dynamic_slice_in_dim(coefficients, i * PATIENCE, PATIENCE)
        return rest - part @ rows, lax.dynamic_update_slice_in_dim(coefficients, before + part, i * PATIENCE, 0)

    blocks = (upto + PATIENCE - 1) // PATIENCE
    begin = (vector, jnp.zeros((len(basis),), vector.dtype))
    return lax.fori_loop(0, 2 * blocks, lambda i, pair: without(jnp.where(i < blocks, i, i - blocks), pair), begin)


def count_rows(rows: int) -> int:
    """Return the least multiple of `PATIENCE` that holds so many rows."""
    return PATIENCE * math.ceil(rows / PATIENCE)


def orthonormalise(vectors: jax.Array, scale: jax.Array | float = 1.0, rows: int | None = None) -> tuple[jax.Array, jax.Array]:
    """Return orthonormal rows that span these vectors (k, N), and which are there:
    zero where one depends on the others.

    scale: that of vectors whose rounding errors are meant; rows: how many rows to return, k if None
    """
    count, size = vectors.shape
    wanted = count if rows is None else rows
    basis = jnp.zeros((count_rows(max(wanted, count)), size), vectors.dtype)
    limit = GUARD * jnp.finfo(vectors.dtype).eps * scale

    def add(j, pair):
        basis, alive = pair
        rest, _ = orthogonalise(vectors[j], basis, j)
        norm = jnp.linalg.norm(rest)
        there = norm > limit
        return basis.at[j].set(jnp.where(there, rest / jnp.where(there, norm, 1), 0)), alive.at[j].set(there)

    basis, alive = lax.fori_loop(0, count, add, (basis, jnp.zeros((len(basis),), bool)))
    return basis[:wanted], alive[:wanted]


def begin_krylov(starts: jax.Array, num_products: int) -> Krylov:
    """Return the basis of these starts (k, N), each of norm about 1, with room for so many products."""
    rows = count_rows(num_products + len(starts))
    basis, alive = orthonormalise(starts, 1.0, rows)
    zero = jnp.zeros((), starts.dtype)
    return Krylov(basis, jnp.zeros((rows, rows), starts.dtype), alive, jnp.int32(0), zero)


def grow_krylov(matvec: Callable[[jax.Array], jax.Array], krylov: Krylov, starts: int, upto: jax.Array) -> Krylov:
    """Return the basis once `upto` of its rows have been multiplied; matvec: v (N,) -> A v (N,), A symmetric.

    starts: how many starts it has. Rows that are not there are not multiplied, but for what a mapped program does.
    """
    epsilon = jnp.finfo(krylov.basis.dtype).eps

    def multiply(j, grown: Krylov) -> Krylov:
        there = grown.alive[j]
        image = matvec(grown.basis[j])
        rest, coefficients = orthogonalise(image, grown.basis, j + starts)
        norm = jnp.linalg.norm(rest)
        seen = jnp.where(there, jnp.abs(coefficients[j]) + norm, 0)
        scale = jnp.maximum(grown.scale, seen)
        goes_on = there & (norm > GUARD * epsilon * scale)
        row = jnp.where(goes_on, rest / jnp.where(goes_on, norm, 1), 0)
        coefficients = jnp.where(there, coefficients.at[j + starts].set(jnp.where(goes_on, norm, 0)), 0)
        basis = grown.basis.at[j + starts].set(row)
        alive = grown.alive.at[j + starts].set(goes_on)
        return Krylov(basis, grown.table.at[j].set(coefficients), alive, j + 1, scale)

    return lax.fori_loop(krylov.done, upto, multiply, krylov)
