"""Statistics and standardisation of images, and the checksums of the files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from image_formats import REAL

from dynamics.data import image_files as images
from dynamics.data.image_files import ImageSet, channel_statistics, load_image_set, standardize_pixels


def test_statistics_are_those_of_each_channel(rng):
    pixels = rng.integers(0, 256, (50, 4, 3, 2), np.uint8) // np.array([1, 3], np.uint8)
    mean, std = channel_statistics(pixels, 255)
    assert mean.shape == std.shape == (2,) and mean[0] > 2 * mean[1]
    np.testing.assert_allclose(mean, (pixels / 255).mean((0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(std, (pixels / 255).std((0, 1, 2)), rtol=1e-14)
    constant = np.full((9, 2, 2, 1), 200, np.uint8)
    assert channel_statistics(constant, 255)[1] == 0


def test_standardized_pixels_by_hand_row_by_row_with_the_channels_last():
    pixels = np.arange(2 * 2 * 3 * 2, dtype=np.uint8).reshape(2, 2, 3, 2)
    found = standardize_pixels(pixels, 4, (1.0, 2.0), (0.5, 4.0))
    assert found.shape == (2, 12) and found.dtype == np.float32
    np.testing.assert_allclose(found[0, :4], [(0 / 4 - 1) / 0.5, (1 / 4 - 2) / 4, (2 / 4 - 1) / 0.5, (3 / 4 - 2) / 4])
    np.testing.assert_allclose(found[1, 11], (23 / 4 - 2) / 4)
    assert pixels.max() == 23  # they are left as they are


def test_digits_standardized_by_their_own_statistics_have_mean_zero_and_deviation_one():
    found = load_image_set("digits")
    own = standardize_pixels(found.pixels, 16, *channel_statistics(found.pixels, 16))
    assert own.shape == (1797, 64) and abs(own.mean()) < 1e-5 and abs(own.std() - 1) < 1e-5
    other = standardize_pixels(found.pixels, 255, *channel_statistics(found.pixels, 16))
    assert abs(other.std() - 1) > 0.5


@pytest.mark.parametrize("name, std", [("cifar10", (0.2470, 0.2435, 0.2616)), ("cifar10_2023", (0.2023, 0.1994, 0.2010))])
def test_named_normalizations_are_those_of_papers(name, std):
    white = standardize_pixels(np.full((1, 1, 1, 3), 255, np.uint8), 255, *images.NORMALIZATIONS[name])
    np.testing.assert_allclose(white[0], [(1 - 0.4914) / std[0], (1 - 0.4822) / std[1], (1 - 0.4465) / std[2]], rtol=1e-6)


def test_every_file_of_every_version_has_a_checksum_of_its_own():
    expected = {name for version in sum(images.VERSIONS.values(), ()) for part in version.parts for name in part}
    expected |= {version.archive for version in images.VERSIONS["cifar10"]}
    assert images.MD5.keys() == expected and len(expected) == 4 + 2 * 7
    assert len(set(images.MD5.values())) == len(expected)
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in images.MD5.values())


@pytest.fixture
def real_mnist() -> ImageSet:
    if not REAL or not any(list(place.glob("t10k-*-ubyte*")) for place in (Path(REAL), Path(REAL, "mnist"))):
        pytest.skip("DYNAMICS_DATA has no MNIST")
    return load_image_set("mnist", REAL)


def test_the_real_mnist_has_its_known_test_part(real_mnist):
    pixels = real_mnist.pixels if real_mnist.test_pixels is None else real_mnist.test_pixels
    classes = real_mnist.classes if real_mnist.test_classes is None else real_mnist.test_classes
    assert pixels.shape == (10000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(classes), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    mean, _ = channel_statistics(pixels, 255)
    assert abs(mean[0] - 0.1325) < 1e-4
