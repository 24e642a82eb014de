"""All eigenpairs of a small symmetric matrix by Jacobi rotations: additions and products alone, so that it may be
mapped over runs and devices, where LAPACK may not (`lanczos.top_eigenvector` says why)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

SWEEPS = 15  # at most; it converges quadratically, after 6 to 9 for 64 rows


def diagonalise(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the eigenvalues (m,) of a symmetric matrix (m, m), in no order, and its eigenvectors as columns (m, m).

    To a few machine epsilons times the norm of the matrix, repeated eigenvalues included: the vectors are orthonormal.
    A row and column of zeros stay what they are: the eigenvalue 0 and the unit vector stand at that index.

    A round rotates m / 2 disjoint pairs at once, those of index i and i + m / 2, and then moves every row but the first
    one place on (Brent and Luk 1985), so that after m - 1 rounds each pair has met once and all are back in place.
    """
    size, dtype = matrix.shape[0], matrix.dtype
    half = max((size + 1) // 2, 1)
    largest = jnp.max(jnp.abs(matrix))
    unit = jnp.where(largest > 0, largest, 1)
    square = jnp.pad(matrix / unit, (0, 2 * half - size))
    limit = math.sqrt(2 * half) * jnp.finfo(dtype).eps * jnp.linalg.norm(square)

    upper, lower = np.arange(half), np.arange(half, 2 * half)
    order = np.concatenate([upper[:1], lower[:1], upper[1:-1], lower[1:], upper[-1:]]) if half > 1 else np.arange(2)

    def turn(rows: jax.Array, s: jax.Array, r: jax.Array) -> jax.Array:
        """Rotate row i and row i + half, and move them; written as a change,
        whose rounding is small for small angles."""
        over, under = rows[:half], rows[half:]
        return jnp.concatenate([over - s * (under + r * over), under + s * (over - r * under)])[order]

    def rotate(_, pair):
        square, vectors = pair
        diagonal, across = jnp.diag(square), jnp.diag(square[:half, half:])
        tau = (diagonal[half:] - diagonal[:half]) / (2 * jnp.where(across == 0, 1, across))
        t = jnp.where(tau >= 0, 1, -1) / (jnp.abs(tau) + jnp.sqrt(1 + tau**2))
        t = jnp.where(across == 0, 0, t)
        c = 1 / jnp.sqrt(1 + t**2)
        s, r = (t * c)[:, None], (t * c / (1 + c))[:, None]
        square = turn(turn(square, s, r).T, s, r)  # symmetric, so that columns are turned as rows are
        return square, turn(vectors, s, r)

    def sweep(carry):
        count, *pair = carry
        return count + 1, *lax.fori_loop(0, 2 * half - 1, rotate, tuple(pair))

    def unsettled(carry):
        count, square, _ = carry
        return (count < SWEEPS) & (jnp.linalg.norm(square - jnp.diag(jnp.diag(square))) > limit)

    begin = (jnp.int32(0), square, jnp.eye(2 * half, dtype=dtype))
    _, square, vectors = lax.while_loop(unsettled, sweep, begin)
    return unit * jnp.diag(square)[:size], vectors.T[:size, :size]
