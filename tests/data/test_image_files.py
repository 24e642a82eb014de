"""Image sets are found and read from files in their real formats."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from image_formats import BATCHES, BINARY, PYTHON, check_cifar, put_cifar, put_mnist

from dynamics.data import image_files as images
from dynamics.data.image_files import load_image_set


def test_digits_are_the_1797_bundled_ones():
    found = load_image_set("digits")
    assert found.pixels.shape == (1797, 8, 8, 1) and found.pixels.dtype == np.uint8
    assert found.classes.shape == (1797,) and found.classes.dtype == np.int32
    assert found.highest == found.pixels.max() == 16 and found.pixels.min() == 0
    np.testing.assert_array_equal(np.bincount(found.classes), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    np.testing.assert_array_equal(found.pixels[0, 0, :, 0], [0, 0, 5, 13, 9, 1, 0, 0])  # the first zero's upper edge
    np.testing.assert_array_equal(found.classes[:10], range(10))
    assert found.test_pixels is found.test_classes is None


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("place", ["", "mnist/"])
def test_mnist_is_read_from_idx_files_zipped_or_not(put, tmp_path, place, zipped):
    put_mnist(put, "train", 3, 5, place, zipped)
    put_mnist(put, "t10k", 8, 2, place, zipped)
    found = load_image_set("mnist", str(tmp_path))
    assert found.pixels.shape == (5, 28, 28, 1) and found.pixels.dtype == np.uint8 and found.highest == 255
    assert found.classes.dtype == np.int32 and found.classes.tolist() == [3] * 5
    np.testing.assert_array_equal(found.pixels[:, 3, 20, 0], 100 + np.arange(5))
    assert found.pixels.sum() == (100 + np.arange(5)).sum()
    assert found.test_pixels is not None and found.test_classes is not None
    assert found.test_pixels.shape == (2, 28, 28, 1) and found.test_classes.tolist() == [8, 8]


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_one_pair_of_mnist_is_the_pool_and_there_is_no_test_part(put, tmp_path, part):
    put_mnist(put, part, 7, 3)
    found = load_image_set("mnist", str(tmp_path))
    assert found.pixels.shape == (3, 28, 28, 1) and found.classes.tolist() == [7, 7, 7]
    assert found.test_pixels is found.test_classes is None


@pytest.mark.parametrize("place", ["", "cifar10/"])
@pytest.mark.parametrize("how", ["folder", "bare", "archive"])
@pytest.mark.parametrize("version", [PYTHON, BINARY], ids=["python", "binary"])
def test_cifar_has_its_colours_on_the_last_axis_and_its_batches_in_order(put, monkeypatch, tmp_path, version, how, place):
    put_cifar(put, monkeypatch, version, how, place)
    before = sorted(tmp_path.rglob("*"))
    check_cifar(load_image_set("cifar10", str(tmp_path)))
    assert sorted(tmp_path.rglob("*")) == before  # an archive is read where it is


@pytest.mark.parametrize("version", [PYTHON, BINARY], ids=["python", "binary"])
def test_one_part_of_cifar_is_the_pool_and_there_is_no_test_part(put, monkeypatch, tmp_path, version):
    for part, size in ((BATCHES[:5], 10), (BATCHES[5:], 2)):
        folder = f"{size}/"
        put_cifar(put, monkeypatch, version, "archive", folder, part)
        found = load_image_set("cifar10", str(tmp_path / folder))
        assert found.pixels.shape == (size, 32, 32, 3) and found.test_pixels is found.test_classes is None


def test_the_python_version_goes_before_the_binary_one(put, monkeypatch, tmp_path):
    put_cifar(put, monkeypatch, BINARY, "bare", batches=["test_batch"])
    assert len(load_image_set("cifar10", str(tmp_path)).pixels) == 2
    images._load.cache_clear()
    put_cifar(put, monkeypatch, PYTHON, "archive")
    assert len(load_image_set("cifar10", str(tmp_path)).pixels) == 10


def test_a_set_is_read_once_and_nobody_can_change_it(put, tmp_path, monkeypatch):
    put_mnist(put, "t10k", 7, 3)
    found = load_image_set("mnist", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert load_image_set("mnist", ".") is found and load_image_set("digits") is load_image_set("digits", "elsewhere")
    for array in (found.pixels, found.classes, load_image_set("digits").pixels, load_image_set("digits").classes):
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_folder_is_the_configs_or_else_the_environments(put, tmp_path, monkeypatch):
    put_mnist(put, "t10k", 7, 3, "here/")
    put_mnist(put, "t10k", 7, 3, "there/")
    monkeypatch.setenv("DYNAMICS_DATA", str(tmp_path / "here"))
    assert load_image_set("mnist") is load_image_set("mnist", str(tmp_path / "here"))
    assert load_image_set("mnist", str(tmp_path / "there")) is not load_image_set("mnist")


@pytest.mark.parametrize("name, expected", [("digits", (8, 8, 1)), ("mnist", (28, 28, 1)), ("cifar10", (32, 32, 3))])
def test_sizes_are_known_without_a_file(name, expected):
    assert images.image_shape(name) == expected and images.count_classes(name) == 10


def test_scikit_learn_is_not_imported_with_the_module():
    code = "import sys, dynamics.data.image_files; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
