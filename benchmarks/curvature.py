"""Measure what spectra of a net of 10^5 parameters cost, in CPU seconds, and their share of a run with 40 records.

A tanh MLP with two hidden layers of 300 on 256 samples in 32 dimensions, squared loss, 32 bits: about 10^5 parameters.
Each word is compiled alone and timed by the process's own CPU time, which other programs on the machine do not change.

    python benchmarks/curvature.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from dynamics.curvature.eigenpairs import top_eigenpairs
from dynamics.curvature.hessian import build_hessian_product, hessian_sharpness
from dynamics.curvature.spectral_density import estimate_density
from dynamics.curvature.trace_estimates import estimate_moments
from dynamics.models.mlp import build_mlp

RECORDS, STEPS = 40, 10_000


def build(width: int, samples: int, input_dim: int) -> tuple[Callable[[Any], jax.Array], Any]:
    """Return the loss of the net as a function of its parameters, and parameters as they are drawn."""
    model = build_mlp(input_dim, width, 2, "tanh", jnp.float32)
    inputs, labels = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(samples, input_dim), (samples,)]))
    batch = model.prepare(inputs, labels, jnp.full(samples, 1 / samples))
    params = model.init(jax.random.key(2), {"model.init_scale": jnp.float32(1)})
    return lambda p: jnp.sum(batch.weights * (model.apply(p, batch) - batch.labels) ** 2), params


def cpu_seconds(function: Callable[..., Any], argument: Any, calls: int) -> tuple[float, float, Any]:
    """Return the CPU seconds of compiling, of one call, and what it returns."""
    begin = time.process_time()
    program = jax.jit(function).lower(argument).compile()
    compiled = time.process_time()
    found = jax.block_until_ready(program(argument))
    start = time.process_time()
    for _ in range(calls):
        jax.block_until_ready(program(argument))
    return compiled - begin, (time.process_time() - start) / calls, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a net of 3000 parameters")
    quick = parser.parse_args().quick
    loss, params = build(*((40, 64, 32) if quick else (300, 256, 32)))
    size = ravel_pytree(params)[0].size

    def product(p: Any) -> Callable[[jax.Array], jax.Array]:
        return build_hessian_product(loss, p)

    def top(p: Any) -> Any:
        found = top_eigenpairs(product(p), jnp.zeros((5, size)).at[0].set(ravel_pytree(jax.grad(loss)(p))[0]))
        return found.value, found.residual, found.steps, found.converged

    def moments(p: Any) -> Any:
        return estimate_moments(product(p), size, jax.random.key(3), 8, 8, jnp.float32)

    def density(p: Any) -> Any:
        return estimate_density(product(p), size, jax.random.key(4), 4, 40, jnp.float32).density

    words = {
        "step of gradient descent": lambda p: jax.tree.map(lambda q, g: q - 0.01 * g, p, jax.grad(loss)(p)),
        "product with the Hessian": lambda p: product(p)(ravel_pytree(p)[0]),
        "sharpness": lambda p: hessian_sharpness(loss, p)[:1],
        "top 5 eigenvalues": top,
        "trace and norm (24 products)": moments,
        "density (160 products)": density,
    }
    seconds = {}
    for name, function in words.items():
        compiling, seconds[name], found = cpu_seconds(function, params, 20 if name.startswith(("step", "product")) else 2)
        share = RECORDS * seconds[name] / (RECORDS * seconds[name] + STEPS * seconds["step of gradient descent"])
        note = f", {int(found[2])} products, residuals {[f'{r:.1e}' for r in found[1]]}" if name.startswith("top") else ""
        told = f"{RECORDS} of them are {100 * share:.1f} % of a run of {STEPS} steps{note}"
        print(f"{name:30} {seconds[name]:8.4f} CPU s, compiled in {compiling:4.1f}; {told}", flush=True)
    print(json.dumps({"parameters": size, "cpu_seconds": seconds}))


if __name__ == "__main__":
    main()
