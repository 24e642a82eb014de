"""Mixtures of balls in subspaces: draws against the subspaces they were drawn from, and their half-spaces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from law_draws import BALLS, check_half_spaces, directions, draw, parts_of, uniformly_one_of, z_score
from scipy import stats

from dynamics.data.mixtures import Subspaces, mixture_mean, mixture_probability
from dynamics.stability.weight import empirical_weight, weight_from_moments


def test_points_lie_in_balls_of_their_subspaces_uniformly():
    x, part, stands_for = draw(BALLS)
    bases, centres = (a.astype(float) for a in parts_of(BALLS))
    assert uniformly_one_of(part, 3) > 1e-3
    np.testing.assert_allclose(stands_for, centres, atol=1e-6)
    np.testing.assert_allclose(bases @ bases.swapaxes(1, 2), np.tile(np.eye(2), (3, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 0.7, rtol=1e-6)
    np.testing.assert_allclose(np.einsum("jmd,jd->jm", bases, centres), 0, atol=1e-6)
    inner = np.einsum("nmd,nd->nm", bases[part], x - centres[part])
    np.testing.assert_allclose(centres[part] + np.einsum("nm,nmd->nd", inner, bases[part]), x, atol=1e-6)
    others = x - centres[(part + 1) % 3]  # not in the next one's
    assert np.median(np.linalg.norm(others - np.einsum("nmd,nme,ne->nd", *[bases[(part + 1) % 3]] * 2, others), axis=1)) > 0.3
    for j in range(3):
        own = inner[part == j]
        radius = np.linalg.norm(own, axis=1)
        assert stats.kstest(radius**2, "uniform").pvalue > 1e-3 > stats.kstest(radius, "uniform").pvalue
        angle = np.arctan2(*own.T) / (2 * np.pi) % 1
        assert stats.kstest(angle, "uniform").pvalue > 1e-3 and abs(stats.spearmanr(angle, radius).statistic) < 0.05


def test_lines_are_balls_of_one_dimension():
    data = replace(BALLS, intrinsic_dim=1, components=20, offset=0.0)
    x, part, stands_for = draw(data, 4000)
    bases, centres = parts_of(data)
    assert not centres.any() and not stands_for.any()
    position = np.einsum("nd,nd->n", bases[part, 0], x)
    assert stats.kstest(position, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    np.testing.assert_allclose(np.abs(position), np.linalg.norm(x, axis=1), atol=1e-6)
    assert uniformly_one_of(part, 20) > 1e-3


def test_more_components_leave_the_first_as_they_are_and_offsets_only_move_them():
    few, many = parts_of(BALLS), parts_of(replace(BALLS, components=7))
    far, other = parts_of(replace(BALLS, offset=1.4)), parts_of(BALLS, seed=1)
    for a, b in zip(few, many, strict=True):
        np.testing.assert_array_equal(a, b[:3])
        assert len(np.unique(b[:, ..., 0].reshape(7, -1), axis=0)) == 7
    np.testing.assert_array_equal(far.bases, few.bases)
    np.testing.assert_allclose(far.centres, 2 * few.centres, rtol=1e-6)
    assert np.abs(other.bases - few.bases).max() > 0.1


def test_subspaces_have_no_preferred_direction():
    """E b_i b_j = 1{i = j} / d for a basis vector and for the centre's direction, over parts, which are independent."""
    data = replace(BALLS, components=4000)
    bases, centres = parts_of(data)
    for unit in (bases[:, 0], bases[:, 1], centres / 0.7):
        for i, j, expected in ((0, 0, 1 / 6), (4, 4, 1 / 6), (0, 3, 0)):
            assert abs(z_score(unit[:, i] * unit[:, j], expected)) < 4
        assert abs(z_score(unit[:, 1], 0)) < 4
        assert abs(z_score(unit[:-1, 0] * unit[1:, 0], 0)) < 4


def test_half_spaces_of_a_mixture_are_those_of_draws_of_the_same_subspaces(rng):
    """And not of draws of other subspaces; with that the weight function of the mixture is known too."""
    parts, (x, _, _) = parts_of(BALLS), draw(BALLS)
    u = directions(rng, 6, 6)
    t = np.array([np.quantile(x @ column, q) for column, q in zip(u.T, (0.1, 0.3, 0.5, 0.7, 0.9, 0.97), strict=True)])
    probability, mean = mixture_probability(parts, u, t), mixture_mean(parts, u, t)
    np.testing.assert_allclose(probability, [0.9, 0.7, 0.5, 0.3, 0.1, 0.03], atol=0.02)
    assert np.max(check_half_spaces(x[:, None], u, t, probability, mean)) < 4.5
    others = draw(BALLS, seed=1)[0][:, None]
    assert np.max(check_half_spaces(others, u[:, :4], t[:4], probability[:4], mean[:, :4])) > 10
    weight = weight_from_moments(probability, mean, u, t)
    np.testing.assert_allclose(np.asarray(empirical_weight(x, u, t, sides=1)), weight, rtol=0.05, atol=1e-4)
    assert np.all(weight > 0)


def test_a_direction_across_a_subspace_sees_it_as_a_point():
    parts = Subspaces(np.eye(4)[None, :2], np.array([[0, 0, 0.5, 0]]))
    u, t = np.eye(4)[:, [2, 2, 3, 3, 0]], np.array([0.49, 0.51, -0.01, 0.01, 0.3])
    disc = 0.5 - (np.arcsin(0.3) + 0.3 * np.sqrt(1 - 0.09)) / np.pi
    np.testing.assert_allclose(mixture_probability(parts, u, t), [1, 0, 1, 0, disc], rtol=1e-12)
    expected = np.outer([0, 0, 0.5, 0], [1, 0, 1, 0, disc])
    expected[0, 4] = 2 / (3 * np.pi) * (1 - 0.09) ** 1.5
    np.testing.assert_allclose(mixture_mean(parts, u, t), expected, rtol=1e-12, atol=1e-15)
