"""The flat set and the Hessian's exact decomposition, for any net and data: theory units where not said otherwise.

    Theta_flat(eta) = {theta: lambda_max(Hessian of L) <= 2 / eta}

is not restricted to minima or to interpolators (Liang et al. 2025, section 2). Papers 2 and 3 call it "below the edge
of stability".
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from dynamics.curvature.hessian import dense_hessian
from dynamics.errors import require
from dynamics.measures.eigenvalues import residual_sharpness
from dynamics.measures.view import View

DENSE_PARAMETERS = 600  # the largest net whose dense Hessian is decomposed


class Curvature(NamedTuple):
    """Sharpness in parts: lambda_GN, |S| = max_k |q_k| of the rest, lambda_H, and what the first two say of the last.

    low = max(lambda_GN - |S|, 2 factor) <= hessian <= high = lambda_GN + |S|; the output bias alone has curvature 2
    factor. `method` is `dense` or `lanczos`; a Lanczos value never exceeds the true one beyond rounding, and some
    eigenvalue lies within `residual` of it (0 for dense).
    """

    gauss_newton: float
    residual_part: float
    hessian: float
    low: float
    high: float
    method: str
    residual: float


def decompose_curvature(view: View) -> Curvature:
    """Return the decomposition H = GN + S of a two-layer ReLU net's loss, in units of that loss."""
    top, rest = float(view.gauss_newton.value), float(residual_sharpness(view)["residual_sharpness"])
    size = sum(leaf.size for leaf in view.params)
    low, high = max(top - rest, 2 * view.factor), top + rest
    if size <= DENSE_PARAMETERS:
        value = float(jnp.linalg.eigvalsh(dense_hessian(view.loss, view.params))[-1])
        return Curvature(top, rest, value, low, high, "dense", 0.0)
    pair = view.sharpness
    return Curvature(top, rest, float(pair.value), low, high, "lanczos", float(pair.residual))


def below_edge_of_stability(view: View, learning_rate: float) -> bool:
    """Return whether lambda_max of the Hessian is at most 2 / learning_rate, both in units of the view's loss.

    Equality counts, to eight units of the precision's rounding.
    """
    require(learning_rate > 0, "learning_rate", learning_rate, "must be above 0")
    slack = 1 + 8 * float(jnp.finfo(view.train.weights.dtype).eps)
    return decompose_curvature(view).hessian <= 2 / learning_rate * slack
