"""Modular addition: every pair once, its sum as its class, and a network that is known to compute it."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of, key_of, to_numpy

from dynamics.data.problem import DataSpec, TargetSpec, draw_problem
from dynamics.errors import InputError
from dynamics.models.mlp import DenseLayer
from dynamics.models.model_spec import ModelSpec
from dynamics.systems.training import TrainingSpec

M = 7
RUN = TrainingSpec(
    data=DataSpec("modular_addition", input_dim=2 * M, num_samples=30, num_test=M * M - 30, noise_std=0.0),
    target=TargetSpec("one_hot"),
    model=ModelSpec("mlp", 1500, activation="quadratic", bias=False),
)


def drawn(num_samples=30, padded=30, seed=0):
    """The problem; padded: its number of samples with those that are there for the shape alone."""
    spec = change(RUN, data__num_samples=num_samples, seed=seed)
    return to_numpy(build_draw(padded)(key_of(spec), hyper_of(spec)))


@cache
def build_draw(padded):
    data = change(RUN.data, num_samples=padded)
    return jax.jit(lambda key, hyper: draw_problem(data, RUN.target, key, hyper, jnp.float32))


def pairs_of(inputs):
    x = np.asarray(inputs).reshape(len(inputs), 2, M)
    assert set(np.unique(x)) == {0.0, 1.0} and np.all(x.sum(axis=2) == 1)
    return [tuple(pair) for pair in np.argmax(x, axis=2)]


def test_training_and_test_samples_are_all_pairs_once_and_labels_their_sums():
    RUN.check()
    problem = drawn()
    seen = pairs_of(problem.train.inputs) + pairs_of(problem.test.inputs)
    assert sorted(seen) == [(a, b) for a in range(M) for b in range(M)]
    for samples in (problem.train, problem.test):
        labels = np.argmax(samples.labels, axis=1)
        assert labels.tolist() == [(a + b) % M for a, b in pairs_of(samples.inputs)] and samples.labels.shape[1] == M


def test_more_training_samples_keep_the_first_and_a_seed_makes_a_difference():
    few, many = drawn(20), drawn(30)
    small, large = pairs_of(few.train.inputs[:20]), pairs_of(many.train.inputs)
    assert large[:20] == small
    tests = [pairs_of(problem.test.inputs) for problem in (few, many)]
    assert tests[0] == tests[1] and not set(tests[0]) & set(large)
    assert pairs_of(drawn(seed=1).train.inputs)[:20] != small


def test_the_quadratic_network_that_solves_it_does(rng):
    """f_c = sum_k cos(w_k c - p_k - q_k) (cos(w_k a + p_k) + cos(w_k b + q_k))^2 is largest at c = a + b
    (Gromov 2023)."""
    problem, width = drawn(), int(RUN.model.width)
    frequency = 2 * np.pi * rng.integers(1, M, width) / M
    left, right = rng.uniform(-np.pi, np.pi, (2, width))
    number = np.arange(M)[:, None]
    first = np.concatenate([np.cos(frequency * number + left), np.cos(frequency * number + right)])
    readout = np.cos(frequency * number + left + right).T

    @jax.jit
    def apply(params, samples):
        model = RUN.network()
        return model.apply(params, model.prepare(samples.inputs, samples.labels, samples.weights))

    def accuracy(readout):
        params = DenseLayer(None, first.astype(np.float32)), DenseLayer(None, readout.astype(np.float32))
        outputs = apply(params, problem.test)
        return np.mean(np.argmax(outputs, axis=1) == np.argmax(problem.test.labels, axis=1))

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
    padded, plain = drawn(20), drawn(20, padded=20)
    np.testing.assert_array_equal(padded.train.inputs[:20], plain.train.inputs)
    assert np.sum(padded.train.weights) == pytest.approx(1) and not np.any(padded.train.weights[20:])
    assert jax.tree.all(jax.tree.map(np.array_equal, padded.test, plain.test))
