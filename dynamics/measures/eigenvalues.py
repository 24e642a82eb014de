"""Top eigenvalues of the loss's Hessian, of its Gauss-Newton part and of the rest."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.measures.table import GAUSS_NEWTON, HALF_SPACES, HESSIAN, MEASURES, Measure
from dynamics.measures.view import View


def kernel_sharpness(view: View) -> dict[str, jax.Array]:
    """Largest eigenvalue of the Gauss-Newton matrix of the loss through its n x n kernel, with its residual.

    It lies within `residual_sharpness` of the Hessian's own and equals it at stationary points with every v_k nonzero.
    """
    top = view.gauss_newton
    return {"gauss_newton_sharpness": top.value, "gauss_newton_residual": top.residual}


def hessian_sharpness(view: View) -> dict[str, jax.Array]:
    """Largest algebraic eigenvalue of the loss's Hessian by guarded Lanczos, with residual and convergence."""
    top = view.sharpness
    return {"sharpness": top.value, "sharpness_residual": top.residual, "sharpness_converged": top.converged}


def residual_sharpness(view: View) -> dict[str, jax.Array]:
    """Spectral norm of the Hessian's part beyond Gauss-Newton, exactly max_k |q_k|.

    q_k = 2 factor sum_i w_i r_i 1_ik (x_i, 1): the rest is block diagonal over neurons, with eigenvalues +-|q_k|. Units
    of several positions with one readout weight make one block, whose q_k are put together.
    """
    norm, block = jnp.linalg.norm(view.half_spaces[0, 1], axis=0), view.layout.block
    if len(np.unique(block)) < len(block):
        norm = jnp.sqrt(jax.ops.segment_sum(norm**2, jnp.asarray(block), int(block.max()) + 1))
    return {"residual_sharpness": 2 * view.factor * jnp.max(norm)}


MEASURES.update(
    {
        "gauss_newton_sharpness": Measure(kernel_sharpness, ("squared_loss",), (GAUSS_NEWTON,), "exact"),
        # a zero neuron with phi'(0) != 0 couples to the residual: no gradient, but curvature
        "sharpness": Measure(hessian_sharpness, (), (HESSIAN,), "homogeneous"),
        "residual_sharpness": Measure(
            residual_sharpness, ("one_hidden_layer", "single_output", "relu", "squared_loss"), (HALF_SPACES,), "exact"
        ),
    },
    versions={"gauss_newton_sharpness": 2, "sharpness": 2},  # Lanczos takes ten products at least, from a random share
)
