"""Classifiers of several outputs: cross-entropy, training as in numpy, the gap with noise on each output."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of, key_of, to_jax, to_numpy
from patch_nets import CLASSES, DIM, FILTERS, SAMPLES, close, flat, with_one
from scipy import optimize

from dynamics.core import spec as specs
from dynamics.core.simulate import start
from dynamics.data.problem import Problem, Samples
from dynamics.data.views import ViewSpec, list_views
from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.measures.table import MEASURES
from dynamics.measures.view import View, prepare_run_data
from dynamics.models.base import Batch
from dynamics.models.losses import mean_loss
from dynamics.models.model_spec import ModelSpec
from dynamics.models.several_outputs import SeveralOutputs


def softmax_loss(f: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.array([np.log(np.sum(np.exp(row))) * np.sum(y) - row @ y for row, y in zip(f, labels, strict=True)])


@pytest.mark.usefixtures("x64")
def test_cross_entropy_is_the_negative_logarithm_of_the_softmax_and_its_gradient(rng):
    """By finite differences; of one-hot labels and of any chances; far outputs do not overflow."""
    f, chances = 3 * rng.normal(size=(6, 4)), rng.dirichlet(np.ones(4), size=6)
    weights = np.append(np.full(5, 1 / 5), 0)

    @jax.jit
    @jax.value_and_grad
    def loss(f, *batch):
        return mean_loss("cross_entropy", 1.0, lambda p, b: p, f, Batch(*batch))

    for labels in (np.eye(4)[rng.integers(4, size=6)], chances):
        batch = np.zeros(6), labels, weights
        value, gradient = loss(f, *batch)
        assert value == pytest.approx(weights @ softmax_loss(f, labels), rel=1e-12)
        slope = optimize.approx_fprime(f.ravel(), lambda p, y=labels: weights @ softmax_loss(p.reshape(6, 4), y), 1e-7)
        np.testing.assert_allclose(np.ravel(gradient), slope, atol=1e-6)
        assert np.isfinite(loss(1e4 * f, *batch)[0])


def outputs_of(params: SeveralOutputs, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f (n, C), and the Jacobian (n, C, P), of filters shared by the four quarters of an image."""
    hidden, readout = params.hidden[0], params.readout[0]
    f, rows = np.tile(params.offset, (len(x), 1)), []
    dh, dv = np.zeros((len(x), 10, *hidden.shape)), np.zeros((len(x), 10, 6, 10))
    for place in list_views(ViewSpec("disjoint", 4), (8, 8, 1)):
        seen = with_one(x[:, place])
        for k in range(6):
            z = seen @ hidden[:, k]
            f += np.outer(np.maximum(z, 0), readout[k]) / 4
            dh[:, :, :, k] += ((z > 0)[:, None] * seen)[:, None] * readout[k][None, :, None] / 4
            for c in range(10):
                dv[:, c, k, c] += np.maximum(z, 0) / 4
    rows = [dh.reshape(len(x), 10, -1), dv.reshape(len(x), 10, -1), np.tile(np.eye(10), (len(x), 1, 1))]
    return f, np.concatenate(rows, axis=2)


def test_a_classifier_of_images_is_trained_in_a_sweep_as_in_numpy():
    """Cross-entropy of flipped labels, clipped, with decay, two seeds in one program;
    every measure from its definition."""
    runs = [specs.freeze(change(CLASSES, seed=seed)) for seed in (0, 1)]
    with jax.enable_x64(True):
        for run in runs:
            run.check()
        (result,) = Executor().compute_plan(make_plan(runs))
        dynamics = specs.static(runs[0]).dynamics()
        begin = jax.jit(lambda key, hyper: start(dynamics, key, hyper))
        first = [begin(key_of(run), {**hyper_of(run), **run.shared_arrays()}) for run in runs]
    sizes_of_steps: list[float] = []
    records, ends = result.trajectory.records, to_numpy(result.trajectory.state.params)
    assert result.trajectory.steps.tolist() == [0, 4]
    for i, (fixed, state) in enumerate(to_numpy(first)):
        train, test = fixed.problem
        params, norms, rate = state.params, [], 0.5
        sizes = np.cumsum([0, *(leaf.size for leaf in params)])
        seen = [params]
        for _ in range(4):
            f, rows = outputs_of(params, train.inputs)
            softmax = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
            outward = softmax - train.labels
            gradient = np.einsum("nc,ncp->p", outward, rows) / 30
            norms.append(np.linalg.norm(gradient))
            theta = flat(params)
            theta = theta - rate * (gradient * min(1, 0.2 / norms[-1]) + 0.01 * theta)
            parts = [theta[a:b].reshape(leaf.shape) for a, b, leaf in zip(sizes, sizes[1:], params, strict=False)]
            params = SeveralOutputs(*parts)
        seen.append(params)
        close(flat(jax.tree.map(lambda leaf, i=i: leaf[i], ends)), flat(params), 1e-9)
        sizes_of_steps += norms
        for t, params in enumerate(seen):
            f, fresh = outputs_of(params, train.inputs)[0], outputs_of(params, test.inputs)[0]
            entropy = softmax_loss(f, train.labels).mean(), softmax_loss(fresh, test.clean).mean()
            expected = {
                "train_loss": entropy[0],
                "test_loss": entropy[1],
                "train_accuracy": np.mean(f.argmax(axis=1) == train.labels.argmax(axis=1)),
                "test_accuracy": np.mean(fresh.argmax(axis=1) == test.clean.argmax(axis=1)),
                "clean_train_accuracy": np.mean(f.argmax(axis=1) == train.clean.argmax(axis=1)),
            }
            for name, value in expected.items():
                assert records[name][i, t] == pytest.approx(value, rel=1e-9), name
        assert records["gradient_norm"][i, 0] == pytest.approx(norms[0], rel=1e-9)
        assert np.any(train.labels != train.clean)
    assert np.ptp(records["test_accuracy"]) > 0 and min(sizes_of_steps) < 0.2 < max(sizes_of_steps)


@pytest.mark.usefixtures("x64")
def test_the_gap_of_several_outputs_counts_the_noise_of_each(rng):
    """E |f - y|^2 with fresh noise drawn at 20 000 test samples, to four standard errors;
    one output's noise is not enough."""
    count, noise = 20_000, 0.6
    spec = ModelSpec("two_layer", FILTERS)
    model = spec.build((DIM,), jnp.dtype("float64"), 3)
    params = SeveralOutputs(rng.normal(size=(1, DIM + 1, FILTERS)), 0.1 * rng.normal(size=(1, FILTERS, 3)), np.zeros(3))
    x, fresh = rng.normal(size=(SAMPLES, DIM)), rng.normal(size=(count, DIM))
    y, clean = np.ones((SAMPLES, 3)), np.zeros((count, 3))
    train, test = (Samples(*to_jax((a, b, b, np.full(len(a), 1 / len(a))))) for a, b in ((x, y), (fresh, clean)))

    @jax.jit
    def gap_of(params, problem, hyper):
        view = View(model, params, prepare_run_data(model, problem, hyper, jax.random.key(0)), 1.0)
        return MEASURES["generalization_gap"](view)["generalization_gap"]

    gap = float(gap_of(to_jax(params), Problem(train, test), {"data.noise_std": jnp.asarray(noise)}))
    f = [np.maximum(with_one(a) @ params.hidden[0], 0) @ params.readout[0] for a in (x, fresh)]
    errors = np.sum((f[1] + noise * rng.normal(size=(count, 3))) ** 2, axis=1)
    tolerance = 4 * errors.std() / np.sqrt(count)
    assert abs(gap - (errors.mean() - np.mean(np.sum((f[0] - y) ** 2, axis=1)))) < tolerance < noise**2 / 2
