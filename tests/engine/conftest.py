"""The store that every interrupted, divided or shared piece of work must come to."""

from __future__ import annotations

import pytest
from work_cases import TWO_GROUPS, do

from dynamics.engine.worker import ExecutionOptions


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    _, diary, failures = do(folder, TWO_GROUPS, ExecutionOptions(save_final=True))
    assert not failures and len(diary.begun) == 2
    return folder
