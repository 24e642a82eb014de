"""The samples of a step: all of them, a minibatch with or without replacement, or new ones of the law (online data).

Under `optimizer.sampling = fresh` no sample is seen twice, and memory does not grow with the steps: the batch is
drawn in the step from the run's data key. The `data.num_samples` samples of the run are then never trained on. What
measures call training samples are these n, so `train_loss`, norms of gradients and curvatures are estimates of the
population's from n samples that are independent of the run; measures that compare with samples that were trained on
are refused (the need `training_samples`).
"""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from dynamics.data.problem import DataSpec, TargetSpec, draw_fresh_samples
from dynamics.measures.view import RunData
from dynamics.models.base import Batch, Model
from dynamics.optimizers.rules import FRESH, REPLACEMENT, OptimizerSpec


class SampledRun(Protocol):
    """What the samples of a step depend on: a `TrainingSpec` has it."""

    @property
    def data(self) -> DataSpec: ...
    @property
    def target(self) -> TargetSpec: ...
    @property
    def optimizer(self) -> OptimizerSpec: ...


def choose_key(spec: SampledRun, data_key: jax.Array, order_key: jax.Array) -> jax.Array:
    """Return the key that the run's minibatches are drawn from: that of its law and teacher where they are fresh."""
    return data_key if spec.optimizer.is_online else order_key


def draw_batch(spec: SampledRun, model: Model, fixed: RunData, step: jax.Array, dtype: Any) -> Batch:
    """Return the samples of the step number `step` () in the model's layout;
    all training samples without a batch size."""
    size, sampling = spec.optimizer.batch_size, spec.optimizer.sampling
    if not size:
        return fixed.train
    weights = jnp.full((size,), 1 / size, dtype)
    if sampling == FRESH:
        drawn = draw_fresh_samples(spec.data, spec.target, fixed.order, fixed.hyper, dtype, step, size)
        return model.prepare(drawn.inputs, drawn.labels, weights)
    x, y, _, _ = fixed.problem.train
    count = fixed.hyper["data.num_samples"]
    if sampling == REPLACEMENT:
        index = draw_with_replacement(fixed.order, step, count, size)
    else:
        index = draw_epoch_batch(fixed.order, step, count, spec.data.num_samples, size)
    return model.prepare(x[index], y[index], weights)


def draw_epoch_batch(order: jax.Array, step: jax.Array, num_samples: jax.Array, padded: int, size: int) -> jax.Array:
    """Return the indices (size,) of the minibatch at `step`.

    Every epoch is a new order, drawn without replacement.

    An epoch has num_samples // size batches; what is left over waits for another epoch's shuffle.
    """
    per_epoch = num_samples // size
    draws = jax.random.uniform(jax.random.fold_in(order, step // per_epoch), (padded,), jnp.float32)
    shuffled = jnp.argsort(jnp.where(jnp.arange(padded) < num_samples, draws, jnp.inf))
    return jax.lax.dynamic_slice_in_dim(shuffled, (step % per_epoch) * size, size)


def draw_with_replacement(order: jax.Array, step: jax.Array, num_samples: jax.Array, size: int) -> jax.Array:
    """Return the indices (size,) of the minibatch at `step`, independent and uniform;
    the first ones of a larger batch."""
    return jax.random.randint(jax.random.fold_in(order, step), (size,), 0, num_samples)
