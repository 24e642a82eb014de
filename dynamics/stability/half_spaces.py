"""Half-spaces through points inside a compiled program: how much of a sample each holds, and directions that are worth
a try."""

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
    """A sample `reference` (N, m) and the points `queries` (Q, m) whose half-spaces are searched.

    used (N,), count (): which rows of the reference are valid, and how many

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
    """Return the cloud of these points, with the slack that rounding of their projections needs."""
    norms = [jnp.max(jnp.linalg.norm(queries, axis=1)), jnp.max(jnp.where(used, jnp.linalg.norm(reference, axis=1), 0))]
    slack = ROUNDING * jnp.finfo(queries.dtype).eps * jnp.sqrt(dim.astype(queries.dtype)) * jnp.maximum(*norms)
    return PointCloud(reference, queries, used, count, dim, slack)


def draw_uniform_directions(key: jax.Array, count: int, cloud: PointCloud) -> jax.Array:
    """Return independent uniform unit vectors (count, m) in the cloud's valid coordinates, one key each."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count, dtype=jnp.int32))
    return jax.vmap(lambda k: draw_direction(k, cloud.dim, cloud.queries.shape[1], cloud.queries.dtype))(keys)


def project_points(points: jax.Array, directions: jax.Array) -> jax.Array:
    """Return the projections (D, K) of points (K, m) on directions (D, m), in full precision on every device."""
    return jnp.matmul(directions, points.T, precision=lax.Precision.HIGHEST)


def lighter_half_space_shares(directions: jax.Array, cloud: PointCloud) -> jax.Array:
    """Return the share (D, Q) of the reference in the lighter closed half-space of each direction at each query."""
    z = jnp.sort(jnp.where(cloud.used, project_points(cloud.reference, directions), jnp.inf), axis=1)
    place = project_points(cloud.queries, directions)
    below = jax.vmap(lambda z, q: jnp.searchsorted(z, q, side="right"))(z, place + cloud.slack)
    under = jax.vmap(lambda z, q: jnp.searchsorted(z, q, side="left"))(z, place - cloud.slack)
    return jnp.minimum(below, cloud.count - under) / cloud.count.astype(z.dtype)


def lighter_half_space_shares_per_query(directions: jax.Array, cloud: PointCloud) -> jax.Array:
    """Return (Q, K): the same shares where every query has directions (Q, K, m) of its own.

    Nothing is sorted; all pairs are compared.
    """

    def one(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        query, tried = args
        z, place = project_points(cloud.reference, tried), project_points(query[None], tried)
        below = jnp.sum(cloud.used & (z <= place + cloud.slack), axis=1)
        above = jnp.sum(cloud.used & (z >= place - cloud.slack), axis=1)
        return jnp.minimum(below, above)

    return lax.map(one, (cloud.queries, directions)) / cloud.count.astype(cloud.queries.dtype)


def whiten_queries(cloud: PointCloud) -> jax.Array:
    """Return Sigma^-1 (x - mean) of every query x as a unit vector, (Q, m), by conjugate gradients on all at once.

    The outward normal at x of the ellipsoid of the sample's moments: for an isotropic law that of the lightest
    half-space.
    """
    from jax.scipy.sparse.linalg import cg  # here, because every command imports this file and few come to this

    weights = jnp.where(cloud.used, 1 / cloud.count, 0).astype(cloud.reference.dtype)
    mean = weights @ cloud.reference
    centred = cloud.reference - mean
    covariance = (weights[:, None] * centred).T @ centred
    floor = RIDGE * jnp.trace(covariance) / cloud.dim
    return normalize_vectors(cg(lambda w: w @ covariance + floor * w, cloud.queries - mean, maxiter=50)[0])


def draw_nearby_directions(key: jax.Array, best: jax.Array, count: int, cloud: PointCloud) -> jax.Array:
    """Return directions (Q, count, m): each of `best` (Q, m) itself, then random unit vectors near it.

    Distances from it are between NEAREST and 1, uniform in the logarithm.
    """
    drawn = draw_uniform_directions(jax.random.fold_in(key, 0), len(best) * count, cloud).reshape(len(best), count, -1)
    power = jax.random.uniform(jax.random.fold_in(key, 1), (len(best), count, 1), best.dtype)
    return normalize_vectors(best[:, None] + jnp.where(jnp.arange(count)[:, None] == 0, 0, NEAREST**power) * drawn)


def normalize_vectors(vectors: jax.Array) -> jax.Array:
    """Return the vectors scaled to length 1 along the last axis; a zero vector becomes the first axis."""
    norm = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    return jnp.where(norm > 0, vectors / jnp.where(norm > 0, norm, 1), jnp.zeros_like(vectors).at[..., 0].set(1))
