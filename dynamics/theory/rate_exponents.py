"""Rate exponents of Liang et al. 2025 for two-layer ReLU networks on the unit ball: error ~ n^(-exponent)."""

from __future__ import annotations


def stable_upper_exponent(d: int) -> float:
    """Return 1/(2d + 4), the upper bound's exponent of flat networks' generalisation gap and in-sample error.

    Theorems 3.5 and 3.6.
    """
    return 1 / (2 * d + 4)


def stable_lower_exponent(d: int) -> float:
    """Return the minimax lower bound's exponent over the flat class, 2/(d + 1), or 1/2 for d = 1 (Theorem 3.7)."""
    return 0.5 if d == 1 else 2 / (d + 1)


def low_norm_exponent(d: int) -> float:
    """Return (d + 3)/(2d + 3), the exponent of the in-sample error at bounded variation norm.

    Parhi and Nowak; recalled, not checked here.
    """
    return (d + 3) / (2 * d + 3)
