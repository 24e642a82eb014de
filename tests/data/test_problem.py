"""A drawn problem does not move when sizes grow, and runs share what they should."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of, key_of, to_numpy
from scipy import stats

from dynamics.core import spec as specs
from dynamics.data.problem import DataSpec, draw_problem
from dynamics.models.model_spec import ModelSpec
from dynamics.systems.training import TrainingSpec

SPEC = TrainingSpec(
    precision="float64",
    model=ModelSpec(width=1),
    data=DataSpec(input_dim=2, num_samples=5, num_test=7, noise_std=0.3, scale=1.5),
)


@cache
def drawer(d, n, num_test, kind):
    """Built from sizes and kinds alone; the scalars of these specs are NaN, as they are in a program."""
    static = specs.static(TrainingSpec(model=ModelSpec(width=1)))
    data, target = change(static.data, input_dim=d, num_samples=n, num_test=num_test), change(static.target, kind=kind)
    return jax.jit(lambda key, hyper: draw_problem(data, target, key, hyper, jnp.float64))


def draw_at(spec: TrainingSpec, padded: tuple[int, int] | None = None):
    """The problem of a run, in arrays of its own size or of the padded (d, n)."""
    sizes = padded or (spec.data.input_dim, spec.data.num_samples)
    return to_numpy(drawer(*sizes, spec.data.num_test, spec.target.kind)(key_of(spec), hyper_of(spec)))


@pytest.mark.usefixtures("x64")
def test_padding_leaves_every_drawn_number_bit_identical():
    plain, padded = draw_at(SPEC), draw_at(SPEC, (4, 9))
    np.testing.assert_array_equal(padded.train.inputs[:5, :2], plain.train.inputs)
    assert not padded.train.inputs[:, 2:].any() and not padded.test.inputs[:, 2:].any()
    np.testing.assert_array_equal(padded.test.inputs[:, :2], plain.test.inputs)
    assert not padded.train.weights[5:].any() and not padded.train.labels[5:].any() and not padded.train.clean[5:].any()
    np.testing.assert_array_equal(padded.train.weights[:5], plain.train.weights)
    for seen, own in ((padded.train.labels[:5], plain.train.labels), (padded.test.labels, plain.test.labels)):
        np.testing.assert_allclose(seen, own, rtol=1e-14)  # sums over padded coordinates may be ordered anew


@pytest.mark.usefixtures("x64")
def test_samples_at_a_smaller_n_are_the_first_ones_of_a_larger_n_and_nothing_else_moves():
    small, large = draw_at(SPEC), draw_at(change(SPEC, data__num_samples=11))
    np.testing.assert_array_equal(large.train.inputs[:5], small.train.inputs)
    np.testing.assert_array_equal(large.train.labels[:5], small.train.labels)
    for a, b in zip(large.test, small.test, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(large.train.weights, np.full(11, 1 / 11))


@pytest.mark.usefixtures("x64")
def test_runs_of_one_seed_share_inputs_and_noise_and_seeds_share_nothing():
    base, noisy, wide, other = (
        draw_at(s) for s in (SPEC, change(SPEC, data__noise_std=0.6), change(SPEC, data__scale=3.0), change(SPEC, seed=1))
    )
    np.testing.assert_array_equal(noisy.train.inputs, base.train.inputs)
    np.testing.assert_allclose(noisy.train.labels - noisy.train.clean, 2 * (base.train.labels - base.train.clean), rtol=1e-12)
    np.testing.assert_allclose(wide.train.inputs, 2 * base.train.inputs, rtol=1e-15)
    np.testing.assert_array_equal(wide.train.clean, base.train.clean)  # the target sees the input before its scaling
    together = np.concatenate([base.train.inputs, base.test.inputs, other.train.inputs, other.test.inputs])
    assert len(np.unique(together.round(12), axis=0)) == len(together)  # train, test and seeds are all fresh draws


@pytest.mark.usefixtures("x64")
def test_labels_carry_gaussian_noise_of_the_given_size_and_clean_ones_none():
    spec = change(SPEC, target__kind="linear", data__num_samples=4000, data__num_test=4000)
    problem = draw_at(spec)
    for part in problem:
        noise = (part.labels - part.clean) / 0.3
        assert stats.kstest(noise, "norm").pvalue > 1e-3
        assert abs(np.corrcoef(noise, part.inputs[:, 0])[0, 1]) < 0.06
        np.testing.assert_allclose(part.clean, part.inputs[:, 0] / 1.5, rtol=1e-14)
    assert abs(np.corrcoef(problem.train.labels - problem.train.clean, problem.test.labels - problem.test.clean)[0, 1]) < 0.06
