"""A two-layer ReLU net as a sum of ridges: f(x) = sum_j a_j relu(u_j . x - t_j) + an affine part, |u_j| = 1.

Host-side, in float64, for analysis and drawing; the measures of `checks.py` do the same inside a program.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from dynamics.models.two_layer import TwoLayer
from dynamics.stability.weight import empirical_weight

_compiled_weight = jax.jit(empirical_weight)


class Ridges(NamedTuple):
    """Neurons as ridges: direction (d, K), unit columns; offset (K,); coefficient (K,), a = v |w|."""

    direction: np.ndarray
    offset: np.ndarray
    coefficient: np.ndarray


def list_ridges(params: TwoLayer) -> Ridges:
    """Return every neuron with w_k != 0 as a ridge: u = w / |w|, t = -b / |w|, a = v |w|.

    Our pre-activation is w . x + b.
    """
    hidden, readout = np.asarray(params.hidden, float), np.asarray(params.readout, float)
    norm = np.linalg.norm(hidden[1:], axis=0)
    kept = norm > 0
    w, norm = hidden[:, kept], norm[kept]
    return Ridges(w[1:] / norm, -w[0] / norm, readout[kept] * norm)


def merge_equal_ridges(params: TwoLayer, tolerance: float = 1e-9) -> Ridges:
    """Return the network in reduced form: one ridge per distinct kink hyperplane, none of coefficient zero.

    Duplicates add their coefficients, and so do opposite neurons: relu(-z) = relu(z) - z, so (-u, -t) has the kink of
    (u, t) and differs from it by an affine function, which the seminorm does not see. For d = 1 the coefficients are
    then the jumps of f' and sum |a_j| g_j is the integral of |f''| g. (u, t) within `tolerance` of each other are one.
    """
    u, t, a = list_ridges(params)
    rows = np.concatenate([u, t[None]]).T
    leading = np.argmax(np.abs(u) > tolerance, axis=0)
    rows = rows * np.sign(u[leading, np.arange(len(t))])[:, None]
    _, first, member = np.unique(np.round(rows / tolerance), axis=0, return_index=True, return_inverse=True)
    total = np.zeros(len(first))
    np.add.at(total, member.reshape(-1), a)
    kept = np.abs(total) > tolerance * max(1.0, np.abs(a).max(initial=0.0))
    rows = rows[first][kept]
    return Ridges(rows[:, :-1].T, rows[:, -1], total[kept])


def path_norm(net: Ridges) -> float:
    """Return sum_j |a_j|, the sum of the ridges' absolute coefficients."""
    return float(np.abs(net.coefficient).sum())


def weighted_path_norm(net: Ridges, inputs: np.ndarray) -> float:
    """Return sum_j |a_j| g(u_j, t_j) with the empirical g of inputs (n, d): |f|_Vg of a net in reduced form."""
    n, kinks = len(inputs), net.coefficient.size
    if not kinks:
        return 0.0
    more, wider = (2 ** (count - 1).bit_length() - count for count in (n, kinks))  # of weight 0, for few compiled shapes
    weights = np.pad(np.full(n, 1 / n), (0, more))
    direction, offset = np.pad(net.direction, ((0, 0), (0, wider))), np.pad(net.offset, (0, wider))
    g = _compiled_weight(np.pad(np.asarray(inputs), ((0, more), (0, 0))), direction, offset, weights)
    return float(np.abs(net.coefficient) @ np.asarray(g)[:kinks])
