"""`measure`: the suite's measures of a network of one's own, on data of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.data.law import DataSpec
from dynamics.data.problem import Problem, Samples
from dynamics.data.targets import TargetSpec
from dynamics.errors import choose, require
from dynamics.measures.table import MEASURES, check_measures
from dynamics.measures.view import View, prepare_run_data
from dynamics.models.base import Model, flat_batch
from dynamics.models.losses import LOSSES, LossSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import ACTIVATIONS, TwoLayer, build_two_layer
from dynamics.optimizers.rules import OptimizerSpec

Apply = Callable[[Any, jax.Array], jax.Array]
SIZES = ("float32", "float64")


@dataclass(frozen=True)
class Setting:
    """The settings that the measures' needs are judged by, of a net that no config describes."""

    data: DataSpec
    target: TargetSpec
    model: ModelSpec
    loss: LossSpec
    optimizer: OptimizerSpec
    outputs: int


def measure(
    net: Any,
    inputs: Any,
    labels: Any,
    measures: str | Sequence[str],
    *,
    learning_rate: float | None = None,
    normalization: str = "mse",
    loss: str = "squared",
    activation: str = "relu",
    clean: Any = None,
    test: tuple[Any, Any] | None = None,
    noise_std: float = 0.0,
    precision: str | None = None,
) -> dict[str, Any]:
    """Return the columns of these measures for a network at its parameters, as Python numbers where they are scalars.

    net: the hidden weights (d + 1, K) with the biases in row 0, the readout (K,) and the offset () of a two-layer net
        f(x) = sum_k v_k phi(w_k . x + b_k) + c, as a tuple or a `TwoLayer`; or `(params, apply)` with any pytree of
        parameters and `apply(params, inputs)` -> (n,) or (n, C), such as `(variables, module.apply)` of flax. Pass the
        same function
        every time: a new one is compiled anew
    inputs: (n, d), or (n, ...) for an `apply` that takes it; labels: (n,), or (n, C) for C outputs
    measures: a name or several; `dynamics list measures` has them
    learning_rate: of the next step of gradient descent on this loss, for what compares with 2 / eta
    normalization: of the squared loss, `mse` (1/n) sum (f - y)^2 or `half` (1/2n); loss: `squared` or `cross_entropy`
    activation: phi of a two-layer net
    clean: labels without noise, as `clean_train_error` wants them; test: fresh (inputs, clean labels) for risks and
        gaps; noise_std: of the labels' noise, in `generalization_gap`
    precision: `float32` or `float64`; the widest of the arrays that are given, unless said

    One program is compiled for each shape and choice of measures, and used again for the next net. Raises `InputError`
    for shapes that do not go together and for measures that need what is not there.

    >>> import numpy as np
    >>> net = (np.array([[0.0, -0.5], [1.0, 1.0]]), np.array([1.0, -2.0]), np.array(0.0))  # a hat with its top at x = 0.5
    >>> x = np.linspace(0, 1, 5)[:, None]
    >>> seen = measure(net, x, np.zeros(5), ["train_loss", "path_norms"], normalization="half")
    >>> print({name: round(value, 4) for name, value in seen.items()})
    {'one_sided_path_norm': 0.6312, 'path_norm': 3.0, 'train_loss': 0.0375, 'weighted_path_norm': 0.1209}
    """
    names = (measures,) if isinstance(measures, str) else tuple(measures)
    choose("normalization", normalization, dict.fromkeys(("mse", "half")))
    choose("loss", loss, LOSSES)
    params, apply = _parts(net)
    train = (inputs, labels, labels if clean is None else clean)
    given = [np.asarray(leaf) for leaf in jax.tree.leaves((params, train, test))]
    dtype = _precision(precision, given)
    if apply is None:
        choose("activation", activation, ACTIVATIONS)
    if learning_rate is not None:
        require(0 < learning_rate < math.inf, "learning_rate", learning_rate, "must be a number above 0")
    with jax.enable_x64(dtype == "float64"):
        params, train, test = jax.tree.map(lambda leaf: _cast(leaf, dtype), (params, train, test))
        _check_samples("inputs", "labels", train[0], train[1])
        require(train[2].shape == train[1].shape, "clean", train[2].shape, f"must have the labels' shape {train[1].shape}")
        if test is not None:
            _check_samples("test inputs", "test labels", *test)
            require(test[0].shape[1:] == train[0].shape[1:], "test inputs", test[0].shape, "must be like the inputs but for n")
        outputs = train[1].shape[1] if train[1].ndim == 2 else 0
        _check_net(params, apply, *train[:2])
        setting = Setting(
            DataSpec(num_samples=len(train[0]), num_test=0 if test is None else len(test[0]), noise_std=noise_std),
            TargetSpec(kind="" if clean is None else "given"),
            ModelSpec("two_layer" if apply is None else "given", activation=activation if apply is None else ""),
            LossSpec(normalization, loss),
            OptimizerSpec(learning_rate=math.nan if learning_rate is None else learning_rate),
            outputs,
        )
        check_measures(names, setting)
        scalars = {"data.noise_std": noise_std, "optimizer.learning_rate": setting.optimizer.learning_rate}
        hyper = {name: np.asarray(value, dtype) for name, value in scalars.items()}
        test = (train[0], train[2]) if test is None else test  # no measure that was let through looks at them
        found = _take(params, train, test, hyper, names, apply, activation, setting.loss.factor, loss)
        found = {name: np.asarray(value) for name, value in found.items()}
    return {name: value.item() if value.ndim == 0 else value for name, value in found.items()}


def _parts(net: Any) -> tuple[Any, Apply | None]:
    """Return (params, apply), apply being None for a two-layer net."""
    allowed = "must be (hidden, readout, offset), or (params, apply)"
    require(isinstance(net, tuple | list) and len(net) in (2, 3), "net", type(net).__name__, allowed)
    if len(net) == 3:
        return TwoLayer(*net), None
    require(callable(net[1]), "net", type(net[1]).__name__, f"{allowed}, apply a function")
    return net[0], net[1]


def _precision(asked: str | None, arrays: Sequence[np.ndarray]) -> str:
    """Return the precision that was asked for, else 64 bits if some array has them."""
    if asked is not None:
        choose("precision", asked, dict.fromkeys(SIZES))
        return asked
    return "float64" if any(array.dtype == np.float64 for array in arrays) else "float32"


def _cast(leaf: Any, dtype: str) -> np.ndarray:
    """Return the array in this precision; integers among the parameters of a net of one's own are cast too."""
    array = np.asarray(leaf)
    require(np.issubdtype(array.dtype, np.number) or array.dtype == bool, "array", array.dtype, "must be of numbers")
    return array.astype(dtype)


def _check_samples(inputs_name: str, labels_name: str, inputs: np.ndarray, labels: np.ndarray) -> None:
    require(inputs.ndim >= 2 and len(inputs) > 0, inputs_name, inputs.shape, "must have shape (n, d), n at least 1")
    fits = labels.ndim in (1, 2) and len(labels) == len(inputs)
    require(fits, labels_name, labels.shape, f"must have shape ({len(inputs)},), or ({len(inputs)}, C) for C outputs")
    for name, array in ((inputs_name, inputs), (labels_name, labels)):
        broken = array[~np.isfinite(array)]
        require(len(broken) == 0, name, broken[:1].tolist(), "must be finite")


def _check_net(params: Any, apply: Apply | None, inputs: np.ndarray, labels: np.ndarray) -> None:
    if apply is not None:
        shape = jax.eval_shape(apply, params, inputs).shape
        require(shape == labels.shape, "net", shape, f"its predictions must have the labels' shape {labels.shape}")
        return
    require(inputs.ndim == 2, "inputs", inputs.shape, "must have shape (n, d) for a two-layer net")
    require(labels.ndim == 1, "labels", labels.shape, "must have shape (n,): a two-layer net has one output")
    hidden, readout, offset = params
    rows = inputs.shape[1] + 1
    allowed = f"must have shape ({rows}, K): row 0 the biases, then one row for each of the {rows - 1} inputs"
    require(hidden.ndim == 2 and hidden.shape[0] == rows and hidden.shape[1] > 0, "net hidden", hidden.shape, allowed)
    require(readout.shape == hidden.shape[1:], "net readout", readout.shape, f"must have shape {hidden.shape[1:]}")
    require(offset.shape == (), "net offset", offset.shape, "must have shape ()")


@partial(jax.jit, static_argnames=("names", "apply", "activation", "factor", "kind"))
def _take(params, train, test, hyper, names, apply, activation, factor, kind) -> dict[str, jax.Array]:
    """Return the columns of these measures, in one program a shape."""
    x, y, clean = train
    dtype, count = x.dtype, len(x)
    sizes = {"data.input_dim": x.shape[1], "data.num_samples": count}
    if apply is None:
        sizes["model.width"] = params.hidden.shape[1]
        model = build_two_layer(x.shape[1], params.hidden.shape[1], activation, "torch_default", dtype)
    else:
        model = Model(
            init=lambda key, hyper: params,
            prepare=flat_batch,
            apply=lambda p, batch: apply(p, batch.inputs),
            squared_gradient=None,
            gauss_newton=None,
            half_spaces=None,
            is_weight=lambda p: jax.tree.map(jnp.ones_like, p),
        )
    samples = Samples(x, y, clean, jnp.full(count, 1 / count, dtype))
    fresh_x, fresh_y = test
    fresh = Samples(fresh_x, fresh_y, fresh_y, jnp.full(len(fresh_x), 1 / len(fresh_x), dtype))
    hyper = {**hyper, **{name: jnp.int32(size) for name, size in sizes.items()}}
    view = View(model, params, prepare_run_data(model, Problem(samples, fresh), hyper, jax.random.key(0)), factor, kind)
    found: dict[str, jax.Array] = {}
    for name in names:
        found |= MEASURES[name](view)
    return found
