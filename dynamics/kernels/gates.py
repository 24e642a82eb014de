"""Sums over the active neurons of a ReLU layer, as JAX functions that support `grad`, `vmap` and `jit`.

    open_gates  s_i = sum_k v_k relu(w_k . x_i), and the gates 1_ik = 1{w_k . x_i > 0}
    moments     G_k = sum_i 1_ik r_i x_i
    sums        s_i = sum_k 1_ik (u_k . x_i)

Inputs are rows (n, D) whose entry 0 is 1; weights are (D, K), and row 0 is the bias. `moments` and `sums` are linear
and transposes of each other, and the derivative of s is `sums` of the derivative of v w, so all derivatives consist of
these three passes. For D = 2 (one input) the samples must be sorted: the gates of a neuron are then one position in the
sorted list, and a pass costs O((n + K) log n).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.kernels.build import find_library
from dynamics.kernels.threads import cores_per_device
from dynamics.kernels.transposes import transposed_pair

LINE_ROWS = 2  # row length with one input
MIN_THREAD_WORK = 2**21  # neuron-samples per thread below which threading does not pay


def has_kernels(num_inputs: int, dtype, *, streamed: bool = False) -> bool:
    """Return whether this machine has kernels for this dtype and rows of `num_inputs` numbers (with the leading 1).

    streamed: of rows that are taken block by block, for which there are kernels with more inputs, all but `descend`
    """
    if jnp.dtype(dtype) != jnp.float32 or jax.default_backend() != "cpu":
        return False
    built = find_library()
    return built is not None and LINE_ROWS <= num_inputs <= (built.dynamics_widest() if streamed else built.dynamics_most())


@jax.custom_jvp
def open_gates(x: jax.Array, hidden: jax.Array, readout: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the outputs s (n,) and the gates, an opaque integer array for `moments` and `sums`.

    x (n, D), hidden (D, K) and readout (K,) are float32. A gate is open where w . x > 0, so the slope at the kink is 0.
    Differentiable in hidden and readout; raises `NotImplementedError` for a derivative in x.
    """
    (n, num_inputs), width = x.shape, readout.shape[0]
    total = jax.ShapeDtypeStruct((n,), jnp.float32)
    if num_inputs == LINE_ROWS:
        on = _call("line_gates", jax.ShapeDtypeStruct((width,), jnp.uint32), x, hidden)
        return sums(x, on, readout * hidden), on
    return _call("gates", (total, jax.ShapeDtypeStruct(_shape(n, width), jnp.uint32)), x, hidden, readout)


@partial(open_gates.defjvp, symbolic_zeros=True)
def _open_gates_jvp(primals: Any, tangents: Any) -> Any:
    x, hidden, readout = primals
    if not isinstance(tangents[0], jax.custom_derivatives.SymbolicZero):
        raise NotImplementedError("open_gates is not differentiable in its inputs x")
    moved = [jnp.zeros(t.shape, jnp.float32) if isinstance(t, jax.custom_derivatives.SymbolicZero) else t for t in tangents[1:]]
    s, on = open_gates(x, hidden, readout)
    along = sums(x, on, moved[1] * hidden + readout * moved[0])
    return (s, on), (along, np.zeros(on.shape, jax.dtypes.float0))


def moments(x: jax.Array, on: jax.Array, r: jax.Array, width: int) -> jax.Array:
    """Return G_k = sum_i 1_ik r_i x_i as an array (D, width), for the gates `on` and coefficients r (n,)."""
    return _moments(x, on, r, width=width)


def sums(x: jax.Array, on: jax.Array, u: jax.Array) -> jax.Array:
    """Return s_i = sum_k 1_ik (u_k . x_i) as an array (n,), for the gates `on` and vectors u (D, K)."""
    return _sums(x, on, u, width=u.shape[-1])


def descend(
    params: tuple[jax.Array, jax.Array, jax.Array],
    data: tuple[jax.Array, jax.Array, jax.Array],
    factor: float,
    steps: jax.Array,
    scalars: tuple[jax.Array, jax.Array, jax.Array],
    *,
    spare_biases: bool,
) -> list[jax.Array]:
    """Take `steps` steps of gradient descent on factor * sum_i w_i (f(x_i) - y_i)^2 and return the parameters.

    params: hidden (D, K), readout (K,), offset (); returned in the same form
    data: inputs (n, D), labels (n,), weights (n,)
    scalars: learning rate, clip norm, weight decay
    spare_biases: apply the decay to weights only
    """
    x, y, weights = data
    shapes = [jax.ShapeDtypeStruct(p.shape, jnp.float32) for p in params]
    more = {"factor": np.float32(factor), "spare": np.int64(spare_biases)}
    return _call("descend", shapes, x, *params, y, weights, jnp.stack(scalars), steps.astype(jnp.int32), **more)


def _call_moments(x: jax.Array, on: jax.Array, r: jax.Array, *, width: int) -> jax.Array:
    shape = (*x.shape[:-2], x.shape[-1], width)
    return _call("line_moments" if x.shape[-1] == LINE_ROWS else "moments", jax.ShapeDtypeStruct(shape, jnp.float32), x, on, r)


def _call_sums(x: jax.Array, on: jax.Array, u: jax.Array, *, width: int) -> jax.Array:
    del width  # that of u
    return _call("line_sums" if x.shape[-1] == LINE_ROWS else "sums", jax.ShapeDtypeStruct(x.shape[:-1], jnp.float32), x, on, u)


_moments, _sums = transposed_pair(_call_moments, _call_sums)


def _shape(n: int, width: int) -> tuple[int, int]:
    """Return the shape of the gate array: words of samples by neurons, both rounded up."""
    built = find_library()
    assert built is not None
    pair = built.dynamics_pair()
    return math.ceil(n / built.dynamics_word()), pair * math.ceil(width / pair)


def _call(name: str, out: Any, x: jax.Array, *arguments: jax.Array, **static: Any) -> Any:
    find_library()  # registers the calls
    call = jax.ffi.ffi_call(f"dynamics_{name}", out, vmap_method="broadcast_all")
    if name.startswith("line_"):
        return call(x, *arguments)
    neuron_samples = x.shape[-2] * arguments[0].shape[-1]
    return call(
        x, *arguments, threads=np.int64(min(cores_per_device.get(), max(1, neuron_samples // MIN_THREAD_WORK))), **static
    )
