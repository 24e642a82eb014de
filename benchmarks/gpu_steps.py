"""Time one step of full-batch descent on two-layer ReLU nets in every way the suite has of taking it on a GPU.

All take the same steps from the same start in float32 without TF32; `off by` is the largest relative distance from the
plain closed form after 20 steps, `off 64` that from the same steps in 64 bits after 100. The share is the rate of
useful operations, 4 (d + 1) + 4 per neuron-sample, relative to a large float32 matrix product measured in the same run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.kernels.gpu import Tiles, default_tiles, gradient
from dynamics.kernels.gpu_blocks import Tile
from dynamics.kernels.gpu_descent import descend, fits_on_chip
from dynamics.models.two_layer import TwoLayer

LEARNING_RATE, CLIP_NORM = 0.01, 50.0
CHECK_STEPS, LONG_STEPS = 20, 100
SECONDS, REPETITIONS = 0.3, 5


class Shape(NamedTuple):
    """The sizes of a problem and the number of its runs."""

    name: str
    n: int
    width: int
    d: int
    runs: int


SHAPES = [
    Shape("small", 128, 512, 5, 32),
    Shape("small, many", 128, 512, 5, 512),
    Shape("medium", 512, 2048, 5, 8),
    Shape("medium, many", 512, 2048, 5, 256),
    Shape("large", 4096, 16384, 10, 1),
    Shape("wide", 512, 1024, 784, 1),
    *(Shape(f"Figure 2, n {n}", n, 4 * n, 5, 50) for n in (32, 64, 128, 256, 512)),
]
TINY = [Shape("tiny", 20, 40, 3, 2), Shape("tiny wide", 9, 12, 20, 1)]

Step = Callable[[TwoLayer, Any], TwoLayer]
Segment = Callable[[TwoLayer, Any, Any], TwoLayer]


def plain_gradient(params: TwoLayer, x: jax.Array, y: jax.Array, weights: jax.Array) -> TwoLayer:
    """Return the gradient from two XLA matrix products; the array over neurons and samples goes through memory."""
    z = x @ params.hidden
    r = 2 * weights * (jnp.maximum(z, 0) @ params.readout + params.offset - y)
    slope = (r[:, None] * x).T @ (z > 0).astype(x.dtype)
    return TwoLayer(params.readout * slope, jnp.sum(params.hidden * slope, axis=0), jnp.sum(r))


def descend_stepwise(one: Callable) -> Segment:
    """Return a function that takes the steps of a segment one by one with the given gradient, clipped."""

    def step(params: TwoLayer, data: Any) -> TwoLayer:
        g = one(params, *data)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in g))
        return jax.tree.map(lambda p, a: p - LEARNING_RATE * jnp.where(norm < CLIP_NORM, a, a / norm * CLIP_NORM), params, g)

    def segment(params, data, steps):
        return jax.lax.fori_loop(0, steps, lambda _, p: jax.vmap(step)(p, data), params)

    return jax.jit(segment)


def descend_in_one_launch(interpret: bool) -> Segment:
    """Return a function that takes all steps of a segment in one kernel launch per run."""

    def one(params, data, steps):
        x, y, weights = data
        return descend(params, x, y, weights, 1.0, 0, steps, LEARNING_RATE, CLIP_NORM, 0.0, interpret=interpret)

    return jax.jit(jax.vmap(one, in_axes=(0, 0, None)))


def list_segments(shape: Shape, interpret: bool, tune: bool) -> Iterator[tuple[str, Segment]]:
    """Yield every implementation to compare, by name."""
    yield "plain", descend_stepwise(plain_gradient)
    for name, tiles in list_tiles(shape.d + 1, tune):
        options: dict[str, Any] = {"runs": shape.runs, "tiles": tiles, "interpret": interpret}
        yield name, descend_stepwise(lambda p, x, y, w, options=options: gradient(p, x, y, w, 1.0, **options))
    if fits_on_chip(shape.n, shape.width, shape.d):
        yield "descend", descend_in_one_launch(interpret)


def list_tiles(rows: int, tune: bool) -> Iterator[tuple[str, Tiles]]:
    """Yield the block sizes to time, by name; with `tune` also other sizes."""
    usual = default_tiles(rows)
    yield "gradient", usual
    sizes = [(8, 256), (8, 512), (16, 128), (16, 512), (32, 128)] if rows <= 16 else [(32, 32), (32, 128), (64, 64)]
    for samples, neurons in sizes if tune else []:
        for warps in (4, 8):
            tile = Tile(samples, neurons, warps)
            yield f"outputs {samples}x{neurons}/{warps}", usual._replace(outputs=tile)
            yield f"moments {samples}x{neurons}/{warps}", usual._replace(moments=tile)


def draw(shape: Shape) -> tuple[TwoLayer, tuple[jax.Array, ...]]:
    """Return initial parameters and data of all runs."""
    keys = jax.random.split(jax.random.key(0), 5)
    rows, runs = shape.d + 1, shape.runs
    x = jax.random.normal(keys[0], (runs, shape.n, rows)).at[:, :, 0].set(1)
    y = jax.random.normal(keys[1], (runs, shape.n))
    hidden = jax.random.normal(keys[2], (runs, rows, shape.width)) / math.sqrt(rows)
    readout = jax.random.normal(keys[3], (runs, shape.width)) / math.sqrt(shape.width)
    return TwoLayer(hidden, readout, jnp.zeros(runs)), (x, y, jnp.full((runs, shape.n), 1 / shape.n))


def time_call(call: Callable[[], Any]) -> float:
    """Return the wall seconds of a call, including work on the device."""
    begun = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - begun


def measure_ceilings(tiny: bool) -> dict[str, float]:
    """Return the FLOP/s of a float32 matrix product and the bytes/s of a copy, each the best of several."""
    size, length = (256, 2**16) if tiny else (8192, 2**28)
    a, b = jnp.ones((size, size)), jnp.ones(length)
    product, copy = jax.jit(lambda a: a @ a), jax.jit(lambda b: b + 1)
    jax.block_until_ready((product(a), copy(b)))
    return {
        "product_flops": 2 * size**3 / min(time_call(lambda: product(a)) for _ in range(REPETITIONS)),
        "copy_bytes": 8 * length / min(time_call(lambda: copy(b)) for _ in range(REPETITIONS)),
    }


def measure(segment: Segment, start: TwoLayer, data: Any, wanted: float) -> list[float]:
    """Return the seconds per step of all runs for each repetition of about `wanted` seconds, after a warm-up."""
    steps = 4
    while (taken := time_call(lambda: segment(start, data, steps))) < wanted / 4:
        steps *= 4
    steps = max(1, math.ceil(steps * wanted / taken))
    return [time_call(lambda: segment(start, data, steps)) / steps for _ in range(REPETITIONS)]


def relative_distance(a: TwoLayer, b: TwoLayer) -> float:
    """Return the largest difference of a parameter, relative to the largest entry of its array."""
    pairs = [(np.asarray(p, np.float64), np.asarray(q, np.float64)) for p, q in zip(a, b, strict=True)]
    return max(float(np.max(np.abs(p - q)) / np.max(np.abs(q))) for p, q in pairs)


def descend_in_64_bits(start: TwoLayer, data: Any, steps: int) -> TwoLayer:
    """Return the end of the plain closed form in 64 bits, from the same numbers."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), (start, data))
        return jax.device_get(descend_stepwise(plain_gradient)(*wide, steps))


def compare(shape: Shape, interpret: bool, tune: bool, product_flops: float) -> list[dict[str, Any]]:
    """Time all implementations at one shape, print a line for each and return the rows."""
    (start, data), rows, reference = draw(shape), [], None
    exact = descend_in_64_bits(start, data, LONG_STEPS)
    for name, segment in list_segments(shape, interpret, tune):
        try:
            compile_seconds = time_call(lambda: segment(start, data, 1))
            end, late = segment(start, data, CHECK_STEPS), segment(start, data, LONG_STEPS)
            times = measure(segment, start, data, 0.01 if interpret else SECONDS)
        except Exception as error:  # a cut that does not fit the device is a finding, not the end
            print(f"{shape.name:<18} {name:<22} failed: {str(error).splitlines()[0][:70]}", flush=True)
            rows.append({**shape._asdict(), "way": name, "error": str(error)[:2000]})
            continue
        reference = end if reference is None else reference
        rate = shape.n * shape.width * shape.runs / median(times)
        row = {
            "way": name,
            "step_seconds": times,
            "neuron_samples_per_second": rate,
            "product_share": rate * (4 * (shape.d + 1) + 4) / product_flops,
            "off_by": relative_distance(end, reference),
            "off_64_bits": relative_distance(late, exact),
            "compile_seconds": compile_seconds,
        }
        rows.append({**shape._asdict(), **row})
        speedup = median(rows[0].get("step_seconds", [math.nan])) / median(times)
        print(
            f"{shape.name:<18} {name:<22} {median(times) * 1e6:>12.1f} {rate:>12.3g} {row['product_share']:>8.1%}"
            f" {speedup:>8.2f} {row['off_by']:>9.1e} {row['off_64_bits']:>9.1e}"
            f" {(max(times) - min(times)) / median(times):>7.0%}",
            flush=True,
        )
    return rows


def compare_all(product_flops: float, *, tiny: bool = False, tune: bool = False) -> list[dict[str, Any]]:
    """Time all implementations at every shape and return the rows; `tiny` runs the kernels as plain JAX."""
    titles = f"{'us a step':>12} {'n K R / s':>12} {'share':>8} {'x plain':>8} {'off by':>9} {'off 64':>9} {'spread':>7}"
    print(f"{'':<18} {'':<22} {titles}")
    return [row for shape in (TINY if tiny else SHAPES) for row in compare(shape, tiny, tune, product_flops)]
