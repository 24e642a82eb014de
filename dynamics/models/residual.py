"""Residual networks of fully connected blocks, with normalisation before each block, around it, or nowhere.

    h_0 = W_0^T x + b_0,   h_l = h_(l-1) + m(h_(l-1)) for l = 1 .. depth,   f = W^T N(h_depth) + b

    pre     m(h) = B(N(h))           (Xiong et al. 2020)
    peri    m(h) = N(B(N(h)))        (Kim et al. 2025)
    none    m(h) = B(h), and no N before the readout

with a block B(h) = W_2^T phi(W_1^T h + b_1) + b_2 as wide as the network. N is `layer_norm` (Ba et al. 2016) or
`rms_norm` (Zhang and Sennrich 2019) over the units, as in flax, times a gain and plus a shift of each unit's own; an
RMS norm has no shift. Gains start at `model.norm_gain`, shifts at 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Hyper
from dynamics.models.activations import ACTIVATIONS
from dynamics.models.base import Model, plain_model
from dynamics.models.initial_laws import FLAX_DEFAULT
from dynamics.models.mlp import Layers, draw_layers

NORMS, PLACEMENTS = ("layer_norm", "rms_norm"), ("pre", "peri", "none")
EPSILON = 1e-6  # under the root of the variance, flax's


class ResidualNet(NamedTuple):
    """The parameters: layers, two a block between the first and the readout; gains and shifts (norms, width), or None.

    The norms come in the order in which a sample meets them.
    """

    layers: Layers
    gains: jax.Array | None
    shifts: jax.Array | None


def count_norms(depth: int, placement: str) -> int:
    """Return how many norms a network of so many blocks has."""
    return {"none": 0, "pre": depth + 1, "peri": 2 * depth + 1}[placement]


def normalize(h: jax.Array, norm: str) -> jax.Array:
    """Return h (..., width) with unit mean square over the units, and for `layer_norm` with mean 0."""
    if norm == "layer_norm":
        h = h - jnp.mean(h, axis=-1, keepdims=True)
    return h * jax.lax.rsqrt(jnp.mean(h**2, axis=-1, keepdims=True) + EPSILON)


def build_residual(
    input_dim: int,
    width: int,
    depth: int,
    activation: str,
    dtype: Any,
    *,
    outputs: int = 0,
    init: str = FLAX_DEFAULT,
    bias: bool = True,
    norm: str = "layer_norm",
    placement: str = "pre",
) -> Model:
    """Return the residual network of `depth` blocks; init: one of `MLP_INITS`; outputs: 0 for a scalar.

    Initial layers are those of the law times `model.init_scale`, the second of each block times `model.branch_scale`
    and the readout times `model.readout_scale` besides. True sizes are read from `hyper`; the width must be exact.
    """
    phi, num_norms = ACTIVATIONS[activation].value, count_norms(depth, placement)
    sizes = (input_dim, *(width,) * (2 * depth + 1), max(outputs, 1))

    def init_params(key: jax.Array, hyper: Hyper) -> ResidualNet:
        layers, scale = draw_layers(key, sizes, init, hyper, dtype, scalar=not outputs), hyper["model.init_scale"]
        factors = [scale, *(scale, scale * hyper["model.branch_scale"]) * depth, scale * hyper["model.readout_scale"]]
        if not bias:
            layers = [layer._replace(bias=None) for layer in layers]
        drawn = [jax.tree.map(lambda p: factor * p, layer) for layer, factor in zip(layers, factors, strict=True)]
        gains = jnp.full((num_norms, width), hyper["model.norm_gain"], dtype) if num_norms else None
        shifted = num_norms > 0 and bias and norm == "layer_norm"
        return ResidualNet(tuple(drawn), gains, jnp.zeros((num_norms, width), dtype) if shifted else None)

    def apply(params: ResidualNet, inputs: jax.Array) -> jax.Array:
        met = iter(range(num_norms))

        def scaled(h: jax.Array) -> jax.Array:
            if params.gains is None:
                return h
            i = next(met)
            h = params.gains[i] * normalize(h, norm)
            return h if params.shifts is None else h + params.shifts[i]

        def affine(layer, h: jax.Array) -> jax.Array:
            return h @ layer.weight if layer.bias is None else h @ layer.weight + layer.bias

        first, *blocks, readout = params.layers
        h = affine(first, inputs)
        for inner, outer in zip(blocks[::2], blocks[1::2], strict=True):
            branch = affine(outer, phi(affine(inner, scaled(h))))
            h = h + (scaled(branch) if placement == "peri" else branch)
        f = affine(readout, scaled(h))
        return f if outputs else f[..., 0]

    def is_weight(params: ResidualNet) -> ResidualNet:
        masks = jax.tree.map(lambda p: jnp.asarray(p.ndim > 1, p.dtype), params.layers)
        spared = jax.tree.map(jnp.zeros_like, (params.gains, params.shifts))
        return ResidualNet(masks, *spared)

    return plain_model(init_params, apply, is_weight)
