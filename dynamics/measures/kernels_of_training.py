"""The tangent kernel of a network as it trains: how far it is from where it began, and how it goes with the labels.

Kernels are between training samples, or between the samples to test on (rows) and those (columns); with several outputs
each is the mean over outputs of their own, see `tangent_kernel`. Labels are those that are trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dynamics.data.problem import Samples
from dynamics.measures.needs import MeasuredRun
from dynamics.measures.table import MEASURES, Measure, Work
from dynamics.measures.view import View
from dynamics.models.base import Model


def predictions(view: View) -> dict[str, jax.Array]:
    """Return f at the training samples (n,) and at those to test on (m,), in the order in which they are drawn;
    or (n, C)."""
    train, test = _order(view.model, view.problem.train), _order(view.model, view.problem.test)
    return {
        "train_prediction": train(view.prediction.reshape(-1, *view.problem.train.labels.shape[1:])),
        "test_prediction": test(view.test_prediction.reshape(-1, *view.problem.test.labels.shape[1:])),
    }


def recorded_kernel(view: View) -> dict[str, jax.Array]:
    """Return the kernel between training samples, (n, n), in the order in which they are drawn."""
    order = _order(view.model, view.problem.train)
    return {"tangent_kernel": order(order(view.tangent_kernel).T)}


def recorded_test_kernel(view: View) -> dict[str, jax.Array]:
    """Return the kernel between samples to test on and training samples, (m, n),
    in the order in which they are drawn."""
    train, test = _order(view.model, view.problem.train), _order(view.model, view.problem.test)
    return {"test_tangent_kernel": train(test(view.test_tangent_kernel).T).T}


def _order(model: Model, samples: Samples) -> Callable[[jax.Array], jax.Array]:
    """Return the function that takes values (N, ...) of samples in the model's layout to (n, ...) in the
    order of drawing.

    A layout may sort its samples, and fill up its last block with some that have no weight.
    """
    count = len(samples.inputs)
    numbers = jnp.arange(count, dtype=samples.labels.dtype).reshape(-1, *[1] * (samples.labels.ndim - 1))
    laid_out = model.prepare(samples.inputs, jnp.broadcast_to(numbers, samples.labels.shape), samples.weights)
    numbers = laid_out.labels.reshape(laid_out.weights.size, -1)[:, 0].astype(jnp.int32)
    places = jnp.where(laid_out.weights.reshape(-1) > 0, numbers, count)

    def put(values: jax.Array) -> jax.Array:
        return jnp.zeros((count, *values.shape[1:]), values.dtype).at[places].set(values, mode="drop")

    return put


def kernel_change(view: View) -> dict[str, jax.Array]:
    """Return |T - T_0| / |T_0|, Frobenius norms, T_0 being the kernel that the run began with."""
    start = view.initial.tangent_kernel
    return {"tangent_kernel_change": jnp.linalg.norm(view.tangent_kernel - start) / jnp.linalg.norm(start)}


def parameter_change(view: View) -> dict[str, jax.Array]:
    """Return the distance of the parameters from those that the run began with, and that over the norm of these."""
    moved = _norm(jax.tree.map(jnp.subtract, view.params, view.initial.params))
    return {"parameter_distance": moved, "parameter_change": moved / _norm(view.initial.params)}


def _norm(tree: Any) -> jax.Array:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def kernel_alignment(view: View) -> dict[str, jax.Array]:
    """Return <T, Y Y^T> / (|T| |Y Y^T|) for the labels Y (n, C), and the same with T and Y centred over samples.

    Uncentred: Cristianini et al. 2002; centred, which a constant label or kernel does not move: Cortes et al. 2012.
    """
    used = (view.train.weights.reshape(-1) > 0).astype(view.train.weights.dtype)
    labels = view.train.labels.reshape(used.size, -1) * used[:, None]
    centre = jnp.diag(used) - used[:, None] * used / jnp.sum(used)
    centred = centre @ labels
    return {
        "tangent_kernel_alignment": _align(view.tangent_kernel, labels),
        "centered_tangent_kernel_alignment": _align(centre @ view.tangent_kernel @ centre, centred),
    }


def _align(kernel: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.sum(labels * (kernel @ labels)) / (jnp.linalg.norm(kernel) * jnp.linalg.norm(labels.T @ labels))


def kernel_spread(view: View) -> dict[str, jax.Array]:
    """Return the mean eigenvalue tr T / n, and the effective rank (tr T)^2 / |T|^2, between 1 and n.

    The largest is `gauss_newton_sharpness` n / (2 factor), with one output;
    a recorded `tangent_kernel` has all of them.
    """
    trace = jnp.trace(view.tangent_kernel)
    return {
        "tangent_kernel_mean_eigenvalue": trace / view.hyper["data.num_samples"].astype(trace.dtype),
        "tangent_kernel_effective_rank": trace**2 / jnp.sum(view.tangent_kernel**2),
    }


def _kernel_work(name: str, run: MeasuredRun) -> Work:
    """A gradient for every output of every training sample;
    the numbers of the kernel of each output and of their mean."""
    count, outputs = run.data.num_samples, max(run.outputs, 1)
    return Work(name, count * outputs, numbers=count**2 * (outputs + 1))


def _work(run: MeasuredRun) -> tuple[Work, ...]:
    return (_kernel_work("tangent kernel", run),)


def _work_since_start(run: MeasuredRun) -> tuple[Work, ...]:
    return (*_work(run), _kernel_work("tangent kernel of the start", run))


def _test_work(run: MeasuredRun) -> tuple[Work, ...]:
    """As many gradients, where one of the three passes of each is over samples to test on."""
    own, ratio = _kernel_work("tangent kernel to test samples", run), run.data.num_test / run.data.num_samples
    return (own._replace(passes=own.passes * (2 + ratio) / 3, numbers=own.numbers * ratio),)


ALIGNMENTS = ("tangent_kernel_alignment", "centered_tangent_kernel_alignment")  # labels that are zero, or all the same

MEASURES.update(
    {
        "predictions": Measure(predictions, ("fresh_samples",)),
        "tangent_kernel": Measure(recorded_kernel, cost=_work),
        "test_tangent_kernel": Measure(recorded_test_kernel, ("fresh_samples",), _test_work),
        "tangent_kernel_change": Measure(kernel_change, ("start",), _work_since_start, "exact"),
        "tangent_kernel_alignment": Measure(kernel_alignment, (), _work, "exact", ALIGNMENTS),
        "tangent_kernel_spread": Measure(kernel_spread, (), _work, "exact"),
        "parameter_change": Measure(parameter_change, ("start",), (), "exact"),
    }
)
