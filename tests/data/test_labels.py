"""What labels are made of: targets of parts, the keys that a problem is drawn by, random linear targets."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from law_draws import DATA, N, draw, uniformly_one_of, z_score
from oracles import change, hyper_of, key_of, to_numpy
from scipy import stats

from dynamics.core import spec as specs
from dynamics.data.law import DataSpec
from dynamics.data.problem import TargetSpec, draw_problem
from dynamics.data.targets import TARGETS, TargetContext
from dynamics.models.model_spec import ModelSpec
from dynamics.systems.training import TrainingSpec


@cache
def problem_of(spec: TrainingSpec):
    """Drawn as a program draws it."""
    static = specs.static(spec)
    with jax.enable_x64(spec.precision == "float64"):
        hyper = {**hyper_of(spec), **spec.shared_arrays()}
        draw = jax.jit(lambda key, hyper: draw_problem(static.data, static.target, key, hyper, jnp.dtype(spec.precision)))
        return to_numpy(draw(key_of(spec), hyper))


VOCABULARY = specs.freeze(
    TrainingSpec(
        data=replace(DATA["vocabulary"], num_samples=400, num_test=300, noise_std=0.5),
        target=TargetSpec("parts"),
        model=ModelSpec(width=1),
    )
)


def target_of(kind: str, data: DataSpec, stands_for: np.ndarray | None = None, seed: int = 0):
    setting = TargetContext(data.input_dim, data, TargetSpec(kind), stands_for, jnp.float32)
    setting.target.check(data)
    return TARGETS[kind].draw(jax.random.key(seed), setting)


def test_flipped_labels_are_those_of_another_class_and_all_others_alike():
    """P(flipped) = p to four standard errors, every other class as likely, clean labels and inputs untouched."""
    count, classes = 2000, DATA["subspace_balls"].components
    assert classes > 2
    data = replace(DATA["subspace_balls"], num_samples=count, num_test=10, noise_std=0.0)
    run = specs.freeze(TrainingSpec(data=data, target=TargetSpec("one_hot"), model=ModelSpec(width=1)))
    plain = problem_of(run).train
    np.testing.assert_array_equal(plain.labels, plain.clean)
    for p in (0.3, 1.0):
        seen = problem_of(change(run, data__flip_probability=p)).train
        np.testing.assert_array_equal(seen.clean, plain.clean)
        np.testing.assert_array_equal(seen.inputs, plain.inputs)
        assert set(np.unique(seen.labels)) == {0, 1} and np.all(seen.labels.sum(axis=1) == 1)
        further = (seen.labels.argmax(axis=1) - seen.clean.argmax(axis=1)) % classes
        share = np.mean(further > 0)
        assert share == 1 if p == 1 else abs(share - p) < 4 * np.sqrt(p * (1 - p) / count)
        assert stats.chisquare(np.bincount(further[further > 0], minlength=classes)[1:]).pvalue > 1e-4
    fewer = problem_of(change(run, data__flip_probability=0.3, data__num_samples=500)).train
    np.testing.assert_array_equal(fewer.labels, problem_of(change(run, data__flip_probability=0.3)).train.labels[:500])
    numbers = problem_of(change(run, data__flip_probability=0.3, target=TargetSpec("part_index"))).train
    np.testing.assert_array_equal(
        numbers.labels, problem_of(change(run, data__flip_probability=0.3)).train.labels.argmax(axis=1)
    )


def test_targets_of_parts_are_what_the_parts_stand_for():
    for name, stands_for in (("vocabulary", 5), ("cone_clusters", 4), ("subspace_balls", 6)):
        data = DATA[name]
        x, part, meaning = draw(data, 9, size=N)
        np.testing.assert_array_equal(target_of("parts", data, jnp.asarray(meaning))(x, part), meaning[part])
        np.testing.assert_array_equal(target_of("part_index", data)(x, part), part)
        np.testing.assert_array_equal(target_of("one_hot", data)(x, part), np.eye(data.components)[part])
        outputs = [TargetSpec(kind).outputs(data) for kind in ("parts", "part_index", "one_hot")]
        assert outputs == [stands_for, 0, data.components] and meaning.shape == (data.components, stands_for)
        assert len(set(part)) > 1
    assert TargetSpec("one_hot").outputs(DATA["digits"]) == 10


def test_a_problem_is_drawn_by_the_laws_keys_with_independent_noise_on_every_output():
    problem = problem_of(VOCABULARY)
    for samples, fresh in ((problem.train, False), (problem.test, True)):
        x, part, words = draw(VOCABULARY.data, len(samples.labels), size=N, fresh=fresh)
        np.testing.assert_allclose(samples.inputs, x, atol=1e-6)
        np.testing.assert_allclose(samples.clean, words[part], atol=1e-6)
        noise = (samples.labels - samples.clean) / 0.5
        assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
        assert abs(z_score(noise[:, 0] * noise[:, 1], 0)) < 4 and abs(z_score(noise[1:, 0] * noise[:-1, 4], 0)) < 4


def test_shuffled_parts_say_nothing_of_the_inputs():
    """Without it they say everything; either way inputs are the same,
    and more samples leave the first labels as they are."""
    told, shuffled = problem_of(VOCABULARY), problem_of(change(VOCABULARY, data__shuffle_parts=True))
    more = problem_of(change(VOCABULARY, data__shuffle_parts=True, data__num_samples=500))
    words, said = draw(VOCABULARY.data, 1, size=N)[2], []
    for plain, at_random in zip(told, shuffled, strict=True):
        np.testing.assert_allclose(plain.inputs, at_random.inputs, atol=1e-6)
        seen = np.argmax(np.max(plain.inputs.reshape(-1, 10, 5) @ words.T, axis=1), axis=1)
        said += [np.argmax(samples.clean @ words.T, axis=1) for samples in (plain, at_random)]
        assert np.mean(seen == said[-2]) > 0.9 > 0.5 > np.mean(seen == said[-1])
        assert stats.chi2_contingency(np.histogram2d(seen, said[-1], 3)[0]).pvalue > 1e-3
        assert uniformly_one_of(said[-1], 3) > 1e-3
    assert np.mean(said[1][:300] == said[3]) < 0.5  # test samples are shuffled anew
    np.testing.assert_array_equal(more.train.labels[:400], shuffled.train.labels)


def test_a_random_linear_target_is_the_scalar_product_with_a_unit_vector(rng):
    x, found = rng.normal(size=(50, 3)), []
    for seed in (0, 1):
        f = target_of("random_linear", DATA["gaussian"], seed=seed)(jnp.asarray(x, jnp.float32), None)
        w, left, *_ = np.linalg.lstsq(x, np.asarray(f, float), rcond=None)
        assert left.sum() < 1e-9 and np.linalg.norm(w) == pytest.approx(1, rel=1e-5) and np.all(np.abs(w) > 1e-3)
        found.append(w)
    assert np.max(np.abs(found[0] - found[1])) > 0.1
