"""Sums over the open gates of a ReLU layer, as JAX functions that can be differentiated, vmapped and traced.

    open_gates  s_i = sum_k v_k relu(w_k . x_i), and which neurons are on for which samples
    moments     G_k = sum_i 1_ik r_i x_i
    sums        s_i = sum_k 1_ik (u_k . x_i)

Inputs are rows (n, D) whose entry 0 is 1, weights (D, K) whose row 0 is the bias. `moments` and `sums` are linear and each
other's transposes, and the derivative of s is `sums` of that of v w, so all derivatives are made of these three passes.
Where D = 2 (one input) the samples must be sorted by it: a gate is then a position, and a pass costs O((n + K) log n).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.kernels.build import library
from dynamics.kernels.threads import cores_per_device
from dynamics.kernels.transposes import transposed_pair

LINE = 2  # entries of a row when there is one input
WORTH = 2**21  # neuron-samples below which a thread costs more than it saves


def usable(num_inputs: int, dtype) -> bool:
    """Whether there are kernels for rows of so many numbers, the leading 1 included."""
    if jnp.dtype(dtype) != jnp.float32 or jax.default_backend() != "cpu":
        return False
    built = library()
    return built is not None and LINE <= num_inputs <= built.dynamics_most()


@jax.custom_jvp
def open_gates(x: jax.Array, hidden: jax.Array, readout: jax.Array) -> tuple[jax.Array, jax.Array]:
    """s (n,) and the gates, an integer array for `moments` and `sums`. x (n, D), hidden (D, K), readout (K,), float32.

    A gate is on where w . x > 0; slope 0 at the kink. Derivatives are those in hidden and readout; x is data.
    """
    (n, num_inputs), width = x.shape, readout.shape[0]
    total = jax.ShapeDtypeStruct((n,), jnp.float32)
    if num_inputs == LINE:
        on = _call("line_gates", jax.ShapeDtypeStruct((width,), jnp.uint32), x, hidden)
        return sums(x, on, readout * hidden), on
    return _call("gates", (total, jax.ShapeDtypeStruct(_shape(n, width), jnp.uint32)), x, hidden, readout)


@partial(open_gates.defjvp, symbolic_zeros=True)
def _open_gates_jvp(primals: Any, tangents: Any) -> Any:
    x, hidden, readout = primals
    if not isinstance(tangents[0], jax.custom_derivatives.SymbolicZero):
        raise NotImplementedError("open_gates: the inputs are data, no derivative in them")
    moved = [jnp.zeros(t.shape, jnp.float32) if isinstance(t, jax.custom_derivatives.SymbolicZero) else t for t in tangents[1:]]
    s, on = open_gates(x, hidden, readout)
    along = sums(x, on, moved[1] * hidden + readout * moved[0])
    return (s, on), (along, np.zeros(on.shape, jax.dtypes.float0))


def moments(x: jax.Array, on: jax.Array, r: jax.Array, width: int) -> jax.Array:
    """G (D, width) of coefficients r (n,)."""
    return _moments(x, on, r, width=width)


def sums(x: jax.Array, on: jax.Array, u: jax.Array) -> jax.Array:
    """s (n,) of vectors u (D, K)."""
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
    """hidden (D, K), readout (K,), offset () after so many steps of the rule `gd` on factor * sum_i w_i (f(x_i) - y_i)^2.

    data: inputs (n, D), labels (n,), weights (n,); scalars: learning rate, clip norm, weight decay
    spare_biases: decay acts on weights alone
    """
    x, y, weights = data
    shapes = [jax.ShapeDtypeStruct(p.shape, jnp.float32) for p in params]
    more = {"factor": np.float32(factor), "spare": np.int64(spare_biases)}
    return _call("descend", shapes, x, *params, y, weights, jnp.stack(scalars), steps.astype(jnp.int32), **more)


def _call_moments(x: jax.Array, on: jax.Array, r: jax.Array, *, width: int) -> jax.Array:
    shape = (*x.shape[:-2], x.shape[-1], width)
    return _call("line_moments" if x.shape[-1] == LINE else "moments", jax.ShapeDtypeStruct(shape, jnp.float32), x, on, r)


def _call_sums(x: jax.Array, on: jax.Array, u: jax.Array, *, width: int) -> jax.Array:
    del width  # that of u
    return _call("line_sums" if x.shape[-1] == LINE else "sums", jax.ShapeDtypeStruct(x.shape[:-1], jnp.float32), x, on, u)


_moments, _sums = transposed_pair(_call_moments, _call_sums)


def _shape(n: int, width: int) -> tuple[int, int]:
    """Of the gates: words of samples by neurons, both rounded up."""
    built = library()
    assert built is not None
    pair = built.dynamics_pair()
    return math.ceil(n / built.dynamics_word()), pair * math.ceil(width / pair)


def _call(name: str, out: Any, x: jax.Array, *arguments: jax.Array, **static: Any) -> Any:
    library()  # registers the calls
    call = jax.ffi.ffi_call(f"dynamics_{name}", out, vmap_method="broadcast_all")
    if name.startswith("line_"):
        return call(x, *arguments)
    neuron_samples = x.shape[-2] * arguments[0].shape[-1]
    return call(x, *arguments, threads=np.int64(min(cores_per_device.get(), max(1, neuron_samples // WORTH))), **static)
