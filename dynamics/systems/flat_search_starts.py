"""Where a search of the flat set begins: the solution of gradient descent, empty caps, or a fresh net."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from dynamics.data.closed_forms import ClosedForms
from dynamics.data.law import draw_inputs
from dynamics.measures.view import RunData
from dynamics.models.base import Model
from dynamics.models.two_layer import TwoLayer

HALF = 0.5  # the loss is (1/2n) sum (f - y)^2, in which the theory's eta is given
CLIP_NORM = 50.0  # of the descent's gradient, which acts in its first steps only (Liang et al. 2025)

Start = Callable[[Model, ClosedForms, jax.Array, RunData, int], TwoLayer]


def start_from_descent(model: Model, law: ClosedForms, key: jax.Array, run: RunData, num_steps: int) -> TwoLayer:
    """Return the GD solution: full-batch descent from a fresh network at the flat set's own learning rate."""
    clip = optax.clip_by_global_norm(CLIP_NORM)
    loss_gradient = model.squared_gradient
    assert loss_gradient is not None  # FlatSearchSpec.check asks for a two-layer net

    def descend(_, params):
        gradient, _ = clip.update(loss_gradient(params, run.train, HALF), optax.EmptyState())
        return jax.tree.map(lambda p, g: p - run.hyper["learning_rate"] * g, params, gradient)

    return lax.fori_loop(0, num_steps, descend, model.init(key, run.hyper))


def start_from_empty_caps(model: Model, law: ClosedForms, key: jax.Array, run: RunData, num_steps: int) -> TwoLayer:
    """Return a network of neurons in random directions with kinks just beyond the last training input.

    Each has height `bound` on the ball.

    None is active on the data, so that f = 0 there and the sharpness is 1 exactly (the net of Prop. I.2 and Cor. I.3 of
    Liang et al. 2025). Caps may overlap; the retraction scales the sum down to the bound.
    """
    x, _, _, weights = run.problem.train
    like = jax.eval_shape(lambda: model.init(key, run.hyper)).hidden
    size = (like.shape[1], x.shape[1])
    u = draw_inputs("sphere", key, size[0], run.hyper["data.input_dim"], size, like.dtype).T
    radius = run.hyper["data.scale"] * law.radius
    last = jnp.max(jnp.where(weights[:, None] > 0, x @ u, -jnp.inf), axis=0)
    kink = last + 1e-3 * radius
    height = jnp.maximum(radius - kink, 1e-2 * radius)
    root = jnp.where(jnp.arange(size[0]) < run.hyper["model.width"], jnp.sqrt(run.hyper["bound"] / height), 0)
    return TwoLayer(root * jnp.concatenate([-kink[None], u]), root, jnp.zeros((), like.dtype))


def start_from_fresh_net(model: Model, law: ClosedForms, key: jax.Array, run: RunData, num_steps: int) -> TwoLayer:
    """Return a network at its random initialisation."""
    return model.init(key, run.hyper)


# by the name that `FlatSearchSpec.start` gives
STARTS: dict[str, Start] = {"descent": start_from_descent, "caps": start_from_empty_caps, "random": start_from_fresh_net}
