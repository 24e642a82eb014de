"""The `Model` interface, and the shortest way to one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dynamics.core.dynamics import Hyper
from dynamics.models.row_streams import are_too_many

Params = Any


class Batch(NamedTuple):
    """Samples in the layout that a model computes with; labels and weights have the shape of its predictions.

    The weights sum to one over true samples and vanish on padding, so that for any layout the empirical mean of a
    per-sample quantity q is `sum(weights * q)`. Where there are several outputs labels have a last axis that weights
    lack.
    """

    inputs: Any
    labels: jax.Array
    weights: jax.Array


class Neurons(NamedTuple):
    """The N hidden units of a network with one hidden layer, each of which sees D - 1 numbers.

    hidden (D, N), row 0 the biases; readout (N,): the weight that the unit's output goes out with. A unit that looks at
    one position only, of several, is a unit of its own for every position.
    """

    hidden: jax.Array
    readout: jax.Array


class UnitLayout(NamedTuple):
    """Which filter, position and readout weight each unit of `Neurons` uses; arrays over N, known when a model is
    built.

    index: which of `width` neurons a unit is; block: units with the same number have one readout weight in common
    share: what a unit's output counts for in the pool, 1 / L for a mean over L views
    mass: share times how many views of a sample a unit sees: what `half_spaces` makes of a unit that is always on
    coupling: |Hessian - Gauss-Newton| is at most coupling sqrt(1 + R^2) sqrt(2 L), in theory units
    """

    index: np.ndarray
    block: np.ndarray
    share: float = 1.0
    mass: float = 1.0
    coupling: float = 1.0


class Model(NamedTuple):
    """A network with one output, or with several, whose predictions then have a last axis for them.

    init(key, hyper): parameters, a pytree
    prepare(inputs (n, d), labels (n,), weights (n,)): the same samples as a `Batch`, once a run
    apply(params, batch): predictions, shaped like `batch.labels`
    squared_gradient(params, batch, factor): gradient of factor * sum(weights (f - y)^2) in closed form, or None
    gauss_newton(params, batch): the kernel K_ij = sqrt(w_i w_j) <grad f(x_i), grad f(x_j)>, shape (n, n), or None
    half_spaces(params, batch, coefficients (C, *weights.shape)): sum_i c_i share sum_l 1{z_ilk > 0} (1, x_i^(l)) over
        the views l that a unit sees of a sample, and the same over z_ilk < 0, shape (2, C, D, N), where z is its
        pre-activation; None for a model without such units
    is_weight(params): masks that broadcast to the parameters, 1 on weights and 0 on biases
    neurons(params): its units; layout: which weights they share; None for a model without such units
    seen_norm(inputs (n, d)): the largest norm (n,) of what a unit sees of a sample
    layer_rates: factors on the learning rate that broadcast to the parameters, for each family of rules;
        None for one rate
    """

    init: Callable[[jax.Array, Hyper], Params]
    prepare: Callable[[jax.Array, jax.Array, jax.Array], Batch]
    apply: Callable[[Params, Batch], jax.Array]
    squared_gradient: Callable[[Params, Batch, float], Params] | None
    gauss_newton: Callable[[Params, Batch], jax.Array] | None
    half_spaces: Callable[[Params, Batch, jax.Array], jax.Array] | None
    is_weight: Callable[[Params], Any]
    neurons: Callable[[Params], Neurons] | None = None
    layout: UnitLayout | None = None
    seen_norm: Callable[[jax.Array], jax.Array] = lambda inputs: jnp.linalg.norm(inputs, axis=1)
    layer_rates: dict[str, Any] | None = None


def seen_norm(views: np.ndarray | None) -> Callable[[jax.Array], jax.Array]:
    """Return the function `Model.seen_norm` of units that see these views (L, m); None: the whole sample."""

    def largest(inputs: jax.Array) -> jax.Array:
        if views is not None and are_too_many(len(inputs) * views.shape[0], views.shape[1] * inputs.dtype.itemsize):
            return lax.map(lambda x: jnp.max(jnp.linalg.norm(x[views], axis=-1)), inputs)
        seen = inputs[:, None] if views is None else inputs[:, views]
        return jnp.max(jnp.linalg.norm(seen, axis=-1), axis=1)

    return largest


def plain_model(
    init: Callable[[jax.Array, Hyper], Params],
    apply: Callable[[Params, jax.Array], jax.Array],
    is_weight: Callable[[Params], Any] | None = None,
) -> Model:
    """Return the model of two functions; gradients and curvature come from automatic differentiation.

    init(key, hyper): parameters, a pytree; hyper: the run's scalars by path, such as `model.init_scale`
    apply(params, inputs): predictions (n,), or (n, C), for inputs (n, d) of which a sample's depend on that sample
    alone
    is_weight(params): masks that broadcast to the parameters, 0 on biases that weight decay may spare; all are weights
    if None
    """

    def all_weights(params: Params) -> Any:
        return jax.tree.map(jnp.ones_like, params)

    return Model(
        init=init,
        prepare=flat_batch,
        apply=lambda params, batch: apply(params, batch.inputs),
        squared_gradient=None,
        gauss_newton=None,
        half_spaces=None,
        is_weight=is_weight or all_weights,
    )


def flat_batch(inputs: jax.Array, labels: jax.Array, weights: jax.Array) -> Batch:
    """Return a batch in the plain layout: inputs (n, d), labels and weights (n,)."""
    return Batch(inputs, labels, weights)
