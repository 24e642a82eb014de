"""Stochastic gradient descent with label noise: fresh Gaussian noise on the labels at every step.

theta <- theta - eta * grad L(theta; y + label_noise * xi), xi ~ N(0, 1) for each label and step, on the step's
minibatch or, with `batch_size` 0, on all samples (Blanc et al. 2020; Damian et al. 2021, who study the squared loss
with this noise and find that it drifts towards flat minima). The noise of the data, `data.noise_std`, is drawn once
and stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import optax

from dynamics.core.dynamics import Hyper
from dynamics.optimizers.rules import RULES, RuleKind, chain
from dynamics.optimizers.update_rule import Gradient, Rule

if TYPE_CHECKING:
    from dynamics.optimizers.rules import OptimizerSpec


def label_noise_sgd(spec: OptimizerSpec, hyper: Hyper, mask: Any) -> Rule:
    """Return gradient descent on labels that are moved anew at every step."""
    descent, std = chain(hyper, mask, optax.identity()), hyper["optimizer.label_noise"]

    def update(params: Any, state: Any, gradient: Gradient, *, step: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        def add_noise(labels: jax.Array) -> jax.Array:
            return labels + std * jax.random.normal(key, labels.shape, labels.dtype)

        return descent.update(params, state, lambda p, relabel=add_noise: gradient(p, relabel), step=step, key=key)

    return Rule(descent.init, update)


RULES.add("label_noise_sgd", RuleKind(label_noise_sgd, ("clip_norm", "label_noise"), pads=False, of_values=True))
