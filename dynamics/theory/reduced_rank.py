"""The learning coefficient of linear nets of two layers (reduced-rank regression), which is known exactly."""

from __future__ import annotations

from dynamics.errors import require


def reduced_rank_coefficient(input_dim: int, width: int, output_dim: int, rank: int) -> tuple[float, int]:
    """Return (lambda, m) of the linear net x -> A B x, B (H, M), A (N, H), where the truth has this rank.

    lambda is half the number of parameters only where none of them is redundant; m counts the powers of the logarithm.
    Aoyagi and Watanabe 2005 ("Stochastic complexities of reduced rank regression in Bayesian estimation"), Main
    theorem. Their lambda is the global one: the smallest over all parameters of zero error.
    """
    m, h, n, r = input_dim, width, output_dim, rank
    require(min(m, h, n) >= 1, "width", width, "must be at least 1, as must input_dim and output_dim")
    require(0 <= r <= min(m, h, n), "rank", rank, f"must be from 0 to the smallest size, {min(m, h, n)}")
    if n + h < m + r:
        return (h * n - h * r + m * r) / 2, 1
    if m + h < n + r:
        return (h * m - h * r + n * r) / 2, 1
    if m + n < h + r:
        return m * n / 2, 1
    odd = (m + h + n + r) % 2
    return (2 * (h + r) * (m + n) - (m - n) ** 2 - (h + r) ** 2 + odd) / 8, 1 + odd
