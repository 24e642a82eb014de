"""What gradient flow conserves in a homogeneous two-layer net, and what weight decay balances.

For the ReLU phi(z) = z phi'(z), so every neuron has (w_k, b_k) . dL/d(w_k, b_k) = v_k dL/dv_k, and with
c_k = |w_k|^2 + b_k^2 - v_k^2

    gradient flow                        c_k stays
    with decay of all parameters         dc_k/dt = -2 decay c_k, so |w_k|^2 + b_k^2 = v_k^2 at a stationary point
    with decay of weights, not biases    dc_k/dt = -2 decay (|w_k|^2 - v_k^2), so |w_k|^2 = v_k^2 at a stationary point
    one step of GD at rate eta           c_k moves by eta^2 ((dL/d(w_k, b_k))^2 - (dL/dv_k)^2): O(eta) over a fixed time

(Du, Hu and Lee 2018 for the flow; the rest derived.) Where samples lie on a neuron's kink the flow slides along it and
its gradient does not vanish, yet every selection of phi' there has the same property, so the laws hold all the same.
None of it holds for an activation that is not homogeneous.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynamics.measures.table import MEASURES, Measure
from dynamics.measures.view import View
from dynamics.models.two_layer import TwoLayer

CARRIES = 1e-3  # a neuron carries the function if its |v| |w| is at least this share of the largest


def conserved(params: TwoLayer) -> jax.Array:
    """c_k = |w_k|^2 + b_k^2 - v_k^2, (K,); of NumPy arrays too."""
    return (params.hidden**2).sum(axis=0) - params.readout**2


def balance(view: View) -> dict[str, jax.Array]:
    """Largest and mean imbalance |a - v^2| / (a + v^2) over the neurons that carry the function.

    `imbalance_*` with a = |w|^2 + b^2, `weights_imbalance_*` with a = |w|^2. `conserved_sum` is sum_k c_k over all
    neurons, `carrying_fraction` the share of those that carry. The others are left out: what decay alone shrinks keeps
    its proportions.
    """
    hidden, square = view.params.hidden, view.params.readout**2
    weights = jnp.sum(hidden[1:] ** 2, axis=0)
    path = weights * square
    carries = (path > 0) & (path >= CARRIES**2 * jnp.max(path))
    count = jnp.sum(carries).astype(path.dtype)

    def imbalances(name: str, incoming: jax.Array) -> dict[str, jax.Array]:
        share = jnp.where(carries, jnp.abs(incoming - square) / (incoming + square), 0)
        return {f"{name}_max": jnp.max(share), f"{name}_mean": jnp.sum(share) / count}

    return {
        **imbalances("imbalance", weights + hidden[0] ** 2),
        **imbalances("weights_imbalance", weights),
        "conserved_sum": jnp.sum(conserved(view.params)),
        "carrying_fraction": count / view.hyper["model.width"].astype(path.dtype),
    }


MEANS = ("imbalance_mean", "weights_imbalance_mean")  # over no neuron, where none carries the function
MEASURES.add("balance", Measure(balance, ("shared_filters", "single_output", "one_rate"), padding="exact", undefined=MEANS))
