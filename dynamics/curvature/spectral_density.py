"""The density of eigenvalues of a symmetric matrix by stochastic Lanczos quadrature (Lin, Saad and Yang 2016).

From a random direction z of norm 1, m products make Gauss's rule for the measure of z: nodes theta_i, weights tau_i
that sum to 1, and sum_i tau_i theta_i^p = z^T A^p z for every p up to 2 m - 1. Over random signs the mean of z^T A^p z
is tr A^p / N, so the mean of the rules is a rule for the density of eigenvalues, and no moment is biased by m or by the
broadening; what a figure shows is each node as a normal density of a stated width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dynamics.curvature.jacobi_rotations import diagonalise
from dynamics.curvature.krylov import begin_krylov, grow_krylov
from dynamics.errors import require

REACH = 4.0  # widths beyond the outermost nodes that the grid goes


class SpectralDensity(NamedTuple):
    """A density of eigenvalues, which integrates to 1, and the quadrature behind it.

    grid (G,): where it is told; density (G,): mean over probes, each node a normal density of standard deviation
    `width` (); error (G,): standard error of that mean
    nodes, weights (probes, m): of the rules, weights that sum to 1 over a row, 0 where a rule ended early
    """

    grid: jax.Array
    density: jax.Array
    error: jax.Array
    width: jax.Array
    nodes: jax.Array
    weights: jax.Array

    def moment(self, power: int) -> tuple[jax.Array, jax.Array]:
        """Return the mean of lambda^power over eigenvalues and its standard error, without the broadening."""
        each = jnp.sum(self.weights * self.nodes**power, axis=1)
        return jnp.mean(each), jnp.std(each, ddof=1) / jnp.sqrt(jnp.asarray(len(each), each.dtype))


def quadrature_rules(
    matvec: Callable[[jax.Array], jax.Array], size: int, key: jax.Array, num_probes: int, num_products: int, dtype
) -> tuple[jax.Array, jax.Array]:
    """Return nodes and weights (num_probes, num_products) of Gauss's rules of random directions of signs.

    Where a Krylov space is exhausted the rest of a row has nodes within the spectrum and weights 0. Over probes by a
    loop, so memory is num_products N numbers.
    """
    most = min(num_products, size)

    def rule(sign: jax.Array) -> tuple[jax.Array, jax.Array]:
        krylov = grow_krylov(matvec, begin_krylov(sign[None] / jnp.sqrt(jnp.asarray(size, dtype)), most), 1, jnp.int32(most))
        values, vectors = diagonalise(krylov.projected[:most, :most])
        weights = jnp.where(krylov.counted[:most], vectors[0] ** 2, 0)
        first = krylov.table[0, 0]
        nodes = jnp.where(krylov.counted[:most], values, first)
        short = num_products - most
        return jnp.pad(nodes, (0, short), constant_values=0), jnp.pad(weights, (0, short))

    return lax.map(rule, jax.random.rademacher(key, (num_probes, size), dtype))


def estimate_density(
    matvec: Callable[[jax.Array], jax.Array],
    size: int,
    key: jax.Array,
    num_probes: int,
    num_products: int,
    dtype,
    broadening: float | jax.Array = 0.01,
    points: int = 256,
) -> SpectralDensity:
    """Return the density of the eigenvalues of a matrix (size, size), from num_probes x num_products products.

    broadening: width of a node, as a share of the distance between the outermost nodes (of the largest size of a node
    where all are equal, of 1 where they are 0)
    points: of the grid, which is even and reaches 4 widths beyond the outermost nodes. `num_probes` is at least 2.
    """
    require(num_probes >= 2, "num_probes", num_probes, "must be at least 2: the error is that of a mean")
    require(points >= 2, "points", points, "must be at least 2")
    nodes, weights = quadrature_rules(matvec, size, key, num_probes, num_products, dtype)
    low = jnp.min(jnp.where(weights > 0, nodes, jnp.inf))
    high = jnp.max(jnp.where(weights > 0, nodes, -jnp.inf))
    apart, largest = high - low, jnp.maximum(jnp.abs(low), jnp.abs(high))
    rounding = 64 * jnp.finfo(dtype).eps * largest
    width = broadening * jnp.where(apart > rounding, apart, jnp.where(largest > 0, largest, 1))
    grid = low - REACH * width + (apart + 2 * REACH * width) * jnp.linspace(0, 1, points, dtype=dtype)

    def smooth(rule):
        own, share = rule
        bumps = jnp.exp(-(((grid[:, None] - own) / width) ** 2) / 2)
        return bumps @ share / (width * jnp.sqrt(jnp.asarray(2 * jnp.pi, dtype)))

    each = lax.map(smooth, (nodes, weights))
    error = jnp.std(each, axis=0, ddof=1) / jnp.sqrt(jnp.asarray(num_probes, dtype))
    return SpectralDensity(grid, jnp.mean(each, axis=0), error, width, nodes, weights)
