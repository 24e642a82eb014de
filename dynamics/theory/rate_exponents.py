"""Rate exponents of Liang et al. 2025 for two-layer ReLU networks on the unit ball: error ~ n^(-exponent)."""

from __future__ import annotations


def stable_upper_exponent(d: int) -> float:
    """1/(2d + 4): generalisation gap and in-sample error of flat networks, upper bound (Theorems 3.5 and 3.6)."""
    return 1 / (2 * d + 4)


def stable_lower_exponent(d: int) -> float:
    """2/(d + 1), and 1/2 for d = 1: minimax lower bound over the flat class (Theorem 3.7)."""
    return 0.5 if d == 1 else 2 / (d + 1)


def low_norm_exponent(d: int) -> float:
    """(d + 3)/(2d + 3): in-sample error of bounded variation norm (Parhi and Nowak; recalled, not checked here)."""
    return (d + 3) / (2 * d + 3)
