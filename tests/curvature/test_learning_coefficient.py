"""The local learning coefficient: sampled, against integrals, and integrals against the theory's exact numbers.

The expectation of t L under exp(-t L - localisation |w|^2 / 2) is an integral over one or two variables for each of the
losses here, and tends to lambda - (m - 1) / log t as t grows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of
from scipy.integrate import quad

import dynamics as dyn
from dynamics.core import spec as specs
from dynamics.core.simulate import start
from dynamics.curvature.learning_coefficient import estimate_learning_coefficient
from dynamics.systems.training import TrainingSpec
from dynamics.theory.reduced_rank import reduced_rank_coefficient

CURVATURES = np.array([4.0, 2.0, 1.0, 0.5, 0.25])


def regular(t):
    return float(np.sum(t * CURVATURES / (t * CURVATURES + 1)) / 2)


def crossing(t):
    """Of w1^2 w2^2; given w1 = e^u, w2 is normal."""

    def part(power):
        inside = lambda x: x * np.exp(-x * x / 2) * x ** (2 * power) * (1 + 2 * t * x * x) ** (-0.5 - power)  # noqa: E731
        return quad(lambda u: inside(np.exp(u)), -40, 3, limit=200)[0]

    return t * part(1) / part(0)


def linear_net(t, input_dim, output_dim=2):
    """Of |A B|^2 / 2 at rank 0 and width 2: given A, B is normal, and A enters by its singular values a and b.

    A trapezoidal sum over log a and log b; the terms vanish at both ends.
    """
    a = np.exp(np.linspace(-25, 2.2, 1500))
    b = a[:, None]
    volume = a * b * np.abs(b * b - a * a) * (a * b) ** abs(output_dim - 2) * np.exp(-(a * a + b * b) / 2)
    weight = volume * ((1 + t * a * a) * (1 + t * b * b)) ** (-input_dim / 2)
    value = input_dim / 2 * (t * a * a / (1 + t * a * a) + t * b * b / (1 + t * b * b))
    return float(np.sum(weight * value) / np.sum(weight))


CASES = {
    "regular": (lambda w: jnp.sum(jnp.asarray(CURVATURES, w.dtype) * w**2) / 2, jnp.zeros(5), regular, 0.25),
    "crossing": (lambda w: w[0] ** 2 * w[1] ** 2, jnp.zeros(2), crossing, 0.5),
    "linear net": (
        lambda p: jnp.sum((p[0] @ p[1]) ** 2) / 2,
        (jnp.zeros((2, 2)), jnp.zeros((2, 2))),
        lambda t: linear_net(t, 2),
        0.2,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_chain_finds_the_integral(case):
    """Eight chains with the errors that they tell of themselves; another case's number is far off."""
    loss, centre, exact, rate = CASES[case]
    expected = exact(100.0)

    def chain(key):
        return estimate_learning_coefficient(loss, centre, key, scale=100.0, rate=rate, localisation=1.0, num_steps=10_000)

    found = jax.jit(jax.vmap(chain))(jax.random.split(jax.random.key(3), 8))
    error = float(np.sqrt(np.mean(found.error**2) / 8))
    assert abs(float(np.mean(found.value)) - expected) < 3.5 * error < 0.15
    assert 0.5 < float(np.mean(found.accepted)) < 0.99
    assert 0.4 < float(np.mean(found.error)) / np.std(found.value, ddof=1) < 3
    others = [own(100.0) for name, (_, _, own, _) in CASES.items() if name != case]
    assert all(abs(other - expected) > 10 * error for other in others)


def test_the_integrals_tend_to_the_exact_coefficients():
    large = 1e8
    assert regular(large) == pytest.approx(5 / 2, abs=1e-6)
    assert crossing(large) == pytest.approx(1 / 2 - 1 / np.log(large), abs=0.01)
    for input_dim in (1, 2, 3, 4, 5):
        exact, powers = reduced_rank_coefficient(input_dim, 2, 2, 0)
        expected = exact - (powers - 1) / np.log(1e6)
        assert linear_net(1e6, input_dim) == pytest.approx(expected, abs=0.01), input_dim
    assert linear_net(1e6, 2, output_dim=3) == pytest.approx(2 - 1 / np.log(1e6), abs=0.01)


def test_exact_coefficients_by_counting():
    """A net without redundant parameters but for the group that leaves its product fixed: (d - H^2) / 2;
    and one layer."""
    for m, h, n in ((3, 2, 4), (5, 3, 3), (2, 2, 2)):
        assert reduced_rank_coefficient(m, h, n, min(m, h, n))[0] == (h * (m + n) - h * h) / 2
    assert reduced_rank_coefficient(1, 1, 1, 0) == (0.5, 2)
    assert reduced_rank_coefficient(2, 9, 3, 0) == (3.0, 1)
    with pytest.raises(dyn.InputError, match="rank = 3"):
        reduced_rank_coefficient(2, 2, 2, 3)


def test_the_measure_of_a_regression_is_that_of_its_hessian(tmp_path):
    spec = TrainingSpec(
        steps=400,
        record=dyn.Record(num=0),
        data=dyn.Data(input_dim=4, num_samples=400, num_test=1),
        model=dyn.Model(kind="linear"),
        loss=dyn.Loss("half"),
        optimizer=dyn.Optimizer(learning_rate=0.5),
        measures=["learning_coefficient"],
    )
    axes = {"seed": range(8), "measure_options.chain_rate": 2.0, "measure_options.localisation": [0.5, 50.0]}
    study = dyn.sweep(spec, axes, output=tmp_path)
    spec = spec.resolve()
    dynamics, hyper = specs.static(specs.freeze(spec)).dynamics(), hyper_of(spec)
    keys = jax.vmap(jax.random.key)(np.arange(8, dtype=np.uint32))
    x = np.asarray(jax.jit(jax.vmap(lambda key: start(dynamics, key, hyper)[0].problem.train.inputs))(keys))
    curvatures, t = np.linalg.eigvalsh(x.transpose(0, 2, 1) @ x / 400), 400 / np.log(400)
    for strength in (0.5, 50.0):
        part = study.select(localisation=strength)
        expected = np.sum(t * curvatures / (t * curvatures + strength), axis=1) / 2
        assert part.runs["seed"].to_list() == list(range(8))
        values = part.final["learning_coefficient"].to_numpy()
        error = np.std(values - expected, ddof=1) / np.sqrt(8)
        assert abs(np.mean(values - expected)) < 3.5 * error < 0.4
    assert change(spec, measures=["train_loss"]).cost().flops_per_record < spec.cost().flops_per_record / 100
