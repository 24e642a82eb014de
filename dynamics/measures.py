"""What can be seen of a training run: measures by name.

A measure takes a `View` and returns named scalars. Quantities that several measures need are computed once
a view. Any measure may be named in a study's config; its columns stand in the record table.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dynamics.core import Hyper
from dynamics.curvature.gauss_newton import gauss_newton_sharpness
from dynamics.curvature.hessian import sharpness
from dynamics.models.base import Batch, Model

SPARSE_RATE = 0.1  # a neuron active on at most this share of the data counts as sparse


class View:
    """Parameters of a run seen against its problem. `train.labels` are noisy; `clean` ones are f_0(x)."""

    def __init__(self, model: Model, params: Any, train: Batch, clean: jax.Array, test: Batch, factor: float, hyper: Hyper):
        self.model, self.params, self.train, self.clean, self.test = model, params, train, clean, test
        self.factor, self.hyper = factor, hyper

    @cached_property
    def prediction(self) -> jax.Array:
        return self.model.apply(self.params, self.train)

    @cached_property
    def mean_square(self) -> jax.Array:
        """(1/n) sum (f(x_i) - y_i)^2 on the noisy labels, whatever the loss's normalisation."""
        return jnp.sum(self.train.weights * (self.prediction - self.train.labels) ** 2)

    @cached_property
    def excess_risk(self) -> jax.Array:
        """Mean of (f - f_0)^2 over fresh samples."""
        return jnp.sum(self.test.weights * (self.model.apply(self.params, self.test) - self.test.labels) ** 2)

    def loss(self, params: Any) -> jax.Array:
        residual = self.model.apply(params, self.train) - self.train.labels
        return self.factor * jnp.sum(self.train.weights * residual**2)

    @cached_property
    def gradient(self) -> Any:
        if self.model.squared_gradient is not None:
            return self.model.squared_gradient(self.params, self.train, self.factor)
        return jax.grad(self.loss)(self.params)


def train_loss(view: View) -> dict[str, jax.Array]:
    """The loss that is descended, in its own normalisation."""
    return {"train_loss": view.factor * view.mean_square}


def clean_train_error(view: View) -> dict[str, jax.Array]:
    """(1/n) sum (f(x_i) - f_0(x_i))^2, the error of Theorem 3.6 of Liang et al. 2025."""
    return {"clean_train_error": jnp.sum(view.train.weights * (view.prediction - view.clean) ** 2)}


def excess_risk(view: View) -> dict[str, jax.Array]:
    """Mean of (f - f_0)^2 over `num_test` fresh samples."""
    return {"excess_risk": view.excess_risk}


def generalization_gap(view: View) -> dict[str, jax.Array]:
    """E (f(x) - y)^2 - (1/n) sum (f(x_i) - y_i)^2, signed, plain mean squares; fresh noise enters by its variance."""
    return {"generalization_gap": view.excess_risk + view.hyper["data.noise_std"] ** 2 - view.mean_square}


def gradient_norm(view: View) -> dict[str, jax.Array]:
    """Euclidean norm of the full-batch gradient over all parameters, before clipping and decay."""
    return {"gradient_norm": optax.tree.norm(view.gradient)}


def weight_norm(view: View) -> dict[str, jax.Array]:
    """Euclidean norm of all parameters, biases included."""
    return {"weight_norm": optax.tree.norm(view.params)}


def kernel_sharpness(view: View) -> dict[str, jax.Array]:
    """Largest eigenvalue of the Gauss-Newton matrix of the loss through its n x n kernel, with its residual.

    It lies within max_k |q_k| of the Hessian's own and equals it at stationary points.
    """
    top = gauss_newton_sharpness(view.model, view.params, view.train, view.factor)
    return {"gauss_newton_sharpness": top.value, "gauss_newton_residual": top.residual}


def hessian_sharpness(view: View) -> dict[str, jax.Array]:
    """Largest algebraic eigenvalue of the loss's Hessian by guarded Lanczos, with residual and convergence."""
    top = sharpness(view.loss, view.params)
    return {"sharpness": top.value, "sharpness_residual": top.residual, "sharpness_converged": top.converged}


def activation_statistics(view: View) -> dict[str, jax.Array]:
    """Over neurons: share alive (active on some sample), mean and median rate of the alive, share of the alive that is sparse.

    Sparse means active on at most 10 % of the samples. All but the first are NaN when no neuron is alive.
    """
    assert view.model.activity is not None  # TrainingSpec.check sees to it
    rate, used = view.model.activity(view.params, view.train, view.hyper)
    alive = used & (rate > 0)
    count = jnp.sum(alive)
    return {
        "alive_fraction": count / jnp.sum(used).astype(rate.dtype),
        "activation_rate_mean": jnp.sum(jnp.where(alive, rate, 0)) / count,
        "activation_rate_median": jnp.nanmedian(jnp.where(alive, rate, jnp.nan)),
        "sparse_fraction": jnp.sum(alive & (rate <= SPARSE_RATE * (1 + 1e-5))) / count.astype(rate.dtype),
    }


MEASURES: dict[str, Callable[[View], dict[str, jax.Array]]] = {
    "train_loss": train_loss,
    "clean_train_error": clean_train_error,
    "excess_risk": excess_risk,
    "generalization_gap": generalization_gap,
    "gradient_norm": gradient_norm,
    "weight_norm": weight_norm,
    "gauss_newton_sharpness": kernel_sharpness,
    "sharpness": hessian_sharpness,
    "activation_statistics": activation_statistics,
}
