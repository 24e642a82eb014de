"""How much the loss that is reached depends on the learning rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynamics.core.given_arrays import read_array
from dynamics.errors import require

__all__ = ["learning_rate_sensitivity"]


def learning_rate_sensitivity(final: Any, initial: Any, axis: int = -1) -> np.ndarray:
    """Return the mean over learning rates, which lie along `axis`, of min(final, initial) loss less the best of these.

    final: losses at the end of training, inf or NaN where a run diverged, which then counts with its initial loss
    initial: losses before training, of the same shape or one that broadcasts to it

    Over rates that are evenly spaced in logarithms, say from 3e-4 to 0.3; 0 if all rates do as well (Wortsman et al.
    2023; recalled, not checked against the paper).

    >>> float(learning_rate_sensitivity([0.5, 0.1, np.inf], 1.0).round(4))
    0.4333
    """
    ends, starts = read_array("final", final).astype(float), read_array("initial", initial).astype(float)
    require(ends.ndim > 0 and ends.size > 0, "final", ends.shape, "must have losses at one learning rate at least")
    require(bool(np.isfinite(starts).all()), "initial", starts, "must be finite")
    try:
        starts = np.broadcast_to(starts, ends.shape)
    except ValueError:
        require(False, "initial", starts.shape, f"must broadcast to the shape {ends.shape} of the final losses")
    reached = np.fmin(ends, starts)
    return np.mean(reached - reached.min(axis=axis, keepdims=True), axis=axis)
