"""The lower bound of Liang et al. 2025: atoms at the rim of the unit ball, and how many of them the data miss.

Cap: {x in B^d: u.x > 1 - h} with h = eps^2. Atom on it: Phi(x) = relu(u.x - (1 - h)) / h, of height 1. With
eps = kappa n^(-1/(d+1)) a cap has mass of order 1/n, so a fixed share of disjoint caps holds no sample: functions that
differ there cannot be told apart, and no neuron of theirs is active on the data (Theorem 3.7, Proposition I.1,
Corollary I.3).

For d = 1 only two caps are disjoint. The paper takes bumps instead: tents of height 1 on intervals of width h inside
[1 - eps, 1] (here at both ends), about 1/eps at an end. An interval has the mass of a cap, h/2.

Norms are with respect to the uniform probability on the ball; times `ball_volume(d)` for Lebesgue measure.

With alpha given the inputs have the radial law instead, P(|X| > 1 - s) = s^alpha (Liang et al. 2026): a cap's mass is
of order eps^(d - 1 + 2 alpha), so eps = kappa n^(-1/(d - 1 + 2 alpha)). At alpha = 1 exponents are the ball's and
constants are not.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from dynamics.data.closed_forms import BALL, radial_forms, sphere_half_space_probability
from dynamics.models.two_layer import TwoLayer
from dynamics.stability.weight import population_weight

NODES = 24  # of the Gauss-Jacobi rule; its error is below rounding for h <= 1 and d <= 20
REACH, SPACING = 3.2, 0.1  # of the double exponential rule over radii, likewise


def cap_mass_exponent(d: int, alpha: Any = None) -> Any:
    """Return the power of eps that a cap's probability is of order of: d + 1, or d - 1 + 2 alpha for the radial law."""
    return d + 1 if alpha is None else d - 1 + 2 * alpha


def cap_size(num_samples: Any, d: int, kappa: Any = 1.0, alpha: Any = None) -> Any:
    """Return eps = kappa n^(-1/(d+1)), or kappa n^(-1/(d-1+2 alpha)): caps have height eps^2.

    For d = 1 this is the (1/n)^(1/2) of its own construction.
    """
    return kappa * num_samples ** (-1 / cap_mass_exponent(d, alpha))


def ball_volume(k: int) -> float:
    """Return v_k, the volume of the unit ball of R^k; v_0 = 1."""
    from scipy import special  # here: every command imports this file, and few come to this

    return float(np.pi ** (k / 2) / special.gamma(k / 2 + 1))


def cap_probability(eps: Any, d: int, alpha: float | None = None) -> np.ndarray:
    """Return P(u.X > 1 - eps^2): exact for X uniform on the ball, by quadrature for the radial law."""
    law = BALL if alpha is None else radial_forms(alpha)
    return law.half_space_probability(1 - np.asarray(eps, float) ** 2, d)


def cap_constants(d: int) -> tuple[float, float]:
    """Return (L_d, U_d) with L_d eps^(d+1) <= P(cap) <= U_d eps^(d+1).

    From s <= 2s - s^2 <= 2s on [0, 1] under the integral.

    L_d = 2 v_{d-1} / ((d+1) v_d) and U_d = 2^((d-1)/2) L_d. U_d is the limit of P / eps^(d+1) as eps -> 0.
    """
    low = 2 * ball_volume(d - 1) / ((d + 1) * ball_volume(d))
    return low, 2 ** ((d - 1) / 2) * low


def radial_cap_constant(d: int, alpha: float) -> float:
    """Return the limit of P(cap) / eps^(d - 1 + 2 alpha) as eps -> 0 for the radial law, d >= 2.

    It is C alpha B(alpha, (d+1)/2).

    The cap has C (eps^2 - s)^((d-1)/2) of the sphere of radius 1 - s, to first order, and s has the density alpha
    s^(alpha-1); C = c 2^((d-1)/2) / (d-1), c = Gamma(d/2) / (sqrt(pi) Gamma((d-1)/2)).
    """
    from scipy import special

    return float(_sphere_density(d) * 2 ** ((d - 1) / 2) / (d - 1) * alpha * special.beta(alpha, (d + 1) / 2))


def _sphere_density(d: int) -> float:
    """Return c of the density c (1 - t^2)^((d-3)/2) of a coordinate on the unit sphere."""
    from scipy import special

    return float(np.exp(special.gammaln(d / 2) - special.gammaln((d - 1) / 2)) / np.sqrt(np.pi))


def empty_cap_share_bounds(d: int, kappa: Any = 1.0) -> tuple[Any, Any]:
    """Return bounds (low, high) on the expected share of caps that hold no sample (Proposition I.1).

    They are q* = exp(-U_d kappa^(d+1)) and exp(-L_d kappa^(d+1)).
    """
    low, high = cap_constants(d)
    return np.exp(-high * kappa ** (d + 1)), np.exp(-low * kappa ** (d + 1))


def empty_cap_share(num_samples: Any, d: int, kappa: Any = 1.0, alpha: float | None = None) -> np.ndarray:
    """Return (1 - P(cap))^n, the exact expected share of empty caps that are placed without looking at the data.

    It tends to exp(-U_d kappa^(d+1)) as n grows, for the radial law to exp(-`radial_cap_constant` kappa^(d-1+2 alpha)).
    """
    probability = cap_probability(cap_size(num_samples, d, kappa, alpha), d, alpha)
    return np.exp(num_samples * np.log1p(-probability))


def disjoint_cap_bound(eps: float, d: int) -> int:
    """Return an upper bound on the number of disjoint caps of height eps^2.

    It is 1 over the share of the sphere that a cap's angular radius arccos(1 - eps^2) covers.

    Centres are at least two angular radii apart. For d = 1: intervals of width eps^2 in the two ends of length eps.
    """
    if d == 1:
        return 2 * int(np.floor(1 / eps * (1 + 1e-9)))
    return int(np.floor(1 / sphere_half_space_probability(np.asarray(1 - eps**2), d) * (1 + 1e-9)))


def atom_mean_square(eps: Any, d: int) -> Any:
    """Return E Phi^2 of one atom, of order eps^(d+1), or of the bump of d = 1, of order eps^2; eps may be traced.

    d >= 2: with s the depth below the rim, (v_{d-1} / v_d) h^-2 int_0^h (h - s)^2 (2s - s^2)^((d-1)/2) ds, by a
    Gauss-Jacobi rule in s/h (exact for odd d). d = 1, the tent: h / 6.
    """
    from scipy import special

    h = eps**2
    if d == 1:
        return h / 6
    power = (d - 1) / 2
    x, w = special.roots_jacobi(NODES, 2, power)
    nodes, weights = (1 + x) / 2, w / 2 ** (3 + power)
    integral = (weights * (2 - h * nodes) ** power).sum()
    return ball_volume(d - 1) / ball_volume(d) * h ** (1 + power) * integral


def radial_atom_mean_square(eps: Any, d: int, alpha: Any) -> Any:
    """Return E Phi^2 of one atom for the radial law, d >= 2, of order eps^(d - 1 + 2 alpha).

    eps and alpha are numbers, traced or not.

    With h = eps^2 and 1 - |x| = h s, s = v^(1/alpha), it is c h^(alpha + (d-1)/2) times the integral over v in [0, 1]
    of (1 - s)^((d+3)/2) (1 - h s)^(-(d-1)/2) G(h (1-s) / (1 - h s)), the atom's square over the sphere of radius 1 - h
    s, where G(z) = int_0^1 (1-q)^2 q^((d-3)/2) (2 - q z)^((d-3)/2) dq. By a double exponential rule in v, a
    Gauss-Jacobi rule in q.
    """
    from scipy import special

    h, power = eps**2, (d - 3) / 2
    x, w = special.roots_jacobi(NODES, 2, power)
    q, inner = (1 + x) / 2, w / 2 ** (3 + power)
    t = np.arange(-REACH, REACH + SPACING / 2, SPACING)
    log_v = -np.log1p(np.exp(-np.pi * np.sinh(t)))  # v = 1 / (1 + exp(-pi sinh t))
    outer = SPACING * np.pi * np.cosh(t) / (2 + 2 * np.cosh(np.pi * np.sinh(t)))
    s = jnp.exp(log_v / alpha)
    rest = -jnp.expm1(log_v / alpha)  # 1 - s
    reach = h * rest / (1 - h * s)
    over_sphere = ((2 - reach[:, None] * q) ** power) @ inner
    integral = jnp.sum(outer * rest ** ((d + 3) / 2) * (1 - h * s) ** (-(d - 1) / 2) * over_sphere)
    return _sphere_density(d) * h ** (alpha + (d - 1) / 2) * integral


def canonical_weight(offset: Any, d: int) -> np.ndarray:
    """Return (1 - |t|)^(d+2), the weight that the paper uses in place of g (App. E); 0 outside the ball."""
    return np.maximum(1 - np.abs(offset), 0) ** (d + 2)


def atom_norms(eps: float, d: int) -> dict[str, float]:
    """Return the norms of one cap atom, d >= 1, by name.

    The sup-norm is 1, the variation norm eps^-2; |Phi|_Vg is eps^(2d+2) for the canonical g, and is also given for the
    true g_P.

    One ridge with coefficient eps^-2 and offset 1 - eps^2, so |Phi|_Vg = g(1 - eps^2) / eps^2.
    """
    h = eps**2
    population = float(population_weight("uniform_ball", np.asarray(1 - h), d))
    return {"sup": 1.0, "variation": 1 / h, "canonical": eps ** (2 * d + 2), "population": population / h}


def bump_norm(centre: float, eps: float) -> float:
    """Return |Phi|_Vg of the bump of d = 1 at a centre, for the canonical g = (1 - |t|)^3; at most of order eps.

    int |Phi''| g = (2/h) (g(c - h/2) + 2 g(c) + g(c + h/2)); the height 1 over half the width h is a slope of 2/h.
    """
    kinks = abs(centre) + eps**2 * np.array([-0.5, 0.0, 0.5])
    return float(2 / eps**2 * np.array([1, 2, 1]) @ canonical_weight(kinks, 1))


def atom_count_exponent(d: int, alpha: float | None = None) -> float:
    """Return the exponent of n in the number of disjoint atoms.

    It is (d-1)/(d+1), 1/2 for d = 1, and (d-1)/(d-1+2 alpha) for the radial law, d >= 2.
    """
    return 0.5 if d == 1 else (d - 1) / cap_mass_exponent(d, alpha)


def build_hard_function(centres: Any, amplitudes: Any, eps: float) -> TwoLayer:
    """Return sum_k amplitude_k Phi_k as a network, in the precision that JAX is set to.

    centres (K, d): unit vectors; for d = 1 the bumps' centres (K, 1), three neurons each. amplitudes (K,); an amplitude
    of 0 leaves its neurons out (all their weights are 0). Each neuron is balanced, |w| = |v|.
    """
    centres, amplitudes = np.asarray(centres, float), np.asarray(amplitudes, float)
    d = centres.shape[1]
    if d == 1:
        direction = np.repeat(np.sign(centres), 3, axis=0)
        offset = (np.abs(centres) + eps**2 * np.array([-0.5, 0.0, 0.5])).ravel()
        coefficient = (amplitudes[:, None] * np.array([2.0, -4.0, 2.0]) / eps**2).ravel()
    else:
        direction, offset, coefficient = centres, np.full(len(centres), 1 - eps**2), amplitudes / eps**2
    scale = np.sqrt(np.abs(coefficient))
    hidden = scale * np.concatenate([-offset[None], direction.T])
    return TwoLayer(jnp.asarray(hidden), jnp.asarray(np.sign(coefficient) * scale), jnp.asarray(0.0))
