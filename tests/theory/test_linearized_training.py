"""Linearised training in closed form against steps taken one by one, an integrated ODE,
and linear models with features."""

import numpy as np
import pytest
from scipy import integrate

from dynamics.errors import InputError
from dynamics.theory.linearized_training import LinearizedTraining
from dynamics.theory.wide_kernels import compute_wide_kernels


def draw_problem(outputs=(), features=7, n=5, m=3, seed=0):
    """Features at both sets of points, labels, and the parameters that a linear model starts from."""
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, features)),
        rng.normal(size=(m, features)),
        rng.normal(size=(n, *outputs)),
        rng.normal(size=(features, *outputs)),
    )


@pytest.mark.parametrize("outputs, features, factor", [((), 7, 1.0), ((), 3, 0.5), ((2,), 7, 2.5)])
def test_it_is_the_training_of_the_linear_model(outputs, features, factor):
    """The flow by an integrator and descent step by step, on the parameters; fewer features than points:
    a singular kernel."""
    train, test, y, w0 = draw_problem(outputs, features)
    n = len(y)

    def slope(w):
        return factor * 2 / n * train.T @ (train @ w - y)

    model = LinearizedTraining(train @ train.T, y, test @ train.T, train @ w0, test @ w0, factor)
    times = np.array([0.0, 0.01, 0.3, 2.0, 40.0])
    path = integrate.solve_ivp(
        lambda t, w: -slope(w.reshape(w0.shape)).ravel(), (0, 40), w0.ravel(), "Radau", times, rtol=1e-11, atol=1e-13
    )
    flow = model.follow_flow(times)
    for k, w in enumerate(path.y.T):
        for found, points in ((flow.train, train), (flow.test, test)):
            assert np.allclose(found[k], points @ w.reshape(w0.shape), rtol=0, atol=1e-8), times[k]

    for share in (0.02, 0.9, 1.01):  # of the rate above which descent diverges
        rate, w, steps = share * model.largest_learning_rate, w0, [0, 1, 2, 25]
        descent = model.follow_descent(steps, rate)
        for step in range(26):
            if step in steps:
                k = steps.index(step)
                assert np.allclose(descent.train[k], train @ w, rtol=1e-10, atol=1e-10)
                assert np.allclose(descent.test[k], test @ w, rtol=1e-10, atol=1e-10)
            w = w - rate * slope(w)
    late = [np.abs(model.follow_descent([3000], s * model.largest_learning_rate).train).max() for s in (0.99, 1.01)]
    assert late[1] > 1e6 * late[0]


def test_the_mean_square_is_twice_as_fast_as_half_of_it():
    train, test, y, _ = draw_problem()
    fast, slow = (LinearizedTraining(train @ train.T, y, test @ train.T, factor=factor) for factor in (1.0, 0.5))
    assert np.allclose(fast.follow_flow([0.3, 1.0]).test, slow.follow_flow([0.6, 2.0]).test, atol=1e-13)
    assert not np.allclose(fast.follow_flow([0.3]).test, slow.follow_flow([0.3]).test, atol=1e-2)


def test_where_an_eigenvalue_is_zero_the_limit_is_taken():
    """By hand: c = 1 for two labels and factor 1, so G is c t = 3 for the flow and eta c t = 1.5 for three
    steps of eta 0.5."""
    model = LinearizedTraining(np.diag([2.0, 0.0]), [0.0, 1.0], [[0.0, 1.0]])
    assert model.follow_flow([3.0]).test.tolist() == [[3.0]] and model.follow_descent([3], 0.5).test.tolist() == [[1.5]]


def test_the_spread_over_initialisations_is_that_of_random_ones():
    """Starts are drawn from the prior and carried to the end one by one, each as an output of one model."""
    rng = np.random.default_rng(2)
    points = rng.normal(size=(6, 3))
    kernels = compute_wide_kernels(points)
    tangent, prior, n = kernels.tangent, kernels.nngp, 4
    y = rng.normal(size=n)
    starts = np.linalg.cholesky(prior) @ rng.normal(size=(6, 20000))
    model = LinearizedTraining(tangent[:n, :n], y, tangent[n:, :n])
    many = LinearizedTraining(tangent[:n, :n], np.repeat(y[:, None], 20000, 1), tangent[n:, :n], starts[:n], starts[n:])
    for rate, time in ((None, 3.0), (0.7, 5)):
        ends = (many.follow_flow([time]) if rate is None else many.follow_descent([time], rate)).test[0]
        expected = model.spread_at(time, prior, learning_rate=rate)
        assert np.abs(np.cov(ends) - expected).max() < 5 * np.abs(expected).max() * np.sqrt(2 / 20000)
        assert np.abs(np.cov(ends) - prior[n:, n:]).max() > 10 * np.abs(expected).max() * np.sqrt(2 / 20000)
    assert np.allclose(model.spread_at(0.0, prior), prior[n:, n:])


@pytest.mark.parametrize(
    "change, field",
    [
        ({"kernel": np.eye(3)}, "kernel"),
        ({"kernel": [[1.0, 0.1], [0.2, 1.0]]}, "kernel"),
        ({"labels": 1.0}, "labels"),
        ({"labels": [np.inf, 1.0]}, "labels"),
        ({"test_kernel": np.ones((2, 3))}, "test_kernel"),
        ({"initial": np.zeros(3)}, "initial"),
        ({"initial_test": np.zeros(1)}, "initial_test"),
        ({"factor": 0.0}, "factor"),
    ],
)
def test_bad_input_of_linearised_training_is_refused(change, field):
    with pytest.raises(InputError) as error:
        LinearizedTraining(**{"kernel": np.eye(2), "labels": np.ones(2), **change})
    assert error.value.field == field


def test_times_that_are_none_are_refused():
    model = LinearizedTraining(np.eye(2), np.ones(2))
    for follow in (lambda: model.follow_flow([-1.0]), lambda: model.follow_descent([1.5], 0.1), lambda: model.follow_flow(1.0)):
        with pytest.raises(InputError):
            follow()
