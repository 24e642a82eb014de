"""Every measure by direct numpy computation on a small network, in both normalisations, plain and padded."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import FACTOR, change, hyper_of, key_of, net_gradient, net_jacobian, net_output, random_net, to_jax, to_numpy

from dynamics import spec as specs
from dynamics.curvature.hessian import dense_hessian
from dynamics.data.problem import DataSpec
from dynamics.losses import LossSpec
from dynamics.measures import MEASURES, View, activation_statistics
from dynamics.models import ModelSpec
from dynamics.models.two_layer import TwoLayer, two_layer
from dynamics.simulate import start
from dynamics.training import TrainingSpec

pytestmark = pytest.mark.usefixtures("x64")

N, D, WIDTH, TESTS = 9, 2, 5, 14
NOISE = 0.4


def example(rng):
    """(net, x, noisy labels, clean labels, test x, test clean labels)."""
    x, fresh = rng.normal(size=(N, D)), rng.normal(size=(TESTS, D))
    clean = np.sin(x[:, 0])
    return random_net(rng, D, WIDTH), x, clean + NOISE * rng.normal(size=N), clean, fresh, np.sin(fresh[:, 0])


@cache
def looking(activation, measures, pad):
    """One program for all data and normalisations; `pad` appends zero coordinates, samples and neurons."""
    more_d, more_n, more_k = pad
    model = two_layer(D + more_d, WIDTH + more_k, activation, "torch_default", jnp.float64)
    hyper = {"data.input_dim": jnp.int32(D), "data.num_samples": jnp.int32(N), "model.width": jnp.int32(WIDTH)}

    @jax.jit
    def look(net, x, y, clean, fresh, fresh_clean, factor):
        weights = jnp.pad(jnp.full(N, 1 / N), (0, more_n))
        train = model.prepare(x, y, weights)
        test = model.prepare(fresh, fresh_clean, jnp.full(TESTS, 1 / TESTS))
        labels = model.prepare(x, clean, weights).labels
        view = View(model, net, train, labels, test, factor, {**hyper, "data.noise_std": jnp.asarray(NOISE)})
        found = {}
        for name in measures:
            found |= MEASURES[name](view)
        return found

    return look


def seen_by_library(data, *, factor=1.0, activation="relu", measures=tuple(MEASURES), pad=(0, 0, 0)):
    net, x, y, clean, fresh, fresh_clean = data
    more_d, more_n, more_k = pad
    padded = (
        TwoLayer(np.pad(net.hidden, ((0, more_d), (0, more_k))), np.pad(net.readout, (0, more_k)), net.offset),
        np.pad(x, ((0, more_n), (0, more_d))),
        np.pad(y, (0, more_n)),
        np.pad(clean, (0, more_n)),
        np.pad(fresh, ((0, 0), (0, more_d))),
        fresh_clean,
    )
    seen = looking(activation, measures, pad)(*to_jax(padded), jnp.asarray(factor))
    return {name: np.asarray(value) for name, value in seen.items()}


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in params])


def by_hand(net, x, y, clean, fresh, fresh_clean, factor, activation):
    """The same columns but for the Hessian's, in numpy."""
    f = net_output(net, x, activation)
    risk = np.mean((net_output(net, fresh, activation) - fresh_clean) ** 2)
    mean_square = np.mean((f - y) ** 2)
    gradient = flat(net_gradient(net, x, y, np.full(N, 1 / N), factor, activation))
    jacobian = net_jacobian(net, x, activation)
    rate = np.array([np.mean(x @ net.hidden[1:, k] + net.hidden[0, k] > 0) for k in range(WIDTH)])
    alive = rate[rate > 0]
    return {
        "train_loss": factor * mean_square,
        "clean_train_error": np.mean((f - clean) ** 2),
        "excess_risk": risk,
        "generalization_gap": risk + NOISE**2 - mean_square,
        "gradient_norm": np.linalg.norm(gradient),
        "weight_norm": np.linalg.norm(flat(net)),
        "gauss_newton_sharpness": np.linalg.eigvalsh(2 * factor * jacobian.T @ jacobian / N)[-1],
        "alive_fraction": len(alive) / WIDTH,
        "activation_rate_mean": alive.mean(),
        "activation_rate_median": np.median(alive),
        "sparse_fraction": np.mean(alive <= 0.1),
    }


@pytest.mark.parametrize("normalization", FACTOR)
@pytest.mark.parametrize("activation, pad", [("relu", (0, 0, 0)), ("relu", (2, 4, 3)), ("gelu", (0, 0, 0))])
def test_every_measure_is_what_numpy_finds(rng, normalization, activation, pad):
    data = example(rng)
    factor = FACTOR[normalization]
    seen = seen_by_library(data, factor=factor, activation=activation, pad=pad)
    expected = by_hand(*data, factor, activation)
    for name, value in expected.items():
        np.testing.assert_allclose(seen.pop(name), value, rtol=1e-10, err_msg=name)
    assert seen.pop("gauss_newton_residual") < 1e-10
    top = np.linalg.eigvalsh(hessian_of(activation)(*to_jax(data[:3]), factor))[-1]
    assert seen.pop("sharpness") == pytest.approx(top, rel=1e-6)
    assert seen.pop("sharpness_residual") < 1e-3 * top and seen.pop("sharpness_converged")
    assert not seen  # no column without a test


@cache
def hessian_of(activation):
    model = two_layer(D, WIDTH, activation, "torch_default", jnp.float64)

    def hessian(net, x, y, factor):
        batch = model.prepare(x, y, jnp.full(N, 1 / N))
        return dense_hessian(lambda p: factor * jnp.sum(batch.weights * (model.apply(p, batch) - batch.labels) ** 2), net)

    return jax.jit(hessian)


def test_normalisation_scales_the_loss_its_gradient_and_its_curvature_and_nothing_else(rng):
    data = example(rng)
    mse, half = (seen_by_library(data, factor=factor) for factor in (1.0, 0.5))
    scaled = {"train_loss", "gradient_norm", "gauss_newton_sharpness", "sharpness"}
    for name in mse.keys() - {"gauss_newton_residual", "sharpness_residual", "sharpness_converged"}:
        np.testing.assert_allclose(mse[name], (2 if name in scaled else 1) * half[name], rtol=1e-9, err_msg=name)


def test_generalization_gap_is_fresh_noisy_risk_minus_training_error(rng):
    """E (f - y)^2 with fresh noise drawn at 40 000 test samples, to four standard errors."""
    net, x, y, *_ = example(rng)
    net = net._replace(readout=0.1 * net.readout)
    fresh = rng.normal(size=(40_000, D))
    fresh_clean = np.sin(fresh[:, 0])
    errors = (net_output(net, fresh) - fresh_clean - NOISE * rng.normal(size=40_000)) ** 2
    model = two_layer(D, WIDTH, "relu", "torch_default", jnp.float64)
    train, test = model.prepare(x, y, jnp.full(N, 1 / N)), model.prepare(fresh, fresh_clean, jnp.full(40_000, 1 / 40_000))
    view = View(model, to_jax(net), train, train.labels, test, 0.5, {"data.noise_std": jnp.asarray(NOISE)})
    gap = float(MEASURES["generalization_gap"](view)["generalization_gap"])
    tolerance = 4 * errors.std() / 200
    assert abs(gap - (errors.mean() - np.mean((net_output(net, x) - y) ** 2))) < tolerance
    assert tolerance < NOISE**2 / 4  # so that a gap without the noise's variance would be seen


def neurons(biases, x):
    """A view of neurons relu(x_1 + b_k) with the given biases."""
    model = two_layer(1, len(biases), "relu", "torch_default", jnp.float64)
    net = TwoLayer(np.stack([biases, np.ones(len(biases))]), np.ones(len(biases)), 0.0)
    batch = model.prepare(*to_jax((x, np.zeros(len(x)), np.full(len(x), 1 / len(x)))))
    return lambda used: View(model, to_jax(net), batch, batch.labels, batch, 1.0, {"model.width": jnp.int32(used)})


def statistics(view):
    return {name: float(value) for name, value in activation_statistics(view).items()}


def test_activation_statistics_by_hand():
    """Samples 1..10; biases that leave 0, 1, 2 and 10 of them active. Activity is strict: a sample on the kink is off."""
    x = np.arange(1.0, 11)[:, None]
    view = neurons([-10.0, -9.5, -8.0, 5.0], x)
    assert statistics(view(4)) == pytest.approx(
        {
            "alive_fraction": 3 / 4,
            "activation_rate_mean": (0.1 + 0.2 + 1.0) / 3,
            "activation_rate_median": 0.2,
            "sparse_fraction": 1 / 3,
        },
        rel=1e-12,
    )


def test_activation_statistics_leave_padded_neurons_out():
    """The last neuron stands beyond the true width, whatever it does."""
    x = np.arange(1.0, 11)[:, None]
    assert statistics(neurons([-9.5, 5.0, 5.0], x)(2)) == statistics(neurons([-9.5, 5.0, -100.0], x)(2))
    assert statistics(neurons([-9.5, 5.0, 5.0], x)(2))["activation_rate_median"] == pytest.approx(0.55)
    assert statistics(neurons([-9.5, -100.0, 5.0], x)(2))["alive_fraction"] == 0.5


def test_activation_statistics_of_a_dead_net_are_nan_but_for_the_share_alive():
    seen = statistics(neurons([-100.0, -50.0], np.arange(1.0, 11)[:, None])(2))
    assert seen.pop("alive_fraction") == 0
    assert all(np.isnan(value) for value in seen.values())


def test_a_neuron_active_on_exactly_a_tenth_is_sparse_in_32_bits_too():
    with jax.enable_x64(False):
        x = np.arange(1.0, 31, dtype=np.float32)[:, None]
        model = two_layer(1, 2, "relu", "torch_default", jnp.float32)
        net = TwoLayer(np.array([[-27.5, -26.5], [1, 1]], np.float32), np.ones(2, np.float32), np.float32(0))
        batch = model.prepare(*to_jax((x, np.zeros(30, np.float32), np.full(30, 1 / 30, np.float32))))
        view = View(model, to_jax(net), batch, batch.labels, batch, 1.0, {"model.width": jnp.int32(2)})
        assert statistics(view)["sparse_fraction"] == 0.5  # 3 of 30 against 4 of 30


def test_gradient_norm_is_the_same_through_autodiff(rng):
    data = example(rng)
    closed = seen_by_library(data, measures=("gradient_norm",))["gradient_norm"]
    net, x, y, *_ = data
    model = two_layer(D, WIDTH, "relu", "torch_default", jnp.float64)._replace(squared_gradient=None)
    batch = model.prepare(*to_jax((x, y, np.full(N, 1 / N))))
    view = View(model, to_jax(net), batch, batch.labels, batch, 1.0, {})
    assert closed == pytest.approx(float(MEASURES["gradient_norm"](view)["gradient_norm"]), rel=1e-12)


@pytest.mark.parametrize("kind", ["two_layer", "linear", "mlp"])
@pytest.mark.parametrize("gradient", ["closed_form", "autodiff"])
def test_training_records_what_it_descends(kind, gradient):
    """Across one small step the recorded loss falls by eta |gradient|^2: loss, gradient and step agree in their factor."""
    spec = TrainingSpec(
        precision="float64",
        data=DataSpec(input_dim=2, num_samples=6, num_test=3),
        model=ModelSpec(kind, width=4, activation="tanh" if kind == "mlp" else "relu", gradient=gradient),
        loss=LossSpec("half"),
        measures=["train_loss", "gradient_norm"],
    )
    spec = change(spec, optimizer__learning_rate=1e-5)
    dynamics = specs.static(spec).dynamics()

    @jax.jit
    def two_looks(key, hyper):
        fixed, state = start(dynamics, key, hyper)
        after = dynamics.step(state, fixed, key)
        return dynamics.observe(state, fixed), dynamics.observe(after, fixed)

    before, after = to_numpy(two_looks(key_of(spec), hyper_of(spec)))
    fall = (before["train_loss"] - after["train_loss"]) / 1e-5
    assert fall == pytest.approx(before["gradient_norm"] ** 2, rel=1e-3)
    assert before["loss_factor"] == 0.5
