"""Clean targets f_0. A target is drawn once a run: `draw(key, dim, width, dtype)` returns `f(x) -> (n,)`."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dynamics.data.laws import _direction

Target = Callable[[jax.Array], jax.Array]


def linear(key, dim, width, dtype, degree) -> Target:
    """f_0(x) = e_1 . x, a fixed unit vector (Liang et al. 2025, Figures 1-12)."""
    return lambda x: x[:, 0]


def holder_half(key, dim, width, dtype, degree) -> Target:
    """f_0(x) = (1/d) sum_{j <= d} |u_j . x|^(1/2) + 1 with u_j uniform on the sphere (ibid., Figures 13-15)."""
    index = jnp.arange(width, dtype=jnp.int32)
    directions = jax.vmap(lambda j: _direction(jax.random.fold_in(key, j), dim, width, dtype))(index)
    used = (index < dim).astype(dtype)
    count = jnp.asarray(dim, dtype)
    return lambda x: jnp.sqrt(jnp.abs(x @ directions.T)) @ used / count + 1


def chebyshev(key, dim, width, dtype, degree) -> Target:
    """f_0(x) = T_degree(x_1) = cos(degree arccos x_1), the Chebyshev polynomial (Cohen et al. 2021)."""
    return lambda x: jnp.cos(degree * jnp.arccos(jnp.clip(x[:, 0], -1, 1)))


def zero(key, dim, width, dtype, degree) -> Target:
    """f_0(x) = 0."""
    return lambda x: jnp.zeros(x.shape[0], dtype)


TARGETS = {"linear": linear, "holder_half": holder_half, "chebyshev": chebyshev, "zero": zero}
