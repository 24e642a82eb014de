"""Curvature as an optimizer meets it: preconditioned by its own state, along its batches' gradients, and their noise.

Thresholds to hold them against are in `dynamics.theory.edge`, in units of 1 / learning rate.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from dynamics.core.options import option
from dynamics.curvature.batch_quotients import batch_sharpness as mean_quotient
from dynamics.curvature.batch_quotients import draw_batches, gradient_norms
from dynamics.curvature.lanczos import top_eigenpair
from dynamics.curvature.matrices import precondition
from dynamics.measures.needs import MeasuredRun
from dynamics.measures.spectrum import random_key
from dynamics.measures.table import MEASURES, Measure, Work
from dynamics.measures.view import View
from dynamics.measures.view_products import batch_gradient, build_product
from dynamics.optimizers.preconditioners import PRECONDITIONERS

Columns = dict[str, jax.Array]
BATCHES = {
    "batch_sharpness_batches": option(32, at_least=2, at_most=100000, doc="batches that batch sharpness is the mean over"),
    "batch_sharpness_size": option(0, at_least=0, doc="samples of each of them; 0 for as many as a step takes"),
}


def preconditioner(view: View) -> Any:
    """P, a pytree like the parameters, of the step that starts here, were its gradient the full batch's.

    Found by taking that step with the run's own rule, clipping and weight decay included, and reading its state.
    """
    assert view.rule is not None  # the need `preconditioner`
    spec, state, step = view.rule
    hyper = {**view.hyper, "optimizer.learning_rate": view.learning_rate}
    mask = view.model.is_weight(view.params) if spec.decay == "weights" else jax.tree.map(jnp.ones_like, view.params)
    rule = spec.rule(hyper, mask)
    _, after = rule.update(view.params, state, view.loss_gradient, step=step, key=jax.random.key(0))
    return PRECONDITIONERS[spec.kind](after, hyper)


def preconditioned_sharpness(view: View) -> Columns:
    """The largest eigenvalue of P^-1/2 H P^-1/2, which is that of P^-1 H, for the rule's own preconditioner P.

    H is the Hessian of the loss, weight decay not included. A rule of adaptive rates is at its edge where this is
    (2 + 2 b) / ((1 - b) eta): 2 / eta for RMSProp, 38 / eta for Adam with beta1 = 0.9 (Cohen et al. 2022).
    """
    scale = ravel_pytree(preconditioner(view))[0]
    start = ravel_pytree(view.gradient)[0] * jax.lax.rsqrt(scale)
    found = top_eigenpair(precondition(build_product(view, "hessian"), scale), start, 64)
    name = "preconditioned_sharpness"
    return {name: found.value, f"{name}_residual": found.residual, f"{name}_converged": found.converged}


def batch_size(view: View) -> int:
    """The size of a batch that batch sharpness is of."""
    taken = 0 if view.rule is None else view.rule.spec.batch_size
    return view.options.batch_sharpness_size or taken


def batch_sharpness(view: View) -> Columns:
    """E_B [g_B^T H_B g_B / |g_B|^2] over batches of the training samples, with its standard error.

    The curvature of a batch's loss along its own gradient (Andreyev and Beneventano 2024, Definition 3). The batches
    are the same at every record. At the full batch's size it is
    the gradient's Rayleigh quotient in the Hessian.
    """
    size, count = batch_size(view), len(view.problem.train.inputs)
    batches = draw_batches(random_key(view, 3), view.options.batch_sharpness_batches, count, size)
    mean, error = mean_quotient(lambda p, index: batch_gradient(view, p, index), view.params, batches)
    return {"batch_sharpness": mean, "batch_sharpness_error": error}


def gradient_noise_trace(view: View) -> Columns:
    """tr C, the mean of |g_i - g|^2 over samples: the variance of a gradient on one sample, summed over parameters.

    A batch of b drawn without replacement has (n - b) / (n - 1) / b of it.
    `gradient_square_mean` is the mean of |g_i|^2.
    """
    count = len(view.problem.train.inputs)
    squares = gradient_norms(lambda p, index: batch_gradient(view, p, index), view.params, count)
    mean = jnp.sum(view.problem.train.weights * squares)
    whole = jnp.sum(ravel_pytree(view.gradient)[0] ** 2)
    return {"gradient_noise_trace": jnp.maximum(mean - whole, 0), "gradient_square_mean": mean}


def _largest(matrix: str, name: str):
    def largest(view: View) -> Columns:
        found = top_eigenpair(build_product(view, matrix), ravel_pytree(view.gradient)[0], 64)
        return {name: found.value, f"{name}_residual": found.residual}

    return largest


def _batches_work(run: MeasuredRun) -> tuple[Work, ...]:
    # of any size: at most all samples a batch, a gradient and a product
    return (Work("quotients of batches", 3 * run.measure_options.batch_sharpness_batches / 4),)


MEASURES.add(
    "preconditioned_sharpness",
    Measure(
        preconditioned_sharpness, ("preconditioner", "one_rate"), (Work("Lanczos on the preconditioned Hessian", 20, True),)
    ),
)
MEASURES.add("batch_sharpness", Measure(batch_sharpness, ("batches",), _batches_work), fields=BATCHES)
MEASURES.add("gradient_noise_trace", Measure(gradient_noise_trace, (), (Work("gradients of samples", 2),)))
for _matrix in ("fisher", "gradient_noise"):
    MEASURES.add(
        f"{_matrix}_sharpness",
        Measure(_largest(_matrix, f"{_matrix}_sharpness"), (), (Work(f"Lanczos on the {_matrix} matrix", 20, True),)),
    )
