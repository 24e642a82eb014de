"""ODEs of order parameters: the solution to its tolerance, against closed forms, and what is refused."""

import numpy as np
import pytest
from scipy import linalg

from dynamics.errors import InputError
from dynamics.theory.order_parameters import integrate_ode

TIMES = np.array([0.0, 0.1, 1.0, 7.0])
TURN = np.array([[-0.1, 2.0], [-2.0, -0.3]])


def logistic(t):
    return 1 / (1 + 99 * np.exp(-t))


CASES = {  # slope, initial, solution at the times, further arguments
    "linear": (lambda t, y: TURN @ y, [1.0, -0.5], [linalg.expm(TURN * t) @ [1.0, -0.5] for t in TIMES], {}),
    "logistic": (lambda t, y: y * (1 - y), 0.01, logistic(TIMES), {}),
    "driven from rest": (lambda t, y: [np.cos(t), 1e-6], [0.0, 0.0], np.stack([np.sin(TIMES), 1e-6 * TIMES], 1), {}),
    "matrix": (lambda t, y: -y, np.arange(6.0).reshape(2, 3), np.exp(-TIMES)[:, None, None] * np.arange(6.0).reshape(2, 3), {}),
    "stiff": (
        lambda t, y: [-1e6 * (y[0] - np.cos(t)) - np.sin(t), -y[1]],
        [1.0, 1.0],
        np.stack([np.cos(TIMES), np.exp(-TIMES)], 1),
        {"stiff": True},
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tolerance", [1e-4, 1e-9])
def test_solutions_keep_to_the_tolerance(name, tolerance):
    slope, initial, expected, more = CASES[name]
    expected = np.array(expected)
    found = integrate_ode(slope, initial, TIMES, tolerance=tolerance, **more)
    assert found.shape == (len(TIMES), *np.shape(initial))
    assert (np.abs(found - expected) <= tolerance * np.abs(expected).max(axis=0)).all()


def square(t, y):
    """The slope of 1 / (1 - t), which magnifies errors on its way to t = 1."""
    return y**2


def test_steps_become_smaller_until_the_solution_keeps_to_the_tolerance():
    assert integrate_ode(square, 1.0, [0.5, 0.99])[-1] == pytest.approx(100, rel=1e-8)
    with pytest.raises(InputError, match="two solutions differ by"):  # 1e8 times the error of the first steps
        integrate_ode(square, 1.0, [0.9999], tolerance=1e-11)


def test_one_that_blows_up_is_refused_with_the_time_that_was_reached():
    with pytest.raises(InputError, match=r"times = 1.5: the solution stops existing beyond t = 0.9: "):
        integrate_ode(square, 1.0, [0.5, 0.9, 1.5])


@pytest.mark.parametrize(
    "change, field",
    [
        ({"times": [1.0, 0.5]}, "times"),
        ({"times": [-1.0]}, "times"),
        ({"times": 1.0}, "times"),
        ({"initial": np.nan}, "initial"),
        ({"initial": [1.0, 2.0]}, "slope"),
        ({"tolerance": 0.0}, "tolerance"),
    ],
)
def test_bad_input_of_integration_is_refused(change, field):
    with pytest.raises(InputError) as error:
        integrate_ode(**{"slope": lambda t, y: -np.atleast_1d(y)[0], "initial": 1.0, "times": [0.0, 1.0], **change})
    assert error.value.field == field
