"""Which way of taking the steps of a two-layer ReLU net in float32 is the quickest here.

    plain     the model's own gradient, step by step
    gradient  two fused kernels for a GPU that never write the pre-activations (`gpu.py`)
    descend   whole segments of gradient descent in one call (a CPU: `descend.h`) or one launch (a GPU: `gpu_descent.py`)

On a GPU it is tried out once a shape, not assumed, and remembered; a way that does not compile or run is out of the race. On
a CPU `descend` does all that step by step does, and less besides.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dynamics.kernels import gates
from dynamics.kernels.build import cache_folder, is_switched_off
from dynamics.models.base import Batch

RUNS, STEPS, TRIES = 16, 64, 3
PLAIN, GRADIENT, DESCEND = "plain", "gradient", "descend"
INTERPRET = False  # for tests: run the kernels as plain JAX

Gradient = Callable[[Any, Batch, float], Any]  # params, batch, factor -> gradient of factor * sum(weights (f - y)^2)
Way = Callable[[Any, Batch, jax.Array], Any]  # params, batch, steps -> params


def quickest(num_samples: int, width: int, input_dim: int, plain: Gradient, *, descends: bool) -> str:
    """The quickest way for this shape in float32; descends: whether plain gradient descent on all data is meant."""
    if jax.default_backend() == "cpu" and descends and gates.has_kernels(input_dim + 1, jnp.float32):
        return DESCEND
    if jax.default_backend() != "gpu" or is_switched_off():
        return PLAIN
    device = jax.local_devices()[0].device_kind
    key = f"{device}, jax {jax.__version__}, n {num_samples}, K {width}, d {input_dim}, {'descent' if descends else 'gradient'}"
    return _raced(key, num_samples, width, input_dim, plain, descends)


def fused_gradient(params: Any, batch: Batch, factor: float) -> Any:
    """The closed-form gradient by `gpu.py`; no derivative of it is to be had."""
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
def _raced(key: str, num_samples: int, width: int, input_dim: int, plain: Gradient, descends: bool) -> str:
    file = cache_folder() / "trials.json"
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        known = {}
    if key not in known:
        racing = ways(num_samples, width, input_dim, plain, descends=descends)
        times = {name: seconds(way, num_samples, width, input_dim) for name, way in racing.items()}
        known[key] = min(times, key=lambda name: times[name])
        file.parent.mkdir(parents=True, exist_ok=True)
        own = file.with_suffix(f".{os.getpid()}")
        own.write_text(json.dumps(known, indent=1, sort_keys=True))
        os.replace(own, file)
    return known[key]


def ways(num_samples: int, width: int, input_dim: int, plain: Gradient, *, descends: bool) -> dict[str, Way]:
    """Every way that there is for this shape, each as so many steps of one run."""
    from dynamics.kernels import gpu_descent

    rate = 1e-3

    def steps_of(gradient: Gradient) -> Way:
        def step(params, batch):
            return jax.tree.map(lambda p, g: p - rate * g, params, gradient(params, batch, 1.0))

        return lambda params, batch, steps: lax.fori_loop(0, steps, lambda _, p: step(p, batch), params)

    found = {PLAIN: steps_of(plain), GRADIENT: steps_of(fused_gradient)}
    if descends and gpu_descent.fits_on_chip(num_samples, width, input_dim):
        found[DESCEND] = lambda params, batch, steps: descend(params, batch, 1.0, steps, (rate, jnp.inf, 0.0), "all")
    return found


def seconds(way: Way, num_samples: int, width: int, input_dim: int) -> float:
    """Of a few steps of a small ensemble, compiled; infinite for a way that fails."""
    from dynamics.models.two_layer import TwoLayer  # models import kernels

    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> jax.Array:
        return jnp.asarray(rng.uniform(-1, 1, (RUNS, *shape)), jnp.float32)

    x = drawn(num_samples, input_dim + 1).at[:, :, 0].set(1)
    params = TwoLayer(drawn(input_dim + 1, width), drawn(width) / width, drawn())
    batch = Batch(x[:, None], drawn(1, num_samples), jnp.full((RUNS, 1, num_samples), 1 / num_samples, jnp.float32))
    program = jax.jit(lambda steps: jax.vmap(lambda p, b: way(p, b, steps))(params, batch))
    try:
        jax.block_until_ready(program(jnp.int32(1)))
        best = float("inf")
        for _ in range(TRIES):
            begun = time.perf_counter()
            jax.block_until_ready(program(jnp.int32(STEPS)))
            best = min(best, time.perf_counter() - begun)
    except Exception:
        return float("inf")
    return best
