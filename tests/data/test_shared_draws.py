"""What runs of a law share: the first samples of a larger n, padding, precision."""

from __future__ import annotations

import numpy as np
import pytest
from law_draws import DATA, NEED_FILES, N, draw

from dynamics.data.law import LAWS


def test_every_law_is_looked_at():
    of_pairs = {"modular_addition"}  # which are not drawn but dealt out: test_modular.py
    assert set(DATA) | NEED_FILES | of_pairs == set(LAWS)
    for data in DATA.values():
        data.check()


@pytest.mark.parametrize("name", DATA)
def test_a_smaller_n_has_the_first_samples_of_a_larger_one(name):
    """To the last bits, which hang on how a processor takes arrays of a length;
    another seed and test samples have others."""
    large = 1000 if name == "digits" else N
    few, part, stands_for = draw(DATA[name], 5)
    more, more_part, more_for = draw(DATA[name], 5 if name == "grid" else large, size=large)  # a grid is spread anew
    np.testing.assert_allclose(more[:5], few, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(more_part[:5], part)
    if stands_for is not None:
        np.testing.assert_array_equal(more_for, stands_for)
    if name != "grid":
        others = [draw(DATA[name], 5, seed=1)[0], draw(DATA[name], 5, fresh=True)[0]]
        assert len(np.unique(np.concatenate([few, *others]), axis=0)) == 15


@pytest.mark.parametrize("name", [name for name in DATA if LAWS[name].pads])
def test_padded_inputs_are_the_same_ones_and_zeros(name):
    plain, padded = draw(DATA[name], 5)[0], draw(DATA[name], 5, padded=7)[0]
    np.testing.assert_array_equal(padded[:, :3], plain)
    assert padded.shape == (5, 7) and not padded[:, 3:].any()


@pytest.mark.parametrize("name", ["radial", "vocabulary"])
def test_laws_are_drawn_in_the_precision_asked_for(name):
    wide, narrow = draw(DATA[name], 5, dtype="float64")[0], draw(DATA[name], 5)[0]
    assert np.any(wide != wide.astype(np.float32)) and np.all(narrow == narrow.astype(np.float32))
