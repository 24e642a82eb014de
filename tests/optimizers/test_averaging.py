"""Averages of the parameters: by hand, optax's own, a million steps in 32 bits, and what is recorded."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import change, hyper_of, key_of, to_numpy

from dynamics.core import spec as specs
from dynamics.core.simulate import start
from dynamics.data.problem import DataSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.optimizers.averaging import average_parameters
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.optimizers.update_rule import Rule
from dynamics.systems.training import TrainingSpec

PATH = [0.0, 8.0, 4.0, 2.0, 10.0]  # theta_0, ..., theta_4


@partial(jax.jit, static_argnames="kind")
def averages(kind: str, path: jax.Array, begins: float, decay: float) -> jax.Array:
    """The average after each step of a rule that goes along this path, whatever the gradient."""
    hyper = {"optimizer.average_start": begins, "optimizer.average_decay": decay}
    rule = average_parameters(Rule(lambda p: (), lambda p, s, gradient, step, key: (path[step + 1], s)), kind, hyper)

    def step(carry, t):
        params, state = rule.update(*carry, lambda p: p, step=t, key=jax.random.key(0))
        return (params, state), state.mean

    return jax.lax.scan(step, (path[0], rule.init(path[0])), jnp.arange(len(path) - 1))[1]


def test_averages_of_a_path_are_those_by_hand():
    cases = (
        ("uniform", 0.0, [4.0, 4.0, 3.5, 4.8]),  # means of the first 2, 3, 4, 5
        ("uniform", 2.0, [8.0, 4.0, 3.0, 16 / 3]),  # none, none, of 4 and 2, of 4, 2 and 10
        ("ema", 0.0, [4.0, 4.0, 3.0, 6.5]),  # decay 1/2
        ("ema", 2.0, [8.0, 4.0, 3.0, 6.5]),
    )
    for kind, begins, expected in cases:
        found = averages(kind, np.array(PATH, np.float32), np.float32(begins), np.float32(0.5))
        np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=f"{kind} from {begins}")


def test_ema_is_optax_s(rng):
    path = rng.normal(size=30).astype(np.float32)

    def follow(mean, point):
        mean = optax.incremental_update(point, mean, 0.1)
        return mean, mean

    expected = jax.jit(lambda path: jax.lax.scan(follow, path[0], path[1:])[1])(path)
    np.testing.assert_allclose(averages("ema", path, np.float32(0), np.float32(0.9)), expected, rtol=1e-5)


def test_a_million_small_changes_are_not_lost_in_32_bits():
    """Theta drifts by a hundredth in 10^6 steps. Without what rounding takes being kept, the mean were 4e-4 off."""
    steps = 10**6
    path = (1 + 0.01 * np.arange(steps + 1) / steps).astype(np.float32)
    exact = path.astype(np.float64).mean()
    assert abs(averages("uniform", path, np.float32(0), np.float32(0.5))[-1] - exact) < 1e-6
    add = lambda t, m, path: m + (path[t] - m) / (t + 1)  # noqa: E731
    naive = jax.jit(lambda path: jax.lax.fori_loop(1, steps + 1, lambda t, m: add(t, m, path), path[0]))(path)
    assert abs(float(naive) - exact) > 1e-5


@pytest.mark.usefixtures("x64")
def test_a_run_records_both_nets_and_steps_as_it_would_without():
    spec = TrainingSpec(
        steps=6,
        precision="float64",
        data=DataSpec(input_dim=2, num_samples=9, num_test=4),
        model=ModelSpec("linear", width=1),
        measures=["weight_norm", "train_loss"],
        optimizer=OptimizerSpec(learning_rate=0.5, momentum=0.8, kind="momentum", average="uniform", average_start=2.0),
    )

    def run(spec):
        spec = specs.freeze(spec)
        spec.check()
        dynamics = specs.static(spec).dynamics()

        @jax.jit
        def compute(key, hyper):
            fixed, begin = start(dynamics, key, hyper)
            walk = lambda state, _: (dynamics.step(state, fixed, key), (state, dynamics.observe(state, fixed)))  # noqa: E731
            return jax.lax.scan(walk, begin, length=spec.steps + 1)[1]

        return to_numpy(compute(key_of(spec), hyper_of(spec)))

    (states, seen), (_, plain) = run(spec), run(change(spec, optimizer__average="none"))
    for name in plain:
        np.testing.assert_array_equal(seen[name], plain[name])
    assert set(seen) - set(plain) == {f"average_{name}" for name in spec.measures}
    late, begun = seen["average_train_loss"], slice(3, None)
    np.testing.assert_allclose(late[:3], seen["train_loss"][:3], rtol=1e-12)
    assert np.min(np.abs(late[begun] - seen["train_loss"][begun])) > 1e-4
    norm = np.sqrt(sum(np.sum(np.square(leaf[-1])) for leaf in jax.tree.leaves(states.rule.mean)))
    np.testing.assert_allclose(seen["average_weight_norm"][-1], norm, rtol=1e-12)
    assert spec.cost().flops_per_record == 2 * change(spec, optimizer__average="none").cost().flops_per_record
