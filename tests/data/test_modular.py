"""Modular addition: every pair once, its sum as its class, and a network that is known to compute it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of, key_of

from dynamics.data.problem import DataSpec, TargetSpec, draw_problem
from dynamics.errors import InputError
from dynamics.models.mlp import DenseLayer
from dynamics.models.model_spec import ModelSpec
from dynamics.systems.training import TrainingSpec

M = 7
RUN = TrainingSpec(
    data=DataSpec("modular_addition", input_dim=2 * M, num_samples=20, num_test=M * M - 20, noise_std=0.0),
    target=TargetSpec("one_hot"),
    model=ModelSpec("mlp", 3000, activation="quadratic", bias=False),
)


def drawn(spec):
    return draw_problem(spec.data, spec.target, key_of(spec), hyper_of(spec), jnp.float32)


def pairs_of(inputs):
    x = np.asarray(inputs).reshape(len(inputs), 2, M)
    assert set(np.unique(x)) == {0.0, 1.0} and np.all(x.sum(axis=2) == 1)
    return [tuple(pair) for pair in np.argmax(x, axis=2)]


def test_training_and_test_samples_are_all_pairs_once_and_labels_their_sums():
    RUN.check()
    problem = drawn(RUN)
    seen = pairs_of(problem.train.inputs) + pairs_of(problem.test.inputs)
    assert sorted(seen) == [(a, b) for a in range(M) for b in range(M)]
    for samples in (problem.train, problem.test):
        labels = np.argmax(samples.labels, axis=1)
        assert labels.tolist() == [(a + b) % M for a, b in pairs_of(samples.inputs)] and samples.labels.shape[1] == M


def test_more_training_samples_keep_the_first_and_a_seed_makes_a_difference():
    small, large = (pairs_of(drawn(change(RUN, data__num_samples=n, data__num_test=9)).train.inputs) for n in (20, 30))
    assert large[:20] == small
    tests = [pairs_of(drawn(change(RUN, data__num_samples=n, data__num_test=9)).test.inputs) for n in (20, 30)]
    assert tests[0] == tests[1] and not set(tests[0]) & set(large)
    assert pairs_of(drawn(change(RUN, seed=1)).train.inputs) != small


def test_the_quadratic_network_that_solves_it_does(rng):
    """f_c = sum_k cos(w_k c - p_k - q_k) (cos(w_k a + p_k) + cos(w_k b + q_k))^2 is largest at c = a + b (Gromov 2023)."""
    problem, width = drawn(RUN), int(RUN.model.width)
    frequency = 2 * np.pi * rng.integers(1, M, width) / M
    left, right = rng.uniform(-np.pi, np.pi, (2, width))
    number = np.arange(M)[:, None]
    first = np.concatenate([np.cos(frequency * number + left), np.cos(frequency * number + right)])
    readout = np.cos(frequency * number + left + right).T

    def accuracy(readout):
        model = RUN.network()
        params = (DenseLayer(None, jnp.asarray(first)), DenseLayer(None, jnp.asarray(readout)))
        batch = model.prepare(problem.test.inputs, problem.test.labels, problem.test.weights)
        return np.mean(np.argmax(model.apply(params, batch), axis=1) == np.argmax(problem.test.labels, axis=1))

    assert accuracy(readout) == 1
    assert accuracy(rng.permuted(readout, axis=0)) < 0.6


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"data__input_dim": 9}, "data.input_dim = 9"),
        ({"data__num_samples": M * M}, f"data.num_samples = {M * M}"),
        ({"data__num_test": 40}, "data.num_test = 40"),
    ],
)
def test_bad_sizes_are_named(values, field):
    with pytest.raises(InputError, match=f"^{field}: must be"):
        change(RUN, **values).check()


def test_padding_the_sample_changes_nothing():
    padded = draw_problem(change(RUN.data, num_samples=26), RUN.target, key_of(RUN), hyper_of(RUN), jnp.float32)
    np.testing.assert_array_equal(padded.train.inputs[:20], drawn(RUN).train.inputs)
    assert float(jnp.sum(padded.train.weights)) == pytest.approx(1) and not np.any(padded.train.weights[20:])
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), padded.test, drawn(RUN).test))
