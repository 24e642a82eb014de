"""What somebody gives from Python, read as arrays, keys and functions: checked in one line,
and never narrowed unasked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.errors import InputError, require


def read_array(name: str, value: Any) -> np.ndarray:
    """Return what is given as an array of real numbers; raises `InputError` for anything else."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:  # ragged lists, objects that refuse
        raise InputError(name, type(value).__name__, "must be an array of numbers") from error
    real = array.dtype == bool or jnp.issubdtype(array.dtype, np.integer) or jnp.issubdtype(array.dtype, np.floating)
    require(real, name, str(array.dtype), "must be an array of real numbers")
    masked = int(np.ma.count_masked(value)) if isinstance(value, np.ma.MaskedArray) else 0
    require(masked == 0, name, f"{masked} masked values", "must have all its values")
    return array


def map_leaves(name: str, tree: Any, function: Callable[[str, Any], Any]) -> Any:
    """Return a pytree with `function(name of the leaf, leaf)` for every leaf; its name says where it is."""

    def leaf_name(place: Any) -> str:
        return f"{name} {jax.tree_util.keystr(place, simple=True, separator='.')}".strip()

    return jax.tree_util.tree_map_with_path(lambda place, leaf: function(leaf_name(place), leaf), tree)


def read_key(key: Any) -> jax.Array:
    """Return the key that is meant by a JAX key or a seed; raises `InputError` for anything else."""
    if isinstance(key, int | np.integer) and not isinstance(key, bool) and -(2**63) <= key < 2**63:
        return jax.random.key(int(key))
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()
    raw = isinstance(key, jax.Array) and key.dtype == "uint32" and key.ndim == 1
    if not isinstance(key, jax.Array) or not (typed or raw):
        raise InputError("key", key, "must be a seed, or one key such as jax.random.key(0)")
    return key


def read_hyper(hyper: Any) -> dict[str, Any]:
    """Return a run's scalars by name as JAX arrays; raises `InputError` for what is no number, or would be narrowed.

    A number becomes one of the precision that JAX is set to; an array of 64 bits stays what it is or is refused.
    """
    named = isinstance(hyper, Mapping) and all(isinstance(name, str) for name in hyper)
    require(named, "hyper", hyper, "must be a mapping from names to numbers or arrays")
    missing = [name for name, value in hyper.items() if value is None]
    require(not missing, f"hyper {missing[0] if missing else ''}", None, "must be a number or an array")
    return {name: _read_scalar(f"hyper {name}", value) for name, value in hyper.items()}


def _read_scalar(name: str, value: Any) -> jax.Array:
    if isinstance(value, jax.Array):
        return value
    array = read_array(name, value)
    require(not np.isnan(array).any(), name, value, "must not be NaN")
    target = jax.dtypes.canonicalize_dtype(array.dtype)
    if array.dtype.kind in "iu":
        inside = array.size == 0 or (np.iinfo(target).min <= array.min() and array.max() <= np.iinfo(target).max)
        require(bool(inside), name, value, f"does not fit into {target}; give precision='float64'")
    sized = hasattr(value, "dtype") and array.ndim > 0  # Python's numbers, and lists of them, have no precision to lose
    narrowed = sized and array.dtype.kind == "f" and array.dtype.itemsize > target.itemsize
    allowed = f"would be narrowed to {target}; give precision='float64', or cast it"
    require(not narrowed, name, f"{array.dtype}{list(array.shape)}", allowed)
    return jnp.asarray(array)
