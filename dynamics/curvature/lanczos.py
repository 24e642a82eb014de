"""Guarded Lanczos: the algebraically largest eigenvalue of a symmetric matrix known by its products.

Exact zeros (padding, dead neurons) exhaust the Krylov space early, and an unguarded recurrence then divides
by rounding noise and invents eigenvalues. Here the recurrence stops once the next off-diagonal entry is
below 64 machine epsilons times the scale seen so far; later rows of the tridiagonal matrix are masked.
After `LEAST` products and every `PATIENCE` more the top Ritz pair is looked at, and the recurrence ends once it has
converged.

A start near a lower eigenvector has a small residual there at once. So every start gets a random share s, whose part in
the top eigenspace is about s / sqrt(N) in N dimensions: an eigenvalue hidden above by a share g of the scale leaves a
residual of g s / sqrt(N) times the scale. The default tolerance is that of g = `GAP`, as far as rounding allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

LEAST = 10  # products before the first look at the residual
PATIENCE = 5  # products between two looks
RANDOM_SHARE = 0.3  # of a random direction in the start, relative to what is asked for
GAP = 1e-3  # by which share of the scale an eigenvalue that a start is nearly blind to may lie above unseen
ROUNDING = 16  # machine epsilons times the scale, below which an estimated residual is rounding
# Rows of the small tridiagonal matrix that is used while there are no more, at a tenth of the whole one's cost.
FEW = 20


class TopEigenpair(NamedTuple):
    """The top eigenpair of a matrix A and how well it is known.

    value (); vector (N,); residual: norm of A v - value v; steps used; converged: residual <= tolerance * scale, as the
    recurrence estimates it and as it is, to rounding.

    `scale` is the largest |diagonal| + off-diagonal entry that the recurrence saw. The true spectrum has an eigenvalue
    within `residual` of `value`, and `value` never exceeds the largest eigenvalue beyond rounding.
    """

    value: jax.Array
    vector: jax.Array
    residual: jax.Array
    steps: jax.Array
    converged: jax.Array


def top_eigenpair(
    matvec: Callable[[jax.Array], jax.Array],
    start: jax.Array,
    num_steps: int = 40,
    tolerance: float | jax.Array | None = None,
) -> TopEigenpair:
    """Return the largest (algebraic, not in magnitude) eigenpair after at most `num_steps` products with the matrix.

    Fewer once it has converged.

    matvec: v (N,) -> A v (N,), A symmetric; start: (N,), a guess of the top eigenvector, to which a random direction is
    added (zeros if there is none). Twice reorthogonalised, so memory is (num_steps + 1) N numbers. The error of the
    value is of the order of the residual squared over the gap below it.
    `tolerance` is `default_tolerance` unless given.
    """
    size, dtype = start.shape[0], start.dtype
    m = min(num_steps, size)
    if tolerance is None:
        tolerance = default_tolerance(size, dtype)
    epsilon = jnp.finfo(dtype).eps
    first = add_random_share(start)
    first = first / jnp.linalg.norm(first)

    def orthogonalise(w, basis, j):
        """w without its part in rows 0 to j (later ones are zero), by blocks: rows not there yet cost nothing."""

        def without(i, w):
            rows = lax.dynamic_slice_in_dim(basis, i * PATIENCE, PATIENCE)
            return w - rows.T @ (rows @ w)

        return lax.fori_loop(0, j // PATIENCE + 1, without, w)

    def combine(weights, basis, done):
        """weights (m,) of the rows that are there, as a vector, by the same blocks."""
        weights = jnp.pad(weights, (0, basis.shape[0] - m))

        def more(i, total):
            rows = lax.dynamic_slice_in_dim(basis, i * PATIENCE, PATIENCE)
            return total + lax.dynamic_slice_in_dim(weights, i * PATIENCE, PATIENCE) @ rows

        return lax.fori_loop(0, (done - 1) // PATIENCE + 1, more, jnp.zeros((size,), dtype))

    def body(j, carry):
        basis, alpha, beta, used, scale = carry
        q = basis[j]
        w = matvec(q)
        a = q @ w
        w = orthogonalise(orthogonalise(w, basis, j), basis, j)
        b = jnp.linalg.norm(w)
        going = used == j
        scale = jnp.where(going, jnp.maximum(scale, jnp.abs(a) + b), scale)
        alive = going & (b > 64 * epsilon * scale)
        basis = basis.at[j + 1].set(jnp.where(alive, w / jnp.where(alive, b, 1), 0))
        alpha = alpha.at[j].set(jnp.where(going, a, 0))
        beta = beta.at[j].set(jnp.where(going, b, 0))
        return basis, alpha, beta, jnp.where(alive, j + 1, used), scale

    def ritz_among(rows, alpha, beta, done):
        """Return the top eigenvector (m,) after `done` <= `rows` rows; the tail repeats alpha_0,
        never above the top."""
        index = jnp.arange(rows)
        real = index < done
        diagonal = jnp.where(real, alpha[:rows], alpha[0])
        off = jnp.where(index[:-1] + 1 < done, beta[: rows - 1], 0)
        top = top_eigenvector(jnp.diag(diagonal) + jnp.diag(off, 1) + jnp.diag(off, -1), real)
        return jnp.pad(top, (0, m - rows))

    def ritz(alpha, beta, done):
        few, all_of = partial(ritz_among, min(FEW, m)), partial(ritz_among, m)
        return lax.cond(done <= FEW, few, all_of, alpha, beta, done) if m > FEW else all_of(alpha, beta, done)

    def rows_done(used, taken):
        return jnp.minimum(used + 1, taken)

    def patch(carry):
        taken, _, lanczos = carry
        upto = jnp.minimum(jnp.maximum(taken + PATIENCE, LEAST), m)
        lanczos = lax.fori_loop(taken, upto, body, lanczos)
        _, alpha, beta, used, _ = lanczos
        done = rows_done(used, upto)
        last = jnp.abs(beta[done - 1] * ritz(alpha, beta, done)[done - 1])
        return upto, jnp.where(used < upto, 0, last), lanczos

    def unsettled(carry):
        taken, last, (*_, scale) = carry
        return (taken < m) & ~(last <= tolerance * scale)

    zeros = jnp.zeros((m,), dtype)
    basis = jnp.zeros((PATIENCE * math.ceil((m + 1) / PATIENCE), size), dtype).at[0].set(first)
    begin = (jnp.int32(0), jnp.asarray(jnp.inf, dtype), (basis, zeros, zeros, jnp.int32(0), jnp.zeros((), dtype)))
    taken, last, (basis, alpha, beta, used, scale) = lax.while_loop(unsettled, patch, begin)

    done = rows_done(used, taken)
    vector = combine(ritz(alpha, beta, done), basis, done)
    vector = vector / jnp.linalg.norm(vector)
    image = matvec(vector)
    value = vector @ image
    residual = jnp.linalg.norm(image - value * vector)
    settled = last <= jnp.maximum(tolerance, ROUNDING * epsilon) * scale
    rounding = max(64, math.sqrt(size) / 4) * epsilon  # sums over N numbers
    return TopEigenpair(value, vector, residual, done, settled & (residual <= jnp.maximum(tolerance, rounding) * scale))


def default_tolerance(size: int, dtype: Any) -> float:
    """Return the residual, relative to the scale, at which a top eigenpair in so many dimensions
    counts as converged."""
    usual = 2e-5 if dtype == jnp.float32 else 1e-7
    return min(usual, max(GAP * RANDOM_SHARE / math.sqrt(size), ROUNDING * float(jnp.finfo(dtype).eps)))


def add_random_share(start: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Return the direction of `start` (N,) plus `RANDOM_SHARE` times a random one, the key's; that alone for zeros."""
    key = jax.random.key(0) if key is None else key
    noise, size = jax.random.normal(key, start.shape, start.dtype), jnp.linalg.norm(start)
    return RANDOM_SHARE * noise / jnp.linalg.norm(noise) + start / jnp.where(size > 0, size, 1)


def top_eigenvector(matrix: jax.Array, among: jax.Array) -> jax.Array:
    """Return the unit eigenvector (m,) of a small symmetric matrix's (m, m) largest eigenvalue, by repeated squaring.

    The matrix must be block diagonal with respect to the mask `among`, whose block holds the top eigenvalue. Shifted to
    be positive and squared until eigenvalues a machine epsilon apart are told apart, it is the projector on the top
    eigenspace. Products only, no LAPACK: a batched `eigh` waits for the thread pool that it runs on, and when every
    device calls it at once nobody is left to do the work (jaxlib 0.10.2 on CPUs, several devices: it hangs).
    """
    m, epsilon = matrix.shape[0], jnp.finfo(matrix.dtype).eps
    bound = jnp.max(jnp.sum(jnp.abs(matrix), axis=1))
    power = matrix / jnp.where(bound > 0, bound, 1) + 1.5 * jnp.eye(m, dtype=matrix.dtype)

    def square(_, power):
        power = power @ power
        return power / jnp.max(jnp.abs(power))

    power = lax.fori_loop(0, math.ceil(-math.log2(epsilon)) + 4, square, power)
    column = power[:, jnp.argmax(jnp.where(among, jnp.diag(power), -1))]
    return column / jnp.linalg.norm(column)
