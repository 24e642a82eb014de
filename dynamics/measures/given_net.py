"""Networks and data of one's own: what is given is read as arrays, checked in one line, and never narrowed unasked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.given_arrays import map_leaves, read_array
from dynamics.core.plain_values import coerce, plain_value
from dynamics.errors import choose, require
from dynamics.models.two_layer import TwoLayer

Apply = Callable[[Any, jax.Array], jax.Array]
PRECISIONS = ("float32", "float64")


def choose_precision(asked: str | None, arrays: Sequence[np.ndarray]) -> str:
    """Return the precision that was asked for, else 64 bits if some array has them."""
    if asked is not None:
        choose("precision", asked, dict.fromkeys(PRECISIONS))
        return asked
    longest = max((array.dtype for array in arrays if array.dtype.kind == "f"), key=lambda d: d.itemsize, default=None)
    wide = longest is not None and longest.itemsize > 8
    require(not wide, "precision", str(longest), "is more than float64; cast the array, or give precision='float64'")
    return "float64" if longest == np.float64 else "float32"


def cast(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """Return a finite array in this precision; raises `InputError` for integers and sizes that it does not hold."""
    broken = array[~np.isfinite(array.astype(np.float64) if array.dtype.itemsize < 4 else array)]
    require(len(broken) == 0, name, broken[:1].tolist(), "must be finite")
    with np.errstate(over="ignore"):
        made = array.astype(dtype)
    if array.dtype.kind in "iu":
        lost = array[made.astype(np.float64) != array]
        require(len(lost) == 0, name, lost[:1].tolist(), f"is no {dtype}; give precision='float64', or smaller numbers")
    require(bool(np.isfinite(made).all()), name, array[~np.isfinite(made)][:1].tolist(), f"is too large for {dtype}")
    return made


def read_number(name: str, value: Any, *, above: float | None = None, at_least: float | None = None) -> float:
    """Return a finite number of these bounds; raises `InputError` for anything else."""
    number = coerce(name, plain_value(name, value), float)
    low = f"above {above:g}" if above is not None else f", at least {at_least:g}"
    fits = np.isfinite(number) and (above is None or number > above) and (at_least is None or number >= at_least)
    require(bool(fits), name, value, f"must be a number{' ' if above is not None else ''}{low}")
    return number


def split_net(net: Any) -> tuple[Any, Apply | None]:
    """Return (params, apply), apply being None for a two-layer net."""
    allowed = "must be (hidden, readout, offset), or (params, apply)"
    require(isinstance(net, tuple | list) and len(net) in (2, 3), "net", type(net).__name__, allowed)
    if len(net) == 3:
        return map_leaves("net", TwoLayer(*net), read_array), None
    params, apply = net
    require(callable(apply), "net", type(apply).__name__, f"{allowed}, apply a function")
    told = "apply must be a function, or hashable as functions are: one program is kept for each"
    require(isinstance(apply, Hashable), "net", type(apply).__name__, told)
    require(len(jax.tree.leaves(params)) > 0, "net", params, f"{allowed}, params with at least one array")
    return map_leaves("net params", params, read_array), apply


def check_samples(inputs_name: str, labels_name: str, inputs: np.ndarray, labels: np.ndarray) -> None:
    """Raise `InputError` unless inputs are (n, d) and labels go with them."""
    require(inputs.ndim >= 2 and inputs.size > 0, inputs_name, inputs.shape, "must have shape (n, d), n and d at least 1")
    fits = labels.ndim in (1, 2) and len(labels) == len(inputs) and labels.size > 0
    require(fits, labels_name, labels.shape, f"must have shape ({len(inputs)},), or ({len(inputs)}, C) for C outputs")


def check_two_layer(params: TwoLayer, inputs: np.ndarray, labels: np.ndarray) -> None:
    """Raise `InputError` unless this two-layer net goes with the inputs and labels."""
    require(inputs.ndim == 2, "inputs", inputs.shape, "must have shape (n, d) for a two-layer net")
    require(labels.ndim == 1, "labels", labels.shape, "must have shape (n,): a two-layer net has one output")
    hidden, readout, offset = params
    rows = inputs.shape[1] + 1
    allowed = f"must have shape ({rows}, K): row 0 the biases, then one row for each of the {rows - 1} inputs"
    require(hidden.ndim == 2 and hidden.shape[0] == rows and hidden.shape[1] > 0, "net hidden", hidden.shape, allowed)
    require(readout.shape == hidden.shape[1:], "net readout", readout.shape, f"must have shape {hidden.shape[1:]}")
    require(offset.shape == (), "net offset", offset.shape, "must have shape ()")


def check_predictions(params: Any, apply: Apply, inputs: np.ndarray, labels: np.ndarray) -> None:
    """Raise `InputError` unless the function predicts floats of the labels' shape;
    what it raises itself comes through."""
    seen = jax.eval_shape(apply, params, inputs)
    allowed = f"its predictions must be one array of floats of the labels' shape {labels.shape}"
    require(isinstance(seen, jax.ShapeDtypeStruct), "net", type(seen).__name__, allowed)
    fits = seen.shape == labels.shape and jnp.issubdtype(seen.dtype, jnp.floating)
    require(fits, "net", f"{seen.dtype}{list(seen.shape)}", allowed)


def check_class_labels(loss: str, name: str, labels: np.ndarray) -> None:
    """Raise `InputError` unless every row of labels is a distribution over classes, as a loss of classes means them."""
    allowed = "needs labels (n, C), each row 1 at the sample's class, or a distribution over the C classes"
    require(labels.ndim == 2 and labels.shape[1] > 1, "loss", f"{loss} of {name} {labels.shape}", allowed)
    off = np.flatnonzero((labels < 0).any(axis=1) | (np.abs(labels.sum(axis=1) - 1) > 1e-3))
    require(len(off) == 0, name, labels[off[:1]].tolist(), allowed.replace("needs labels", "must be", 1))
