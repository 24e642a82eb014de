"""Sensitivity of the loss to the learning rate, by hand."""

import numpy as np
import pytest

import dynamics.analysis.words as an
from dynamics.errors import InputError


def test_sensitivity_by_hand():
    """Reached: 0.5, 0.1, 1 (diverged: as it began), 0.2 (grown: as it began); the best is 0.1, so 0.4, 0, 0.9, 0.1."""
    final, initial = np.array([0.5, 0.1, np.inf, 7.0]), np.array([2.0, 2.0, 1.0, 0.2])
    assert an.learning_rate_sensitivity(final, initial) == pytest.approx(1.4 / 4)
    assert an.learning_rate_sensitivity([0.5, 0.1, np.nan], 1.0) == pytest.approx((0.4 + 0 + 0.9) / 3)
    assert an.learning_rate_sensitivity([0.3, 0.3], 1.0) == 0


def test_sensitivity_has_a_value_a_seed():
    table = np.array([[1.0, 0.5], [0.5, 0.25], [0.5, np.inf]])  # a row a rate, a column a seed
    assert an.learning_rate_sensitivity(table, 1.0, axis=0).tolist() == pytest.approx([0.5 / 3, (0.25 + 0 + 0.75) / 3])


@pytest.mark.parametrize(
    "final, initial, field", [(1.0, 1.0, "final"), ([1.0], np.nan, "initial"), ([1.0, 2.0], np.ones(3), "initial")]
)
def test_bad_losses_are_refused(final, initial, field):
    with pytest.raises(InputError) as error:
        an.learning_rate_sensitivity(final, initial)
    assert error.value.field == field
