"""Networks of filters that see patches, in numpy, filter by filter."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
import pytest
from oracles import PHI, SLOPE

from dynamics.core.recording import RecordSpec
from dynamics.data.law import DataSpec
from dynamics.data.problem import TargetSpec
from dynamics.data.views import ViewSpec, list_views
from dynamics.models.locally_connected import LocallyConnected
from dynamics.models.losses import LossSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import TwoLayer
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.systems.training import TrainingSpec

DIM, SAMPLES, FILTERS = 5, 7, 4


WINDOWS = ViewSpec("sliding", 3)  # three of them, overlapping


SHARED = ModelSpec("convolutional", FILTERS, views=WINDOWS)


UNSHARED = ModelSpec("locally_connected", FILTERS, views=WINDOWS)


UNIT = replace(UNSHARED, readout="unit")


NETS = [replace(net, pooling=pooling) for net in (SHARED, UNSHARED, UNIT) for pooling in ("mean", "sum")]


OTHERS = [
    replace(SHARED, views=ViewSpec("disjoint", 2)),
    replace(UNSHARED, views=ViewSpec("sliding", 1, 2)),
    replace(UNIT, views=ViewSpec("random_subsets", 3, count=2, seed=1), pooling="sum"),
]


def name_of(spec: ModelSpec) -> str:
    return f"{spec.kind}-{spec.readout}-{spec.pooling}-{spec.views.scheme}{spec.views.size}"


by_name = pytest.mark.parametrize("spec", NETS, ids=name_of)


class Unit(NamedTuple):
    """One filter at one position: which entries of hidden and of readout are its own,
    and what it sees of the samples."""

    hidden: tuple
    readout: tuple
    seen: np.ndarray


def units(spec: ModelSpec, x: np.ndarray) -> list[Unit]:
    """Position after position, filter after filter."""
    found = []
    for position, view in enumerate(list_views(spec.views, (x.shape[1],))):
        for k in range(int(spec.width)):
            own = spec.kind == "locally_connected"
            hidden = (position, slice(None), k) if own else (slice(None), k)
            found.append(Unit(hidden, (position, k) if spec.readout == "unit" else (k,), x[:, view]))
    return found


def share(spec: ModelSpec) -> float:
    return 1 / len(list_views(spec.views, (DIM,))) if spec.pooling == "mean" else 1.0


def with_one(x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(x), 1)), x], axis=1)


def output(spec: ModelSpec, params, x: np.ndarray) -> np.ndarray:
    f = np.full(len(x), float(params.offset))
    for unit in units(spec, x):
        z = with_one(unit.seen) @ params.hidden[unit.hidden]
        f += share(spec) * params.readout[unit.readout] * PHI[spec.activation](z)
    return f


def jacobian(spec: ModelSpec, params, x: np.ndarray) -> np.ndarray:
    """Rows d f(x_i) / d theta in the order of the raveled parameters, (n, P)."""
    hidden, readout = (np.zeros((len(x), *a.shape)) for a in (params.hidden, params.readout))
    for unit in units(spec, x):
        rows = with_one(unit.seen)
        z = rows @ params.hidden[unit.hidden]
        slope = params.readout[unit.readout] * SLOPE[spec.activation](z)
        hidden[(slice(None), *unit.hidden)] += share(spec) * slope[:, None] * rows
        readout[(slice(None), *unit.readout)] += share(spec) * PHI[spec.activation](z)
    return np.concatenate([hidden.reshape(len(x), -1), readout.reshape(len(x), -1), np.ones((len(x), 1))], axis=1)


def hessian(spec: ModelSpec, params, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Newton and the rest of the Hessian of (1/2n) sum (f - y)^2 of a ReLU net, (P, P) each."""
    rows, residual = jacobian(spec, params, x), output(spec, params, x) - y
    index = np.arange(params.hidden.size).reshape(params.hidden.shape)
    outer = params.hidden.size + np.arange(params.readout.size).reshape(params.readout.shape)
    rest = np.zeros((rows.shape[1], rows.shape[1]))
    for unit in units(spec, x):
        on = with_one(unit.seen) @ params.hidden[unit.hidden] > 0
        part = share(spec) / len(x) * (residual * on) @ with_one(unit.seen)
        rest[index[unit.hidden], outer[unit.readout]] += part
        rest[outer[unit.readout], index[unit.hidden]] += part
    return rows.T @ rows / len(x), rest


def random_params(rng: np.random.Generator, spec: ModelSpec):
    """Normal in all parameters."""
    num_views, size = spec.rows((DIM,))
    width = int(spec.width)
    if spec.kind == "convolutional":
        return TwoLayer(rng.normal(size=(size + 1, width)), rng.normal(size=width), rng.normal())
    readout = rng.normal(size=(num_views, width) if spec.readout == "unit" else width)
    return LocallyConnected(rng.normal(size=(num_views, size + 1, width)), readout, rng.normal())


def flat(params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def close(actual, desired, tolerance: float) -> None:
    actual, desired = np.asarray(actual, float), np.asarray(desired, float)
    assert actual.shape == desired.shape
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * np.max(np.abs(desired)))


CLASSES = TrainingSpec(
    steps=4,
    record=RecordSpec(num=0),
    precision="float64",
    data=DataSpec("digits", 64, num_samples=30, num_test=50, noise_std=0.0, flip_probability=0.4),
    target=TargetSpec("one_hot"),
    model=ModelSpec("convolutional", 6, views=ViewSpec("disjoint", 4)),
    loss=LossSpec(kind="cross_entropy"),
    optimizer=OptimizerSpec(learning_rate=0.5, weight_decay=0.01, clip_norm=0.2),
    measures=["train_loss", "test_loss", "accuracy", "clean_accuracy", "gradient_norm"],
)
