"""The state of a search of the flat set, and how its points are judged (see `flat_search.py`)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.measures.view import RunData
from dynamics.models.base import Batch
from dynamics.models.two_layer import TwoLayer


class FlatnessCheck(NamedTuple):
    """A check of a network: eta lambda_max / 2 of the true Hessian plus its residual, and the largest |f| found."""

    edge: jax.Array
    sup_norm: jax.Array


class FeasibleNet(NamedTuple):
    """A feasible network, its gap on the validation sample, and its check."""

    params: TwoLayer
    score: jax.Array
    seen: FlatnessCheck


class SearchState(NamedTuple):
    """The state of a search for a flat network of large generalisation gap.

    best: the best feasible point so far
    params, rule, vector: the ascent's point, Adam's moments, the kernel's top eigenvector (n,) that follows it
    prices: multipliers of both constraints
    seen, start_seen: the check of the ascent's point and of the start, before they were shrunk
    rejected, iteration: how many points failed the check, and how many were offered
    """

    best: FeasibleNet
    params: TwoLayer
    rule: Any
    vector: jax.Array
    prices: FlatnessCheck
    seen: FlatnessCheck
    start_seen: FlatnessCheck
    rejected: jax.Array
    iteration: jax.Array


class FlatSearchData(NamedTuple):
    """What stays fixed in a flat search.

    run: problem and scalars as a training run keeps them; validation: fresh inputs, labelled by f_0
    start: the network where the search began
    """

    run: RunData
    validation: Batch
    start: TwoLayer


def is_feasible(seen: FlatnessCheck, bound: jax.Array) -> jax.Array:
    """Return whether a checked network is in the flat set and within the bound on |f|; false if not finite."""
    return (seen.edge <= 1) & (seen.sup_norm <= bound)


def choose_better(best: FeasibleNet, found: FeasibleNet, bound: jax.Array) -> FeasibleNet:
    """Return the point that was found if it is feasible and its gap larger, else the best so far."""
    better = is_feasible(found.seen, bound) & (found.score > best.score)
    return jax.tree.map(lambda a, b: jnp.where(better, a, b), found, best)


def augmented_lagrangian_term(violation: jax.Array, price: jax.Array, penalty: jax.Array) -> jax.Array:
    """Return (max(price + penalty v, 0)^2 - price^2) / (2 penalty), which penalises a constraint v <= 0."""
    return (jnp.maximum(price + penalty * violation, 0) ** 2 - price**2) / (2 * penalty)


def evaluate_network(params: TwoLayer, x: jax.Array) -> jax.Array:
    """Return f (m,) at plain inputs (m, d)."""
    z = params.hidden[0] + x @ params.hidden[1:]
    return jnp.where(z <= 0, 0, z) @ params.readout + params.offset
