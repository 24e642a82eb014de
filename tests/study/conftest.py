"""What tests of one's own folders leave behind: nothing."""

import pytest

from dynamics.study import own_code


@pytest.fixture(autouse=True)
def own_code_forgotten():
    """Pieces that a test's own files have registered are taken out again."""
    yield
    for name in list(own_code._imported):
        own_code._forget(name)
