"""Flows by adaptive steps: against closed forms and scipy's implicit solver, at every one of several tolerances.

All tolerances of a case are one program, in which each takes its own number of steps.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of, key_of, to_numpy
from scipy.integrate import RK45, solve_ivp
from scipy.linalg import expm

import dynamics as dyn
from dynamics.core import spec as specs
from dynamics.core.simulate import start
from dynamics.optimizers import adaptive_steps
from dynamics.optimizers.adaptive_steps import CHEBYSHEV, DORMAND_PRINCE, MOST_STAGES, Method, begin, integrate
from dynamics.optimizers.rules import FLOWS, OptimizerSpec
from dynamics.systems.training import TrainingSpec

TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)


def rotated(eigenvalues):
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(len(eigenvalues), len(eigenvalues))))[0]
    return basis @ np.diag(eigenvalues) @ basis.T


HESSIAN = rotated(np.geomspace(1e-2, 1e4, 8))
START = np.random.default_rng(1).normal(size=8)


def saxe(y, stack=jnp.stack):
    """Saxe, McClelland and Ganguli 2014: two scalar layers that learn the singular value 2."""
    return stack([y[1], y[0]]) * (2 - y[0] * y[1])


def saxe_product(time, start):
    growth = np.exp(4 * time)
    return 2 * growth / (growth - 1 + 2 / start)


def van_der_pol(y, stack=jnp.stack):
    return stack([y[1], 100 * (1 - y[0] ** 2) * y[1] - y[0]])


def robertson(y, stack=jnp.stack):
    """Robertson 1966, with its second concentration in units of 1e-4 so that the norm sees it."""
    slow, fast = 0.04 * y[0] - y[1] * y[2], 0.3 * y[1] ** 2
    return stack([-slow, 1e4 * (slow - fast), fast])


def by_lsoda(velocity, start, time):
    found = solve_ivp(lambda t, y: velocity(y, np.stack), (0, time), start, "LSODA", rtol=1e-9, atol=1e-11)
    return found.y[:, -1]


def ends(method: Method, velocity, start, time, spans=1, tolerances=TOLERANCES):
    """The state (K, n) after so many spans, for every tolerance (K,)."""

    def one(tolerance):
        def span(_, carry):
            return integrate(method, velocity, carry[0], time / spans, tolerance, carry[1])

        first = jnp.asarray(start, float)
        return jax.lax.fori_loop(0, spans, span, (first, begin(first, time / spans)))[0]

    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(one))(jnp.array(tolerances)))


CASES = {
    "linear, pair": (DORMAND_PRINCE, lambda y: -jnp.asarray(rotated(np.geomspace(1e-2, 1e2, 8))) @ y, START, 1.0, 3),
    "linear and stiff": (CHEBYSHEV, lambda y: -jnp.asarray(HESSIAN) @ y, START, 1.0, 3),
    "sigmoid, pair": (DORMAND_PRINCE, saxe, (0.01, 0.01), 3.0, 10),
    "sigmoid, stabilised": (CHEBYSHEV, saxe, (0.01, 0.01), 3.0, 10),
    "van der Pol": (CHEBYSHEV, van_der_pol, (2.0, 0.0), 100.0, 5),
    "Robertson": (CHEBYSHEV, robertson, (1.0, 0.0, 0.0), 40.0, 5),
}


def reference(case):
    _, velocity, start, time, _ = CASES[case]
    if case.startswith("linear"):
        matrix = HESSIAN if "stiff" in case else rotated(np.geomspace(1e-2, 1e2, 8))
        return expm(-time * matrix) @ start
    if case.startswith("sigmoid"):
        return np.full(2, np.sqrt(saxe_product(time, start[0] * start[1])))
    return by_lsoda(velocity, start, time)


@pytest.mark.parametrize("case", CASES)
def test_the_stated_tolerance_is_kept_over_three_decades(case):
    """And it is what decides on the error: this falls by at least a factor of 100 over the three decades."""
    expected = reference(case)
    found = ends(*CASES[case])
    errors = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected)
    assert np.all(errors < TOLERANCES), errors
    assert errors[-1] < errors[0] / 100, errors


def test_a_span_that_wants_too_many_steps_is_given_up_and_not_wrong(monkeypatch):
    """Robertson's problem asks steps of 1e-4 of an explicit pair; the stabilised method has taken it above."""
    monkeypatch.setattr(adaptive_steps, "MOST_TRIES", 300)
    assert np.isnan(ends(DORMAND_PRINCE, robertson, (1.0, 0.0, 0.0), 40.0, 1, (1e-3,))).all()


def test_the_pair_is_scipys():
    for row, weights in zip(RK45.A[1:], adaptive_steps.STAGES[:-1], strict=True):
        np.testing.assert_allclose(row[: len(weights)], weights, rtol=1e-15)
    np.testing.assert_allclose(RK45.B, adaptive_steps.STAGES[-1], rtol=1e-15)
    np.testing.assert_allclose(RK45.E, np.negative(adaptive_steps.ERROR), rtol=1e-15)


def test_a_stabilised_step_is_stable_up_to_the_radius_it_is_given_and_of_second_order():
    """On y' = -lambda y for many lambda at once; for small lambda it is exp(-lambda) up to a term of third order."""
    with jax.enable_x64(True):
        attempt = jax.jit(lambda rates, radius: CHEBYSHEV.attempt(lambda y: -rates * y, jnp.ones(99), -rates, 1.0, radius))
        for radius in (1.0, 30.0, 1e4, 0.64 * MOST_STAGES**2):
            factor = np.asarray(attempt(np.linspace(0, radius, 99), radius)[0])
            assert np.all(np.abs(factor) <= 1 + 1e-9) and np.all(np.abs(factor[50:]) < 0.99)
        errors = [abs(float(np.asarray(attempt(np.full(99, rate), 30.0)[0])[0]) - np.exp(-rate)) for rate in (0.02, 0.01)]
        assert 7 < errors[0] / errors[1] < 9


# ---- as rules of a run

REGRESSION = TrainingSpec(
    steps=8,
    precision="float64",
    record=dyn.Record(num=0),
    data=dyn.Data(input_dim=3, num_samples=12, num_test=1),
    model=dyn.Model(kind="linear"),
    loss=dyn.Loss("half"),
    measures=["train_loss"],
)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", FLOWS)
def test_a_run_follows_the_matrix_exponential_for_every_tolerance(kind):
    """A loose tolerance is kept by a whole span in one step, so that the error falls by less than the tolerance."""
    rate, decay = 0.6, 0.3
    spec = change(REGRESSION, optimizer=OptimizerSpec(kind=kind, learning_rate=rate, weight_decay=decay)).resolve()
    dynamics, hyper = specs.static(specs.freeze(spec)).dynamics(), hyper_of(spec)

    @jax.jit
    def run(key, tolerances):
        def one(tolerance):
            fixed, first = start(dynamics, key, {**hyper, "optimizer.tolerance": tolerance})
            last = jax.lax.fori_loop(0, spec.steps, lambda _, state: dynamics.step(state, fixed, key), first)
            return fixed.problem.train[:2], first.params, last.params

        return jax.vmap(one)(tolerances)

    (x, y), first, last = to_numpy(run(key_of(spec), np.array(TOLERANCES)))
    damped = x[0].T @ x[0] / len(x[0]) + decay * np.eye(3)
    rest = np.linalg.solve(damped, x[0].T @ y[0] / len(x[0]))
    expected = rest + expm(-rate * 8 * damped) @ (first[0] - rest)
    errors = np.linalg.norm(last - expected, axis=1) / np.linalg.norm(expected)
    assert np.all(errors < TOLERANCES) and errors[-1] < errors[0] / 10


def test_a_tolerance_that_rounding_does_not_allow_is_refused():
    small = change(REGRESSION.resolve(), precision="float32", optimizer=OptimizerSpec(kind="stiff_flow", tolerance=1e-5))
    with pytest.raises(dyn.InputError, match=r"optimizer\.tolerance = 1e-05: must be at least 9\.7e-05 with"):
        small.check()
    change(small, precision="float64").check()
    change(small, optimizer__tolerance=1e-3).check()
    with pytest.raises(dyn.InputError, match=r"'cosine': optimizer\.kind = stiff_flow takes steps"):
        change(small, optimizer__tolerance=1e-3, optimizer__schedule__kind="cosine").check()
