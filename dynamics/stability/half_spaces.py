"""Half-spaces through points inside a compiled program: how much of a sample each holds, and directions that are worth a
try."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dynamics.data.law import draw_direction
from dynamics.stability.half_space_depth import ROUNDING

NEAREST = 1e-3  # the smallest distance at which the neighbourhood of a direction is searched
RIDGE = 1e-3  # of the mean variance, added to a covariance, as pixels may be constant


class PointCloud(NamedTuple):
    """reference (N, m), of which those `used` (N,) are meant, `count` () in number; queries (Q, m).

    dim: () the coordinates that are meant, the first ones; the others are zero
    slack: () how far rounding may move a projection; what lies so close to a boundary counts on both of its sides
    """

    reference: jax.Array
    queries: jax.Array
    used: jax.Array
    count: jax.Array
    dim: jax.Array
    slack: jax.Array


def build_point_cloud(
    reference: jax.Array, queries: jax.Array, used: jax.Array, count: jax.Array, dim: jax.Array
) -> PointCloud:
    """With the slack that these points need."""
    norms = [jnp.max(jnp.linalg.norm(queries, axis=1)), jnp.max(jnp.where(used, jnp.linalg.norm(reference, axis=1), 0))]
    slack = ROUNDING * jnp.finfo(queries.dtype).eps * jnp.sqrt(dim.astype(queries.dtype)) * jnp.maximum(*norms)
    return PointCloud(reference, queries, used, count, dim, slack)


def draw_uniform_directions(key: jax.Array, count: int, cloud: PointCloud) -> jax.Array:
    """Independent uniform unit vectors (count, m) in the coordinates that are meant, one key each."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count, dtype=jnp.int32))
    return jax.vmap(lambda k: draw_direction(k, cloud.dim, cloud.queries.shape[1], cloud.queries.dtype))(keys)


def project_points(points: jax.Array, directions: jax.Array) -> jax.Array:
    """(K, m), (D, m) -> (D, K), in full precision also where a device would rather not."""
    return jnp.matmul(directions, points.T, precision=lax.Precision.HIGHEST)


def lighter_half_space_shares(directions: jax.Array, cloud: PointCloud) -> jax.Array:
    """For each direction (D, m) and query the share of the reference in the lighter of the two closed sides, (D, Q)."""
    z = jnp.sort(jnp.where(cloud.used, project_points(cloud.reference, directions), jnp.inf), axis=1)
    place = project_points(cloud.queries, directions)
    below = jax.vmap(lambda z, q: jnp.searchsorted(z, q, side="right"))(z, place + cloud.slack)
    under = jax.vmap(lambda z, q: jnp.searchsorted(z, q, side="left"))(z, place - cloud.slack)
    return jnp.minimum(below, cloud.count - under) / cloud.count.astype(z.dtype)


def lighter_half_space_shares_per_query(directions: jax.Array, cloud: PointCloud) -> jax.Array:
    """The same where every query has directions (Q, K, m) of its own: (Q, K). Nothing is sorted, everything compared."""

    def one(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        query, tried = args
        z, place = project_points(cloud.reference, tried), project_points(query[None], tried)
        below = jnp.sum(cloud.used & (z <= place + cloud.slack), axis=1)
        above = jnp.sum(cloud.used & (z >= place - cloud.slack), axis=1)
        return jnp.minimum(below, above)

    return lax.map(one, (cloud.queries, directions)) / cloud.count.astype(cloud.queries.dtype)


def whiten_queries(cloud: PointCloud) -> jax.Array:
    """Sigma^-1 (x - mean) of every query as a unit vector (Q, m), by conjugate gradients on all of them together.

    The outward normal at x of the ellipsoid of the sample's moments: for an isotropic law that of the lightest half-space.
    """
    from jax.scipy.sparse.linalg import cg  # here, because every command imports this file and few come to this

    weights = jnp.where(cloud.used, 1 / cloud.count, 0).astype(cloud.reference.dtype)
    mean = weights @ cloud.reference
    centred = cloud.reference - mean
    covariance = (weights[:, None] * centred).T @ centred
    floor = RIDGE * jnp.trace(covariance) / cloud.dim
    return normalize_vectors(cg(lambda w: w @ covariance + floor * w, cloud.queries - mean, maxiter=50)[0])


def draw_nearby_directions(key: jax.Array, best: jax.Array, count: int, cloud: PointCloud) -> jax.Array:
    """(Q, count, m): each of best (Q, m) itself, and unit vectors at distances NEAREST to 1 from it, even in the logarithm."""
    drawn = draw_uniform_directions(jax.random.fold_in(key, 0), len(best) * count, cloud).reshape(len(best), count, -1)
    power = jax.random.uniform(jax.random.fold_in(key, 1), (len(best), count, 1), best.dtype)
    return normalize_vectors(best[:, None] + jnp.where(jnp.arange(count)[:, None] == 0, 0, NEAREST**power) * drawn)


def normalize_vectors(vectors: jax.Array) -> jax.Array:
    """Of length 1 along the last axis; zero becomes the first axis."""
    norm = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    return jnp.where(norm > 0, vectors / jnp.where(norm > 0, norm, 1), jnp.zeros_like(vectors).at[..., 0].set(1))
