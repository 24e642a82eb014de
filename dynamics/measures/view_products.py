"""The matrices over a network's parameters that measures of spectra are of, as products, and gradients on batches."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from dynamics.curvature.hessian import build_hessian_product
from dynamics.curvature.matrices import Product, build_fisher_product, build_output_product
from dynamics.measures.view import View
from dynamics.models.losses import LOSSES, mean_loss


def sample_losses(view: View, prediction: jax.Array) -> jax.Array:
    """Return the loss of every sample at these predictions, shaped like the weights:
    their weighted sum is descended."""
    each = LOSSES[view.descended.kind].each
    return view.factor * each(prediction, view.train.labels, view.train.weights, view.descended)


def _hessian(view: View) -> Product:
    return build_hessian_product(view.loss, view.params, view.loss_gradient)


def _gauss_newton(view: View) -> Product:
    def loss(prediction: jax.Array) -> jax.Array:
        return jnp.sum(view.train.weights * sample_losses(view, prediction))

    return build_output_product(lambda p: view.model.apply(p, view.train), loss, view.params)


def _fisher(view: View, centred: bool = False) -> Product:
    def losses(params: Any) -> jax.Array:
        return sample_losses(view, view.model.apply(params, view.train))

    return build_fisher_product(losses, view.train.weights, view.params, centred=centred)


MATRICES = {
    "hessian": _hessian,
    "gauss_newton": _gauss_newton,
    "fisher": _fisher,
    "gradient_noise": lambda view: _fisher(view, centred=True),
}


def build_product(view: View, matrix: str) -> Product:
    """Return v (P,) -> A v of a matrix of `MATRICES` at the view's parameters, built once a record."""
    return view.once(f"products with {matrix}", lambda: MATRICES[matrix](view))


def flat_params(view: View) -> jax.Array:
    """Return the parameters raveled, (P,)."""
    return ravel_pytree(view.params)[0]


def batch_gradient(view: View, params: Any, index: jax.Array) -> Any:
    """Return the gradient at any parameters of the loss on the samples `index` (b,) alone, each weighing 1 / b."""
    x, y, _, _ = view.problem.train
    model, size = view.model, len(index)
    batch = model.prepare(x[index], y[index], jnp.full((size,), 1 / size, x.dtype))
    if model.squared_gradient is not None and view.squared:
        return model.squared_gradient(params, batch, view.factor)
    return jax.grad(lambda p: mean_loss(view.descended, view.factor, model.apply, p, batch))(params)
