"""Matrices over parameters by their products: Gauss-Newton of any loss, empirical Fisher, covariance of gradients.

A sample's loss is l_i(theta) = l(f(x_i; theta), y_i), the training loss sum_i w_i l_i with weights that sum to 1:

    Gauss-Newton      G = J^T H_out J       J the Jacobian of all outputs, H_out the loss's Hessian in them
    Fisher            F = sum_i w_i g_i g_i^T                  g_i = grad l_i; the empirical one, with the labels
    gradient noise    C = sum_i w_i (g_i - g) (g_i - g)^T      g the full gradient: F - g g^T

C is the covariance of the gradient on one sample drawn with these weights; on a batch of b drawn with replacement it is
C / b, and (n - b) / (n - 1) of that without. What does not depend on the vector is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

Product = Callable[[jax.Array], jax.Array]


def build_output_product(outputs: Callable[[Any], jax.Array], loss: Callable[[jax.Array], jax.Array], params: Any) -> Product:
    """Return v (P,) -> G v (P,) of the Gauss-Newton matrix at `params`, parameters raveled.

    outputs: params -> predictions of all samples, of any shape; loss: predictions -> the training loss ()
    """
    unravel = ravel_pytree(params)[1]
    predicted, push = jax.linearize(outputs, params)
    pull = jax.linear_transpose(push, params)
    _, bend = jax.linearize(jax.grad(loss), predicted)

    def product(v: jax.Array) -> jax.Array:
        return ravel_pytree(pull(bend(push(unravel(v))))[0])[0]

    return product


def build_fisher_product(
    losses: Callable[[Any], jax.Array], weights: jax.Array, params: Any, *, centred: bool = False
) -> Product:
    """Return v (P,) -> F v of the empirical Fisher matrix, or of the covariance of gradients if `centred`.

    losses: params -> the loss of every sample, shaped like `weights`, which sum to 1
    """
    unravel = ravel_pytree(params)[1]
    _, push = jax.linearize(losses, params)
    pull = jax.linear_transpose(push, params)

    def product(v: jax.Array) -> jax.Array:
        back = weights * push(unravel(v))
        if centred:
            back = back - weights * jnp.sum(back)
        return ravel_pytree(pull(back)[0])[0]

    return product


def restrict_product(product: Product, start: int, size: int, total: int) -> Product:
    """Return u (size,) -> what A makes of it in its own block: coordinates `start` to `start + size` of `total`."""
    return lambda u: product(jnp.pad(u, (start, total - start - size)))[start : start + size]


def precondition(product: Product, preconditioner: jax.Array) -> Product:
    """Return u -> P^-1/2 A P^-1/2 u for a diagonal P (N,), whose eigenvalues are those of P^-1 A."""
    root = jax.lax.rsqrt(preconditioner)
    return lambda u: root * product(root * u)


def layer_blocks(params: Any) -> Mapping[str, tuple[int, int]]:
    """Return (start, size) of every layer in the raveled parameters, by name.

    A layer is a leaf, or what lies under one name of the outermost mapping that has several: `hidden`, `readout` and
    `offset` of a two-layer net, `Dense_0`, `Dense_1` ... of flax's.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    depth = 0
    while len(leaves) > 1 and all(len(path) > depth + 1 for path, _ in leaves) and _same(leaves, depth):
        depth += 1
    found: dict[str, tuple[int, int]] = {}
    at = 0
    for path, leaf in leaves:
        name = _name(path[depth]) if len(path) > depth else "all"
        start, size = found.get(name, (at, 0))
        found[name] = (start, size + leaf.size)
        at += leaf.size
    return found


def _same(leaves: Any, depth: int) -> bool:
    return len({_name(path[depth]) for path, _ in leaves}) == 1


def _name(entry: Any) -> str:
    return str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry))))
