"""Laws of images: training and test parts, channels, dead leaves."""

from __future__ import annotations

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from law_draws import DATA, N, draw

from dynamics.data import image_files as images
from dynamics.data.dead_leaves import draw_dead_leaves
from dynamics.data.image_files import ImageSet
from dynamics.data.law import DataSpec
from dynamics.errors import InputError


def sorted_rows(x: np.ndarray) -> np.ndarray:
    return x[np.lexsort(x.T)]


def test_training_and_test_images_are_different_ones_and_the_first_of_more():
    """All 1797 digits go out once, standardised by their own mean and deviation; another seed trains on others."""
    own = images.load_image_set("digits")
    pixels = own.pixels.reshape(1797, 64) / 16.0
    standard = (pixels - pixels.mean()) / pixels.std()
    x, part, _ = draw(DATA["digits"], 1000)
    fresh, fresh_part, _ = draw(DATA["digits"], 797, fresh=True)
    np.testing.assert_allclose(
        sorted_rows(np.round(np.concatenate([x, fresh]), 4)), sorted_rows(np.round(standard, 4)), atol=2e-4
    )
    assert np.bincount(np.concatenate([part, fresh_part])).tolist() == np.bincount(own.classes).tolist()
    where = {row.tobytes(): c for row, c in zip(np.round(standard, 3), own.classes, strict=True)}
    assert [where[row.tobytes()] for row in np.round(x[:200], 3)] == part[:200].tolist()
    few, few_part, _ = draw(DATA["digits"], 60)
    np.testing.assert_array_equal(few, x[:60])
    np.testing.assert_array_equal(few_part, part[:60])
    other, _, _ = draw(DATA["digits"], 60, seed=1)
    assert np.mean(np.all(other == few, axis=1)) < 0.1


@pytest.fixture
def pictures(monkeypatch, rng):
    """Forty images of a set with a test part of fifteen, whose files are not there."""
    train, test = (rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) // [1, 2, 4] for n in (40, 15))
    classes = [np.arange(n, dtype=np.int32) % 10 for n in (40, 15)]
    found = ImageSet(train.astype(np.uint8), classes[0], 255, test.astype(np.uint8), classes[1])
    monkeypatch.setattr(images, "load_image_set", lambda name, root="": found)
    return found


@pytest.mark.parametrize("normalization", ["own", "cifar10"])
def test_a_set_with_a_test_part_is_tested_on_that_and_each_channel_standardised(pictures, normalization):
    """By the training images' own statistics or by the papers'; images lie row by row, channels last."""
    data = DataSpec("cifar10", 3072, normalization=normalization, num_test=15, num_samples=40)
    data.check()
    assert data.grid == (32, 32, 3) and set(data.shared_arrays()) == {
        f"data.{a}{b}" for a in ("pool", "test_pool") for b in ("", "_parts")
    }
    mean, std = pictures.pixels.mean(axis=(0, 1, 2)) / 255, pictures.pixels.std(axis=(0, 1, 2)) / 255
    if normalization == "cifar10":
        mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    for n, fresh, pool, classes in ((40, False, *pictures[:2]), (15, True, *pictures[3:])):
        x, part, _ = draw(data, n, fresh=fresh)
        standard = ((pool / 255.0 - mean) / std).reshape(n, -1)
        order = [int(np.argmin(np.abs(standard - row).max(axis=1))) for row in x]
        assert sorted(order) == list(range(n)) and order != sorted(order)
        np.testing.assert_allclose(x, standard[order], atol=1e-5)
        np.testing.assert_array_equal(part, classes[order])
    for values, field in (({"num_samples": 41}, "num_samples"), ({"num_test": 16}, "num_test")):
        with pytest.raises(InputError, match=rf"^data\.{field} = "):
            replace(data, **values).check()


def test_dead_leaves_are_pictures_of_a_key_each_standardised():
    data = DATA["dead_leaves"]
    x, part, _ = draw(data, 50, size=N)
    assert data.grid == (4, 4, 2) and not part.any()
    key = jax.random.fold_in(jax.random.key(0), 0)
    paint = jax.jit(jax.vmap(lambda i: draw_dead_leaves(jax.random.fold_in(key, i), 4, 2, 5, 0.5, 2.5, 0.1, jnp.float32)))
    np.testing.assert_allclose(
        x, (np.asarray(paint(jnp.arange(50))).reshape(50, 32) - 0.5) * math.sqrt(12), rtol=1e-5, atol=1e-5
    )
    many = draw(replace(data, texture=0.0), 4000)[0]
    assert np.mean(many) == pytest.approx(0, abs=0.05) and np.var(many) == pytest.approx(1, abs=0.05)
