"""Several eigenpairs from an end of the spectrum of a symmetric matrix that is known by its products."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from dynamics.curvature.jacobi_rotations import diagonalise
from dynamics.curvature.krylov import Krylov, begin_krylov, grow_krylov
from dynamics.curvature.lanczos import LEAST, ROUNDING, TopEigenpair, add_random_share, default_tolerance
from dynamics.errors import require

SIZES = (80,)  # of the leading part that is diagonalised, where it holds all rows
Matvec = Callable[[jax.Array], jax.Array]


def default_products(count: int) -> int:
    """Return how many products the search for so many eigenpairs may take."""
    return max(64, 34 + 6 * count)


def top_eigenpairs(
    matvec: Matvec, starts: jax.Array, num_products: int | None = None, tolerance: float | jax.Array | None = None
) -> TopEigenpair:
    """Return the k algebraically largest eigenpairs, the largest first: values (k,), vectors (k, N), residuals (k,).

    matvec: v (N,) -> A v (N,), A symmetric; starts (k, N): guesses of the eigenvectors, such as those of the last
    record, to each of which a random direction is added (zeros where there is none); k is at most N.

    After at most `num_products` products, and k more for the residuals; fewer once all have converged. As many
    starts as eigenpairs: an eigenvalue of multiplicity up to k is found as often as it is there. Memory is
    (num_products + k) N numbers. `steps` counts the products; `converged` is of each pair, as `TopEigenpair` has it. No
    value exceeds the exact one of its rank beyond rounding, and the vectors are orthonormal. The tolerance is relative
    to the scale of the matrix: far below its largest eigenvalue in size, the residual says what a value is worth.
    """
    count, size = starts.shape
    require(count <= size, "starts", starts.shape, f"must be at most {size} rows of {size} numbers")
    dtype = starts.dtype
    epsilon = jnp.finfo(dtype).eps
    most = min(default_products(count) if num_products is None else num_products, size)
    require(most >= count, "num_products", most, f"must be at least {count}, the number of starts")
    if tolerance is None:
        tolerance = default_tolerance(size, dtype)
    least = min(max(LEAST, 3 * count), most)

    def rank(krylov: Krylov) -> tuple[jax.Array, jax.Array]:
        """Return the coefficients (k, rows) of the top Ritz vectors, and the norms (k,) of what A adds to the space."""
        values, vectors = diagonalise_leading(krylov.projected, krylov.done)
        _, order = lax.top_k(jnp.where(krylov.counted, values, -jnp.inf), count)
        chosen = vectors[:, order].T
        beyond = jnp.where(jnp.arange(len(krylov.alive)) >= krylov.done, krylov.table, 0)
        return chosen, jnp.linalg.norm(chosen @ beyond, axis=1)

    def patch(carry):
        krylov, _, _ = carry
        step = jnp.maximum(krylov.done // 3, max(5, 2 * count))  # looking is cheap beside products, yet not for nothing
        upto = jnp.minimum(jnp.maximum(krylov.done + step, least), most)
        krylov = grow_krylov(matvec, krylov, count, upto)
        return krylov, *rank(krylov)

    def unsettled(carry):
        krylov, _, last = carry
        settled = jnp.all(last <= tolerance * krylov.scale) | krylov.exhausted(count)
        return (krylov.done < most) & ((krylov.done < least) | ~settled)

    keys = jax.random.split(jax.random.key(0), count)
    starts = jax.vmap(add_random_share)(starts, keys)
    starts = starts / jnp.linalg.norm(starts, axis=1, keepdims=True)
    krylov = begin_krylov(starts, most)
    begin = (krylov, jnp.zeros((count, len(krylov.alive)), dtype), jnp.full((count,), jnp.inf, dtype))
    krylov, chosen, last = lax.while_loop(unsettled, patch, begin)

    vectors = chosen @ krylov.basis
    vectors = vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)
    images = lax.map(matvec, vectors)
    values = jnp.sum(vectors * images, axis=1)
    residuals = jnp.linalg.norm(images - values[:, None] * vectors, axis=1)
    rounding = max(64, math.sqrt(size) / 4) * epsilon
    settled = last <= jnp.maximum(tolerance, ROUNDING * epsilon) * krylov.scale
    settled &= residuals <= jnp.maximum(tolerance, rounding) * krylov.scale
    return TopEigenpair(values, vectors, residuals, jnp.sum(krylov.counted), settled)


def diagonalise_leading(matrix: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return eigenvalues and eigenvectors of a matrix that is zero from `rows` on; those rows stand for themselves.

    By the smallest of a few sizes that holds them: rotations of m rows take time m^3.
    """
    size = len(matrix)
    sizes = [part for part in SIZES if part < size] + [size]

    def solve(part: int) -> tuple[jax.Array, jax.Array]:
        values, vectors = diagonalise(matrix[:part, :part])
        whole = jnp.eye(size, dtype=matrix.dtype).at[:part, :part].set(vectors)
        return jnp.pad(values, (0, size - part)), whole

    which = sum(jnp.asarray(rows > part, jnp.int32) for part in sizes[:-1])
    return lax.switch(which, [lambda part=part: solve(part) for part in sizes]) if len(sizes) > 1 else solve(size)


def bottom_eigenpairs(
    matvec: Matvec, starts: jax.Array, num_products: int | None = None, tolerance: float | jax.Array | None = None
) -> TopEigenpair:
    """Return the k algebraically smallest eigenpairs, the smallest first: the top of -A, see `top_eigenpairs`."""
    found = top_eigenpairs(lambda v: -matvec(v), starts, num_products, tolerance)
    return found._replace(value=-found.value)
