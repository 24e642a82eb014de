"""Plain JAX as its community writes it: samples first, autodiff, optax, the loop over steps jitted.

JAX is left as it starts: one CPU device that uses all cores. The ensemble is a `vmap`, or, as a variant, a
`lax.map`, which keeps one run's arrays in cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from problems import CHECK_STEPS, CLIP_NORM, Problem, Start

from competitors import PRODUCT_SIZE, best_product_rate


def predict(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """The network on samples (n, d): predictions (n,)."""
    hidden = jax.nn.relu(x @ params["hidden"] + params["bias"])
    return hidden @ params["readout"] + params["offset"]


def loss(params: dict[str, jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean((predict(params, x) - y) ** 2)


def train(
    params: Any, x: jax.Array, y: jax.Array, rate: float, clip_norm: jax.Array, steps: jax.Array
) -> tuple[Any, jax.Array]:
    """One run of so many steps: its parameters and its loss."""
    optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optax.sgd(rate))

    def step(_, carry):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, x, y), state, params)
        return optax.apply_updates(params, updates), state

    params, _ = jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))
    return params, loss(params, x, y)


def one_by_one(run: Callable) -> Callable:
    """`vmap`'s stand-in that takes the runs in turn."""
    return lambda *arrays: jax.lax.map(lambda a: run(*a), arrays)


class Competitor:
    def __init__(self, problem: Problem, folder: Path) -> None:
        start = Start.load(folder / f"{problem.name}.npz")
        names = ("hidden", "bias", "readout", "offset")
        self.params = {name: jnp.asarray(getattr(start, name)) for name in names}
        self.data = jnp.asarray(start.inputs), jnp.asarray(start.labels)
        self.programs = {
            ensemble.__name__: jax.jit(partial(self.all_runs, ensemble, problem.learning_rate))
            for ensemble in (jax.vmap, one_by_one)
        }

    @staticmethod
    def all_runs(ensemble: Callable, rate: float, params: Any, x: jax.Array, y: jax.Array, clip_norm: Any, steps: Any):
        return ensemble(lambda p, x, y: train(p, x, y, rate, clip_norm, steps))(params, x, y)

    def run(self, ensemble: str, clip_norm: float, steps: int) -> jax.Array:
        program = self.programs[ensemble]
        return jax.block_until_ready(program(self.params, *self.data, jnp.float32(clip_norm), jnp.int32(steps)))[1]

    def losses(self, clip_norm: float) -> list[float]:
        return self.run("vmap", clip_norm, CHECK_STEPS).tolist()

    def seconds(self, steps: int, ensemble: str) -> float:
        begun = time.perf_counter()
        self.run(ensemble, CLIP_NORM, steps)
        return time.perf_counter() - begun

    def product_rate(self) -> float:
        a, b = jax.random.normal(jax.random.key(0), (2, PRODUCT_SIZE, PRODUCT_SIZE))
        product = jax.jit(jnp.matmul)
        return best_product_rate(lambda: product(a, b).block_until_ready())
