"""What can be seen of a training run: measures by name.

A measure takes a `View` and returns named scalars. Quantities that several measures need are computed once
a view. Any measure may be named in a study's config; its columns stand in the record table.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dynamics.measures.conservation import balance
from dynamics.measures.stability_checks import path_norms, stability_checks
from dynamics.measures.view import View
from dynamics.models.losses import LOSSES, squares

SPARSE_RATE = 0.1  # a neuron active on at most this share of the data counts as sparse


def train_loss(view: View) -> dict[str, jax.Array]:
    """The loss that is descended, in its own normalisation."""
    return {"train_loss": view.train_loss}


def clean_train_error(view: View) -> dict[str, jax.Array]:
    """(1/n) sum (f(x_i) - f_0(x_i))^2, the error of Theorem 3.6 of Liang et al. 2025."""
    weights = view.train.weights
    return {"clean_train_error": jnp.sum(weights * squares(view.prediction - view.clean, weights))}


def excess_risk(view: View) -> dict[str, jax.Array]:
    """Mean of (f - f_0)^2 over `num_test` fresh samples."""
    return {"excess_risk": view.excess_risk}


def generalization_gap(view: View) -> dict[str, jax.Array]:
    """E |f(x) - y|^2 - (1/n) sum |f(x_i) - y_i|^2, signed, plain mean squares; fresh noise enters by its variance an output."""
    outputs = view.train.labels.size // view.train.weights.size
    return {"generalization_gap": view.excess_risk + outputs * view.hyper["data.noise_std"] ** 2 - view.mean_square}


def gradient_norm(view: View) -> dict[str, jax.Array]:
    """Euclidean norm of the full-batch gradient over all parameters, before clipping and decay."""
    return {"gradient_norm": optax.tree.norm(view.gradient)}


def weight_norm(view: View) -> dict[str, jax.Array]:
    """Euclidean norm of all parameters, biases included."""
    return {"weight_norm": optax.tree.norm(view.params)}


def kernel_sharpness(view: View) -> dict[str, jax.Array]:
    """Largest eigenvalue of the Gauss-Newton matrix of the loss through its n x n kernel, with its residual.

    It lies within `residual_sharpness` of the Hessian's own and equals it at stationary points with every v_k nonzero.
    """
    top = view.gauss_newton
    return {"gauss_newton_sharpness": top.value, "gauss_newton_residual": top.residual}


def hessian_sharpness(view: View) -> dict[str, jax.Array]:
    """Largest algebraic eigenvalue of the loss's Hessian by guarded Lanczos, with residual and convergence."""
    top = view.sharpness
    return {"sharpness": top.value, "sharpness_residual": top.residual, "sharpness_converged": top.converged}


def residual_sharpness(view: View) -> dict[str, jax.Array]:
    """Spectral norm of the Hessian's part beyond Gauss-Newton, exactly max_k |q_k|.

    q_k = 2 factor sum_i w_i r_i 1_ik (x_i, 1): the rest is block diagonal over neurons, with eigenvalues +-|q_k|. Units of
    several positions with one readout weight make one block, whose q_k are put together.
    """
    norm, block = jnp.linalg.norm(view.half_spaces[0, 1], axis=0), view.layout.block
    if len(np.unique(block)) < len(block):
        norm = jnp.sqrt(jax.ops.segment_sum(norm**2, jnp.asarray(block), int(block.max()) + 1))
    return {"residual_sharpness": 2 * view.factor * jnp.max(norm)}


def activation_statistics(view: View) -> dict[str, jax.Array]:
    """Over neurons: who is alive (active on some sample), how often the alive are active, whose kink misses the data.

    alive_fraction, outside_fraction (kink |b| / |w| at or beyond the data's radius), always_active_fraction: shares of all
    neurons. Mean, median and 90th percentile of the alive's activation rate, and sparse_fraction (the share of the alive that
    is active on at most 10 % of the samples): NaN when no neuron is alive.
    """
    bias, direction = view.neurons.hidden[0], view.neurons.hidden[1:]
    rate, used = view.rate, view.used
    alive = used & (rate > 0)
    count, total = jnp.sum(alive), jnp.sum(used).astype(rate.dtype)
    outside = used & (jnp.abs(bias) >= view.radius * jnp.linalg.norm(direction, axis=0))
    among = jnp.where(alive, rate, jnp.nan)
    return {
        "alive_fraction": count / total,
        "outside_fraction": jnp.sum(outside) / total,
        "always_active_fraction": jnp.sum(used & (rate >= 1 - 1e-5)) / total,
        "activation_rate_mean": jnp.sum(jnp.where(alive, rate, 0)) / count,
        "activation_rate_median": jnp.nanmedian(among),
        "activation_rate_p90": jnp.nanquantile(among, 0.9),
        "sparse_fraction": jnp.sum(alive & (rate <= SPARSE_RATE * (1 + 1e-5))) / count.astype(rate.dtype),
    }


def ranks(values: jax.Array, among: jax.Array) -> jax.Array:
    """Ranks (K,) of the values among those masked, ties sharing their mean rank; meaningless elsewhere."""
    ordered = jnp.sort(jnp.where(among, values, jnp.inf))
    return (jnp.searchsorted(ordered, values, side="left") + jnp.searchsorted(ordered, values, side="right")).astype(
        values.dtype
    )


def rate_norm_correlation(view: View) -> dict[str, jax.Array]:
    """Over the neurons alive: Spearman's correlation of the activation rate with |w| and with |v| |w|, and the median |w|.

    A correlation is NaN if one side is constant, the median if no neuron is alive. Shattering shows as a negative
    correlation: what is seldom active has grown large (Liang et al. 2025, Figures 1 and 4-8).
    """
    norm = jnp.linalg.norm(view.neurons.hidden[1:], axis=0)
    views = view.layout.mass / view.layout.share
    rate = jnp.round(view.rate * views * view.hyper["data.num_samples"])  # a count, so that ties are ties
    alive = view.used & (rate > 0)

    def centred(values: jax.Array) -> jax.Array:
        rank = jnp.where(alive, ranks(values, alive), 0)
        return jnp.where(alive, rank - jnp.sum(rank) / jnp.sum(alive), 0)

    def correlation(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(a * b) / jnp.sqrt(jnp.sum(a**2) * jnp.sum(b**2))

    rate = centred(rate)
    return {
        "rate_weight_norm_correlation": correlation(rate, centred(norm)),
        "rate_path_correlation": correlation(rate, centred(norm * jnp.abs(view.neurons.readout))),
        "alive_weight_norm_median": jnp.nanmedian(jnp.where(alive, norm, jnp.nan)),
    }


def accuracy(view: View) -> dict[str, jax.Array]:
    """Share of the training and of the fresh samples whose largest output is that of their largest (clean) label."""

    def right(prediction: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
        return jnp.sum(weights * (jnp.argmax(prediction, axis=-1) == jnp.argmax(labels, axis=-1)))

    return {
        "train_accuracy": right(view.prediction, view.train.labels, view.train.weights),
        "test_accuracy": right(view.test_prediction, view.test.labels, view.test.weights),
    }


def test_loss(view: View) -> dict[str, jax.Array]:
    """The loss that is descended on fresh samples with clean labels."""
    each = LOSSES[view.kind](view.test_prediction, view.test.labels, view.test.weights)
    return {"test_loss": view.factor * jnp.sum(view.test.weights * each)}


MEASURES: dict[str, Callable[[View], dict[str, jax.Array]]] = {
    "train_loss": train_loss,
    "clean_train_error": clean_train_error,
    "excess_risk": excess_risk,
    "generalization_gap": generalization_gap,
    "gradient_norm": gradient_norm,
    "weight_norm": weight_norm,
    "gauss_newton_sharpness": kernel_sharpness,
    "sharpness": hessian_sharpness,
    "residual_sharpness": residual_sharpness,
    "activation_statistics": activation_statistics,
    "rate_norm_correlation": rate_norm_correlation,
    "path_norms": path_norms,
    "stability_checks": stability_checks,
    "balance": balance,
    "accuracy": accuracy,
    "test_loss": test_loss,
}

RELU_MEASURES = ("residual_sharpness", "path_norms", "stability_checks")  # of kinks
CLASS_MEASURES = ("accuracy",)
SQUARED_MEASURES = ("gauss_newton_sharpness",)
NEURON_MEASURES = ("activation_statistics", "balance", "rate_norm_correlation", *RELU_MEASURES)  # of one hidden layer
