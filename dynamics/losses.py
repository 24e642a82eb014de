"""The squared loss and its two normalisations.

`mse` is (1/n) sum (f - y)^2, PyTorch's MSELoss, in which the papers' learning rates are given; `half` is
(1/2n) sum (f - y)^2, in which their theorems are. H_mse = 2 H_half, so eta under `mse` is 2 eta under `half`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dynamics.errors import choose

FACTORS = {"mse": 1.0, "half": 0.5}


@dataclass(frozen=True)
class LossSpec:
    """normalization: `mse` (1/n) or `half` (1/2n)."""

    normalization: str = "mse"

    @property
    def factor(self) -> float:
        """The loss is factor * mean (f - y)^2."""
        return FACTORS[self.normalization]

    def check(self) -> None:
        choose("loss.normalization", self.normalization, FACTORS)
