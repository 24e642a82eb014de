"""The weight function g of stable minima: how much a neuron's kink costs in sharpness.

For a neuron relu(u . x - t), |u| = 1, and X a random (or a random training) input,

    one-sided:  g~(u, t) = P(X.u > t)^2 E[X.u - t | X.u > t] sqrt(1 + |E[X | X.u > t]|^2)
    two-sided:  g(u, t)  = min(g~(u, t), g~(-u, -t))

(Mulayoff et al. 2021, eqs. 22-23, for d = 1; Nacson et al. 2023; Liang et al. 2025, App. E). With p = P(X.u > t),
s = E[(X.u - t)_+] and e = E[X 1{X.u > t}] it is g~ = s sqrt(p^2 + |e|^2): no division, and 0 on an empty side.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.data.closed_forms import ClosedForms
from dynamics.data.law import parameter_free_forms
from dynamics.errors import InputError


def one_sided_weight(excess: jax.Array, probability: jax.Array, mean: jax.Array) -> jax.Array:
    """Return g~ = s sqrt(p^2 + |e|^2) (K,) from the excess s (K,), probability p (K,) and mean e (d, K)."""
    return excess * jnp.sqrt(probability**2 + jnp.sum(mean**2, axis=0))


def empirical_weight(
    inputs: jax.typing.ArrayLike,
    direction: jax.typing.ArrayLike,
    offset: jax.typing.ArrayLike,
    weights: jax.Array | None = None,
    *,
    sides: int = 2,
) -> jax.Array:
    """Return the empirical weights g_n(u_k, t_k) (K,) of all kinks at once; with sides=1 the one-sided g~.

    inputs (n, d); direction (d, K), of unit columns; offset (K,); weights (n,) that sum to one, 1/n unless given.
    Samples exactly on a kink belong to neither side.
    """
    x = jnp.asarray(inputs)
    w = jnp.full(len(x), 1 / len(x), x.dtype) if weights is None else weights
    z = x @ jnp.asarray(direction) - jnp.asarray(offset)

    def side(z: jax.Array) -> jax.Array:
        active = jnp.where(z > 0, w[:, None], 0)
        return one_sided_weight(jnp.sum(active * z, axis=0), jnp.sum(active, axis=0), x.T @ active)

    return side(z) if sides == 1 else jnp.minimum(side(z), side(-z))


def line_weight(inputs: np.ndarray, kinks: np.ndarray) -> np.ndarray:
    """Return the empirical g (K,) at kinks (K,) for inputs (n,) in one dimension, by sorting: O((n + K) log n)."""
    x, t = np.sort(np.asarray(inputs, float)), np.asarray(kinks, float)
    sums = np.concatenate([[0.0], np.cumsum(x)])
    below = np.searchsorted(x, t, "left")  # samples < t
    upto = np.searchsorted(x, t, "right")  # samples <= t

    def side(count, total, sign):
        p, e = count / len(x), total / len(x)
        return np.maximum(sign * (e - t * p), 0) * np.hypot(p, e)

    return np.minimum(side(below, sums[below], -1), side(len(x) - upto, sums[-1] - sums[upto], 1))


def population_weight(law: str | ClosedForms, offset: np.ndarray, d: int, *, sides: int = 2) -> np.ndarray:
    """Return g_P(u, t) of an isotropic law at offsets t of any shape; with sides=1 the one-sided g~.

    It depends on t alone.

    law: the name of one without parameters, or any law's closed forms (`dynamics.data.closed_forms`).
    """
    if isinstance(law, str):
        known = parameter_free_forms()
        if law not in known:
            have = ", ".join(known)
            raise InputError(
                "law", law, f"has no half-space probability by name; those of {have} have one, or give closed forms"
            )
        law = known[law]
    t = np.asarray(offset, float)

    def side(t):
        p, mean = law.half_space_probability(t, d), law.half_space_mean(t, d)
        return np.maximum(mean - t * p, 0) * np.hypot(p, mean)

    return side(t) if sides == 1 else np.minimum(side(t), side(-t))


def weight_from_moments(probability: np.ndarray, mean: np.ndarray, direction: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return the one-sided weights g~(u_k, t_k) (K,) from a law's half-space moments.

    probability: P(u.X > t) (K,); mean: E[X 1{u.X > t}] (d, K); for directions (d, K) and offsets (K,).
    """
    excess = np.maximum(np.sum(mean * direction, axis=0) - offset * probability, 0)
    return excess * np.sqrt(probability**2 + np.sum(mean**2, axis=0))
