"""NNGP and tangent kernels of infinitely wide fully connected networks, in closed form (float64, NumPy).

A network of `depth` hidden layers in tangent-kernel scaling, with all W_l, b_l ~ N(0, 1) and all of them trained:

    z_1 = s_w W_1 x / sqrt(d) + s_b b_1,    z_(l+1) = s_w W_(l+1) phi(z_l) / sqrt(width) + s_b b_(l+1),    f = z_(depth+1)

With F(K) = E phi(u) phi(v) and F'(K) = E phi'(u) phi'(v) over (u, v) ~ N(0, K), as the width grows the outputs become a
Gaussian process of covariance K_(depth+1) and the tangent kernel <df(x)/dW, df(x')/dW> stays at T_(depth+1):

    K_1 = T_1 = s_w^2 x . x' / d + s_b^2,    K_(l+1) = s_w^2 F(K_l) + s_b^2,    T_(l+1) = K_(l+1) + s_w^2 F'(K_l) T_l

(Jacot et al. 2018, Theorem 1; Lee et al. 2019, section 2; K alone: Lee et al. 2018.) Several outputs are independent
and have the same kernel each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dynamics.core.given_arrays import read_array
from dynamics.errors import choose, require

Moment = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
ROUNDING = 16 * np.finfo(float).eps  # 1 - cos^2 below which two inputs count as parallel


class Dual(NamedTuple):
    """The two Gaussian moments of an activation phi, functions of E u^2, E uv and E v^2.

    value: F = E phi(u) phi(v); slope: F' = E phi'(u) phi'(v), for centred Gaussians u and v.
    """

    value: Moment
    slope: Moment


def _sine_and_angle(uu: np.ndarray, uv: np.ndarray, vv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return |u| |v| sin(theta) and the angle theta in [0, pi] whose cosine is the correlation;
    0 and pi / 2 for a zero."""
    square = uu * vv
    left = square - uv**2
    opposite = np.sqrt(np.where(left > ROUNDING * square, left, 0))
    return opposite, np.where(square > 0, np.arctan2(opposite, uv), np.pi / 2)


def _relu_value(uu: np.ndarray, uv: np.ndarray, vv: np.ndarray) -> np.ndarray:
    opposite, angle = _sine_and_angle(uu, uv, vv)
    return (opposite + (np.pi - angle) * uv) / (2 * np.pi)


def _relu_slope(uu: np.ndarray, uv: np.ndarray, vv: np.ndarray) -> np.ndarray:
    return (np.pi - _sine_and_angle(uu, uv, vv)[1]) / (2 * np.pi)


def _erf_value(uu: np.ndarray, uv: np.ndarray, vv: np.ndarray) -> np.ndarray:
    return 2 / np.pi * np.arcsin(2 * uv / np.sqrt((1 + 2 * uu) * (1 + 2 * vv)))


def _erf_slope(uu: np.ndarray, uv: np.ndarray, vv: np.ndarray) -> np.ndarray:
    return 4 / np.pi / np.sqrt((1 + 2 * uu) * (1 + 2 * vv) - 4 * uv**2)


# relu: arc-cosine kernels of order 1 and 0 over 2 (Cho and Saul 2009); erf: Williams 1997, its slope derived
DUALS = {
    "relu": Dual(_relu_value, _relu_slope),
    "erf": Dual(_erf_value, _erf_slope),
    "linear": Dual(lambda uu, uv, vv: uv, lambda uu, uv, vv: np.ones_like(uv)),
}


class WideKernels(NamedTuple):
    """Kernels of an infinitely wide network between inputs (n, d) and others (m, d): nngp (n, m), tangent (n, m)."""

    nngp: np.ndarray
    tangent: np.ndarray


def compute_wide_kernels(
    inputs: ArrayLike,
    others: ArrayLike | None = None,
    *,
    depth: int = 1,
    activation: str = "relu",
    weight_variance: float | Sequence[float] = 1.0,
    bias_variance: float | Sequence[float] = 0.0,
) -> WideKernels:
    """Return the NNGP and the tangent kernel between inputs (n, d) and others (m, d), by default the inputs themselves.

    depth: how many hidden layers, 0 for a linear model; activation: `relu`, `erf` or `linear`
    weight_variance, bias_variance: s_w^2 and s_b^2 of every layer, or one for each of the depth + 1 layers; s_w^2 = 2
        keeps the scale of a ReLU network from hidden layer to hidden layer

    Raises `InputError` for shapes that do not go together, another activation and negative variances.

    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> compute_wide_kernels(x).tangent.round(4).tolist()  # 1/2 on the diagonal, 1 / 4 pi beside it
    [[0.5, 0.0796], [0.0796, 0.5]]
    """
    dual = choose("activation", activation, DUALS)
    require(isinstance(depth, int | np.integer) and depth >= 0, "depth", depth, "must be a whole number of at least 0")
    x = _read_inputs("inputs", inputs)
    y = x if others is None else _read_inputs("others", others)
    require(x.shape[1] == y.shape[1], "others", y.shape, f"must have the {x.shape[1]} coordinates of the inputs")
    weights, biases = (
        _read_layers("weight_variance", weight_variance, depth),
        _read_layers("bias_variance", bias_variance, depth),
    )

    d = x.shape[1]
    products = np.sum(x**2, axis=1)[:, None] / d, x @ y.T / d, np.sum(y**2, axis=1)[None] / d
    uu, uv, vv = (weights[0] * product + biases[0] for product in products)
    tangent = uv
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        slope = dual.slope(uu, uv, vv)
        uu, uv, vv = (weight * dual.value(*pair) + bias for pair in ((uu, uu, uu), (uu, uv, vv), (vv, vv, vv)))
        tangent = uv + weight * slope * tangent
    return WideKernels(uv, tangent)


def _read_inputs(name: str, value: ArrayLike) -> np.ndarray:
    array = read_array(name, value).astype(float)
    require(array.ndim == 2 and array.size > 0, name, array.shape, "must have the shape (samples, coordinates)")
    require(bool(np.isfinite(array).all()), name, array[~np.isfinite(array)][:1].tolist(), "must be finite")
    return array


def _read_layers(name: str, value: float | Sequence[float], depth: int) -> np.ndarray:
    """Return one variance a layer, (depth + 1,)."""
    array = read_array(name, value).astype(float)
    fits = array.ndim == 0 or array.shape == (depth + 1,)
    require(fits, name, value, f"must be one number, or one for each of the {depth + 1} layers")
    require(bool((array >= 0).all() and np.isfinite(array).all()), name, value, "must be at least 0")
    return np.broadcast_to(array, (depth + 1,))
