"""The weight function g of stable minima: how much a neuron's kink costs in sharpness.

For a neuron relu(u . x - t), |u| = 1, and X a random (or a random training) input,

    one-sided:  g~(u, t) = P(X.u > t)^2 E[X.u - t | X.u > t] sqrt(1 + |E[X | X.u > t]|^2)
    two-sided:  g(u, t)  = min(g~(u, t), g~(-u, -t))

(Mulayoff et al. 2021, eqs. 22-23, for d = 1; Nacson et al. 2023; Liang et al. 2025, App. E). With p = P(X.u > t),
s = E[(X.u - t)_+] and e = E[X 1{X.u > t}] it is g~ = s sqrt(p^2 + |e|^2): no division, and 0 on an empty side.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.data.laws import LAWS, Law, sphere_half_space_mean, sphere_half_space_probability
from dynamics.errors import InputError


def one_sided(excess: jax.Array, probability: jax.Array, mean: jax.Array) -> jax.Array:
    """g~ = s sqrt(p^2 + |e|^2) from s (K,), p (K,) and e (d, K)."""
    return excess * jnp.sqrt(probability**2 + jnp.sum(mean**2, axis=0))


def empirical_weight(
    inputs: jax.typing.ArrayLike,
    direction: jax.typing.ArrayLike,
    offset: jax.typing.ArrayLike,
    weights: jax.Array | None = None,
    *,
    sides: int = 2,
) -> jax.Array:
    """g_n(u_k, t_k) for all kinks at once, (K,); with sides=1 the one-sided g~.

    inputs (n, d); direction (d, K), of unit columns; offset (K,); weights (n,) that sum to one, 1/n unless given.
    Samples exactly on a kink belong to neither side.
    """
    x = jnp.asarray(inputs)
    w = jnp.full(len(x), 1 / len(x), x.dtype) if weights is None else weights
    z = x @ jnp.asarray(direction) - jnp.asarray(offset)

    def side(z: jax.Array) -> jax.Array:
        active = jnp.where(z > 0, w[:, None], 0)
        return one_sided(jnp.sum(active * z, axis=0), jnp.sum(active, axis=0), x.T @ active)

    return side(z) if sides == 1 else jnp.minimum(side(z), side(-z))


def line_weight(inputs: np.ndarray, kinks: np.ndarray) -> np.ndarray:
    """The empirical g in one dimension by sorting, O((n + K) log n): inputs (n,), kinks (K,) -> (K,)."""
    x, t = np.sort(np.asarray(inputs, float)), np.asarray(kinks, float)
    sums = np.concatenate([[0.0], np.cumsum(x)])
    below = np.searchsorted(x, t, "left")  # samples < t
    upto = np.searchsorted(x, t, "right")  # samples <= t

    def side(count, total, sign):
        p, e = count / len(x), total / len(x)
        return np.maximum(sign * (e - t * p), 0) * np.hypot(p, e)

    return np.minimum(side(below, sums[below], -1), side(len(x) - upto, sums[-1] - sums[upto], 1))


def population_weight(law: str | Law, offset: np.ndarray, d: int, *, sides: int = 2) -> np.ndarray:
    """g_P(u, t) of an isotropic law, which depends on t alone: offset (...) -> (...). With sides=1 the one-sided g~.

    From the law's closed forms P(X_1 > t) and E[X_1 1{X_1 > t}]; `by_radius` supplies them where there are none.
    """
    known = LAWS[law] if isinstance(law, str) else law
    probability, first_moment = known.half_space_probability, known.half_space_mean
    if probability is None or first_moment is None:
        have = ", ".join(name for name, other in LAWS.items() if other.half_space_mean is not None)
        raise InputError("law", law, f"has no half-space probability; those of {have} are known, or use by_radius")
    t = np.asarray(offset, float)

    def side(t):
        p, mean = probability(t, d), first_moment(t, d)
        return np.maximum(mean - t * p, 0) * np.hypot(p, mean)

    return side(t) if sides == 1 else np.minimum(side(t), side(-t))


def by_radius(density: Callable[[np.ndarray], np.ndarray], radius: float = 1.0, nodes: int = 400) -> Law:
    """An isotropic law given by the density of its radius on [0, radius], its half-space functions by quadrature.

    Q(t) = int Q_sphere(t / r) density(r) dr over r > |t|, and likewise for the mean, by a Gauss-Legendre rule whose nodes a
    cubic map draws towards both ends, where the sphere's functions have root singularities. Error about 1e-14 for a
    bounded density, about 4e-4 for one like (1 - r)^(-0.7) at the rim. The law cannot be sampled (`row` raises).
    """
    from scipy import special  # here: every command imports this file, and few come to this

    x, w = special.roots_legendre(nodes)

    def integrate(t, d, function, power):
        low = np.abs(np.asarray(t, float))[..., None]
        s = (1 + x) / 2
        blend, slope = s**2 * (3 - 2 * s), 6 * s * (1 - s)
        span = np.maximum(radius - low, 0)
        r = low + span * blend
        values = function(np.clip(np.divide(low, r, out=np.ones_like(r), where=r > 0), -1, 1), d) * density(r) * r**power
        return np.sum(values * span * slope * w / 2, axis=-1)

    def probability(t, d):
        t = np.asarray(t, float)
        tail = integrate(t, d, sphere_half_space_probability, 0)
        return np.where(t >= 0, tail, 1 - tail)

    def mean(t, d):
        return integrate(t, d, sphere_half_space_mean, 1)

    def row(*_):
        raise NotImplementedError("a law given by its radius' density has no sampler")

    return Law(row, probability, mean, radius)
