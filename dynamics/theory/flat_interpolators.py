"""Flat interpolation: a net that fits any labels of points on a sphere, a neuron a sample, and is almost as flat as a
constant.

(Liang et al. 2026, the theorem on the sphere and the appendix on flat interpolation; explicit form and constants are
derived.)

Neuron i looks along its own sample p_i, |p_i| = R, and its kink lies between p_i and all others, so that it is on for
p_i only:

    relu(w_i . x + b_i) = s_i (u_i . x - t_i) / (R - t_i),   u_i = p_i / R,   max_j u_i . p_j < t_i < R

With mean pooling over J patches (J = 1: the whole sample) its share of f(x_i) is v_i s_i / J = y_i, and with q_i = s_i
/ J the Gauss-Newton kernel is

    K = 11^T + diag(c),   c_i = q_i^2 + (y_i / q_i)^2 (1 + R^2) / J^2

On the data residuals vanish, so the Hessian of (1/2n) sum (f - y)^2 has the nonzero spectrum of K/n. Its top is mu / n,
where mu > max c solves sum_i 1/(mu - c_i) = 1. It rises with every c_i and lies between 1 + mean(c)/n and 1 + max(c)/n;
where all c_i are equal it is both.

    paper      q_i = |y_i|:                         c_i = y_i^2 + (1 + R^2)/J^2
    optimal    q_i^2 = |y_i| sqrt(1 + R^2) / J:     c_i = 2 |y_i| sqrt(1 + R^2) / J, the least over rescalings of a pair

For `optimal` 1 + mean(c)/n is 1 + 2 sum_k |v_k| |w_k| g~_k (C1 of `measures/stability_checks.py`), which no rescaling
or splitting of these neurons falls below: where all |y_i| are equal, no net with these ridges and this output offset is
flatter. Another offset is free and has y - offset in place of y.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dynamics.data.closed_forms import ClosedForms
from dynamics.errors import choose, require
from dynamics.models.two_layer import TwoLayer

BISECTIONS = 64
NODES = 20_000

Height = Callable[[Any, float, Any], Any]

# q_i, what neuron i adds to its sample before its readout, from |y_i|, J and R
SCALINGS: dict[str, Height] = {
    "paper": lambda size, patches, radius: size,
    "optimal": lambda size, patches, radius: (size * (1 + radius**2) ** 0.5 / patches) ** 0.5,
}


def build_sphere_interpolator(x: Any, y: Any, scaling: str = "paper", *, margin: float = 0.5) -> TwoLayer:
    """Return the network of n neurons that maps inputs x (n, d) on the unit sphere to labels y (n,) exactly.

    Neurons of label 0 have all weights zero.

    t_i = max + margin (1 - max), the largest inner product with another sample being max: margin in (0, 1).
    """
    x, y = _check_interpolator_inputs(x, y, scaling, margin)
    return build_isolating_neurons(x, standout_margins(x), y, scaling, margin=margin)


def build_patch_interpolator(x: Any, y: Any, patch_dim: int, scaling: str = "paper", *, margin: float = 0.5) -> TwoLayer:
    """Return the network with shared filters that maps x (n, J m), J patches on the unit sphere of R^m, to y (n,).

    m = patch_dim.

    Filter i (hidden (m + 1, n)) is on for one patch of sample i: that which is farthest from all n J - 1 others.
    """
    width = np.shape(x)[-1]
    require(patch_dim >= 1 and width % patch_dim == 0, "patch_dim", patch_dim, f"must divide the {width} coordinates of x")
    points, _ = _check_interpolator_inputs(np.reshape(x, (-1, patch_dim)), np.repeat(y, width // patch_dim), scaling, margin)
    y = jnp.asarray(y, points.dtype)
    chosen, gap = choose_best_patches(points.reshape(len(y), -1, patch_dim))
    return build_isolating_neurons(chosen, gap, y, scaling, width // patch_dim, margin=margin)


def _check_interpolator_inputs(x: Any, y: Any, scaling: str, margin: float) -> tuple[jax.Array, jax.Array]:
    """Return x and y as arrays, or raise an `InputError` for what no interpolator is defined on."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    choose("scaling", scaling, SCALINGS)
    require(0 < margin < 1, "margin", margin, "must be in (0, 1)")
    require(x.ndim == 2 and y.shape == x.shape[:1], "y", y.shape, f"must be one label a row of x, {x.shape}")
    off = float(jnp.max(jnp.abs(jnp.linalg.norm(x, axis=1) - 1)))
    require(off <= 1e-4, "x", off, "off the unit sphere by so much")
    least = float(jnp.min(standout_margins(x)))
    require(least > 0, "x", least, "two points are the same: 1 - their inner product")
    return x, y


def standout_margins(points: jax.Array, used: jax.Array | None = None) -> jax.Array:
    """Return by how much each of the points (N, m) reaches beyond all others along its own direction, (N,).

    That is |p| - max_q u.q with u = p / |p|, at most 2 |p|.

    On the unit sphere 1 - max_q p.q; 0 or less where another point reaches as far. Those that are not `used` (N,) do
    not count.
    """
    points, count = jnp.asarray(points), len(points)

    def one(i: jax.Array) -> jax.Array:
        point = points[i]
        size = jnp.linalg.norm(point)
        ahead = (point - points) @ (point / jnp.where(size > 0, size, 1))  # differences first: neighbours are close
        other = jnp.arange(count) != i
        return jnp.min(jnp.where(other if used is None else other & used, ahead, 2 * size), initial=2 * size)

    return lax.map(one, jnp.arange(count))


def choose_best_patches(patches: jax.Array, used: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Return for each sample the one of its patches that stands out most, (n, m), and its margin, (n,).

    Of patches (n, J, m), each compared with all n J.
    """
    count, num, size = patches.shape
    meant = None if used is None else jnp.repeat(used, num)
    gaps = standout_margins(patches.reshape(-1, size), meant).reshape(count, num)
    best = jnp.argmax(gaps, axis=1)
    rows = jnp.arange(count)
    return patches[rows, best], gaps[rows, best]


def build_isolating_neurons(
    points: jax.Array,
    gap: jax.Array,
    y: jax.Array,
    scaling: str,
    num_patches: int = 1,
    *,
    margin: Any = 0.5,
    pair_scale: Any = 1.0,
) -> TwoLayer:
    """Return a network whose neuron i is on for a half-space that holds points_i (n, m) alone.

    Its kink lies (1 - margin) gap_i below the point. All arguments may be traced.

    A neuron is left out (all its weights are 0) where y_i is 0 or the gap not above 0. With a margin below 0 neurons
    are on
    for neighbours too. pair_scale c: w_i and b_i times c, v_i over c, which changes no function.
    """
    there = (y != 0) & (gap > 0)
    radius = jnp.linalg.norm(points, axis=1)
    height = pair_scale * num_patches * SCALINGS[scaling](jnp.abs(y), num_patches, radius)
    steep = jnp.where(there, height / jnp.where(there, (1 - margin) * gap, 1), 0)
    weights = (steep / jnp.where(radius > 0, radius, 1))[:, None] * points
    bias = jnp.where(there, height - jnp.sum(weights * points, axis=1), 0)
    readout = jnp.where(there, num_patches * y / jnp.where(there, height, 1), 0)
    return TwoLayer(jnp.concatenate([bias[None], weights.T]), readout, jnp.zeros((), points.dtype))


def kernel_diagonal(y: Any, scaling: str, num_patches: int = 1, radius: Any = 1.0, pair_scale: Any = 1.0) -> jax.Array:
    """Return c (n,) of the interpolator's Gauss-Newton kernel 11^T + diag(c); 0 where y is 0."""
    size = jnp.abs(jnp.asarray(y))
    height = pair_scale * SCALINGS[scaling](size, num_patches, radius)
    readout = size / jnp.where(size > 0, height, 1)
    return jnp.where(size > 0, height**2 + readout**2 * (1 + radius**2) / num_patches**2, 0)


def kernel_top_eigenvalue(diagonal: Any, used: Any = None) -> jax.Array:
    """Return the largest eigenvalue () of 11^T + diag(c) by its secular equation; rows not `used` (n,) are left out.

    The root mu > max c of sum_i 1/(mu - c_i) = 1, by bisection between max(n + mean c, 1 + max c) and n + max c.
    """
    c = jnp.asarray(diagonal)
    meant = jnp.ones(c.shape, bool) if used is None else used
    count, most = jnp.sum(meant), jnp.max(jnp.where(meant, c, -jnp.inf))
    excess = jnp.where(meant, c - most, 0)  # all in terms of mu - max c, so that close c do not cancel

    def halve(_, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        above = jnp.sum(jnp.where(meant, 1 / (middle - excess), 0)) > 1
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    low = jnp.maximum(count + jnp.sum(excess) / count, 1)
    ends = lax.fori_loop(0, BISECTIONS, halve, (low, jnp.asarray(count, low.dtype)))
    return most + (ends[0] + ends[1]) / 2


def interpolator_sharpness(y: Any, scaling: str, num_patches: int = 1) -> float:
    """Return the exact top eigenvalue of the interpolator's Hessian in theory units; only the labels matter."""
    return float(kernel_top_eigenvalue(kernel_diagonal(y, scaling, num_patches)) / len(y))


def sphere_sharpness_bound(n: Any, largest: Any, scaling: str) -> Any:
    """Return the bound on an interpolator's sharpness: 1 + (D^2 + 2)/n (`paper`) or 1 + 2 sqrt(2) D/n (`optimal`).

    D is the largest |y|; the bound is attained if and only if all |y_i| = D.
    """
    return patch_sharpness_bound(n, largest, 1, scaling)


def patch_sharpness_bound(n: Any, largest: Any, num_patches: int, scaling: str, radius: Any = 1.0) -> Any:
    """Return the sharpness bound with J patches: 1 + (D^2 + 2/J^2)/n (`paper`) or 1 + 2 sqrt(2) D/(J n) (`optimal`).

    For R = radius other than 1 with 1 + R^2 in place of 2.
    """
    spread = 1 + radius**2
    least = 2 * largest * spread**0.5 / num_patches
    return 1 + (least if scaling == "optimal" else largest**2 + spread / num_patches**2) / n


def memorable_share(law: ClosedForms, n: int, d: int) -> float:
    """Return E (1 - Q(|X|))^(n-1), the expected share of samples that reach furthest of all n in their own direction.

    Q(|x|) being the half-space depth of x, it is of the order of P(depth < 1/n) ~ n^(-S), S the law's depth exponent; 1
    on a sphere. By a Stieltjes sum over radii.
    """
    edges = law.radius * (1 - (1 - np.linspace(0, 1, NODES + 1)) ** 3)  # close together at the rim
    alone_there = (1 - law.half_space_probability((edges[1:] + edges[:-1]) / 2, d)) ** (n - 1)
    return float(np.diff(law.radial(edges, d)) @ alone_there)
