"""Exact probabilities behind the concentration lemmas of Liang et al. 2025 (App. E, F, I); inputs uniform on the unit
ball."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from dynamics.data.closed_forms import ball_half_space_probability


def deviation_scale(n: ArrayLike, d: int) -> np.ndarray:
    """Return sqrt(d / n), the order of sup |g_n - g_P| (Theorem E.5, without its constant and log(1/delta))."""
    return np.sqrt(d / np.asarray(n, float))


def annulus_probability(width: ArrayLike, d: int) -> np.ndarray:
    """Return P(|X| > 1 - width) = 1 - (1 - width)^d for X uniform on the unit ball of R^d."""
    return 1 - (1 - np.asarray(width, float)) ** d


def annulus_bound(p: ArrayLike, n: ArrayLike, delta: float) -> np.ndarray:
    """Return p + sqrt(3 p ln(1/delta) / n), Lemma F.7's bound on the share of n samples in an annulus of probability p.

    Multiplicative Chernoff with relative excess sqrt(3 ln(1/delta) / (n p)): proved where that is at most 1.
    """
    p, n = np.asarray(p), np.asarray(n)
    return p + np.sqrt(3 * p * np.log(1 / delta) / n)


def bernstein_bound(p: ArrayLike, n: ArrayLike, delta: float) -> np.ndarray:
    """Return Bernstein's bound p + sqrt(2 p ln(1/delta) / n) + 2 ln(1/delta) / (3n), proved for every n and p."""
    p, n = np.asarray(p), np.asarray(n)
    return p + np.sqrt(2 * p * np.log(1 / delta) / n) + 2 * np.log(1 / delta) / (3 * n)


def mean_bound(p: ArrayLike, n: ArrayLike, delta: float) -> np.ndarray:
    """Return p alone, a bound with no room for fluctuations: a negative control."""
    return np.asarray(p) + 0 / np.asarray(n)


def shrink_deviation(factor: float) -> Callable[[ArrayLike, ArrayLike, float], np.ndarray]:
    """Return Lemma F.7's bound with its deviation term times a factor: a control for how sharp a check of it is."""
    return lambda p, n, delta: np.asarray(p) + factor * (annulus_bound(p, n, delta) - np.asarray(p))


def chernoff_applies(p: ArrayLike, n: ArrayLike, delta: float) -> np.ndarray:
    """Return whether n p >= 3 ln(1/delta), so that Lemma F.7's relative excess is at most 1."""
    return np.asarray(n) * np.asarray(p) >= 3 * np.log(1 / delta)


def exceedance_probability(bound: ArrayLike, p: ArrayLike, n: ArrayLike) -> np.ndarray:
    """Return P(N > n bound), exactly, for the number N ~ Binomial(n, p) of samples in an event of probability p."""
    return np.asarray(stats.binom.sf(np.floor(np.asarray(n) * np.asarray(bound)), n, p))


def cap_probability(height: ArrayLike, d: int) -> np.ndarray:
    """Return P(X_1 >= 1 - height) for X uniform on the unit ball of R^d."""
    return ball_half_space_probability(1 - np.asarray(height, float), d)


def cap_constants(d: int) -> tuple[float, float]:
    """Return (low, high) with low h^((d+1)/2) <= P(cap of height h) <= high h^((d+1)/2) for h in (0, 1].

    App. I; constants derived.

    P = (v_{d-1} / v_d) int_0^h (2s - s^2)^((d-1)/2) ds and s <= 2s - s^2 <= 2s, so low = 2c and high = 2^((d+1)/2) c
    with c = v_{d-1} / ((d + 1) v_d) and v_k the volume of the unit ball of R^k. Equal for d = 1.
    """
    ratio = np.exp(special.gammaln(d / 2 + 1) - special.gammaln((d + 1) / 2)) / np.sqrt(np.pi)
    return 2 * ratio / (d + 1), 2 ** ((d + 1) / 2) * ratio / (d + 1)


def closer_constants(d: int) -> tuple[float, float]:
    """Return the constants of the cap bounds, each 1 % nearer to the other: a control."""
    low, high = cap_constants(d)
    return 1.01 * low, high / 1.01
