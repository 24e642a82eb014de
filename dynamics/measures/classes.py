"""Accuracy of classifiers."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynamics.measures.needs import TRAINING_SAMPLES
from dynamics.measures.table import MEASURES, Measure
from dynamics.measures.view import View


def share_right(prediction: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
    """Return the share of the samples whose largest output is that of their largest label."""
    return jnp.sum(weights * (jnp.argmax(prediction, axis=-1) == jnp.argmax(labels, axis=-1)))


def accuracy(view: View) -> dict[str, jax.Array]:
    """Share of the training and of the fresh samples whose largest output is that of their largest (clean) label."""
    return {
        "train_accuracy": share_right(view.prediction, view.train.labels, view.train.weights),
        "test_accuracy": share_right(view.test_prediction, view.test.labels, view.test.weights),
    }


def clean_accuracy(view: View) -> dict[str, jax.Array]:
    """Share of the training samples whose largest output is that of their label without noise."""
    return {"clean_train_accuracy": share_right(view.prediction, view.clean, view.train.weights)}


MEASURES.add("clean_accuracy", Measure(clean_accuracy, ("classes", "clean_labels", TRAINING_SAMPLES), padding="exact"))
MEASURES.add("accuracy", Measure(accuracy, ("classes", "fresh_samples"), padding="exact"))
