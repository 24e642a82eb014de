"""`measure`: the suite's measures of a network of one's own, on data of one's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.checked_arguments import check_arguments
from dynamics.core.checked_fields import deferred_checks
from dynamics.core.given_arrays import map_leaves, read_array
from dynamics.core.plain_values import coerce
from dynamics.core.spec import check_options, copy_spec
from dynamics.data.law import DataSpec
from dynamics.data.problem import Problem, Samples
from dynamics.data.targets import TargetSpec
from dynamics.errors import choose, require, suggest
from dynamics.measures.given_net import (
    cast,
    check_class_labels,
    check_predictions,
    check_samples,
    check_two_layer,
    choose_precision,
    read_number,
    split_net,
)
from dynamics.measures.table import MEASURES, MeasureSpec, check_measures
from dynamics.measures.view import View, prepare_run_data
from dynamics.models.base import Model, flat_batch
from dynamics.models.losses import FACTORS, LOSSES, LossSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import ACTIVATIONS, build_two_layer
from dynamics.optimizers.rules import OptimizerSpec


@dataclass(frozen=True)
class Setting:
    """The settings that the measures' needs are judged by, of a net that no config describes."""

    data: DataSpec
    target: TargetSpec
    model: ModelSpec
    loss: LossSpec
    optimizer: OptimizerSpec
    outputs: int
    measure_options: MeasureSpec


@check_arguments("measure", types=False)
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
    options: Mapping[str, Any] | None = None,
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
    normalization: of the squared loss, `mse` (1/n) sum |f - y|^2, `half` (1/2n), or for C outputs `mean` (1/nC),
        PyTorch's MSELoss; loss: `squared` or `cross_entropy`, for which labels are shares of classes
    activation: phi of a two-layer net
    clean: labels without noise, as `clean_train_error` wants them; test: fresh (inputs, clean labels) for risks and
        gaps; noise_std: of the labels' noise, in `generalization_gap`
    precision: `float32` or `float64`; the widest of the arrays that are given, unless said
    options: of the measures, such as `{"top_k": 3}`, as `measure_options` in a config

    One program is compiled for each shape and choice of measures, and used again for the next net. Raises `InputError`
    for shapes that do not go together, numbers that are not finite or that the precision does not hold, and measures
    that need what is not there.

    >>> import numpy as np
    >>> net = (np.array([[0.0, -0.5], [1.0, 1.0]]), np.array([1.0, -2.0]), np.array(0.0))  # a hat with its top at x = 0.5
    >>> x = np.linspace(0, 1, 5)[:, None]
    >>> seen = measure(net, x, np.zeros(5), ["train_loss", "path_norms"], normalization="half")
    >>> print({name: round(value, 4) for name, value in seen.items()})
    {'one_sided_path_norm': 0.6312, 'path_norm': 3.0, 'train_loss': 0.0375, 'weighted_path_norm': 0.1209}
    """
    names, chosen = _names(measures), _read_options(options)
    choose("normalization", normalization, dict.fromkeys(FACTORS))
    choose("loss", loss, LOSSES)
    params, apply = split_net(net)
    choose("activation", activation, ACTIVATIONS)
    fixed = apply is None or activation == "relu"
    require(fixed, "activation", activation, "is of a two-layer net; what is given is a function with its own")
    train = tuple(read_array(name, value) for name, value in (("inputs", inputs), ("labels", labels)))
    train = (*train, train[1] if clean is None else read_array("clean", clean))
    pair = test is None or (isinstance(test, tuple | list) and len(test) == 2)
    require(pair, "test", type(test).__name__, "must be (inputs, clean labels)")
    fresh = None if test is None else (read_array("test inputs", test[0]), read_array("test labels", test[1]))
    noise_std = read_number("noise_std", noise_std, at_least=0)
    rate = math.nan if learning_rate is None else read_number("learning_rate", learning_rate, above=0)

    dtype = choose_precision(precision, jax.tree.leaves((params, train, fresh)))
    with jax.enable_x64(dtype == "float64"):
        params = map_leaves("net" if apply is None else "net params", params, lambda name, leaf: cast(name, leaf, dtype))
        train = tuple(cast(name, array, dtype) for name, array in zip(("inputs", "labels", "clean"), train, strict=True))
        check_samples("inputs", "labels", train[0], train[1])
        require(train[2].shape == train[1].shape, "clean", train[2].shape, f"must have the labels' shape {train[1].shape}")
        if fresh is not None:
            fresh = (cast("test inputs", fresh[0], dtype), cast("test labels", fresh[1], dtype))
            check_samples("test inputs", "test labels", *fresh)
            for name, own, like in zip(("inputs", "labels"), fresh, train, strict=False):
                require(own.shape[1:] == like.shape[1:], f"test {name}", own.shape, f"must be like the {name} but for n")
        if LOSSES[loss].of_classes:
            given = {"labels": train[1], "clean": train[2], **({} if fresh is None else {"test labels": fresh[1]})}
            for name, array in given.items():
                check_class_labels(loss, name, array)
            require(noise_std == 0, "noise_std", noise_std, f"is of labels that are values; those of loss = {loss} are classes")
        unused = "normalization" not in LOSSES[loss].uses and normalization != "mse"
        require(not unused, "normalization", normalization, f"is not of loss = {loss}; leave it out")
        if apply is None:
            check_two_layer(params, *train[:2])
        else:
            check_predictions(params, apply, *train[:2])
        setting = _setting(
            train, fresh, clean is not None, normalization, loss, activation, noise_std, rate, apply is None, chosen
        )
        setting.loss.check(setting.outputs)
        check_measures(names, setting)
        scalars = {"data.noise_std": noise_std, "optimizer.learning_rate": rate}
        scalars |= {f"measure_options.{f.name}": v for f, v in _swept(chosen)}
        hyper = {name: np.asarray(value, dtype) for name, value in scalars.items()}
        fresh = (train[0], train[2]) if fresh is None else fresh  # no measure that was let through looks at them
        found = _take(params, train, fresh, hyper, names, apply, activation, setting.loss.factor(setting.outputs), loss, chosen)
        found = {name: np.asarray(value) for name, value in found.items()}
    return {name: value.item() if value.ndim == 0 else value for name, value in found.items()}


def _names(measures: Any) -> tuple[str, ...]:
    """Return the names of measures, each once and in order, so that their order is no reason to compile anew."""
    listed = [measures] if isinstance(measures, str) else measures
    allowed = "must be a name or a list of names"
    require(isinstance(listed, Iterable) and not isinstance(listed, Mapping | bytes), "measures", measures, allowed)
    asked = list(listed)
    texts = [name for name in asked if isinstance(name, str)]
    require(len(texts) == len(asked), "measures", asked, allowed)
    return tuple(sorted(set(texts)))


def _read_options(options: Any) -> MeasureSpec:
    """Return the measures' options, checked; those that are not given are at their defaults."""
    given = {} if options is None else options
    allowed = "must be a mapping of names to values"
    require(isinstance(given, Mapping) and all(isinstance(name, str) for name in given), "options", options, allowed)
    known = {f.name: f.type for f in fields(MeasureSpec)}
    for name, value in given.items():
        require(name in known, f"options.{name}", value, f"no such option{suggest(name, known)}")
    defaults = MeasureSpec()
    values = {name: coerce(f"options.{name}", value, type(getattr(defaults, name))) for name, value in given.items()}
    chosen = copy_spec(defaults, values)
    check_options(chosen, "options")
    return chosen


def _swept(options: MeasureSpec) -> list[tuple[Any, float]]:
    """Return the options that are swept in a run, each with its value: those of a user's measures."""
    found = [(f, getattr(options, f.name)) for f in fields(options) if not f.metadata.get("static")]
    return [(f, value) for f, value in found if isinstance(value, float)]


def _setting(train, fresh, is_clean, normalization, loss, activation, noise_std, rate, two_layer, options) -> Setting:
    """Return what the measures' needs are judged by; these specs describe what is given and are not to be run."""
    with deferred_checks():
        return Setting(
            DataSpec(num_samples=len(train[0]), num_test=0 if fresh is None else len(fresh[0]), noise_std=noise_std),
            TargetSpec(kind="given" if is_clean else ""),
            ModelSpec("two_layer" if two_layer else "given", activation=activation if two_layer else ""),
            LossSpec(normalization, loss),
            OptimizerSpec(learning_rate=rate),
            train[1].shape[1] if train[1].ndim == 2 else 0,
            options,
        )


@partial(jax.jit, static_argnames=("names", "apply", "activation", "factor", "kind", "options"))
def _take(params, train, test, hyper, names, apply, activation, factor, kind, options) -> dict[str, jax.Array]:
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
    fixed = prepare_run_data(model, Problem(samples, fresh), hyper, jax.random.key(0))
    view = View(model, params, fixed, factor, kind, options=options)
    found: dict[str, jax.Array] = {}
    for name in names:
        found |= MEASURES[name](view)
    return found
