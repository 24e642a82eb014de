"""Half-space (Tukey) depth, depth(x, P) = inf over unit u of P(u.(X - x) >= 0), and how much of a law lies how deep.

Half-spaces are closed: sample points on the boundary count, a copy of x itself too, so a sample point has depth at
least 1/N. For fixed u the smaller of P(u.X >= u.x) and P(u.X <= u.x) is the mass of the lighter of the two sides of u
and of -u; without ties it is min(F, 1 - F), F the distribution function of u.X at u.x. Depth does not change under
affine maps. It is at most 1/2 for a law without atoms, and is capped there in the curve

    Psi(T) = P(depth >= T), T in [0, 1/2], of area int Psi = E min(depth, 1/2).

The shatterability index S is the exponent of P(depth < T) ~ T^S as T -> 0 (Liang et al. 2026); for isotropic laws it is
`ClosedForms.depth_exponent`, as their depth is `ClosedForms.depth`.
"""

from __future__ import annotations

import math

import numpy as np

from dynamics.data.closed_forms import ClosedForms
from dynamics.errors import require

THRESHOLDS = np.linspace(0, 0.5, 201)
ROUNDING = 8  # in units of eps sqrt(m) |x|: how far rounding may move a projection to m coordinates


def depth_on_line(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the exact half-space depths (Q,) of points (Q,) in a sample (N,) on a line, by sorting.

    They are multiples of 1/N.
    """
    ordered = np.sort(np.asarray(reference, float))
    below = np.searchsorted(ordered, x, "right")
    above = len(ordered) - np.searchsorted(ordered, x, "left")
    return np.minimum(below, above) / len(ordered)


def depth_in_plane(x: np.ndarray, reference: np.ndarray, tolerance: float = 1e-12) -> np.ndarray:
    """Return the exact half-space depths (Q,) of points x (Q, 2) in a sample (N, 2), by the angular sweep.

    O(N log N) a point.

    Copies of x lie in every closed half-plane through x. Of the rest the fewest are seen when none is on the boundary,
    and what is seen changes only where one comes to it: half-circles that start next to the angle of a point, and their
    complements, are all there is to try (Rousseeuw and Ruts 1996). tolerance: angles closer than this, in radians, are
    taken as equal.
    """
    return np.array([_sweep(np.asarray(reference, float) - point, tolerance) for point in np.asarray(x, float)])


def _sweep(offsets: np.ndarray, tolerance: float) -> float:
    """Return the share of the offsets (N, 2) that the lightest closed half-plane through 0 holds."""
    away = offsets[np.any(offsets != 0, axis=1)]
    angle = np.sort(np.arctan2(away[:, 1], away[:, 0]))
    around = np.concatenate([angle - 2 * np.pi, angle, angle + 2 * np.pi])
    start = np.concatenate([angle - tolerance, angle + tolerance])
    seen = np.searchsorted(around, start + np.pi) - np.searchsorted(around, start)
    fewest = np.min(np.minimum(seen, len(away) - seen), initial=len(away))
    return (len(offsets) - len(away) + fewest) / len(offsets)


def depth_by_directions(points: np.ndarray, reference: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return an upper bound (Q,) on the depths of points (Q, m) in a sample (N, m), from directions (D, m).

    It is the share in the lightest closed half-space among those given.

    Both sides of every direction are closed. A point within rounding of the boundary counts on both, so the bound never
    falls below the depth because of rounding.
    """
    points, reference = np.asarray(points, float), np.asarray(reference, float)
    size = max(np.linalg.norm(points, axis=1).max(), np.linalg.norm(reference, axis=1).max())
    slack = ROUNDING * np.finfo(float).eps * math.sqrt(points.shape[1]) * size
    depth = np.ones(len(points))
    for u in np.asarray(directions, float):
        ordered, place, reach = np.sort(reference @ u), points @ u, slack * np.linalg.norm(u)
        below = np.searchsorted(ordered, place + reach, "right")
        above = len(ordered) - np.searchsorted(ordered, place - reach, "left")
        depth = np.minimum(depth, np.minimum(below, above) / len(ordered))
    return depth


def concentration_curve(depths: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Return Psi(T) = P(depth >= T) (K,) at thresholds (K,) from depths (Q,) of points of the law, capped at 1/2.

    Depths are shares k/N; one that equals a threshold up to the rounding of its own type reaches it.
    """
    ordered = np.sort(np.minimum(depths, 0.5))
    return 1 - np.searchsorted(ordered, np.asarray(thresholds) * (1 - 4 * np.finfo(ordered.dtype).eps)) / len(ordered)


def concentration_curve_area(psi: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Return the integral of Psi over T by the trapezoid rule over the last axis.

    It is the mean of the capped depth, up to half a step of the grid.
    """
    return np.trapezoid(psi, thresholds, axis=-1)


def isotropic_concentration_curve(forms: ClosedForms, d: int, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Return the exact Psi(T) = P(Q(|X|) >= T) (K,) of an isotropic law in R^d at thresholds (K,).

    Linear between 1200 radii, which are denser at the rim.
    """
    share = np.linspace(0, 1, 1201) ** 4
    radius = forms.radius * (1 - share[::-1]) if math.isfinite(forms.radius) else 12 * math.sqrt(d) * share
    deep, inside = forms.half_space_probability(radius, d), forms.radial(radius, d)
    return np.where(np.asarray(thresholds) > 0, np.interp(thresholds, deep[::-1], inside[::-1]), 1)


def fit_shatterability(depths: np.ndarray, low: float, high: float, num: int = 12) -> float:
    """Return the shatterability index S, fitted by least squares of log P(depth < T) against log T.

    At `num` thresholds spaced evenly in log T on [low, high].

    NaN if some threshold has no point below. S is an exponent as T -> 0, a fit sees [low, high]: choose low well above
    1/N, the step of a sample's depth, and high where Q is still a power of the distance to the rim, which in high
    dimension leaves nothing in between. Depth overestimated by few directions makes S too large.
    """
    require(0 < low < high <= 0.5, "low, high", (low, high), "must have 0 < low < high <= 0.5")
    thresholds = np.geomspace(low, high, num)
    share = np.searchsorted(np.sort(np.asarray(depths, float)), thresholds) / len(depths)
    return log_log_slope(share, thresholds)


def log_log_slope(share: np.ndarray, thresholds: np.ndarray) -> float:
    """Return the least-squares slope of log share against log thresholds; NaN if a share is 0."""
    if np.any(share <= 0):
        return math.nan
    return float(np.polyfit(np.log(thresholds), np.log(share), 1)[0])
