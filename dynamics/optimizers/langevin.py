"""Langevin dynamics: gradient descent with Gaussian noise that samples the Gibbs measure exp(-beta L).

L is the loss that is descended, with its factor (`loss.normalization`) and the weight decay's (weight_decay / 2)
|theta|^2 over what decays; beta = `inverse_temperature` multiplies L as it is, not n L: for a posterior over n
samples with noise of variance s^2 and the `half` loss it is n / s^2.

`langevin` is the unadjusted Langevin algorithm (ULA), theta <- theta - eta grad L + sqrt(2 eta / beta) xi. Its
stationary law differs from exp(-beta L) by O(eta): on a quadratic the variance along an eigenvector is 1 / (beta
lambda (1 - eta lambda / 2)). On minibatches it is SGLD (Welling and Teh 2011); their noise comes on top.

`psgld` multiplies both terms by G = 1 / (sqrt(v) + epsilon), v <- beta2 v + (1 - beta2) g^2 from v = 0, g included:
theta <- theta - eta G g + sqrt(2 eta G / beta) xi (Li et al. 2016, Algorithm 1, whose step size is 2 eta / beta).
Their term Gamma_i = sum_j dG_ij / dtheta_j is dropped, as they do in practice, and so is what the dependence of v
on past gradients would add: the law that is sampled is exp(-beta L) only where G hardly changes, as it does for
beta2 near 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

from dynamics.core.dynamics import Hyper
from dynamics.optimizers.rules import RULES, RuleKind
from dynamics.optimizers.update_rule import Gradient, Rule

if TYPE_CHECKING:
    from dynamics.optimizers.rules import OptimizerSpec


def _noisy_step(hyper: Hyper, params: Any, slope: Any, metric: Any, key: jax.Array) -> Any:
    """Return params - eta G slope + sqrt(2 eta G / beta) xi, G being a tree of diagonals."""
    rate = hyper["optimizer.learning_rate"]
    heat = 2 * rate / hyper["optimizer.inverse_temperature"]
    noise = optax.tree.random_like(key, params)
    return jax.tree.map(lambda p, s, g, xi: p - rate * g * s + jnp.sqrt(heat * g) * xi, params, slope, metric, noise)


def _slope(hyper: Hyper, mask: Any, params: Any, gradient: Gradient) -> Any:
    """Return the gradient of the loss with its weight decay."""
    decay = hyper["optimizer.weight_decay"]
    return jax.tree.map(lambda g, p, m: g + decay * m * p, gradient(params), params, mask)


def langevin(spec: OptimizerSpec, hyper: Hyper, mask: Any) -> Rule:
    """Return the unadjusted Langevin algorithm."""

    def update(params: Any, state: Any, gradient: Gradient, *, step: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        slope = _slope(hyper, mask, params, gradient)
        return _noisy_step(hyper, params, slope, jax.tree.map(jnp.ones_like, params), key), state

    return Rule(lambda params: (), update)


def psgld(spec: OptimizerSpec, hyper: Hyper, mask: Any) -> Rule:
    """Return Langevin dynamics preconditioned by RMSProp's metric; its state is v."""
    keep, epsilon = hyper["optimizer.beta2"], hyper["optimizer.epsilon"]

    def update(params: Any, state: Any, gradient: Gradient, *, step: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        slope = _slope(hyper, mask, params, gradient)
        squares = optax.tree.update_moment_per_elem_norm(slope, state, keep, 2)
        metric = jax.tree.map(lambda v: 1 / (jnp.sqrt(v) + epsilon), squares)
        return _noisy_step(hyper, params, slope, metric, key), squares

    return Rule(lambda params: jax.tree.map(jnp.zeros_like, params), update)


RULES.update(
    {
        "langevin": RuleKind(langevin, ("inverse_temperature",), pads=False),
        "psgld": RuleKind(psgld, ("inverse_temperature", "beta2", "epsilon"), pads=False),
    }
)
