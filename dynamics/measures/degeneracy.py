"""The local learning coefficient at the run's parameters, a measure of how degenerate the loss is around them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynamics.core.options import option
from dynamics.curvature.learning_coefficient import estimate_learning_coefficient
from dynamics.measures.table import MEASURES, Measure, Work
from dynamics.measures.view import View

CHAIN_STEPS = 2048
OPTIONS = {
    "chain_rate": option(0.1, above=0, doc="step size of a Langevin chain, on the scale of the learning rate"),
    "localisation": option(1.0, above=0, doc="strength of the pull of a Langevin chain to the parameters"),
}
CHAIN_KEY = 71  # folded into the run's key of batches


def local_learning_coefficient(view: View) -> dict[str, jax.Array]:
    """Return Lau et al.'s estimate of lambda for the loss that is descended, its standard error, and the share of
    accepted steps; the temperature is log n, and the chain has 2048 steps.

    lambda takes no account of the loss's factor, the estimate at finite n does: of a squared loss `half` is the
    negative log-likelihood of unit noise. Away from a minimum the estimate may be negative.
    """
    rate, localisation = (view.hyper.get(f"measure_options.{name}", own.default) for name, own in OPTIONS.items())
    num_samples = view.hyper["data.num_samples"].astype(view.train.weights.dtype)
    found = estimate_learning_coefficient(
        view.loss,
        view.params,
        jax.random.fold_in(view.order, CHAIN_KEY),
        scale=num_samples / jnp.log(num_samples),
        rate=rate,
        localisation=localisation,
        num_steps=CHAIN_STEPS,
    )
    return {
        "learning_coefficient": found.value,
        "learning_coefficient_error": found.error,
        "learning_coefficient_accepted": found.accepted,
    }


# a step is a gradient and, unless the compiler shares them, a loss
CHAIN = Work("Langevin chain", 1.5 * CHAIN_STEPS)
MEASURES.add("learning_coefficient", Measure(local_learning_coefficient, cost=(CHAIN,)), fields=OPTIONS)
