"""Fixtures of the tests of image files."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_formats import md5

from dynamics.data import image_files as images


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.delenv("DYNAMICS_DATA", raising=False)


@pytest.fixture
def put(tmp_path, monkeypatch):
    """`put("cifar10/test_batch", content)`: a file, whose content (unzipped for MNIST) is from now on the right one."""

    def call(name: str, content: bytes, packed: bytes | None = None) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if packed is None else packed)
        monkeypatch.setitem(images.MD5, file.name if packed is None else file.name.removesuffix(".gz"), md5(content))
        return file

    return call
