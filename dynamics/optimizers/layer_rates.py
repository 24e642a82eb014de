"""Learning rates of a layer's own: factors on a rule's update, leaf by leaf.

They are the parametrisation's (`dynamics.models.parametrization`), which has one set for rules whose update goes with
the size of the gradient and one for rules whose update does not.
"""

from __future__ import annotations

from typing import Any

import jax
import optax

from dynamics.core.dynamics import Hyper
from dynamics.models.parametrization import ADAM, SGD

LAYER_RATES = "factors on the learning rate, a tree like the parameters"  # the entry of a rule's scalars that holds them
FAMILIES = {  # of the rules that take them; any other has one learning rate
    **dict.fromkeys(("gd", "momentum", "nesterov", "gradient_flow", "adaptive_flow", "stiff_flow"), SGD),
    **dict.fromkeys(("adam", "adamw", "rmsprop", "torch_rmsprop", "signgd"), ADAM),
}


def scale_by_learning_rate(hyper: Hyper) -> optax.GradientTransformation:
    """Return the transformation that multiplies an update by minus the learning rate in force,
    each layer by its own."""
    rate, factors = optax.scale(-hyper["optimizer.learning_rate"]), hyper.get(LAYER_RATES)
    if factors is None:
        return rate
    return optax.chain(rate, optax.stateless(lambda updates, params: scale_leaves(updates, factors)))


def scale_leaves(updates: Any, factors: Any) -> Any:
    """Return the updates times their factors, which broadcast to them; None for none."""
    return updates if factors is None else jax.tree.map(lambda u, f: f * u, updates, factors)
