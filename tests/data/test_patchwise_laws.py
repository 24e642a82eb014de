"""Laws made of patches: vocabularies and cone clusters."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from law_draws import DATA, N, check_half_spaces, directions, draw, same_law, uniformly_one_of, z_score
from scipy import stats

from dynamics.data.closed_forms import SPHERE
from dynamics.data.patchwise import vocabulary_half_space


def patches(name: str, **fields) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patches (n, J, m), parts (n,) and what these stand for."""
    x, part, stands_for = draw(replace(DATA[name], **fields))
    return x.reshape(N, -1, DATA[name].patch_dim), part, stands_for


def test_every_patch_is_on_a_sphere_of_its_own_or_all_are_the_same_point():
    own, same = patches("patch_spheres")[0], patches("tiled")[0]
    assert own.shape == same.shape == (N, 4, 3)
    for patch in (own[:, 0], own[:, 3], same[:, 2]):
        np.testing.assert_allclose(np.linalg.norm(patch, axis=1), 1, rtol=1e-6)
        for u in directions(np.random.default_rng(0), 3, 3).T:
            assert stats.kstest(patch @ u, stats.uniform(-1, 2).cdf).pvalue > 1e-3  # Archimedes
    for i, j in ((0, 1), (1, 3)):
        assert abs(z_score(np.sum(own[:, i] * own[:, j], axis=1), 0)) < 4
        assert stats.kstest(np.sum(own[:, i] * own[:, j], axis=1), stats.uniform(-1, 2).cdf).pvalue > 1e-3
        np.testing.assert_array_equal(same[:, i], same[:, j])
    t = np.array([0.2, 0.7])
    for pooled in (own, same):
        for height in t:
            over = np.mean(pooled @ [0, 0.6, 0.8] > height, axis=1)
            assert abs(z_score(over, SPHERE.half_space_probability(height, 3))) < 4


def special_patches(x: np.ndarray, part: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """In which place the patch is that goes most of all towards what the sample's part stands for."""
    return np.argmax(np.einsum("njm,nm->nj", x, towards[part]), axis=1)


def test_a_vocabularys_samples_are_noise_but_for_one_patch_that_is_a_word_and_noise():
    x, part, words = patches("vocabulary")
    assert uniformly_one_of(part, 3) > 1e-3
    np.testing.assert_allclose(np.linalg.norm(words, axis=1), 1, rtol=1e-6)
    place = special_patches(x, part, words)
    assert uniformly_one_of(place, 10) > 1e-3
    assert stats.chi2_contingency(np.histogram2d(part, place, (3, 10))[0]).pvalue > 1e-3
    noise = x.copy()
    noise[np.arange(N), place] -= words[part]
    standard = noise * math.sqrt(50)  # variance 1 / (J m)
    assert stats.kstest(standard[:, 0].ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(standard[np.arange(N), place].ravel(), "norm").pvalue > 1e-3
    assert abs(z_score(np.mean(standard**2, axis=(1, 2)), 1)) < 4
    assert (
        abs(z_score(standard[:, 0, 0] * standard[:, 1, 0], 0)) < 4
        and abs(z_score(standard[:, 2, 1] * standard[:, 2, 4], 0)) < 4
    )


def test_half_spaces_of_a_vocabulary_are_those_of_the_patches_drawn(rng):
    x, _, words = patches("vocabulary")
    u = np.column_stack([directions(rng, 5, 3), words[1], words[2]])
    t = np.array([0.0, -0.1, 0.2, 0.6, 0.3])
    probability, mean = vocabulary_half_space(words, 10, u, t)
    assert np.max(check_half_spaces(x, u, t, probability, mean)) < 4.5
    others = vocabulary_half_space(words[::-1] * [1, 1, 1, 1, -1], 10, u, t)
    assert np.max(check_half_spaces(x, u, t, *others)) > 10


@pytest.mark.parametrize("std", [0.3, 0.05])
def test_cone_clusters_are_unit_patches_around_directions_one_of_them_of_the_samples_cluster(std):
    x, part, centres = patches("cone_clusters", cone_std=std)
    assert centres.shape == (2, 4) and uniformly_one_of(part, 2) > 1e-3
    np.testing.assert_allclose(np.linalg.norm(x, axis=2), 1, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, rtol=1e-6)
    noise_centre = np.mean(np.median(x, axis=1), axis=0)
    noise_centre /= np.linalg.norm(noise_centre)
    assert np.max(np.abs(centres @ noise_centre)) < 0.9
    rng = np.random.default_rng(9)
    cone = np.array([1, 0, 0, 0]) + std * rng.normal(size=(N, 4))
    cosine = cone[:, 0] / np.linalg.norm(cone, axis=1)
    away = np.einsum("njm,m->nj", x, noise_centre)
    # the patch that is least like noise; few are taken for another
    place = np.argmax(np.einsum("njm,nm->nj", x, centres[part]) - away, axis=1)
    assert uniformly_one_of(place, 3) > (1e-3 if std < 0.1 else 1e-9)
    own = np.einsum("nm,nm->n", x[np.arange(N), place], centres[part])
    rest = np.delete(away.ravel(), np.arange(N) * 3 + place).reshape(N, 2)
    if std < 0.1:  # where there is no doubt which patch it is
        assert same_law(own, cosine) > 1e-3 and same_law(rest[:, 0], cosine) > 1e-3
    assert np.median(own) == pytest.approx(np.median(cosine), abs=0.02)
    wider = np.array([1, 0, 0, 0]) + 1.1 * std * rng.normal(size=(N, 4))
    assert same_law(own, wider[:, 0] / np.linalg.norm(wider, axis=1)) < 1e-6
