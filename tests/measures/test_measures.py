"""Every measure by direct numpy computation on a small network, in both normalisations, plain and padded."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import (
    FACTOR,
    change,
    dense_hessian,
    hyper_of,
    key_of,
    net_gradient,
    net_jacobian,
    net_output,
    path_norms,
    random_net,
    residual_blocks,
    to_jax,
    to_numpy,
)
from scipy import stats

from dynamics.core import spec as specs
from dynamics.core.simulate import start
from dynamics.curvature import hessian
from dynamics.data.problem import DataSpec, Problem, Samples
from dynamics.measures.activation import activation_statistics
from dynamics.measures.table import MEASURES
from dynamics.measures.view import View, prepare_run_data
from dynamics.models.losses import LossSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import TwoLayer, build_two_layer
from dynamics.systems.training import TrainingSpec

pytestmark = pytest.mark.usefixtures("x64")

N, D, WIDTH, TESTS = 9, 2, 5, 14
NOISE = 0.4


def example(rng):
    """(net, x, noisy labels, clean labels, test x, test clean labels)."""
    x, fresh = rng.normal(size=(N, D)), rng.normal(size=(TESTS, D))
    clean = np.sin(x[:, 0])
    return random_net(rng, D, WIDTH), x, clean + NOISE * rng.normal(size=N), clean, fresh, np.sin(fresh[:, 0])


MATRICES = ("hessian", "gauss_newton", "fisher")
SPECTRA = tuple(f"{matrix}_{word}" for matrix in MATRICES for word in ("top", "trace", "frobenius"))
SPECTRA += ("hessian_bottom", "spectral_density", "layer_sharpness", "fisher_sharpness", "gradient_noise_sharpness")
SPECTRA += ("gradient_noise_trace", "batch_sharpness", "preconditioned_sharpness", "learning_coefficient")
KERNELS = ("predictions", "parameter_change", *(name for name in MEASURES if "tangent_kernel" in name))
ELSEWHERE = ("balance", "accuracy", "clean_accuracy", *SPECTRA, *KERNELS)  # measures with a test of their own in another file
RATES = (0.01, 3.0)  # the first below the edge of stability, the second above


def fixed_of(model, train, test, **hyper):
    """What a run keeps, from (inputs, labels, clean, weights) of its samples."""
    hyper = {name.replace("__", "."): jnp.asarray(value) for name, value in hyper.items()}
    return prepare_run_data(model, Problem(Samples(*to_jax(train)), Samples(*to_jax(test))), hyper, jax.random.key(0))


@cache
def looking(activation, measures, pad):
    """One program for all data, rates and normalisations; `pad` appends zero coordinates, samples and neurons."""
    more_d, more_n, more_k = pad
    model = build_two_layer(D + more_d, WIDTH + more_k, activation, "torch_default", jnp.float64)
    sizes = {"data__input_dim": D, "data__num_samples": N, "model__width": WIDTH}

    @jax.jit
    def look(net, x, y, clean, fresh, fresh_clean, factor, rate):
        train = (x, y, clean, jnp.pad(jnp.full(N, 1 / N), (0, more_n)))
        test = (fresh, fresh_clean, fresh_clean, jnp.full(TESTS, 1 / TESTS))
        fixed = fixed_of(model, train, test, data__noise_std=NOISE, optimizer__learning_rate=rate, **sizes)
        view = View(model, net, fixed, factor)
        found = {}
        for name in measures:
            found |= MEASURES[name](view)
        return found

    return look


def seen_by_library(data, *, factor=1.0, rate=RATES[0], activation="relu", measures=None, pad=(0, 0, 0)):
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
    takes = (name for name, measure in MEASURES.items() if activation == "relu" or "relu" not in measure.needs)
    known = tuple(name for name in takes if name not in ELSEWHERE)
    seen = looking(activation, measures or known, pad)(*to_jax((*padded, factor, rate)))
    return {name: np.asarray(value) for name, value in seen.items()}


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in params])


def by_hand(net, x, y, clean, fresh, fresh_clean, factor, activation):
    """The columns that GELU nets have too, but for the Hessian's, in numpy."""
    f = net_output(net, x, activation)
    risk = np.mean((net_output(net, fresh, activation) - fresh_clean) ** 2)
    mean_square = np.mean((f - y) ** 2)
    gradient = flat(net_gradient(net, x, y, np.full(N, 1 / N), factor, activation))
    jacobian = net_jacobian(net, x, activation)
    rate = np.array([np.mean(x @ net.hidden[1:, k] + net.hidden[0, k] > 0) for k in range(WIDTH)])
    norm = np.array([np.linalg.norm(net.hidden[1:, k]) for k in range(WIDTH)])
    kink = np.array([abs(net.hidden[0, k]) / norm[k] for k in range(WIDTH)])
    path, on = norm * np.abs(net.readout), rate > 0
    alive = rate[on]
    return {
        "train_loss": factor * mean_square,
        "clean_train_error": np.mean((f - clean) ** 2),
        "excess_risk": risk,
        "test_loss": factor * risk,
        "generalization_gap": risk + NOISE**2 - mean_square,
        "gradient_norm": np.linalg.norm(gradient),
        "weight_norm": np.linalg.norm(flat(net)),
        "gauss_newton_sharpness": np.linalg.eigvalsh(2 * factor * jacobian.T @ jacobian / N)[-1],
        "alive_fraction": len(alive) / WIDTH,
        "outside_fraction": np.mean(kink >= max(np.linalg.norm(row) for row in x)),
        "always_active_fraction": np.mean(rate == 1),
        "activation_rate_mean": alive.mean(),
        "activation_rate_median": np.median(alive),
        "activation_rate_p90": np.quantile(alive, 0.9),
        "sparse_fraction": np.mean(alive <= 0.1),
        "rate_weight_norm_correlation": stats.spearmanr(alive, norm[on]).statistic,
        "rate_path_correlation": stats.spearmanr(alive, path[on]).statistic,
        "alive_weight_norm_median": np.median(norm[on]),
    }


def theory_by_hand(net, x, y, factor, rate):
    """The columns of `residual_sharpness`, `path_norms` and `stability_checks`, from dense matrices in theory units."""
    plain, weighted, one_sided = path_norms(net, x)
    jacobian, radius = net_jacobian(net, x), max(np.linalg.norm(row) for row in x)
    error = np.sqrt(np.mean((net_output(net, x) - y) ** 2))  # sqrt(2 L)
    gauss_newton = np.linalg.eigvalsh(jacobian @ jacobian.T / N)[-1]
    sharpness = np.linalg.eigvalsh(dense_hessian(net, x, y, 0.5))[-1]
    eta = 2 * factor * rate
    below = sharpness <= 2 / eta
    return {
        "residual_sharpness": max(np.linalg.norm(q) for q in residual_blocks(net, x, y, factor)),
        "path_norm": plain,
        "weighted_path_norm": weighted,
        "one_sided_path_norm": one_sided,
        "c1_slack": gauss_newton - 1 - 2 * one_sided,
        "c2_slack": sharpness / 2 - 1 / 2 + np.sqrt(1 + radius**2) / 2 * error - weighted,
        "c3_slack": sharpness / 2 - 1 / 2 + (radius + 1) * error - weighted,
        "corollary_slack": 1 / eta - 1 / 2 + (radius + 1) * error - weighted if below else np.nan,
        "stationary_slack": sharpness / 2 - 1 / 2 - weighted,
        "c1_scale": gauss_newton,
        "c3_scale": sharpness / 2 + (radius + 1) * error,
        "below_edge": below,
    }


@pytest.mark.parametrize("normalization", FACTOR)
@pytest.mark.parametrize("activation, pad", [("relu", (0, 0, 0)), ("relu", (2, 4, 3)), ("gelu", (0, 0, 0))])
def test_every_measure_is_what_numpy_finds(rng, normalization, activation, pad):
    data = example(rng)
    factor = FACTOR[normalization]
    seen = seen_by_library(data, factor=factor, activation=activation, pad=pad)
    expected = by_hand(*data, factor, activation)
    if activation == "relu":
        theory = theory_by_hand(*data[:3], factor, RATES[0])
        above = theory_by_hand(*data[:3], factor, RATES[1])
        assert theory["below_edge"] and not above["below_edge"]
        expected |= theory
        again = seen_by_library(data, factor=factor, rate=RATES[1], pad=pad)
        for name, value in above.items():
            np.testing.assert_allclose(again[name], value, rtol=1e-9, err_msg=name)
    for name, value in expected.items():
        np.testing.assert_allclose(seen.pop(name), value, rtol=1e-9, err_msg=name)
    assert seen.pop("gauss_newton_residual") < 1e-7 * expected["gauss_newton_sharpness"]
    top = np.linalg.eigvalsh(hessian_of(activation)(*to_jax(data[:3]), factor))[-1]
    assert seen.pop("sharpness") == pytest.approx(top, rel=1e-10)
    assert seen.pop("sharpness_residual") < 1e-6 * top and seen.pop("sharpness_converged")
    assert not seen  # no column without a test


@cache
def hessian_of(activation):
    model = build_two_layer(D, WIDTH, activation, "torch_default", jnp.float64)

    @jax.jit
    def matrix(net, x, y, factor):
        batch = model.prepare(x, y, jnp.full(N, 1 / N))
        return hessian.dense_hessian(
            lambda p: factor * jnp.sum(batch.weights * (model.apply(p, batch) - batch.labels) ** 2), net
        )

    return matrix


def test_normalisation_scales_the_loss_its_gradient_and_its_curvature_and_nothing_else(rng):
    """The checks are in theory units: a rate under `mse` is twice as much there."""
    data = example(rng)
    mse, half = seen_by_library(data, factor=1.0, rate=0.05), seen_by_library(data, factor=0.5, rate=0.1)
    scaled = {"train_loss", "test_loss", "gradient_norm", "gauss_newton_sharpness", "sharpness", "residual_sharpness"}
    for name in mse.keys() - {"gauss_newton_residual", "sharpness_residual", "sharpness_converged"}:
        np.testing.assert_allclose(mse[name], (2 if name in scaled else 1) * half[name], rtol=1e-9, err_msg=name)


def test_generalization_gap_is_fresh_noisy_risk_minus_training_error(rng):
    """E (f - y)^2 with fresh noise drawn at 40 000 test samples, to four standard errors."""
    net, x, y, *_ = example(rng)
    net = net._replace(readout=0.1 * net.readout)
    fresh = rng.normal(size=(40_000, D))
    fresh_clean = np.sin(fresh[:, 0])
    errors = (net_output(net, fresh) - fresh_clean - NOISE * rng.normal(size=40_000)) ** 2
    model = build_two_layer(D, WIDTH, "relu", "torch_default", jnp.float64)
    train, test = (x, y, y, np.full(N, 1 / N)), (fresh, fresh_clean, fresh_clean, np.full(40_000, 1 / 40_000))
    view = View(model, to_jax(net), fixed_of(model, train, test, data__noise_std=NOISE), 0.5)
    gap = float(MEASURES["generalization_gap"](view)["generalization_gap"])
    tolerance = 4 * errors.std() / 200
    assert abs(gap - (errors.mean() - np.mean((net_output(net, x) - y) ** 2))) < tolerance
    assert tolerance < NOISE**2 / 4  # so that a gap without the noise's variance would be seen


def neurons(biases, x, used=None, dtype=jnp.float64):
    """A view of neurons relu(x_1 + b_k) with the given biases, the first `used` of which are meant."""
    width, x = len(biases), np.asarray(x, dtype)
    model = build_two_layer(1, width, "relu", "torch_default", dtype)
    net = TwoLayer(np.stack([biases, np.ones(width)]).astype(dtype), np.ones(width, dtype), np.zeros((), dtype))
    samples = (x, np.zeros(len(x), dtype), np.zeros(len(x), dtype), np.full(len(x), 1 / len(x), dtype))
    return View(model, to_jax(net), fixed_of(model, samples, samples, model__width=width if used is None else used), 1.0)


def statistics(view):
    return {name: float(value) for name, value in activation_statistics(view).items()}


SAMPLES = np.arange(1.0, 11)[:, None]


def test_activation_statistics_by_hand():
    """Samples 1..10; biases that leave 0, 1, 2 and 10 of them active. Activity is strict: a sample on the kink is off.

    R = 10, so that the kinks of the first and the last neuron are outside.
    """
    assert statistics(neurons([-10.0, -9.5, -8.0, 11.0], SAMPLES)) == pytest.approx(
        {
            "alive_fraction": 3 / 4,
            "outside_fraction": 2 / 4,
            "always_active_fraction": 1 / 4,
            "activation_rate_mean": (0.1 + 0.2 + 1.0) / 3,
            "activation_rate_median": 0.2,
            "activation_rate_p90": 0.2 + 0.8 * 0.8,
            "sparse_fraction": 1 / 3,
        },
        rel=1e-12,
    )


def test_activation_statistics_leave_padded_neurons_out():
    """The last neuron stands beyond the true width, whatever it does."""
    assert statistics(neurons([-9.5, 5.0, 5.0], SAMPLES, 2)) == statistics(neurons([-9.5, 5.0, -100.0], SAMPLES, 2))
    assert statistics(neurons([-9.5, 5.0, 5.0], SAMPLES, 2)) == statistics(neurons([-9.5, 5.0], SAMPLES))
    assert statistics(neurons([-9.5, 5.0, 5.0], SAMPLES, 2))["activation_rate_median"] == pytest.approx(0.55)
    assert statistics(neurons([-9.5, -100.0, 5.0], SAMPLES, 2))["alive_fraction"] == 0.5


def test_activation_statistics_of_a_dead_net_are_nan_but_for_the_shares_of_all_neurons():
    seen = statistics(neurons([-100.0, -50.0], SAMPLES))
    shares = {name: seen.pop(name) for name in ("alive_fraction", "outside_fraction", "always_active_fraction")}
    assert shares == {"alive_fraction": 0, "outside_fraction": 1, "always_active_fraction": 0}
    assert all(np.isnan(value) for value in seen.values())


def test_a_neuron_active_on_exactly_a_tenth_is_sparse_and_on_all_always_active_in_32_bits_too():
    with jax.enable_x64(False):
        view = neurons([-27.5, -26.5, 0.0], np.arange(1.0, 31)[:, None], dtype=jnp.float32)
        seen = statistics(view)
        assert seen["sparse_fraction"] == pytest.approx(1 / 3)  # 3 of 30 against 4 and 30 of 30
        assert seen["always_active_fraction"] == pytest.approx(1 / 3)


def test_gradient_norm_is_the_same_through_autodiff(rng):
    data = example(rng)
    closed = seen_by_library(data, measures=("gradient_norm",))["gradient_norm"]
    net, x, y, *_ = data
    model = build_two_layer(D, WIDTH, "relu", "torch_default", jnp.float64)._replace(squared_gradient=None)
    samples = (x, y, y, np.full(N, 1 / N))
    view = View(model, to_jax(net), fixed_of(model, samples, samples), 1.0)
    assert closed == pytest.approx(float(MEASURES["gradient_norm"](view)["gradient_norm"]), rel=1e-12)


@pytest.mark.parametrize("kind", ["two_layer", "linear", "mlp"])
@pytest.mark.parametrize("gradient", ["closed_form", "autodiff"])
def test_training_records_what_it_descends(kind, gradient):
    """Across one small step the recorded loss falls by eta |gradient|^2: loss,
    gradient and step agree in their factor."""
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
