"""Tools to search the flat set: a differentiable Gauss-Newton sharpness, a shrinking that lowers it, a sup-norm, label
noise.

Theory units throughout: the loss is (1/2n) sum (f - y)^2 and Theta_flat(eta) = {theta: lambda_max(Hessian) <= 2 / eta}.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from dynamics.models.base import Batch
from dynamics.models.two_layer import TwoLayer

TINY = 1e-30  # below every norm that is divided by


def apply_jacobian_transpose(params: TwoLayer, batch: Batch, vector: jax.Array) -> TwoLayer:
    """Return J^T u = sum_i sqrt(w_i) u_i grad f(x_i) for a vector u (n,) over samples, shaped like the parameters.

    With J_i = sqrt(w_i) grad f(x_i) the Gauss-Newton matrix is J^T J and its kernel J J^T. In closed form, so that it
    can be differentiated by `params` like any other function of them (the kinks' positions have no derivative).
    """
    x = batch.inputs.reshape(-1, batch.inputs.shape[-1])
    s = jnp.sqrt(batch.weights.reshape(-1)) * vector
    z = x @ params.hidden
    active = z > 0
    moments = (s[:, None] * x).T @ active.astype(x.dtype)  # (d + 1, K)
    return TwoLayer(params.readout * moments, jnp.sum(params.hidden * moments, axis=0), jnp.sum(s))


def apply_jacobian(params: TwoLayer, batch: Batch, tangent: TwoLayer) -> jax.Array:
    """Return J p (n,) for a direction p shaped like the parameters, J_i = sqrt(w_i) grad f(x_i)."""
    x = batch.inputs.reshape(-1, batch.inputs.shape[-1])
    z = x @ params.hidden
    slope = jnp.where(z > 0, (x @ tangent.hidden) * params.readout + z * tangent.readout, 0)
    return jnp.sqrt(batch.weights.reshape(-1)) * (jnp.sum(slope, axis=1) + tangent.offset)


def rayleigh_quotient(params: TwoLayer, batch: Batch, vector: jax.Array) -> jax.Array:
    """Return u^T J J^T u of a unit vector u (n,): at most lambda_GN, and equal to it at the top eigenvector.

    By the envelope theorem its gradient at fixed u is then that of lambda_GN, if that eigenvalue is simple; if not, it
    is a subgradient. Unlike the derivative of a full decomposition it is finite either way.
    """
    return optax.tree.norm(apply_jacobian_transpose(params, batch, vector), squared=True)


def power_iteration_step(params: TwoLayer, batch: Batch, vector: jax.Array) -> jax.Array:
    """Return the next unit vector (n,) of power iteration on the Gauss-Newton kernel."""
    image = apply_jacobian(params, batch, apply_jacobian_transpose(params, batch, vector))
    return image / jnp.linalg.norm(image)


def scale_network_output(params: TwoLayer, factor: jax.Array) -> TwoLayer:
    """Return a network with `factor` (in [0, 1]) times this one's output and the same kinks.

    Hidden weights and readout are both scaled by the root. The kernel is then 11^T / n + factor * (the rest), and since
    its top eigenvalue is convex in the factor and 1 at zero, lambda_GN - 1 shrinks at least by the factor.
    """
    root = jnp.sqrt(factor)
    return TwoLayer(root * params.hidden, root * params.readout, factor * params.offset)


def ascend_to_peaks(
    output: Callable[[jax.Array], jax.Array], points: jax.Array, radius: jax.Array, num_steps: int
) -> jax.Array:
    """Return the points (m, d) of largest |f| that projected ascent over a ball met on its way from `points` (m, d).

    Steps shrink geometrically from the radius to a hundredth of it. f is piecewise linear: |f| is largest at a corner
    of its pieces or on the sphere, so what is found is a lower bound on the sup-norm.
    """

    def magnitude(x):
        return jnp.abs(output(x))

    def move(t, carry):
        x, best = carry
        value, back = jax.vjp(magnitude, x)
        best = jnp.where((value > magnitude(best))[:, None], x, best)
        slope = back(jnp.ones_like(value))[0]
        x = x + radius * 0.01 ** (t / num_steps) * slope / jnp.maximum(jnp.linalg.norm(slope, axis=1, keepdims=True), TINY)
        return x * jnp.minimum(1, radius / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), TINY)), best

    return lax.fori_loop(0, num_steps + 1, move, (points, points))[1]


def clipped_noise_variance(std: jax.Array, bound: jax.Array) -> jax.Array:
    """Return the variance of a centred Gaussian of this standard deviation that is clipped to +-bound.

    It is E min(sigma^2 Z^2, bound^2).
    """
    a = bound / jnp.where(std > 0, std, 1)
    tail = 2 * jax.scipy.stats.norm.sf(a)
    inside = 1 - tail - 2 * a * jax.scipy.stats.norm.pdf(a)
    return jnp.where(std > 0, std**2 * inside + bound**2 * tail, 0)
