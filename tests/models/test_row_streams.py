"""Samples whose activations are too many to be held: the same runs and curvatures, block by block."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles import hyper_of, key_of

from dynamics.core.simulate import advance, start
from dynamics.curvature.gauss_newton import build_kernel_product, gauss_newton_kernel
from dynamics.curvature.hessian import build_hessian_product
from dynamics.data.problem import DataSpec
from dynamics.data.views import ViewSpec
from dynamics.models import row_streams
from dynamics.models.losses import mean_loss
from dynamics.models.model_spec import ModelSpec
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.systems.training import TrainingSpec

OF_UNITS = ["default", "gauss_newton_sharpness", "sharpness", "residual_sharpness", "path_norms", "stability_checks"]
WINDOWS = ViewSpec("sliding", 3)


def training(model: ModelSpec, measures: list[str], **fields) -> TrainingSpec:
    data = DataSpec(input_dim=5, num_samples=11, num_test=23, noise_std=0.5)
    gd = OptimizerSpec(learning_rate=0.1)
    return TrainingSpec(data=data, model=model, optimizer=gd, measures=measures, steps=100, **fields)


def run(spec: TrainingSpec) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
    """What is seen at the end, and the shape of the training inputs."""

    @jax.jit
    def look(key, hyper):
        dynamics = spec.dynamics()
        fixed, state = start(dynamics, key, hyper)
        _, records = advance(dynamics, key, fixed, state, jnp.int32(0), jnp.int32(spec.steps))
        return records, fixed.train.inputs

    with jax.enable_x64(spec.precision == "float64"):
        records, inputs = look(key_of(spec), hyper_of(spec))
    return jax.tree.map(np.asarray, records), inputs.shape


def hold_little(monkeypatch, block: int) -> None:
    monkeypatch.setattr(row_streams, "HELD_BYTES", 2 * block)
    monkeypatch.setattr(row_streams, "BLOCK_BYTES", block)


def test_a_run_in_blocks_is_the_run_as_a_whole(monkeypatch):
    """In 64 bits, over a hundred steps, with every measure of units."""
    spec = training(ModelSpec("convolutional", 6, views=WINDOWS), OF_UNITS, precision="float64")
    whole, shape = run(spec)
    hold_little(monkeypatch, 128)  # two rows of these units
    streamed, rows = run(spec)
    assert len(shape) > 2 == len(rows)
    for column, values in whole.items():
        np.testing.assert_allclose(streamed[column], values, rtol=1e-9, atol=1e-11, err_msg=column)


PARTS, WHOLE = 4, 40  # units' numbers in a block: parts of a sample's views, samples as a whole
SEEN = [
    (ModelSpec("convolutional", 6, views=WINDOWS), (PARTS, WHOLE)),
    (ModelSpec("convolutional", 6, views=ViewSpec("sliding", 20)), (WHOLE,)),  # more than runs that hold all have kernels for
    (ModelSpec("convolutional", 6, views=ViewSpec("sliding", 32)), (PARTS,)),  # the most
    (ModelSpec("locally_connected", 6, views=ViewSpec("sliding", 20), pooling="sum"), (PARTS, WHOLE)),
    (ModelSpec("locally_connected", 4, views=WINDOWS, activation="gelu", readout="unit"), (WHOLE,)),
    (ModelSpec("convolutional", 6, views=WINDOWS, gradient="autodiff", pooling="sum"), (PARTS,)),
    (ModelSpec("two_layer", 6, activation="gelu"), (PARTS,)),
]


@pytest.mark.parametrize("spec, blocks", SEEN, ids=[f"{m.kind}, {m.views.size}, {m.activation}, {m.gradient}" for m, _ in SEEN])
def test_passes_in_blocks_are_those_of_64_bits(monkeypatch, rng, spec, blocks):
    """Of single precision, by the kernels where there are some,
    in blocks of samples and in blocks of parts of a sample."""
    x, y = rng.normal(size=(9, 36)), rng.normal(size=9)
    coefficients = rng.normal(size=(2, 9))

    def passes(dtype):
        model = spec.build((36,), jnp.dtype(dtype))
        tree = jax.eval_shape(lambda: model.init(jax.random.key(0), hyper_of(training(spec, OF_UNITS))))
        drawn = np.random.default_rng(0)
        params, along = (jax.tree.map(lambda a: drawn.normal(size=a.shape).astype(dtype), tree) for _ in range(2))
        data = [np.asarray(a, dtype) for a in (x, y, np.full(9, 1 / 9))]
        dimensions = jax.eval_shape(model.prepare, *data).inputs.ndim

        def of(params, along, data):
            batch = model.prepare(*data)
            gradient = partial(model.squared_gradient, batch=batch, factor=1.0)
            product = build_hessian_product(lambda p: jnp.zeros(()), params, gradient)
            descent = jax.grad(lambda p: mean_loss("squared", 1.0, model.apply, p, batch))(params)
            sides = model.half_spaces(params, batch, coefficients.astype(dtype).reshape(2, *batch.weights.shape))
            kernel = build_kernel_product(model, params, batch)(coefficients[0].astype(dtype))
            whole_kernel = gauss_newton_kernel(model, params, batch)[:9, :9]
            outputs = model.apply(params, batch).reshape(-1)
            return outputs, whole_kernel, gradient(params), descent, product(ravel_pytree(along)[0]), sides, kernel

        return dimensions, jax.tree.map(np.asarray, jax.jit(of)(params, along, data))

    with jax.enable_x64(True):
        dimensions, exact = passes("float64")
    for block in blocks:
        hold_little(monkeypatch, block * 24)
        streamed, seen = passes("float32")
        assert streamed == 2 < dimensions
        for found, expected in zip(jax.tree.leaves(seen), jax.tree.leaves(exact), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * np.max(np.abs(expected)))


@pytest.mark.parametrize("size", [3, 8], ids=["pooled", "not pooled"])
def test_networks_with_several_outputs_take_views_block_by_block(monkeypatch, rng, size):
    x, y = rng.normal(size=(7, 12)), rng.normal(size=(7, 3))
    spec = ModelSpec("convolutional", 5, views=ViewSpec("sliding", size))

    def passes():
        @jax.jit
        def of(x, y):
            model = spec.build((12,), jnp.dtype("float64"), 3)
            params = model.init(jax.random.key(0), hyper_of(training(spec, OF_UNITS, precision="float64")))
            batch = model.prepare(x, y, jnp.full(7, 1 / 7))
            descent = jax.grad(lambda p: mean_loss("squared", 1.0, model.apply, p, batch))(params)
            return batch.inputs, jax.tree.leaves((model.apply(params, batch).reshape(-1, 3)[:7], descent))

        with jax.enable_x64(True):
            return of(x, y)

    inputs, whole = passes()
    hold_little(monkeypatch, 512)
    streamed, seen = passes()
    assert inputs.ndim > 3 == streamed.ndim and len(streamed) > 1
    for found, expected in zip(seen, whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)
