"""Closed forms of isotropic laws: half-space probabilities and means, and the exponents at their rim.

An isotropic X in R^d is known by X_1: Q(t) = P(X_1 > t) and M(t) = E[X_1 1{X_1 > t}]. By symmetry E[X | u.X > t] = u
M/Q, the weight function is g~(t) = (M - t Q) sqrt(Q^2 + M^2), and the half-space (Tukey) depth of a point x is Q(|x|).

At the rim, with P(|X| > R - eps) ~ eps^alpha: Q ~ (R - t)^kappa with kappa = alpha + (d - 1)/2, g ~ (R - t)^(d + 2
alpha), for 2 kappa + 1 = d + 2 alpha, and P(depth < T) ~ T^(alpha / kappa).

scipy is imported where it is needed: every command imports this file, and few come to that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Tail = Callable[[np.ndarray, int], np.ndarray]


class ClosedForms(NamedTuple):
    """The closed forms of an isotropic law in R^d, for any d that the law has.

    half_space_probability(t, d): Q(t) = P(u.X > t) for a unit vector u; half_space_mean(t, d): M(t) = E[u.X 1{u.X > t}]
    radius: the largest norm, inf where there is none
    rim(d): alpha of P(|X| > radius - eps) ~ eps^alpha; 0 on a sphere, inf without a rim
    radial(r, d): P(|X| <= r)
    """

    half_space_probability: Tail
    half_space_mean: Tail
    radius: float
    rim: Callable[[int], float]
    radial: Tail

    def tail_exponent(self, d: int) -> float:
        """Return kappa of Q(t) ~ (radius - t)^kappa."""
        return self.rim(d) + (d - 1) / 2

    def weight_exponent(self, d: int) -> float:
        """Return the exponent d + 2 alpha of g(t) ~ (radius - t)^(d + 2 alpha)."""
        return d + 2 * self.rim(d)

    def depth_exponent(self, d: int) -> float:
        """Return the shatterability index S of P(depth < T) ~ T^S; 1 without a rim.

        S = alpha / kappa = 2 alpha / (d - 1 + 2 alpha).
        """
        alpha = self.rim(d)
        return 1.0 if math.isinf(alpha) else alpha / self.tail_exponent(d) if alpha else 0.0

    def depth(self, x: np.ndarray) -> np.ndarray:
        """Return the exact half-space depths inf_u P(u.X >= u.x) = Q(|x|) of points (n, d)."""
        return self.half_space_probability(np.linalg.norm(x, axis=-1), np.shape(x)[-1])


def _both_sides(tail: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return Q at t of either sign from Q at |t|."""
    return np.where(t >= 0, tail, 1 - tail)


def ball_half_space_probability(t: np.ndarray, d: int) -> np.ndarray:
    """Return Q(t) = P(X_1 > t) for X uniform on the unit ball of R^d.

    (1/2) I_{1-t^2}((d+1)/2, 1/2) for t >= 0.

    `I` is the regularised incomplete beta function; Q(-t) = 1 - Q(t) (Liang et al. 2025, App. E).
    """
    from scipy import special

    t = np.clip(np.asarray(t, float), -1, 1)
    return _both_sides(0.5 * special.betainc((d + 1) / 2, 0.5, 1 - t**2), t)


def ball_half_space_mean(t: np.ndarray, d: int) -> np.ndarray:
    """Return M(t) = E[X_1 1{X_1 > t}] = c_1(d) (1 - t^2)^((d+1)/2) / (d + 1) on the unit ball of R^d."""
    from scipy import special

    t = np.clip(np.asarray(t, float), -1, 1)
    constant = np.exp(special.gammaln(d / 2 + 1) - special.gammaln((d + 1) / 2)) / np.sqrt(np.pi)
    return constant * (1 - t**2) ** ((d + 1) / 2) / (d + 1)


def sphere_half_space_probability(t: np.ndarray, d: int) -> np.ndarray:
    """Return Q(t) = P(X_1 > t) for X uniform on the unit sphere of R^d.

    (1/2) I_{1-t^2}((d-1)/2, 1/2) for t >= 0.

    For d = 1 the law is +-1 with equal chances.
    """
    from scipy import special

    t = np.asarray(t, float)
    if d == 1:
        return np.where(t < -1, 1.0, np.where(t < 1, 0.5, 0.0))
    t = np.clip(t, -1, 1)
    return _both_sides(0.5 * special.betainc((d - 1) / 2, 0.5, 1 - t**2), t)


def sphere_half_space_mean(t: np.ndarray, d: int) -> np.ndarray:
    """Return M(t) = E[X_1 1{X_1 > t}] = c (1 - t^2)^((d-1)/2) / (d - 1) on the unit sphere.

    c = Gamma(d/2) / (sqrt(pi) Gamma((d-1)/2)).
    """
    from scipy import special

    t = np.asarray(t, float)
    if d == 1:
        return np.where(np.abs(t) < 1, 0.5, 0.0)
    t = np.clip(t, -1, 1)
    c = np.exp(special.gammaln(d / 2) - special.gammaln((d - 1) / 2)) / np.sqrt(np.pi)
    return c * (1 - t**2) ** ((d - 1) / 2) / (d - 1)


def gaussian_half_space_probability(t: np.ndarray, d: int) -> np.ndarray:
    """Return Q(t) = 1 - Phi(t) for X ~ N(0, I_d)."""
    from scipy import special

    return special.ndtr(-np.asarray(t, float))


def gaussian_half_space_mean(t: np.ndarray, d: int) -> np.ndarray:
    """Return M(t) = phi(t) for X ~ N(0, I_d)."""
    return np.exp(-np.square(np.asarray(t, float)) / 2) / math.sqrt(2 * math.pi)


def integrate_over_radii(
    radius: Callable[[np.ndarray], np.ndarray], used: Callable[[np.ndarray], np.ndarray], nodes: int = 400
):
    """Return (Q, M) of an isotropic law of radius `radius(s)`, s uniform on [0, 1], by quadrature in s.

    radius: falling in s; used(t): the s up to which radius(s) > t >= 0. Q(t) = int_0^used Q_sphere(t / r(s)) ds and
    M(t) = int r M_sphere(t / r) ds, by a Gauss-Legendre rule whose nodes a cubic map draws to both ends, where there
    are root singularities.
    """
    from scipy import special

    x, w = special.roots_legendre(nodes)
    unit = (1 + x) / 2
    blend, slope = unit**2 * (3 - 2 * unit), 6 * unit * (1 - unit)

    def integrate(t: np.ndarray, d: int, function: Tail, power: int) -> np.ndarray:
        low = np.abs(np.asarray(t, float))[..., None]
        span = used(low)
        r = radius(span * blend)
        cosine = np.clip(np.divide(low, r, out=np.ones_like(r * low), where=r > 0), -1, 1)
        return np.sum(function(cosine, d) * r**power * span * slope * w / 2, axis=-1)

    def probability(t: np.ndarray, d: int) -> np.ndarray:
        return _both_sides(integrate(t, d, sphere_half_space_probability, 0), np.asarray(t, float))

    return probability, lambda t, d: integrate(t, d, sphere_half_space_mean, 1)


def radial_forms(alpha: float) -> ClosedForms:
    """Return the closed forms of the radial law, |X| = 1 - V^(1/alpha) with V uniform.

    The isotropic family of Liang et al. 2026, Def. 2.1: P(|X| > 1 - eps) = eps^alpha.

    Large alpha gathers mass at the centre, alpha -> 0 gives the sphere; alpha = 1 has the ball's exponents, but a
    uniform radius. Q and M by quadrature in V.
    """

    def radius(v: np.ndarray) -> np.ndarray:
        return 1 - v ** (1 / alpha)

    probability, mean = integrate_over_radii(radius, lambda t: np.clip(1 - t, 0, 1) ** alpha)
    return ClosedForms(probability, mean, 1.0, lambda d: alpha, lambda r, d: 1 - (1 - np.clip(r, 0, 1)) ** alpha)


def sphere_patch_forms(ambient_dim: int) -> ClosedForms:
    """Return the closed forms of m coordinates of X uniform on S^(D-1), D = ambient_dim.

    |Z|^2 ~ Beta(m/2, (D-m)/2), alpha = (D - m)/2.

    A coordinate has the sphere's law in dimension D whatever m is.
    """

    def radial_law(r: np.ndarray, m: int) -> np.ndarray:
        from scipy import special

        return special.betainc(m / 2, (ambient_dim - m) / 2, np.clip(r, 0, 1) ** 2)

    return ClosedForms(
        lambda t, m: sphere_half_space_probability(t, ambient_dim),
        lambda t, m: sphere_half_space_mean(t, ambient_dim),
        1.0,
        lambda m: (ambient_dim - m) / 2,
        radial_law,
    )


def _chi(r: np.ndarray, d: int) -> np.ndarray:
    """Return the probability that the norm of N(0, I_d) is at most r."""
    from scipy import special

    return special.gammainc(d / 2, np.square(r) / 2)


BALL = ClosedForms(ball_half_space_probability, ball_half_space_mean, 1.0, lambda d: 1.0, lambda r, d: np.clip(r, 0, 1) ** d)
SPHERE = ClosedForms(
    sphere_half_space_probability, sphere_half_space_mean, 1.0, lambda d: 0.0, lambda r, d: (np.asarray(r) >= 1) * 1.0
)
GAUSSIAN = ClosedForms(gaussian_half_space_probability, gaussian_half_space_mean, math.inf, lambda d: math.inf, _chi)
