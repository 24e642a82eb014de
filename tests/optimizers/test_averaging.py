"""Averages of the parameters: by hand, optax's own, a million steps in 32 bits, and what is recorded."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import change, hyper_of, key_of

from dynamics.core import spec as specs
from dynamics.core.simulate import simulate
from dynamics.data.problem import DataSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.optimizers.averaging import average_parameters
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.optimizers.update_rule import Rule
from dynamics.systems.training import TrainingSpec

PATH = [0.0, 8.0, 4.0, 2.0, 10.0]  # theta_0, ..., theta_4


def averages(kind: str, path: np.ndarray, begins: float, decay: float = 0.5, dtype=jnp.float32) -> np.ndarray:
    """The average after each step of a rule that goes along this path, whatever the gradient."""
    hyper = {"optimizer.average_start": jnp.asarray(begins, dtype), "optimizer.average_decay": jnp.asarray(decay, dtype)}
    path = jnp.asarray(path, dtype)
    rule = average_parameters(Rule(lambda p: (), lambda p, s, gradient, step, key: (path[step + 1], s)), kind, hyper)

    def step(carry, t):
        params, state = rule.update(*carry, lambda p: p, step=t, key=jax.random.key(0))
        return (params, state), state.mean

    return np.asarray(jax.lax.scan(step, (path[0], rule.init(path[0])), jnp.arange(len(path) - 1))[1])


@pytest.mark.parametrize(
    "kind, begins, expected",
    [
        ("uniform", 0.0, [4.0, 4.0, 3.5, 4.8]),  # means of the first 2, 3, 4, 5
        ("uniform", 2.0, [8.0, 4.0, 3.0, 16 / 3]),  # none, none, of 4 and 2, of 4, 2 and 10
        ("ema", 0.0, [4.0, 4.0, 3.0, 6.5]),  # decay 1/2
        ("ema", 2.0, [8.0, 4.0, 3.0, 6.5]),
    ],
)
def test_averages_of_a_path_are_those_by_hand(kind, begins, expected):
    np.testing.assert_allclose(averages(kind, np.array(PATH), begins), expected, rtol=1e-6)


def test_ema_is_optax_s(rng):
    path, mean = rng.normal(size=30), None
    for point in path:
        mean = jnp.float32(point) if mean is None else optax.incremental_update(jnp.float32(point), mean, 0.1)
    np.testing.assert_allclose(averages("ema", path, 0.0, decay=0.9)[-1], mean, rtol=1e-5)


def test_a_million_small_changes_are_not_lost_in_32_bits():
    """Theta drifts by a hundredth in 10^6 steps. Without what rounding takes being kept, the mean were 4e-4 off."""
    steps = 10**6
    path = (1 + 0.01 * np.arange(steps + 1) / steps).astype(np.float32)
    exact = path.astype(np.float64).mean()
    assert abs(averages("uniform", path, 0.0)[-1] - exact) < 1e-6
    naive = jax.lax.fori_loop(1, steps + 1, lambda t, m: m + (jnp.asarray(path)[t] - m) / (t + 1), jnp.asarray(path)[0])
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
        return simulate(specs.static(spec).dynamics(), key_of(spec), hyper_of(spec), tuple(range(spec.steps + 1)))

    seen, plain = run(spec), run(change(spec, optimizer__average="none"))
    for name in plain.records:
        np.testing.assert_array_equal(seen.records[name], plain.records[name])
    assert set(seen.records) - set(plain.records) == {f"average_{name}" for name in spec.measures}
    late, begun = seen.records["average_train_loss"], slice(3, None)
    np.testing.assert_allclose(late[:3], seen.records["train_loss"][:3], rtol=1e-12)
    assert np.min(np.abs(late[begun] - seen.records["train_loss"][begun])) > 1e-4
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(seen.state.rule.mean)))
    np.testing.assert_allclose(seen.records["average_weight_norm"][-1], norm, rtol=1e-12)
    assert spec.cost().flops_per_record == 2 * change(spec, optimizer__average="none").cost().flops_per_record
