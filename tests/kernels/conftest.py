"""An empty cache folder for compiled kernels."""

from __future__ import annotations

import pytest

from dynamics.kernels import build


@pytest.fixture
def anew(monkeypatch, tmp_path):
    """An empty cache folder, and whether there is a library not decided yet; afterwards as it was."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(build.SWITCH, raising=False)
    build.open_library.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    build.open_library.cache_clear()
