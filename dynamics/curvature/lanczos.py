"""Guarded Lanczos: the algebraically largest eigenvalue of a symmetric matrix known by its products.

Exact zeros (padding, dead neurons) exhaust the Krylov space early, and an unguarded recurrence then divides
by rounding noise and invents eigenvalues. Here the recurrence stops once the next off-diagonal entry is
below 64 machine epsilons times the scale seen so far; later rows of the tridiagonal matrix are masked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class TopEigenpair(NamedTuple):
    """value (); vector (N,); residual: norm of A v - value v; steps used; converged: residual <= tolerance * scale.

    `scale` is the largest |eigenvalue| of the projected matrix. The true spectrum has an eigenvalue within
    `residual` of `value`, and `value` never exceeds the largest eigenvalue beyond rounding.
    """

    value: jax.Array
    vector: jax.Array
    residual: jax.Array
    steps: jax.Array
    converged: jax.Array


def top_eigenpair(
    matvec: Callable[[jax.Array], jax.Array], start: jax.Array, num_steps: int = 40, tolerance: float | jax.Array = 1e-3
) -> TopEigenpair:
    """Largest (algebraic, not in magnitude) eigenpair after at most `num_steps` products.

    matvec: v (N,) -> A v (N,), A symmetric; start: (N,), any vector with a part in the top eigenspace
    (zeros are replaced by ones). Twice reorthogonalised, so memory is (num_steps + 1) N numbers.
    """
    size, dtype = start.shape[0], start.dtype
    m = min(num_steps, size)
    epsilon = jnp.finfo(dtype).eps
    norm = jnp.linalg.norm(start)
    first = jnp.where(norm > 0, start / jnp.where(norm > 0, norm, 1), jnp.ones_like(start) / jnp.sqrt(size).astype(dtype))

    def body(j, carry):
        basis, alpha, beta, used, scale = carry
        q = basis[j]
        w = matvec(q)
        a = q @ w
        w = w - basis.T @ (basis @ w)
        w = w - basis.T @ (basis @ w)
        b = jnp.linalg.norm(w)
        going = used == j
        scale = jnp.where(going, jnp.maximum(scale, jnp.abs(a) + b), scale)
        alive = going & (b > 64 * epsilon * scale)
        basis = basis.at[j + 1].set(jnp.where(alive, w / jnp.where(alive, b, 1), 0))
        alpha = alpha.at[j].set(jnp.where(going, a, 0))
        beta = beta.at[j].set(jnp.where(going, b, 0))
        return basis, alpha, beta, jnp.where(alive, j + 1, used), scale

    zeros = jnp.zeros((m,), dtype)
    basis = jnp.zeros((m + 1, size), dtype).at[0].set(first)
    basis, alpha, beta, used, _ = lax.fori_loop(0, m, body, (basis, zeros, zeros, jnp.int32(0), jnp.zeros((), dtype)))

    # Row j is real while j <= used; the tail repeats alpha_0, which the top of the matrix never falls below.
    index = jnp.arange(m)
    diagonal = jnp.where(index <= used, alpha, alpha[0])
    off = jnp.where(index[:-1] < used, beta[:-1], 0)
    values, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(off, 1) + jnp.diag(off, -1))
    ritz = jnp.where(index <= used, vectors[:, -1], 0)
    vector = ritz @ basis[:-1]
    length = jnp.linalg.norm(vector)
    vector = jnp.where(length > 0, vector / jnp.where(length > 0, length, 1), first)  # 0: the start is an eigenvector
    value = values[-1]
    residual = jnp.linalg.norm(matvec(vector) - value * vector)
    scale = jnp.max(jnp.abs(values))
    rounding = 64 * epsilon * scale
    return TopEigenpair(value, vector, residual, jnp.minimum(used + 1, m), residual <= jnp.maximum(tolerance * scale, rounding))
