"""Euclidean norms of the gradient and of the parameters."""

from __future__ import annotations

import jax
import optax

from dynamics.measures.table import MEASURES, Measure
from dynamics.measures.view import View


def gradient_norm(view: View) -> dict[str, jax.Array]:
    """Euclidean norm of the full-batch gradient over all parameters, before clipping and decay."""
    return {"gradient_norm": optax.tree.norm(view.gradient)}


def weight_norm(view: View) -> dict[str, jax.Array]:
    """Euclidean norm of all parameters, biases included."""
    return {"weight_norm": optax.tree.norm(view.params)}


MEASURES.update(
    {
        "gradient_norm": Measure(gradient_norm, padding="exact"),
        "weight_norm": Measure(weight_norm, padding="exact"),
    }
)
