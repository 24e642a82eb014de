"""Accuracy of classifiers."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynamics.measures.table import MEASURES, Measure
from dynamics.measures.view import View


def accuracy(view: View) -> dict[str, jax.Array]:
    """Share of the training and of the fresh samples whose largest output is that of their largest (clean) label."""

    def right(prediction: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
        return jnp.sum(weights * (jnp.argmax(prediction, axis=-1) == jnp.argmax(labels, axis=-1)))

    return {
        "train_accuracy": right(view.prediction, view.train.labels, view.train.weights),
        "test_accuracy": right(view.test_prediction, view.test.labels, view.test.weights),
    }


MEASURES.add("accuracy", Measure(accuracy, ("classes", "fresh_samples"), padding="exact"))
