"""The loss along lines and planes through a network's parameters: random directions,
and from one run's end to another's.

A random direction is normalised filter by filter (Li et al. 2018): the incoming weights of each unit have the norm that
the unit's own have, a readout that of the readout; biases stay. The line between two networks is drawn as they are, or
after the second's neurons have been put in the order that is nearest to the first's, which changes no function
(Entezari et al. 2022; Ainsworth et al. 2023: for one hidden layer the best order is a linear assignment).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.optimize import linear_sum_assignment

from dynamics.errors import require
from dynamics.measures.view import View
from dynamics.models.two_layer import TwoLayer

__all__ = ["draw_direction", "find_barrier", "find_match", "line_losses", "permute_neurons", "slice_losses"]


def draw_direction(view: View, seed: int) -> Any:
    """Return a random direction shaped like the view's parameters, filter-normalised; 0 on biases.

    A filter is what one index of a leaf's last axis holds; a vector or a scalar is one as a whole.
    """
    leaves, tree = jax.tree.flatten(view.params)
    masks = jax.tree.leaves(
        jax.tree.map(jnp.broadcast_to, view.model.is_weight(view.params), jax.tree.map(jnp.shape, view.params))
    )
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = []
    for key, leaf, mask in zip(keys, leaves, masks, strict=True):
        axes = tuple(range(leaf.ndim - 1)) if leaf.ndim > 1 else None
        noise = mask * jax.random.normal(key, leaf.shape, leaf.dtype)
        norm, own = (jnp.sqrt(jnp.sum(part**2, axis=axes, keepdims=leaf.ndim > 1)) for part in (noise, mask * leaf))
        drawn.append(noise * own / jnp.where(norm > 0, norm, 1))
    return jax.tree.unflatten(tree, drawn)


def slice_losses(view: View, directions: Sequence[Any], *positions: Any) -> np.ndarray:
    """Return the training loss at params + sum_i a_i directions_i, on the grid of the positions a_i along each of them.

    One direction and list of positions (A,) gives (A,), two give (A, B).
    """
    require(
        len(directions) == len(positions) > 0, "positions", len(positions), f"must be one list for each of {len(directions)}"
    )
    grid = np.stack(np.meshgrid(*[np.asarray(p, float) for p in positions], indexing="ij"), axis=-1)
    places = jnp.asarray(grid.reshape(-1, len(directions)), view.train.weights.dtype)
    return np.asarray(_losses(view, tuple(directions), view.params, places)).reshape(grid.shape[:-1])


def line_losses(view: View, others: Sequence[Any], positions: Any) -> np.ndarray:
    """Return the training loss at (1 - t) params + t other for each of the others and these t (A,), (others, A).

    others: parameters like the view's; all lines are computed by one program
    """
    directions = tuple(jax.tree.map(jnp.subtract, other, view.params) for other in others)
    positions = np.asarray(positions, float)
    places = np.kron(np.eye(len(directions)), positions[:, None])
    found = _losses(view, directions, view.params, jnp.asarray(places, view.train.weights.dtype))
    return np.asarray(found).reshape(len(directions), len(positions))


def _losses(view: View, directions: tuple[Any, ...], params: Any, places: jax.Array) -> jax.Array:
    def at(place: jax.Array) -> jax.Array:
        moved = params
        for share, direction in zip(place, directions, strict=True):
            moved = jax.tree.map(lambda p, d, share=share: p + share * d, moved, direction)
        return view.loss(moved)

    return jax.jit(partial(lax.map, at))(places)


def find_barrier(losses: Any) -> float:
    """Return the largest excess of the losses (A,) at evenly spaced places over the straight line
    between their ends."""
    losses = np.asarray(losses, float)
    require(losses.ndim == 1 and len(losses) > 2, "losses", losses.shape, "must be a list of at least three")
    return float(np.max(losses - np.linspace(losses[0], losses[-1], len(losses))))


def find_match(one: TwoLayer, other: TwoLayer) -> np.ndarray:
    """Return the order (K,) of the other network's neurons in which its parameters are nearest to those of the one."""
    require(one.hidden.shape == other.hidden.shape, "other", np.shape(other.hidden), f"must be {np.shape(one.hidden)}")
    near = np.asarray(one.hidden).T @ np.asarray(other.hidden) + np.outer(one.readout, other.readout)
    return linear_sum_assignment(near, maximize=True)[1]


def permute_neurons(net: TwoLayer, order: Any) -> TwoLayer:
    """Return the network with its neurons in this order (K,); it is the same function."""
    order = np.asarray(order)
    is_order = sorted(order.tolist()) == list(range(len(net.readout)))
    require(is_order, "order", order, f"must have each of the {len(net.readout)} neurons once")
    return TwoLayer(net.hidden[:, order], net.readout[order], net.offset)
