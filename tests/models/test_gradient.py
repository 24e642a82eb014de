"""The closed-form gradient against autodiff of a plain loss and against numpy, neuron by neuron."""

from __future__ import annotations

import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracles import assert_trees_close, net_gradient, net_output, random_net, to_jax, to_numpy

from dynamics.models import row_streams
from dynamics.models.base import Batch
from dynamics.models.linear import build_linear_model
from dynamics.models.two_layer import TwoLayer, build_two_layer

module = importlib.import_module("dynamics.models.two_layer")  # the package exports a function of this name
pytestmark = pytest.mark.usefixtures("x64")

# n, d, K, blocks of samples: one of each, ragged last blocks, a block for every sample
SHAPES = [(1, 1, 1, 1), (5, 1, 1, 2), (8, 2, 5, 3), (7, 3, 1, 7), (33, 4, 16, 4), (20, 6, 40, 1)]
PLAIN = {"relu": jax.nn.relu, "gelu": lambda z: jax.nn.gelu(z, approximate=False)}


def model_in_blocks(monkeypatch, d, width, blocks, activation="relu", init="torch_default"):
    monkeypatch.setattr(module, "count_sample_blocks", lambda *_: blocks)
    return build_two_layer(d, width, activation, init, jnp.float64)


def closed_gradient(model, params, *samples, factor=1.0):
    """What the model makes of (x, y, weights), as one program."""
    whole = jax.jit(lambda params, *samples: model.squared_gradient(params, model.prepare(*samples), factor))
    return to_numpy(whole(to_jax(params), *samples))


def plain_gradient(params, x, y, weights, factor, activation):
    """Autodiff through the loss written in one line: no blocks, no leading ones."""

    def loss(p):
        f = PLAIN[activation](x @ p.hidden[1:] + p.hidden[0]) @ p.readout + p.offset
        return factor * jnp.sum(weights * (f - y) ** 2)

    return jax.grad(loss)(params)


def close(actual, desired):
    scale = max(float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(desired))
    assert_trees_close(actual, desired, rtol=1e-12, atol=1e-13 * scale)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("n, d, width, blocks", SHAPES)
def test_closed_form_equals_autodiff_and_numpy(monkeypatch, rng, n, d, width, blocks, activation):
    params = random_net(rng, d, width)
    x, y, weights = rng.normal(size=(n, d)), rng.normal(size=n), rng.uniform(0.5, 2, size=n) / n
    model = model_in_blocks(monkeypatch, d, width, blocks, activation)

    @jax.jit
    def gradients(params, x, y, weights, factor):
        batch = model.prepare(x, y, weights)
        assert batch.inputs.shape == (blocks, math.ceil(n / blocks), d + 1)
        return model.squared_gradient(params, batch, factor), plain_gradient(params, x, y, weights, factor, activation)

    for factor in (1.0, 0.5):
        closed, autodiff = gradients(*to_jax((params, x, y, weights)), factor)
        close(closed, autodiff)
        close(closed, net_gradient(params, x, y, weights, factor, activation))


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_predictions_are_those_of_numpy_in_any_number_of_blocks(monkeypatch, rng, activation):
    params, x = random_net(rng, 3, 6), rng.normal(size=(11, 3))
    for blocks in (1, 2, 4, 11):
        model = model_in_blocks(monkeypatch, 3, 6, blocks, activation)
        predict = jax.jit(lambda params, *samples, model=model: model.apply(params, model.prepare(*samples)))
        seen = np.ravel(predict(to_jax(params), x, np.zeros(11), np.full(11, 1 / 11)))
        assert seen.size == blocks * math.ceil(11 / blocks)
        np.testing.assert_allclose(seen[:11], net_output(params, x, activation), rtol=1e-13)


def test_blocks_hold_a_cache_of_activations_and_no_fewer_samples_than_fit():
    fits = row_streams.BLOCK_BYTES // (8 * 64)  # samples of 64 neurons in 64 bits
    assert row_streams.count_sample_blocks(fits, 64, 3, 8, "cpu") == 1
    assert row_streams.count_sample_blocks(fits + 1, 64, 3, 8, "cpu") == 2
    assert row_streams.count_sample_blocks(10 * fits, 64, 3, 8, "cpu") == 10
    assert row_streams.count_sample_blocks(20 * fits, 64, 3, 4, "cpu") == 10
    assert row_streams.count_sample_blocks(10 * fits, 64, 3, 8, "gpu") == 1
    assert row_streams.count_sample_blocks(10 * fits, 64, 5 * fits, 8, "cpu") == 2  # the weights are as large as five blocks


def test_real_block_size_leads_to_several_blocks_and_the_same_gradient(monkeypatch, rng):
    monkeypatch.setattr(row_streams, "BLOCK_BYTES", 1024)
    params, x, y = random_net(rng, 2, 16), rng.normal(size=(30, 2)), rng.normal(size=30)
    model = build_two_layer(2, 16, "relu", "torch_default", jnp.float64)
    samples = x, y, np.full(30, 1 / 30)
    assert jax.eval_shape(model.prepare, *samples).labels.shape == (4, 8)
    close(closed_gradient(model, params, *samples), net_gradient(params, x, y, np.full(30, 1 / 30), 1.0))


def test_gradient_agrees_with_central_differences(rng):
    params, x, y = random_net(rng, 2, 4), rng.normal(size=(9, 2)), rng.normal(size=9)
    weights, h = np.full(9, 1 / 9), 1e-6
    model = build_two_layer(2, 4, "relu", "torch_default", jnp.float64)
    closed = closed_gradient(model, params, x, y, weights, factor=0.5)

    def loss(hidden, readout, offset):
        return 0.5 * np.mean((net_output(TwoLayer(hidden, readout, offset), x) - y) ** 2)

    for leaf, (values, gradient) in enumerate(zip(params, closed, strict=True)):
        for index in np.ndindex(np.shape(values)):
            sides = []
            for sign in (1, -1):
                moved = [np.array(p) for p in params]
                moved[leaf][index] += sign * h
                sides.append(loss(*moved))
            assert (sides[0] - sides[1]) / (2 * h) == pytest.approx(gradient[index], rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_dead_neurons_have_exactly_zero_gradient(rng, activation):
    params = random_net(rng, 2, 5)
    params.hidden[0] = 5  # far on the active side of every sample
    params.hidden[:, 1::2] = np.array([-100.0, 1.0, -1.0])[:, None]  # far on the silent side
    x, y = rng.uniform(-1, 1, size=(8, 2)), rng.normal(size=8)
    model = build_two_layer(2, 5, activation, "torch_default", jnp.float64)
    gradient = closed_gradient(model, params, x, y, np.full(8, 1 / 8))
    assert not gradient.hidden[:, 1::2].any()
    assert not gradient.readout[1::2].any()
    assert gradient.hidden[:, ::2].any() and gradient.readout[::2].all()


def test_at_the_kink_the_slope_is_zero_in_the_closed_form_and_in_autodiff_alike(rng):
    params = random_net(rng, 2, 4)
    params.hidden[0] = 0
    x, y = rng.normal(size=(6, 2)), rng.normal(size=6)
    x[:3] = 0  # pre-activations exactly 0 for every neuron
    weights = np.full(6, 1 / 6)
    model = build_two_layer(2, 4, "relu", "torch_default", jnp.float64)
    expected = net_gradient(params, x, y, weights, 1.0)
    close(closed_gradient(model, params, x, y, weights), expected)

    @jax.jit
    @jax.grad
    def through_apply(p):
        batch = model.prepare(x, y, weights)
        return jnp.sum(batch.weights * (model.apply(p, batch) - batch.labels) ** 2)

    close(through_apply(to_jax(params)), expected)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_duplicated_neurons_move_together(rng, activation):
    params = random_net(rng, 3, 6)
    params.hidden[:, 4], params.readout[4] = params.hidden[:, 1], params.readout[1]
    x, y, weights = rng.normal(size=(10, 3)), rng.normal(size=10), np.full(10, 0.1)
    model = build_two_layer(3, 6, activation, "torch_default", jnp.float64)
    gradient = closed_gradient(model, params, x, y, weights)
    close(gradient, net_gradient(params, x, y, weights, 1.0, activation))
    np.testing.assert_allclose(gradient.hidden[:, 4], gradient.hidden[:, 1], rtol=1e-14)
    np.testing.assert_allclose(gradient.readout[4], gradient.readout[1], rtol=1e-14)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_padding_has_exactly_zero_gradient_and_changes_no_other(monkeypatch, rng, activation, blocks):
    n, d, width = 7, 2, 3
    params, x, y = random_net(rng, d, width), rng.normal(size=(n, d)), rng.normal(size=n)
    wide = TwoLayer(np.pad(params.hidden, ((0, 2), (0, 4))), np.pad(params.readout, (0, 4)), params.offset)
    padded = (np.pad(x, ((0, 5), (0, 2))), np.pad(y, (0, 5)), np.pad(np.full(n, 1 / n), (0, 5)))
    model = model_in_blocks(monkeypatch, d + 2, width + 4, blocks, activation)
    gradient = closed_gradient(model, wide, *padded)
    assert not gradient.hidden[d + 1 :].any() and not gradient.hidden[:, width:].any() and not gradient.readout[width:].any()
    kept = TwoLayer(gradient.hidden[: d + 1, :width], gradient.readout[:width], gradient.offset)
    close(kept, net_gradient(params, x, y, np.full(n, 1 / n), 1.0, activation))


def test_mse_has_twice_the_gradient_of_half(rng):
    params, x, y = random_net(rng, 2, 5), rng.normal(size=(8, 2)), rng.normal(size=8)
    model = build_two_layer(2, 5, "relu", "torch_default", jnp.float64)
    mse, half = (closed_gradient(model, params, x, y, np.full(8, 1 / 8), factor=factor) for factor in (1.0, 0.5))
    assert_trees_close(mse, jax.tree.map(lambda g: 2 * g, half), rtol=0)
    # the offset's own entry, by hand: d/dc mean (f - y)^2 = 2 mean (f - y)
    assert float(mse.offset) == pytest.approx(2 * np.mean(net_output(params, x) - y), rel=1e-13)


@pytest.mark.parametrize("n, d", [(1, 1), (5, 3), (3, 7)])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_linear_model_gradient_equals_autodiff_and_the_normal_equations(rng, n, d, factor):
    w, x, y, weights = rng.normal(size=d), rng.normal(size=(n, d)), rng.normal(size=n), rng.uniform(size=n)
    model = build_linear_model(d, jnp.float64)

    @jax.jit
    @jax.grad
    def autodiff(p):
        batch = model.prepare(x, y, weights)
        return factor * jnp.sum(batch.weights * (model.apply(p, batch) - batch.labels) ** 2)

    for seen in (closed_gradient(model, w, x, y, weights, factor=factor), autodiff(jnp.asarray(w))):
        close(seen, 2 * factor * x.T @ (weights * (x @ w - y)))


@pytest.mark.parametrize("leaf", range(3))
def test_the_comparison_catches_a_gradient_that_is_off_by_a_billionth(rng, leaf):
    params, x, y = random_net(rng, 2, 3), rng.normal(size=(6, 2)), rng.normal(size=6)
    exact = net_gradient(params, x, y, np.full(6, 1 / 6), 1.0)
    wrong = [np.array(part) for part in exact]
    wrong[leaf].flat[np.argmax(np.abs(wrong[leaf]))] *= 1 + 1e-9
    close(exact, exact)
    with pytest.raises(AssertionError):
        close(TwoLayer(*wrong), exact)


@jax.jit
def gradient_of_three_neurons(params, inputs, y):
    model = build_two_layer(2, 3, "relu", "torch_default", jnp.float64)
    return model.squared_gradient(params, Batch(inputs[None], y[None], jnp.full((1, 5), 0.125)), 1.0)


@given(hnp.arrays(np.float64, 28, elements=st.integers(-2, 2).map(float)))
@settings(max_examples=60)
def test_small_integers_full_of_ties_dead_and_duplicated_neurons(values):
    """Sums and products of small integers are exact, so the two gradients must agree to the last bit."""
    params = TwoLayer(values[:9].reshape(3, 3), values[9:12], values[12])
    x, y = values[13:23].reshape(5, 2), values[23:]
    gradient = gradient_of_three_neurons(to_jax(params), np.column_stack([np.ones(5), x]), y)
    assert_trees_close(gradient, net_gradient(params, x, y, np.full(5, 0.125), 1.0), rtol=0)
