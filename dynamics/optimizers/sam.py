"""Sharpness-aware minimisation: the gradient is taken a little up the slope (Foret et al. 2021, eq. 3).

theta <- theta - eta grad L(theta + rho g / |g|), g = grad L(theta), rho = `radius`, |g| over all parameters; without
`normalized` the ascent is rho g (Andriushchenko and Flammarion 2022). Both gradients are of the step's minibatch. The
ascent follows the loss alone; clipping and weight decay act on the gradient that is descended, decay at theta.

On a quadratic along an eigenvector of lambda the step is unstable where eta lambda (1 + rho lambda / |g|) > 2, or
eta lambda (1 + rho lambda) > 2 without `normalized`: the edge of SAM (Long and Bartlett 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

from dynamics.core.dynamics import Hyper
from dynamics.optimizers.rules import RULES, RuleKind, chain
from dynamics.optimizers.update_rule import Gradient, Rule

if TYPE_CHECKING:
    from dynamics.optimizers.rules import OptimizerSpec


def sam(spec: OptimizerSpec, hyper: Hyper, mask: Any) -> Rule:
    """Return gradient descent by the gradient at theta + rho g / |g|, or theta + rho g; where g is 0,
    by that at theta."""
    descent, radius = chain(hyper, mask, optax.identity()), hyper["optimizer.radius"]

    def update(params: Any, state: Any, gradient: Gradient, *, step: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        def look_ahead(p: Any, relabel: Callable[[jax.Array], jax.Array] | None = None) -> Any:
            slope = gradient(p, relabel)
            norm = optax.tree.norm(slope) if spec.normalized else jnp.ones_like(radius)
            reach = jnp.where(norm > 0, radius / jnp.where(norm > 0, norm, 1), 0)
            return gradient(optax.tree.add_scale(p, reach, slope), relabel)

        return descent.update(params, state, look_ahead, step=step, key=key)

    return Rule(descent.init, update)


RULES.add("sam", RuleKind(sam, ("clip_norm", "radius", "normalized"), gradients=2))
