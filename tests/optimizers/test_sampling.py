"""The samples of a step: uniform with replacement, and new ones, against an exact recursion of one-pass SGD."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of, key_of, z_scores

from dynamics.core import spec as specs
from dynamics.core.simulate import start
from dynamics.data.law import LAWS
from dynamics.data.problem import DataSpec, TargetSpec, draw_fresh_samples, draw_problem
from dynamics.errors import InputError
from dynamics.models.losses import LossSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.systems.minibatches import draw_with_replacement
from dynamics.systems.training import TrainingSpec

D, N, BATCH, RATE, SIGMA, STEPS, RUNS = 5, 24, 3, 0.15, 0.7, 12, 6000
ONLINE = TrainingSpec(
    precision="float64",
    steps=STEPS,
    data=DataSpec(law="gaussian", input_dim=D, num_samples=N, num_test=1, noise_std=SIGMA),
    target=TargetSpec(kind="random_linear"),
    model=ModelSpec(kind="linear", width=1, init_scale=0.4),
    loss=LossSpec("half"),
    measures=["train_loss"],
    optimizer=OptimizerSpec(learning_rate=RATE, batch_size=BATCH, sampling="fresh"),
)
DRAW = jax.jit(jax.vmap(draw_with_replacement, (None, 0, None, None)), static_argnums=3)


def test_indices_with_replacement_are_independent_and_uniform():
    """Pairs of a batch and of neighbouring steps fill their tables evenly;
    without replacement the diagonal were empty."""
    drawn = np.asarray(DRAW(jax.random.key(3), jnp.arange(20000), 5, 2))
    for first, second in ((drawn[:, 0], drawn[:, 1]), (drawn[:-1, 0], drawn[1:, 0])):
        table = np.zeros((5, 5))
        np.add.at(table, (first, second), 1)
        expected = len(first) / 25
        assert np.sum((table - expected) ** 2 / expected) < 51.2  # chi-squared with 24 degrees of freedom, 99.9 %
        assert np.sum(np.diag(table)) > 0.15 * len(first)
    np.testing.assert_array_equal(drawn, np.asarray(DRAW(jax.random.key(3), jnp.arange(20000), 5, 4))[:, :2])


def squared_errors(spec: TrainingSpec) -> np.ndarray:
    """|w - w*|^2 (RUNS, STEPS + 1) of runs that differ in their seed alone;
    w* is read off training samples of the law."""
    dynamics, hyper = specs.static(specs.freeze(spec)).dynamics(), hyper_of(spec)

    def run(key):
        fixed, state = start(dynamics, key, hyper)
        params = jax.lax.scan(lambda s, t: (dynamics.step(s, fixed, key), s.params), state, jnp.arange(STEPS + 1))[1]
        return params, fixed.problem.train.inputs[:D], fixed.problem.train.clean[:D]

    params, x, clean = map(np.asarray, jax.jit(jax.vmap(run))(jax.random.split(key_of(spec), RUNS)))
    optimum = np.linalg.solve(x, clean[..., None])[..., 0]
    return np.sum((params - optimum[:, None]) ** 2, axis=-1)


def predict(begin: np.ndarray, batch: int, moment: float) -> np.ndarray:
    """E|w_t - w*|^2 given that at t = 0, for x ~ N(0, I): E A = I and E A^2 = (1 + moment / batch) I, A the batch's
    mean of x x^T; moment is d + 1 by Isserlis' theorem."""
    m = [begin]
    for _ in range(STEPS):
        m.append((1 - 2 * RATE + RATE**2 * (1 + moment / batch)) * m[-1] + RATE**2 * SIGMA**2 * D / batch)
    return np.stack(m, axis=1)


@pytest.mark.usefixtures("x64")
def test_one_pass_sgd_on_linear_regression_follows_its_exact_recursion():
    seen = squared_errors(ONLINE)

    def largest(errors, batch=BATCH, moment=D + 1):
        gaps = errors - predict(errors[:, 0], batch, moment)
        return max(abs(z_scores(gaps[:, t], 0.0)) for t in (1, 3, STEPS))

    assert largest(seen) < 3.5
    assert largest(seen, moment=0) > 10 and largest(seen, batch=BATCH + 1) > 10  # population descent; another batch
    again = squared_errors(change(ONLINE, optimizer__sampling="replacement"))  # 24 samples seen again and again
    assert largest(again) > 6


def test_fresh_samples_are_those_of_the_run_s_law_and_teacher_with_its_noise_and_flips():
    data = DataSpec(law="subspace_balls", input_dim=4, components=3, intrinsic_dim=2, offset=2.0, num_samples=300, num_test=1)
    data, target = change(data, noise_std=0.05, flip_probability=0.4), TargetSpec(kind="parts")
    hyper = hyper_of(TrainingSpec(data=data, target=target).resolve())

    @jax.jit
    def draw(key):
        streams = jax.vmap(lambda t: draw_fresh_samples(data, target, key, hyper, jnp.float32, t, 300))(jnp.arange(2))
        return draw_problem(data, target, key, hyper, jnp.float32).train, streams

    train, streams = jax.tree.map(np.asarray, draw(jax.random.key(4)))
    rows = np.concatenate([train.inputs, *streams.inputs])
    assert len(np.unique(rows, axis=0)) == 900  # nothing is seen twice, nor is what was drawn to be measured on
    assert len(np.unique(np.concatenate([train.clean, *streams.clean]).round(4), axis=0)) == 3  # centres of the run
    x, y, clean = streams.inputs[0], streams.labels[0], streams.clean[0]
    np.testing.assert_allclose(np.sum(x * clean, axis=1), np.sum(clean**2, axis=1), rtol=1e-5)  # on its own subspace
    flipped = np.linalg.norm(y - clean, axis=1) > 0.5
    assert abs(np.mean(flipped) - 0.4) < 0.1  # 3.5 standard deviations
    added = (y - clean)[~flipped]
    assert abs(np.std(added) - 0.05) < 0.005 and abs(np.mean(added)) < 0.01


def test_what_online_data_cannot_have_is_refused_in_a_line():
    ONLINE.check()
    finite = [name for name, law in LAWS.items() if not law.has_fresh_samples]
    assert {"grid", "arrays", "images", "mnist", "cifar10"} <= set(finite) and "gaussian" not in finite
    cases = {
        "optimizer.sampling": (change(ONLINE, data__law="grid"), "has finitely many samples"),
        "measures": (change(ONLINE, measures=["generalization_gap"]), "needs samples that are trained on"),
        "optimizer.batch_size": (change(ONLINE, optimizer__sampling="epoch", optimizer__batch_size=N + 1), "must be from 0"),
    }
    for field, (spec, told) in cases.items():
        with pytest.raises(InputError) as error:
            spec.check()
        assert error.value.field == field and told in str(error.value)
    change(ONLINE, optimizer__batch_size=2 * N).check()  # more than n
    change(ONLINE, optimizer__batch_size=0, measures=["generalization_gap"]).check()  # then it samples nothing
    assert "generalization_gap" not in change(ONLINE, measures=["default"]).measured
    assert "generalization_gap" in change(ONLINE, measures=["default"], optimizer__sampling="replacement").measured
