"""Fixtures of the tests of commands: two small results, and a store to write them to."""

import pytest
from command_stores import NAME, results_of

from dynamics.store.store import Store


@pytest.fixture(scope="module")
def good():
    return results_of({"edge_ratio": [1.0, 1.5]})


@pytest.fixture(scope="module")
def bad():
    """One run that ends well and one that diverges."""
    return results_of({"edge_ratio": [1.2, 4.5]})


@pytest.fixture
def store(tmp_path):
    (tmp_path / "out").mkdir()
    return Store(tmp_path / "out" / "results" / NAME)
