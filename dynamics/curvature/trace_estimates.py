"""Trace and Frobenius norm of a symmetric matrix from its products with random signs, with their standard errors.

Hutch++ (Meyer, Musco, Musco and Woodruff 2021): part of the products go into an orthonormal basis Q of the matrix's
range, on which both are exact, and the rest estimate what is left on the complement, P = I - Q Q^T:

    tr A    = tr Q^T A Q + E z^T P A P z            |A|_F^2 = |A Q|_F^2 + E |A P z|^2,   z of independent random signs

so that a few outliers, which carry most of the norm, cost no variance. Without a sketch it is Hutchinson's estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dynamics.curvature.krylov import orthonormalise
from dynamics.errors import require


class MatrixMoments(NamedTuple):
    """First and second moment of a spectrum, each with one standard error: tr A, and |A|_F^2 = tr A^2."""

    trace: jax.Array
    trace_error: jax.Array
    square: jax.Array
    square_error: jax.Array

    @property
    def frobenius(self) -> tuple[jax.Array, jax.Array]:
        """The Frobenius norm and its standard error, to first order."""
        norm = jnp.sqrt(jnp.maximum(self.square, 0))
        return norm, self.square_error / (2 * jnp.where(norm > 0, norm, 1))


def estimate_moments(
    matvec: Callable[[jax.Array], jax.Array], size: int, key: jax.Array, num_probes: int, sketch: int, dtype
) -> MatrixMoments:
    """Return trace and squared Frobenius norm of a matrix (size, size) from num_probes + 2 sketch products.

    num_probes, at least 2: of the complement; sketch: columns of Q, 0 for Hutchinson's estimate. The estimates are
    unbiased; the errors are those of the mean over probes, 0 where the sketch has the whole range.
    """
    require(num_probes >= 2, "num_probes", num_probes, "must be at least 2: the error is that of a mean")
    require(0 <= sketch <= size, "sketch", sketch, f"must be from 0 to {size}, the size of the matrix")
    sketching, probing = jax.random.split(key)
    basis = jnp.zeros((1, size), dtype)
    if sketch:
        seen = lax.map(matvec, jax.random.rademacher(sketching, (sketch, size), dtype))
        basis, _ = orthonormalise(seen, jnp.max(jnp.linalg.norm(seen, axis=1)))
    on_basis = lax.map(matvec, basis) if sketch else basis

    def probe(sign: jax.Array) -> tuple[jax.Array, jax.Array]:
        rest = sign - (basis @ sign) @ basis
        rest = rest - (basis @ rest) @ basis
        image = matvec(rest)
        return rest @ image, image @ image

    traces, squares = lax.map(probe, jax.random.rademacher(probing, (num_probes, size), dtype))

    def error(values: jax.Array) -> jax.Array:
        return jnp.std(values, ddof=1) / jnp.sqrt(jnp.asarray(num_probes, dtype))

    return MatrixMoments(
        jnp.sum(basis * on_basis) + jnp.mean(traces),
        error(traces),
        jnp.sum(on_basis**2) + jnp.mean(squares),
        error(squares),
    )
