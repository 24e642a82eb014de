"""The inequalities of the stability theory as measures: path norms and the slack of every check, in theory units.

Theory units: L = (1/2n) sum r_i^2. A loss of factor c has curvatures 2c times the theory's and a rate of eta is 2c eta
there. With a_k = v_k |w_k|, g~ and g as in `weight.py` on the training inputs, R the largest input norm:

    C1          lambda_GN >= 1 + 2 sum |a_k| g~_k
    C2          sum |a_k| g_k <= lambda_H / 2 - 1/2 + sqrt(1 + R^2) / 2 sqrt(2L)
    C3          sum |a_k| g_k <= lambda_H / 2 - 1/2 + (R + 1) sqrt(2L)          (Liang et al. 2025, Theorem 3.2)
    corollary   sum |a_k| g_k <= 1 / eta - 1/2 + (R + 1) sqrt(2L) where lambda_H <= 2 / eta   (ibid., Corollary 3.3)

Of a patch network (Liang et al. 2026b, derived) a unit sees patches: g~ and g are those of all training patches with
shared filters, R is the largest norm of a patch, |a_k| g~_k stands for |v_k| |w_k| s_k sqrt(p_k^2 + |e_k|^2) with the
unit's share in the pool taken into s, p and e (`models/locally_connected.py`), |a_k| alone for |v_k| |w_k| times that
share. C2's last term gets the factor `UnitLayout.coupling`.

C1: lambda_GN is at least |mean of grad f(x_i)|^2, and per neuron a^2 + b^2 >= 2ab. C2: the Hessian is Gauss-Newton plus
blocks of norm |q_k|, q_k = mean of r_i 1_ik (x_i, 1), at most sqrt(1 + R^2) sqrt(2L).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynamics.measures.needs import TRAINING_SAMPLES
from dynamics.measures.table import GAUSS_NEWTON, HALF_SPACES, HESSIAN, MEASURES, Measure
from dynamics.measures.view import View
from dynamics.stability.weight import one_sided_weight


def weighted_paths(view: View) -> tuple[jax.Array, jax.Array, jax.Array]:
    """|a_k|, |a_k| g~_k and |a_k| g_k of every neuron, (N,) each; a neuron's own scale makes any division needless.

    With w_k = 0 and b_k > 0 the kink is at infinity, and |a_k| g~_k its limit |v_k| b_k sqrt(1 + |E X|^2); |a_k| g_k
    is 0.
    """
    hidden, size = view.neurons.hidden, jnp.abs(view.neurons.readout)
    over, under = view.half_spaces[:, 0]

    def side(sums: jax.Array, sign: int) -> jax.Array:
        excess = jnp.maximum(sign * jnp.sum(hidden * sums, axis=0), 0)
        return size * one_sided_weight(excess, sums[0], sums[1:])

    front = side(over, 1)
    plain = view.layout.mass * size * jnp.linalg.norm(hidden[1:], axis=0)
    return plain, front, jnp.minimum(front, side(under, -1))


def path_norms(view: View) -> dict[str, jax.Array]:
    """sum |a_k|, and the same weighted with g and with the one-sided g~,
    all neurons as they are (duplicates not merged)."""
    plain, front, weighted = (jnp.sum(part) for part in weighted_paths(view))
    return {"path_norm": plain, "weighted_path_norm": weighted, "one_sided_path_norm": front}


def stability_checks(view: View) -> dict[str, jax.Array]:
    """Slack (right side minus left, at least 0 but for rounding) of C1, C2, C3 and the corollary, in theory units.

    `below_edge`: whether lambda_H <= 2 / eta, eta being the learning rate of the step that starts here. Above it the
    corollary says nothing and its slack is NaN. `c1_scale` and `c3_scale` are the sizes that rounding is relative to:
    lambda_GN, and lambda_H / 2 + (R + 1) sqrt(2L).
    """
    units = 2 * view.factor
    gauss_newton, hessian = view.gauss_newton.value / units, view.sharpness.value / units
    rate = units * view.learning_rate
    _, front, weighted = (jnp.sum(part) for part in weighted_paths(view))
    error, radius = jnp.sqrt(view.mean_square), view.radius
    coupling = view.layout.coupling
    flat, far = hessian / 2 - 0.5 - weighted, max(coupling, 1.0) * (radius + 1) * error
    below = hessian <= 2 / rate
    return {
        "c1_slack": gauss_newton - 1 - 2 * front,
        "c2_slack": flat + coupling * jnp.sqrt(1 + radius**2) / 2 * error,
        "c3_slack": flat + far,
        "corollary_slack": jnp.where(below, 1 / rate - 0.5 - weighted + far, jnp.nan),
        "stationary_slack": flat,
        "c1_scale": gauss_newton,
        "c3_scale": hessian / 2 + far,
        "below_edge": below,
    }


OF_KINKS = ("one_hidden_layer", "single_output", "relu")
MEASURES.update(
    {
        "path_norms": Measure(path_norms, OF_KINKS, (HALF_SPACES,), "exact"),
        "stability_checks": Measure(
            stability_checks,
            (*OF_KINKS, "squared_loss", "learning_rate", "one_rate", TRAINING_SAMPLES),
            (GAUSS_NEWTON, HESSIAN, HALF_SPACES),
            "homogeneous",
            ("corollary_slack",),
        ),
    },
    versions={"stability_checks": 2},  # with the eigenvalues
)
