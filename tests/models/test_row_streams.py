"""Samples whose activations are too many to be held: the same runs and curvatures, block by block."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from oracles import hyper_of, key_of

from dynamics.core.simulate import simulate
from dynamics.curvature.gauss_newton import gauss_newton_kernel
from dynamics.data.problem import DataSpec
from dynamics.data.views import ViewSpec
from dynamics.models import row_streams
from dynamics.models.model_spec import ModelSpec
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.systems.training import TrainingSpec

STEPS = 100
OF_UNITS = ["default", "gauss_newton_sharpness", "sharpness", "residual_sharpness", "path_norms", "stability_checks"]
WINDOWS = ViewSpec("sliding", 3)
NETS = {
    "two_layer": ModelSpec("two_layer", 6),
    "shared filters": ModelSpec("convolutional", 6, views=WINDOWS),
    "shared filters, GELU": ModelSpec("convolutional", 6, activation="gelu", views=WINDOWS),
    "shared filters, autodiff": ModelSpec("convolutional", 6, views=WINDOWS, gradient="autodiff", pooling="sum"),
    "own filters": ModelSpec("locally_connected", 4, views=WINDOWS),
    "own filters and readouts, GELU": ModelSpec("locally_connected", 4, views=WINDOWS, activation="gelu", readout="unit"),
}


def training(model: ModelSpec, measures: list[str], steps: int = STEPS, **fields) -> TrainingSpec:
    data = DataSpec(input_dim=5, num_samples=11, num_test=23, noise_std=0.5)
    gd = OptimizerSpec(learning_rate=0.1)
    return TrainingSpec(data=data, model=model, optimizer=gd, measures=measures, steps=steps, **fields)


def run(spec: TrainingSpec):
    """The trajectory, the kernel of the Gauss-Newton matrix at its end, and the shape of the training inputs."""
    with jax.enable_x64(spec.precision == "float64"):
        dynamics, key, hyper = spec.dynamics(), key_of(spec), hyper_of(spec)
        seen = simulate(dynamics, key, hyper, (0, spec.steps), precision=spec.precision)
        fixed, _ = dynamics.init(jax.random.fold_in(key, 0), hyper)
        kernel = gauss_newton_kernel(spec.network(), seen.state.params, fixed.train)
    return seen, np.asarray(kernel), fixed.train.inputs.shape


def hold_little(monkeypatch, block: int) -> None:
    monkeypatch.setattr(row_streams, "HELD_BYTES", 2 * block)
    monkeypatch.setattr(row_streams, "BLOCK_BYTES", block)


@pytest.mark.parametrize("name", NETS)
def test_a_run_in_blocks_is_the_run_as_a_whole(monkeypatch, name):
    """In 64 bits, over a hundred steps, with every measure and the curvature at both ends."""
    measures = OF_UNITS if NETS[name].activation == "relu" else OF_UNITS[:3]
    spec = training(NETS[name], measures, precision="float64")
    whole, kernel, shape = run(spec)
    hold_little(monkeypatch, 128)  # two or four rows of these units
    streamed, again, rows = run(spec)
    assert len(shape) > 2 == len(rows)
    for column, values in whole.records.items():
        np.testing.assert_allclose(streamed.records[column], values, rtol=1e-9, atol=1e-11, err_msg=column)
    count = spec.data.num_samples
    np.testing.assert_allclose(again, kernel[:count, :count], rtol=1e-9, atol=1e-12)
