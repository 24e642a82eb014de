"""Mixtures of low-dimensional balls and lines: the law of Liang et al. 2026, Theorem on mixtures, with its closed
forms.

Part j is uniform on a unit ball of an m-dimensional affine subspace V_j = c_j + span(B_j) of R^d; m = 1 is a line.
Parts are equally likely, their subspaces uniformly random and |c_j| = offset, with c_j orthogonal to B_j: 0 leads all
of them through the origin.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.dynamics import Hyper
from dynamics.data.closed_forms import ball_half_space_mean, ball_half_space_probability
from dynamics.data.law import LAWS, DataSpec, Law, Source, draw_direction
from dynamics.errors import require


class Subspaces(NamedTuple):
    """The parts of a mixture: bases (J, m, d), orthonormal rows; centres (J, d), orthogonal to them."""

    bases: jax.Array
    centres: jax.Array


def orthonormalize_rows(rows: jax.Array) -> jax.Array:
    """Return the rows (k, d) orthonormalised in order, twice for the rounding; by products only, no LAPACK."""
    for _ in range(2):
        done: list[jax.Array] = []
        for row in rows:
            if done:
                basis = jnp.stack(done)
                row = row - (basis @ row) @ basis
            done.append(row / jnp.linalg.norm(row))
        rows = jnp.stack(done)
    return rows


def draw_subspaces(key: jax.Array, data: DataSpec, offset: jax.Array, dtype: Any) -> Subspaces:
    """Return the subspaces of a run, drawn from a key each, so that more of them leave the first ones unchanged."""

    def part(j):
        drawn = jax.random.normal(jax.random.fold_in(key, j), (data.intrinsic_dim + 1, data.input_dim), dtype)
        rows = orthonormalize_rows(drawn)
        return Subspaces(rows[:-1], offset * rows[-1])

    return jax.vmap(part)(jnp.arange(data.components, dtype=jnp.int32))


def _source(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
    m = data.intrinsic_dim
    bases, centres = draw_subspaces(key, data, hyper["data.offset"], dtype)

    def row(key, index, num_samples):
        part = jax.random.randint(jax.random.fold_in(key, 2), (), 0, data.components)
        radius = jax.random.uniform(jax.random.fold_in(key, 1), (), dtype) ** (1 / m)
        return centres[part] + radius * draw_direction(jax.random.fold_in(key, 0), m, m, dtype) @ bases[part], part

    return Source(row, centres)


def _check(data: DataSpec) -> None:
    m, d = data.intrinsic_dim, data.input_dim
    require(1 <= m < d, "data.intrinsic_dim", m, f"must be at least 1 and below data.input_dim = {d}")


def _half_space_within_parts(
    parts: Subspaces, u: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return B_j u (J, m, K), its norm (J, K), where the ball of j is cut (J, K), and whether it is, (J, K).

    For u (d, K) and t (K,).
    """
    bases, centres = (np.asarray(a, float) for a in parts)
    inner = bases @ u
    size = np.linalg.norm(inner, axis=1)
    seen = size > 1e-12
    return inner, size, (t - centres @ u) / np.where(seen, size, 1), seen


def mixture_probability(parts: Subspaces, u: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return P(u.X > t) (K,) for unit columns u (d, K) and t (K,).

    The mean over parts of Q_ball(m)((t - u.c_j) / |B_j u|).
    """
    m = parts.bases.shape[1]
    _, _, cut, seen = _half_space_within_parts(parts, u, t)
    return np.mean(np.where(seen, ball_half_space_probability(cut, m), cut < 0), axis=0)


def mixture_mean(parts: Subspaces, u: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return E[X 1{u.X > t}] (d, K) for unit columns u (d, K) and t (K,).

    The mean over parts of c_j Q_j + B_j^T (B_j u / |B_j u|) M_ball(m).
    """
    bases, centres = (np.asarray(a, float) for a in parts)
    m = bases.shape[1]
    inner, size, cut, seen = _half_space_within_parts(parts, u, t)
    share = np.where(seen, ball_half_space_probability(cut, m), cut < 0)
    along = np.where(seen, ball_half_space_mean(cut, m) / np.where(seen, size, 1), 0)
    return np.mean(centres[:, :, None] * share[:, None] + np.swapaxes(bases, 1, 2) @ (inner * along[:, None]), axis=0)


LAWS.add(
    "subspace_balls",
    Law(_source, check=_check, num_parts=lambda data: data.components, parts_mean_something=True),
    uses=("intrinsic_dim", "components", "offset"),
)
