"""Rate exponents of Liang et al. 2026 and 2026b: gap ~ n^(-exponent). Bounds hide constants and are worst cases over a
class: guides.

Where sources disagree all candidates are here and none is asserted.
"""

from __future__ import annotations


def radial_upper_exponent(d: int, alpha: float) -> float:
    """Return the exponent of the upper bound for the isotropic family, alpha (d + 3) / (2 (d^2 + 4 alpha d + 3 alpha)).

    From balancing eps^alpha = (eps^(d + 2 alpha))^(-d/(2d + 3)) n^(-(d + 3)/(4d + 6)); alpha = 1 gives 1/(2d + 2).
    """
    return alpha * (d + 3) / (2 * (d**2 + 4 * alpha * d + 3 * alpha))


def valid_radial_upper_exponent(d: int, alpha: float) -> float:
    """Return the smaller of `radial_upper_exponent` and alpha / (2d + 4 alpha), which the validity condition asks for.

    The condition is eps^(d + 2 alpha) >= n^(-1/2) of the 2025 paper (derived). alpha = 1 gives that paper's 1/(2d + 4).

    alpha = 1 gives that paper's 1/(2d + 4); without the condition `radial_upper`.
    """
    return min(radial_upper_exponent(d, alpha), alpha / (2 * d + 4 * alpha))


def radial_lower_exponent(d: int, alpha: float) -> float:
    """Return the exponent of the lower bound for the isotropic family by empty caps, 2 alpha / (d - 1 + 2 alpha).

    It is also the shatterability index.
    """
    return 2 * alpha / (d - 1 + 2 * alpha)


def mixture_upper_exponent(m: int) -> float:
    """Return 1/(2m + 4), the upper bound's exponent for mixtures of m-dimensional balls in any ambient dimension.

    With the validity condition.
    """
    return 1 / (2 * m + 4)


def unconditional_mixture_upper_exponent(m: int) -> float:
    """Return 1/(2m + 2), `mixture_upper_exponent` without the validity condition (derived).

    The exponent m/(m^2 + 4m + 3) of the published constant belongs to it.
    """
    return 1 / (2 * m + 2)


def published_patch_exponent(d: int, m: int) -> float:
    """Return the exponent in the authors' code for patches, (d + 3)(d - m) / (2 (4d^2 + 3d - 2md - 3m)).

    It tends to 1/8 as d grows.
    """
    return (d + 3) * (d - m) / (2 * (4 * d**2 + 3 * d - 2 * m * d - 3 * m))


def isotropic_patch_exponent(d: int, m: int) -> float:
    """Return `radial_upper_exponent` in R^m at alpha = (d - m)/2, the law of m coordinates of a sphere (derived)."""
    return radial_upper_exponent(m, (d - m) / 2)


def balanced_patch_exponent(d: int, m: int) -> float:
    """Return (d - m) / (6d - 2m) = 1/6 - O(m/d), the dimension-free balance that fits the abstract (derived)."""
    return (d - m) / (6 * d - 2 * m)


def guide_line_patch_exponent(d: int, m: int) -> float:
    """Return 1/4, the slope of the reference line in the authors' figure."""
    return 0.25


PATCH_CANDIDATES = {
    "code": published_patch_exponent,
    "isotropic formula": isotropic_patch_exponent,
    "balance": balanced_patch_exponent,
    "figure's guide": guide_line_patch_exponent,
}
