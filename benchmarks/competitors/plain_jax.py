"""Plain JAX as its community writes it: samples first, autodiff, optax.

JAX is left as it starts: one CPU device that uses all cores (on a GPU, products in float32, as everyone's here). Three
ensembles: a jitted step in a Python loop, the runs one after the other; the loop jitted, the runs by `lax.map`;
    or by `vmap`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from problems import CLIP_NORM, Problem

from competitors import COPY_BYTES, PRODUCT_SIZE, Base, copy_rate, product_rate

Params = dict[str, jax.Array]


def convolution(params: Params, x: jax.Array, stride: int) -> jax.Array:
    """Return the pre-activations (n, positions, K) of filters on inputs (n, d), without their biases."""
    filters = params["hidden"][:, None, :]
    return jax.lax.conv_general_dilated(x[:, :, None], filters, (stride,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))


def predict(params: Params, x: jax.Array, stride: int) -> jax.Array:
    """Return the predictions (n,) of the network.

    x: (n, d); for a convolution with `stride`, or (n, positions, patch_size), cut beforehand, with stride 0
    """
    z = convolution(params, x, stride) if stride else x @ params["hidden"]
    hidden = jax.nn.relu(z + params["bias"])
    if hidden.ndim == 3:
        hidden = hidden.mean(1)
    return hidden @ params["readout"] + params["offset"]


def loss(params: Params, x: jax.Array, y: jax.Array, stride: int = 0) -> jax.Array:
    """Return the mean squared error."""
    return jnp.mean((predict(params, x, stride) - y) ** 2)


def train(params: Params, x: jax.Array, y: jax.Array, clip_norm: Any, steps: Any, rate: float) -> tuple[Params, jax.Array]:
    """Take `steps` steps of one run; return its parameters and its loss."""
    optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optax.sgd(rate))

    def step(_, carry):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, x, y), state, params)
        return optax.apply_updates(params, updates), state

    params, _ = jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))
    return params, loss(params, x, y)


class Competitor(Base):
    """Plain JAX in three ensemble modes."""

    def __init__(self, problem: Problem, folder: Path, device: str) -> None:
        super().__init__(problem, folder, device)
        if device == "gpu":
            jax.config.update("jax_default_matmul_precision", "highest")  # not TF32
        self.programs: dict[str, Callable] = {}

    @cached_property
    def params(self) -> Params:
        """Return the initial parameters of all runs."""
        return {name: jnp.asarray(getattr(self.start, name)) for name in ("hidden", "bias", "readout", "offset")}

    def data(self, stride: int) -> tuple[jax.Array, jax.Array]:
        """Return inputs and labels of all runs, cut into patches if stride is 0."""
        x = self.start.inputs
        if self.problem.patch_size and not stride:
            x = x[:, :, self.problem.windows()]
        return jnp.asarray(x), jnp.asarray(self.start.labels)

    def run(self, ensemble: str, clip_norm: float, steps: int) -> tuple[float, jax.Array]:
        """Take `steps` steps of all runs; return the wall seconds and their losses."""
        if ensemble not in self.programs:
            self.programs[ensemble] = ENSEMBLES[ensemble](self.problem)
        # a convolution is XLA's faster way in a step by itself, its slower one inside a loop
        stride = self.problem.stride if self.problem.patch_size and ensemble == "python_loop" else 0
        arguments = self.params, *self.data(stride), jnp.float32(clip_norm)
        jax.block_until_ready(arguments)
        begun = time.perf_counter()
        _, losses = jax.block_until_ready(self.programs[ensemble](*arguments, steps))
        return time.perf_counter() - begun, losses

    def losses(self, clip_norm: float, ensemble: str) -> list[float]:
        """Return the loss of every run after `check_steps` steps."""
        return self.run(ensemble, clip_norm, self.problem.check_steps)[1].tolist()

    def seconds(self, steps: int, ensemble: str) -> float:
        """Return the wall seconds of `steps` steps of all runs."""
        return self.run(ensemble, CLIP_NORM, steps)[0]

    def reset_peak(self) -> None:
        """Reset the peak memory on a CPU; JAX cannot reset it on a GPU."""
        if self.device == "cpu":
            super().reset_peak()

    def peak_bytes(self) -> int:
        """Return the peak memory; on a GPU that of the whole process, because JAX cannot reset it."""
        stats = jax.local_devices()[0].memory_stats() if self.device == "gpu" else None
        return stats["peak_bytes_in_use"] if stats else super().peak_bytes()

    def product_rate(self) -> float:
        """Return the FLOP/s of a float32 matrix product."""
        size = PRODUCT_SIZE[self.device]
        a, b = jax.random.normal(jax.random.key(0), (2, size, size))
        product = jax.jit(jnp.matmul)
        return product_rate(lambda: product(a, b).block_until_ready(), size)

    def copy_rate(self) -> float:
        """Return the bytes per second of a copy."""
        size = COPY_BYTES[self.device]
        a = jnp.ones(size // 4)
        copy = jax.jit(jnp.copy)
        return copy_rate(lambda: copy(a).block_until_ready(), size)


def python_loop(problem: Problem) -> Callable:
    """Return the training of all runs by a jitted step called from a Python loop over steps and runs."""
    stride = problem.stride if problem.patch_size else 0

    def update(params, state, x, y, clip_norm):
        optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optax.sgd(problem.learning_rate))
        updates, state = optimizer.update(jax.grad(loss)(params, x, y, stride), state, params)
        return optax.apply_updates(params, updates), state

    step: Callable = jax.jit(update, donate_argnums=(0, 1))
    evaluate: Callable = jax.jit(partial(loss, stride=stride))

    def all_runs(params, x, y, clip_norm, steps):
        init = optax.chain(optax.clip_by_global_norm(0.0), optax.sgd(0.0)).init
        finals, losses = [], []
        for run in range(problem.runs):
            own, xs, ys = {name: p[run] for name, p in params.items()}, x[run], y[run]
            state = init(own)
            for _ in range(steps):
                own, state = step(own, state, xs, ys, clip_norm)
            finals.append(own)
            losses.append(evaluate(own, xs, ys))
        return finals, jnp.stack(losses)

    return all_runs


def one_by_one(problem: Problem) -> Callable:
    """Return the jitted training of the runs in turn, so that the arrays of one run stay in cache."""

    def all_runs(params, x, y, clip_norm, steps):
        return jax.lax.map(lambda a: train(a[0], a[1], a[2], clip_norm, steps, problem.learning_rate), (params, x, y))

    return jax.jit(all_runs)


def vmap(problem: Problem) -> Callable:
    """Return the jitted training of all runs under `vmap`."""
    return jax.jit(jax.vmap(partial(train, rate=problem.learning_rate), in_axes=(0, 0, 0, None, None)))


ENSEMBLES = {"python_loop": python_loop, "one_by_one": one_by_one, "vmap": vmap}
