"""What stands in for the images of a set, against the set itself."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import hyper_of, key_of

from dynamics.core import spec as specs
from dynamics.data import image_files as images
from dynamics.data.law import DataSpec
from dynamics.data.problem import draw_problem
from dynamics.data.targets import TargetSpec
from dynamics.errors import InputError
from dynamics.models.model_spec import ModelSpec
from dynamics.study.config import compose
from dynamics.systems.training import TrainingSpec

DIGITS = DataSpec("digits", 64, num_samples=790, num_test=1000)


def spec_of(stand_in: str, target: str = "part_index", **fields) -> TrainingSpec:
    data = DataSpec(**{**DIGITS.__dict__, "noise_std": 0.0, "stand_in": stand_in, **fields})
    return specs.freeze(TrainingSpec(data=data, target=TargetSpec(target), model=ModelSpec(width=1)))


@partial(jax.jit, static_argnums=0)
def program(spec, key, hyper):
    return draw_problem(spec.data, spec.target, key, hyper, jnp.dtype(spec.precision))


def draw(stand_in: str, **fields):
    """((inputs, parts) of the training samples, of the fresh ones)."""
    spec = spec_of(stand_in, **fields)
    problem = program(spec, key_of(spec), {**hyper_of(spec), **spec.shared_arrays()})
    return tuple((np.asarray(part.inputs, float), np.asarray(part.clean)) for part in problem)


def standardized() -> np.ndarray:
    found = images.load_image_set("digits")
    return images.standardize_pixels(
        found.pixels, found.highest, *images.channel_statistics(found.pixels, found.highest)
    ).astype(float)


def test_gaussian_inputs_are_white_and_of_one_part():
    for x, part in draw("gaussian"):
        assert abs(x.mean()) < 4.5 / np.sqrt(x.size) and abs(x.var() - 1) < 4.5 * np.sqrt(2 / x.size)
        off = np.corrcoef(x, rowvar=False) - np.eye(64)
        assert np.abs(off).max() < 6 / np.sqrt(len(x)) and not part.any()


def test_shuffled_images_keep_their_values_and_class_and_lose_their_places():
    for (x, part), (image, of_image) in zip(draw("shuffled"), draw(""), strict=True):
        np.testing.assert_array_equal(np.sort(x, axis=1), np.sort(image, axis=1))
        np.testing.assert_array_equal(part, of_image)
        corner = image[:, 0]
        assert corner.var() == 0 and x[:, 0].var() > 0.5  # the frame of a digit is always blank
        assert np.abs(np.corrcoef(x, rowvar=False) - np.eye(64)).max() < 6 / np.sqrt(len(x))


def test_the_matched_gaussian_has_the_mean_and_covariance_of_the_images():
    pixels, both = standardized(), draw("covariance")
    x = np.concatenate([own for own, _ in both])
    assert not np.concatenate([part for _, part in both]).any()
    covariance, deviation = np.cov(pixels, rowvar=False, bias=True), pixels.std(axis=0)
    assert np.all(np.abs(x.mean(axis=0) - pixels.mean(axis=0)) < 4.5 * deviation / np.sqrt(len(x)) + 1e-5)
    outer = np.outer(deviation, deviation)
    spread = np.sqrt((outer**2 + covariance**2) / len(x))  # of a Gaussian's sample covariance
    assert np.all(np.abs(np.cov(x, rowvar=False) - covariance) < 5 * spread + 1e-5)
    assert np.abs(covariance - np.eye(64)).max() > 0.9  # which N(0, I) would not pass


def test_the_matched_gaussian_is_one():
    """Its fourth moments along the leading directions, where the digits' own are far from a Gaussian's."""
    pixels, x = standardized(), np.concatenate([own for own, _ in draw("covariance")])
    _, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False))

    def kurtosis(sample: np.ndarray) -> np.ndarray:
        along = (sample - sample.mean(axis=0)) @ vectors[:, -20:]
        return np.mean(along**4, axis=0) / np.mean(along**2, axis=0) ** 2

    noise = np.sqrt(24 / len(x))
    assert np.abs(kurtosis(x) - 3).max() < 4.5 * noise < 0.6 < np.abs(kurtosis(pixels) - 3).max()


def test_dead_leaves_in_place_of_images_are_the_law_of_that_name():
    own, fresh = draw("dead_leaves", num_samples=5, num_test=3)
    law = TrainingSpec(
        data=DataSpec("dead_leaves", 64, num_samples=5, num_test=3), target=TargetSpec("zero"), model=ModelSpec(width=1)
    )
    problem = program(specs.freeze(law), key_of(law), hyper_of(law))
    np.testing.assert_array_equal(own[0], problem.train.inputs)
    np.testing.assert_array_equal(fresh[0], problem.test.inputs)


@pytest.mark.parametrize("stand_in", ["shuffled", "covariance"])
def test_fewer_samples_are_the_first_of_more(stand_in):
    few, many = draw(stand_in, num_samples=7, num_test=4), draw(stand_in, num_samples=11, num_test=4)
    np.testing.assert_allclose(few[0][0], many[0][0][:7], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(few[1][0], many[1][0])
    assert np.abs(few[0][0][:4] - few[1][0]).max() > 0.1


def test_what_cannot_be_is_refused():
    for fields, field in (
        ({"law": "gaussian", "stand_in": "shuffled"}, "data.stand_in"),
        ({"law": "dead_leaves", "stand_in": "gaussian"}, "data.stand_in"),
        ({"stand_in": "gausian"}, "data.stand_in"),
        ({"stand_in": "dead_leaves", "smallest_leaf": 8.0}, "data.smallest_leaf"),
        ({"stand_in": "shuffled", "num_samples": 798}, "data.num_samples"),
    ):
        with pytest.raises(InputError) as told:
            spec_of(**{"stand_in": "", **fields}).check()
        assert told.value.field == field
    spec_of("gaussian", num_samples=5000).check()  # there is no end of them


def test_classes_are_those_of_images_alone():
    spec_of("shuffled", target="one_hot").check()
    with pytest.raises(InputError, match=r"target\.kind"):
        spec_of("covariance", target="one_hot").check()


def test_one_override_says_what_the_images_are_in_every_panel():
    request = compose("data_geometry/images", "size=smoke", "data.law=digits")
    assert not request.notices
    assert {panel: {specs.get(run, "data.stand_in") for run in runs} for panel, runs in request.panels.items()} == {
        "images": {""},
        "gaussian": {"gaussian"},
        "covariance": {"covariance"},
        "shuffled": {"shuffled"},
    }
