"""The cost of a run whose system states none: its functions are traced, not run, and what they do is counted.

Products of matrices and convolutions count by their multiplications and additions, whatever else computes numbers by
the numbers that come out. A loop without a known number of rounds counts as one round, of several branches the
dearest counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from dynamics.core.dynamics import Cost
from dynamics.core.extension import until_registration

FREE = {"broadcast_in_dim", "reshape", "squeeze", "transpose", "slice", "convert_element_type", "copy", "iota", "stop_gradient"}


def estimate_cost(static: Any, hyper: Mapping[str, Any]) -> Cost:
    """Return the cost of one run of a spec without swept values (`static`),
    whose array leaves are named like `hyper`."""
    return _estimate(static, tuple(hyper))


@until_registration(maxsize=1024)
def describe_records(static: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return shape and type of what a run of a spec without swept values observes, by name."""
    with jax.enable_x64(static.precision == "float64"):
        dynamics, _, fixed, state = _trace_start(static, names)
        return dict(jax.eval_shape(dynamics.observe, state, fixed))


def _trace_start(static: Any, names: tuple[str, ...]) -> tuple[Any, Any, Any, Any]:
    """Return the dynamics, and the shapes of a key, of what it keeps constant and of its state."""
    sizes = set(static.shape_fields)
    scalars = {name: jax.ShapeDtypeStruct((), np.int32 if name in sizes else static.precision) for name in names}
    arrays = {name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in static.shared_arrays().items()}
    key, dynamics = jax.eval_shape(lambda: jax.random.key(0)), static.dynamics()
    return dynamics, key, *jax.eval_shape(dynamics.init, key, {**scalars, **arrays})


@until_registration(maxsize=1024)
def _estimate(static: Any, names: tuple[str, ...]) -> Cost:
    with jax.enable_x64(static.precision == "float64"):
        dynamics, key, fixed, state = _trace_start(static, names)
        step = jax.make_jaxpr(dynamics.step)(state, fixed, key).jaxpr
        record = jax.make_jaxpr(dynamics.observe)(state, fixed).jaxpr
    resident = sum(_bytes(leaf) for leaf in jax.tree.leaves((fixed, state)))
    return Cost(count_flops(step), count_flops(record), float(resident), float(max(peak_bytes(step), peak_bytes(record))))


def count_flops(jaxpr: Any) -> float:
    """Return the floating-point operations of a traced function, at least 1."""
    return max(1.0, sum(_flops(equation) for equation in jaxpr.eqns))


def peak_bytes(jaxpr: Any) -> int:
    """Return the most bytes of intermediate arrays that are alive at once, if nothing is fused."""
    last = {id(v): i for i, equation in enumerate(jaxpr.eqns) for v in equation.invars}
    last |= {id(v): len(jaxpr.eqns) for v in jaxpr.outvars}
    alive: dict[int, int] = {}
    peak = 0
    for i, equation in enumerate(jaxpr.eqns):
        alive |= {id(v): _bytes(v.aval) for v in equation.outvars}
        within = max((peak_bytes(inner) for inner, _ in _inner(equation)), default=0)
        peak = max(peak, sum(alive.values()) + within)
        alive = {v: size for v, size in alive.items() if last.get(v, -1) > i}
    return peak


def _flops(equation: Any) -> float:
    name, out = equation.primitive.name, sum(math.prod(getattr(v.aval, "shape", ())) for v in equation.outvars)
    inner = [(count_flops(jaxpr), times) for jaxpr, times in _inner(equation)]
    if name == "cond":
        return max(flops for flops, _ in inner)
    if inner:
        return sum(flops * times for flops, times in inner)
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2.0 * out * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
        return 2.0 * out * math.prod(kernel) / kernel[numbers.rhs_spec[0]]
    if name.startswith(("reduce", "arg", "sort", "cum", "top_k")):
        return float(sum(math.prod(getattr(v.aval, "shape", ())) for v in equation.invars))
    return 0.0 if name in FREE else float(out)


def _inner(equation: Any) -> Iterator[tuple[Any, float]]:
    """(the traced functions within an equation, how often each of them runs)."""
    times = float(equation.params.get("length", 1)) if equation.primitive.name == "scan" else 1.0
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            jaxpr = getattr(part, "jaxpr", part)
            if hasattr(jaxpr, "eqns"):
                yield jaxpr, times


def _bytes(leaf: Any) -> int:
    """Return the size of an array, traced or not; a random key counts as two numbers of 32 bits."""
    shape, dtype = getattr(leaf, "shape", ()), getattr(leaf, "dtype", None)
    return math.prod(shape) * (dtype.itemsize if isinstance(dtype, np.dtype) else 8)
