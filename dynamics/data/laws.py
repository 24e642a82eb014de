"""Input laws, each beside its closed forms.

A law draws one row per key, so that growing the number of samples, or padding the input dimension, leaves
the rows and coordinates that were there as they are. scipy is imported by the closed forms that need it: every command
imports this file, and few come to one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Law(NamedTuple):
    """An input law.

    row(key, index, num_samples, dim, width, dtype): one sample, shape (width,); coordinates from `dim` on are zero.
        `num_samples` and `dim` may be traced, `width` (at least `dim`) is static.
    half_space_probability(t, d): P(u.X > t) for a unit vector u, or None where no closed form is known.
    half_space_mean(t, d): E[u.X 1{u.X > t}], or None.
    radius: largest norm of a sample.
    """

    row: Callable[..., jax.Array]
    half_space_probability: Callable[[np.ndarray, int], np.ndarray] | None
    half_space_mean: Callable[[np.ndarray, int], np.ndarray] | None
    radius: float


def sample(law: Law, key: jax.Array, num_samples, dim, shape: tuple[int, int], dtype) -> jax.Array:
    """`shape[0]` samples of the law in `shape[1]` coordinates, the first `num_samples` and `dim` of them meant."""
    index = jnp.arange(shape[0], dtype=jnp.int32)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
    return jax.vmap(lambda k, i: law.row(k, i, num_samples, dim, shape[1], dtype))(keys, index)


def _direction(key: jax.Array, dim, width: int, dtype) -> jax.Array:
    """A uniform unit vector in the first `dim` of `width` coordinates."""
    z = jnp.where(jnp.arange(width) < dim, jax.random.normal(key, (width,), dtype), 0)
    return z / jnp.linalg.norm(z)


def _ball_row(key, index, num_samples, dim, width, dtype):
    radius = jax.random.uniform(jax.random.fold_in(key, 1), (), dtype) ** (1 / jnp.asarray(dim, dtype))
    return radius * _direction(jax.random.fold_in(key, 0), dim, width, dtype)


def _ball_density_constant(d: int) -> float:
    from scipy import special

    return float(np.exp(special.gammaln(d / 2 + 1) - special.gammaln((d + 1) / 2)) / np.sqrt(np.pi))


def ball_half_space_probability(t: np.ndarray, d: int) -> np.ndarray:
    """Q(t) = P(X_1 > t) for X uniform on the unit ball of R^d: (1/2) I_{1-t^2}((d+1)/2, 1/2) for t >= 0.

    `I` is the regularised incomplete beta function; Q(-t) = 1 - Q(t) (Liang et al. 2025, App. E).
    """
    from scipy import special

    t = np.clip(np.asarray(t, float), -1, 1)
    tail = 0.5 * special.betainc((d + 1) / 2, 0.5, 1 - t**2)
    return np.where(t >= 0, tail, 1 - tail)


def ball_half_space_mean(t: np.ndarray, d: int) -> np.ndarray:
    """M(t) = E[X_1 1{X_1 > t}] = c_1(d) (1 - t^2)^((d+1)/2) / (d + 1) on the unit ball of R^d."""
    t = np.clip(np.asarray(t, float), -1, 1)
    return _ball_density_constant(d) * (1 - t**2) ** ((d + 1) / 2) / (d + 1)


def _sphere_row(key, index, num_samples, dim, width, dtype):
    return _direction(jax.random.fold_in(key, 0), dim, width, dtype)


def sphere_half_space_probability(t: np.ndarray, d: int) -> np.ndarray:
    """Q(t) = P(X_1 > t) for X uniform on the unit sphere of R^d: (1/2) I_{1-t^2}((d-1)/2, 1/2) for t >= 0.

    For d = 1 the law is +-1 with equal chances.
    """
    from scipy import special

    t = np.asarray(t, float)
    if d == 1:
        return np.where(t < -1, 1.0, np.where(t < 1, 0.5, 0.0))
    t = np.clip(t, -1, 1)
    tail = 0.5 * special.betainc((d - 1) / 2, 0.5, 1 - t**2)
    return np.where(t >= 0, tail, 1 - tail)


def sphere_half_space_mean(t: np.ndarray, d: int) -> np.ndarray:
    """M(t) = E[X_1 1{X_1 > t}] = c (1 - t^2)^((d-1)/2) / (d - 1) on the unit sphere.

    c = Gamma(d/2) / (sqrt(pi) Gamma((d-1)/2)).
    """
    from scipy import special

    t = np.asarray(t, float)
    if d == 1:
        return np.where(np.abs(t) < 1, 0.5, 0.0)
    t = np.clip(t, -1, 1)
    c = np.exp(special.gammaln(d / 2) - special.gammaln((d - 1) / 2)) / np.sqrt(np.pi)
    return c * (1 - t**2) ** ((d - 1) / 2) / (d - 1)


def _grid_row(key, index, num_samples, dim, width, dtype):
    """Equally spaced points of [-1, 1] on the first coordinate; a single point stands at 1."""
    steps = jnp.maximum(jnp.asarray(num_samples, dtype) - 1, 1)
    position = jnp.where(jnp.asarray(num_samples) == 1, 1.0, -1 + 2 * index.astype(dtype) / steps).astype(dtype)
    return jnp.where(jnp.arange(width) == 0, position, 0).astype(dtype)


LAWS: dict[str, Law] = {
    "uniform_ball": Law(_ball_row, ball_half_space_probability, ball_half_space_mean, 1.0),
    "sphere": Law(_sphere_row, sphere_half_space_probability, sphere_half_space_mean, 1.0),
    "grid": Law(_grid_row, None, None, 1.0),
}
