"""Losses and errors on the training samples and on fresh ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynamics.measures.needs import TRAINING_SAMPLES
from dynamics.measures.table import MEASURES, Measure
from dynamics.measures.view import View
from dynamics.models.losses import LOSSES, squared_norms


def train_loss(view: View) -> dict[str, jax.Array]:
    """The loss that is descended, in its own normalisation."""
    return {"train_loss": view.train_loss}


def clean_train_error(view: View) -> dict[str, jax.Array]:
    """(1/n) sum (f(x_i) - f_0(x_i))^2, the error of Theorem 3.6 of Liang et al. 2025."""
    weights = view.train.weights
    return {"clean_train_error": jnp.sum(weights * squared_norms(view.prediction - view.clean, weights))}


def excess_risk(view: View) -> dict[str, jax.Array]:
    """Mean of (f - f_0)^2 over `num_test` fresh samples."""
    return {"excess_risk": view.excess_risk}


def generalization_gap(view: View) -> dict[str, jax.Array]:
    """E |f(x) - y|^2 - (1/n) sum |f(x_i) - y_i|^2, signed, plain mean squares;
    fresh noise enters by its variance an output."""
    outputs = view.train.labels.size // view.train.weights.size
    return {"generalization_gap": view.excess_risk + outputs * view.hyper["data.noise_std"] ** 2 - view.mean_square}


def test_loss(view: View) -> dict[str, jax.Array]:
    """The loss that is descended on fresh samples with clean labels."""
    each = LOSSES[view.descended.kind].each(view.test_prediction, view.test.labels, view.test.weights, view.descended)
    return {"test_loss": view.factor * jnp.sum(view.test.weights * each)}


MEASURES.update(
    {
        "train_loss": Measure(train_loss, padding="exact"),
        "clean_train_error": Measure(clean_train_error, ("values", "clean_labels", TRAINING_SAMPLES), padding="exact"),
        "excess_risk": Measure(excess_risk, ("values", "fresh_samples"), padding="exact"),
        "generalization_gap": Measure(
            generalization_gap, ("values", "added_noise", "fresh_samples", TRAINING_SAMPLES), padding="exact"
        ),
        "test_loss": Measure(test_loss, ("fresh_samples",), padding="exact"),
    }
)
