"""One input dimension: the curvature measure |f''| of a net, which is its kinks' jumps of f', against the weight
function g.

|f|_Vg = int |f''(x)| g(x) dx = sum_j |a_j| g(t_j) over the reduced form (Mulayoff et al. 2021; Liang et al. 2025,
Theorem 3.4).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dynamics.models.two_layer import TwoLayer
from dynamics.stability.ridges import merge_equal_ridges
from dynamics.stability.weight import line_weight


def find_knots(params: TwoLayer, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions t_j (J,) and slope jumps a_j (J,) of a network of one input, within the inputs' range."""
    net = merge_equal_ridges(params)
    at = net.offset * net.direction[0]
    inside = (at > inputs.min()) & (at < inputs.max())
    return at[inside], net.coefficient[inside]


def weighted_curvature_integral(f: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, points: int = 160001) -> float:
    """Return int |f''| g from values of f alone, by second differences on a uniform grid over the range of inputs (n,).

    The jump of a kink is shared by its two grid points in proportion, and g is linear between inputs: the result is
    exact for a piecewise linear f whose kinks are further than a grid cell from one another and from the inputs. g
    jumps by a share of order 1/n at an input, where kinks of trained nets like to sit, so a kink within a cell of one
    is off by as much.
    """
    x = np.linspace(inputs.min(), inputs.max(), points)
    jumps = np.diff(f(x), 2) / (x[1] - x[0])
    return float(np.abs(jumps) @ line_weight(inputs, x[1:-1]))


def effective_knot_count(params: TwoLayer, inputs: np.ndarray) -> float:
    """Return (sum c)^2 / sum c^2, c the integral of |f''| over each gap between neighbouring inputs; 0 for an affine f.

    Kinks of one gap count once, and m gaps of equal curvature count m: no threshold decides what a knot is.
    """
    at, jump = find_knots(params, inputs)
    curvature, _ = np.histogram(at, np.unique(inputs), weights=np.abs(jump))
    total = np.sum(curvature**2)
    return float(np.sum(curvature) ** 2 / total) if total > 0 else 0.0
