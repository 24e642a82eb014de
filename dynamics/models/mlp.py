"""Fully connected networks of any depth; gradients by automatic differentiation.

    h_0 = x,   h_l = phi(W_l^T h_(l-1) + b_l) for l = 1 .. depth,   f(x) = W^T h_depth + b

A network of one hidden layer starts as `two_layer` does from the same key and law. Neurons may be padded: with all
their weights zero they have zero gradient, because every activation vanishes at 0 (`activations.py`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Hyper
from dynamics.models.activations import ACTIVATIONS
from dynamics.models.base import Model, plain_model
from dynamics.models.initial_laws import FLAX_DEFAULT, LAYER_INITS, ORTHOGONAL, draw_orthogonal

MLP_INITS = (FLAX_DEFAULT, ORTHOGONAL, *LAYER_INITS)


class DenseLayer(NamedTuple):
    """The parameters of a layer: bias (fan-out,), or None in a network without biases; weight (fan-in, fan-out)."""

    bias: jax.Array | None
    weight: jax.Array


Layers = tuple[DenseLayer, ...]


def build_mlp(
    input_dim: int,
    width: int,
    depth: int,
    activation: str,
    dtype: Any,
    *,
    outputs: int = 0,
    init: str = FLAX_DEFAULT,
    bias: bool = True,
) -> Model:
    """Return the fully connected network of `depth` hidden layers of `width` units, at padded sizes.

    True sizes are read from `hyper`; laws that do not draw unit by unit (`flax_default`, `orthogonal`) need exact ones.
    outputs: 0 for a scalar, whose predictions have no axis for them; init: one of `MLP_INITS`; bias:
        whether there are any

    The initial parameters are those of the law times `model.init_scale`,
    those of the readout times `model.readout_scale`.
    """
    phi = ACTIVATIONS[activation].value
    sizes = (input_dim, *(width,) * depth, max(outputs, 1))

    def init_params(key: jax.Array, hyper: Hyper) -> Layers:
        layers = draw_layers(key, sizes, init, hyper, dtype, scalar=not outputs)
        scale = hyper["model.init_scale"]
        layers = [DenseLayer(scale * b if bias and b is not None else None, scale * w) for b, w in layers]
        layers[-1] = jax.tree.map(lambda p: hyper["model.readout_scale"] * p, layers[-1])
        return tuple(layers)

    def apply(params: Layers, inputs: jax.Array) -> jax.Array:
        h = inputs
        for i, (b, weight) in enumerate(params):
            z = h @ weight if b is None else h @ weight + b
            h = phi(z) if i < depth else z
        return h if outputs else h[..., 0]

    def is_weight(params: Layers) -> Layers:
        return jax.tree.map(lambda p: jnp.asarray(p.ndim > 1, p.dtype), params)

    return plain_model(init_params, apply, is_weight)


def draw_layers(
    key: jax.Array, sizes: tuple[int, ...], init: str, hyper: Hyper, dtype: Any, *, scalar: bool
) -> list[DenseLayer]:
    """Return the layers between widths of these sizes by one of `MLP_INITS`; scalar:
    whether the last one's output is one."""
    if init == FLAX_DEFAULT:
        return draw_by_flax(key, sizes, dtype)
    if init == ORTHOGONAL:
        keys = (jax.random.fold_in(key, i) for i in layer_numbers(len(sizes) - 2))
        pairs = zip(keys, sizes[:-1], sizes[1:], strict=True)
        return [DenseLayer(jnp.zeros(n, dtype), draw_orthogonal(k, m, n, dtype)) for k, m, n in pairs]
    return draw_by_unit(key, sizes, init, hyper, dtype, scalar=scalar)


def layer_numbers(depth: int) -> tuple[int, ...]:
    """Return the numbers that keys of the layers are made from: 0 for the first, 1 for the readout, 3, 4, ... between.

    Those of the first layer and of the readout are `two_layer`'s, whose output bias has the number 2.
    """
    return (0, *range(3, depth + 2), 1)


def draw_by_unit(
    key: jax.Array, sizes: tuple[int, ...], init: str, hyper: Hyper, dtype: Any, *, scalar: bool
) -> list[DenseLayer]:
    """Return layers of which every unit has a key of its own, zero beyond the true sizes in `hyper`."""
    law, depth = LAYER_INITS[init], len(sizes) - 2
    true = [hyper["data.input_dim"], *(hyper["model.width"],) * depth, jnp.int32(sizes[-1])]
    layers = []
    for i, number in enumerate(layer_numbers(depth)):
        own, last = jax.random.fold_in(key, number), i == depth
        fan_in = true[i].astype(dtype)
        fan = (fan_in + true[i + 1].astype(dtype)) / 2 if law.mean_fan else fan_in

        def unit(k: jax.Array) -> tuple[jax.Array, jax.Array]:
            mine = jax.random.fold_in(own, k)
            bias = law.bias(jax.random.fold_in(mine, 0), (1,), fan, dtype)[0]
            return bias, (law.readout if last else law.weight)(jax.random.fold_in(mine, 1), (sizes[i],), fan, dtype)

        if last and scalar:
            bias = law.bias(jax.random.fold_in(key, 2), (1,), fan, dtype)
            weight = law.readout(own, (sizes[i],), fan, dtype)[:, None]
        else:
            bias, weight = jax.vmap(unit)(jnp.arange(sizes[i + 1], dtype=jnp.int32))
            weight = weight.T
        rows, used = jnp.arange(sizes[i]) < true[i], jnp.arange(sizes[i + 1]) < true[i + 1]
        layers.append(DenseLayer(jnp.where(used, bias, 0), jnp.where(rows[:, None] & used, weight, 0)))
    return layers


def draw_by_flax(key: jax.Array, sizes: tuple[int, ...], dtype: Any) -> list[DenseLayer]:
    """Return the layers that `flax.linen.Dense` starts with: N(0, 1/fan_in) truncated at two deviations,
    biases zero."""
    from flax import linen as nn  # imported here: flax takes a second to load and most studies do without

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for size in sizes[1:]:
                x = nn.Dense(size, dtype=dtype, param_dtype=dtype)(x)
            return x

    drawn = Net().init(key, jnp.zeros((1, sizes[0]), dtype))["params"]
    named = (drawn[f"Dense_{i}"] for i in range(len(sizes) - 1))
    return [DenseLayer(jnp.asarray(layer["bias"]), jnp.asarray(layer["kernel"])) for layer in named]
