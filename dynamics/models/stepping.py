"""Chooses the fastest backend for the steps of a two-layer ReLU net in float32.

    plain     the model's own gradient, step by step
    gradient  two fused kernels for a GPU that never write the pre-activations (`gpu.py`)
    descend   whole segments of gradient descent in one call (a CPU: `descend.h`) or one launch (a GPU:
    `gpu_descent.py`)

On a GPU the backends are timed once for each shape and the result is kept on disk, unless memory ran out, which another
process may have had; backends that fail to compile or run are skipped. On a CPU `descend` does the same operations as
step by step and moves less memory, so it is always taken.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dynamics.errors import is_out_of_memory
from dynamics.kernels import gates
from dynamics.kernels.build import cache_folder, is_switched_off
from dynamics.models.base import Batch

RUNS, STEPS, TRIES = 16, 64, 3
PLAIN, GRADIENT, DESCEND = "plain", "gradient", "descend"
INTERPRET = False  # for tests: run the kernels as plain JAX

Gradient = Callable[[Any, Batch, float], Any]  # params, batch, factor -> gradient of factor * sum(weights (f - y)^2)
Backend = Callable[[Any, Batch, jax.Array], Any]  # params, batch, steps -> params


def choose_backend(num_samples: int, width: int, input_dim: int, plain: Gradient, *, descends: bool) -> str:
    """Return the fastest backend for this shape in float32.

    descends: whether the rule is full-batch gradient descent.
    """
    if jax.default_backend() == "cpu" and descends and gates.has_kernels(input_dim + 1, jnp.float32):
        return DESCEND
    if jax.default_backend() != "gpu" or is_switched_off():
        return PLAIN
    device = jax.local_devices()[0].device_kind
    key = f"{device}, jax {jax.__version__}, n {num_samples}, K {width}, d {input_dim}, {'descent' if descends else 'gradient'}"
    return _time_once(key, num_samples, width, input_dim, plain, descends)


def fused_gradient(params: Any, batch: Batch, factor: float) -> Any:
    """Return the closed-form gradient, computed by `kernels/gpu.py`. Not differentiable."""
    from dynamics.kernels import gpu  # Pallas is loaded only where it is wanted

    return gpu.gradient(params, *_flat(batch), factor, runs=RUNS, interpret=INTERPRET)


def descend(params: Any, batch: Batch, factor: float, steps: Any, scalars: tuple[Any, Any, Any], decay: str) -> Any:
    """Take `steps` steps of gradient descent at a constant rate. scalars: learning rate, clip norm, weight decay."""
    if jax.default_backend() == "cpu" and not INTERPRET:
        return type(params)(*gates.descend(params, _flat(batch), factor, steps, scalars, spare_biases=decay == "weights"))
    from dynamics.kernels import gpu_descent

    return gpu_descent.descend(params, *_flat(batch), factor, 0, steps, *scalars, decay=decay, interpret=INTERPRET)


def _flat(batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, y, w = batch
    return x.reshape(-1, x.shape[-1]), y.reshape(-1), w.reshape(-1)


@cache
def _time_once(key: str, num_samples: int, width: int, input_dim: int, plain: Gradient, descends: bool) -> str:
    file = cache_folder() / "trials.json"
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        known = {}
    if key not in known:
        backends = list_backends(num_samples, width, input_dim, plain, descends=descends)
        times = {name: time_backend(backend, num_samples, width, input_dim) for name, backend in backends.items()}
        known[key] = min(times, key=lambda name: math.inf if math.isnan(times[name]) else times[name])
        if any(map(math.isnan, times.values())):
            return known[key]
        file.parent.mkdir(parents=True, exist_ok=True)
        own = file.with_suffix(f".{os.getpid()}")
        own.write_text(json.dumps(known, indent=1, sort_keys=True))
        os.replace(own, file)
    return known[key]


def list_backends(num_samples: int, width: int, input_dim: int, plain: Gradient, *, descends: bool) -> dict[str, Backend]:
    """Return every backend that supports this shape, each as a function that takes `steps` steps of one run."""
    from dynamics.kernels import gpu_descent

    rate = 1e-3

    def repeat_step(gradient: Gradient) -> Backend:
        def step(params, batch):
            return jax.tree.map(lambda p, g: p - rate * g, params, gradient(params, batch, 1.0))

        return lambda params, batch, steps: lax.fori_loop(0, steps, lambda _, p: step(p, batch), params)

    found = {PLAIN: repeat_step(plain), GRADIENT: repeat_step(fused_gradient)}
    if descends and gpu_descent.fits_on_chip(num_samples, width, input_dim):
        found[DESCEND] = lambda params, batch, steps: descend(params, batch, 1.0, steps, (rate, jnp.inf, 0.0), "all")
    return found


def time_backend(backend: Backend, num_samples: int, width: int, input_dim: int) -> float:
    """Return the seconds that a few steps of a small ensemble take once compiled.

    Infinity if the backend fails, NaN if memory ran out.
    """
    from dynamics.models.two_layer import TwoLayer  # models import kernels

    rng = np.random.default_rng(0)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.uniform(-1, 1, (RUNS, *shape)), jnp.float32)

    x = draw(num_samples, input_dim + 1).at[:, :, 0].set(1)
    params = TwoLayer(draw(input_dim + 1, width), draw(width) / width, draw())
    batch = Batch(x[:, None], draw(1, num_samples), jnp.full((RUNS, 1, num_samples), 1 / num_samples, jnp.float32))
    program = jax.jit(lambda steps: jax.vmap(lambda p, b: backend(p, b, steps))(params, batch))
    try:
        jax.block_until_ready(program(jnp.int32(1)))
        best = math.inf
        for _ in range(TRIES):
            begun = time.perf_counter()
            jax.block_until_ready(program(jnp.int32(STEPS)))
            best = min(best, time.perf_counter() - begun)
    except Exception as error:
        return math.nan if is_out_of_memory(error) else math.inf
    return best
