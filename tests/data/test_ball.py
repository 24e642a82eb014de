"""The uniform ball: closed forms against Monte Carlo and quadrature, and its sampler; the grid."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import z_scores
from scipy import integrate, stats

from dynamics.data.closed_forms import ball_half_space_mean, ball_half_space_probability
from dynamics.data.law import draw_inputs

DIMS = [1, 2, 3, 5, 10]


HEIGHTS = np.array([-0.8, -0.3, 0.0, 0.2, 0.5, 0.8])


# Closed forms of the uniform ball


def ball_by_projection(rng, n, d):
    """Uniform on the unit ball of R^d: the first d coordinates of a uniform point on the sphere of R^(d+2)."""
    z = rng.normal(size=(n, d + 2))
    return (z / np.linalg.norm(z, axis=1, keepdims=True))[:, :d]


@pytest.mark.parametrize("d", DIMS)
def test_half_space_probability_and_mean_agree_with_monte_carlo(rng, d):
    """Every z-score within 4.5: for the 60 of all dimensions together a false alarm has probability 4e-4
    (and a fixed seed)."""
    x = ball_by_projection(rng, 200_000, d)
    u = rng.normal(size=d)
    projection = x @ (u / np.linalg.norm(u))
    for t in HEIGHTS:
        above = projection > t
        assert abs(z_scores(above, ball_half_space_probability(t, d))) < 4.5
        assert abs(z_scores(projection * above, ball_half_space_mean(t, d))) < 4.5


def test_monte_carlo_is_sharp_enough_to_reject_the_neighbouring_dimension(rng):
    above = ball_by_projection(rng, 200_000, 5)[:, 0] > 0.5
    assert abs(z_scores(above, ball_half_space_probability(0.5, 6))) > 10


@pytest.mark.parametrize("d", DIMS)
def test_half_space_probability_and_mean_agree_with_quadrature(d):
    def shape(t):
        return (1 - t * t) ** ((d - 1) / 2)

    total = integrate.quad(shape, -1, 1)[0]
    for t in HEIGHTS:
        assert ball_half_space_probability(t, d) == pytest.approx(integrate.quad(shape, t, 1)[0] / total, rel=1e-8)
        mean = integrate.quad(lambda s: s * shape(s), t, 1)[0] / total
        assert ball_half_space_mean(t, d) == pytest.approx(mean, rel=1e-8)


@pytest.mark.parametrize("d", DIMS)
def test_opposite_half_spaces_add_up(d):
    """Q(t) + Q(-t) = 1, and E[X_1 1{X_1 > t}] = E[X_1 1{X_1 > -t}] since E X_1 = 0; nothing lies beyond the ball."""
    t = np.linspace(0, 1, 21)
    np.testing.assert_allclose(ball_half_space_probability(t, d) + ball_half_space_probability(-t, d), 1, rtol=1e-14)
    np.testing.assert_allclose(ball_half_space_mean(t, d), ball_half_space_mean(-t, d), rtol=1e-14)
    for beyond in (1.0, 1.7):
        assert (ball_half_space_probability(beyond, d), ball_half_space_probability(-beyond, d)) == (0, 1)
        assert ball_half_space_mean(beyond, d) == ball_half_space_mean(-beyond, d) == 0


def test_constants_at_the_centre():
    """Q(0) = 1/2 and M(0) = c_1 / (d + 1) with c_1(1) = 1/2, c_1(2) = 2/pi, c_1(3) = 3/4."""
    for d, constant in ((1, 1 / 2), (2, 2 / np.pi), (3, 3 / 4)):
        assert ball_half_space_probability(0.0, d) == 0.5
        assert ball_half_space_mean(0.0, d) == pytest.approx(constant / (d + 1), rel=1e-14)


def weight_function(t, d):
    """Population g of section 1.5 of the theory: Q (M - t Q) sqrt(1 + (M / Q)^2)."""
    q, m = ball_half_space_probability(t, d), ball_half_space_mean(t, d)
    return q * (m - t * q) * np.sqrt(1 + (m / q) ** 2)


def test_weight_function_has_the_tabulated_centre_and_tail():
    centre = dict(zip(DIMS, (0.13975, 0.11526, 0.10013, 0.08185, 0.06040), strict=True))
    tail = dict(zip(DIMS, (0.1768, 0.2038, 0.2652, 0.5524, 6.16), strict=True))
    for d in DIMS:
        assert weight_function(0.0, d) == pytest.approx(centre[d], abs=6e-6)
        assert weight_function(1 - 1e-4, d) / 1e-4 ** (d + 2) == pytest.approx(tail[d], rel=3e-3)
    t = np.linspace(0, 0.9, 10)
    np.testing.assert_allclose(weight_function(t, 1), (1 - t) ** 3 / 8 * np.sqrt(1 + ((1 + t) / 2) ** 2), rtol=1e-12)


# Samplers


@partial(jax.jit, static_argnums=(0, 4, 5))
def draw(law, seed, num_samples, dim, shape, dtype="float32"):
    return draw_inputs(law, jax.random.key(seed), num_samples, dim, shape, jnp.dtype(dtype))


@pytest.mark.parametrize("d", DIMS)
def test_sampled_ball_has_the_radial_law_and_no_preferred_direction(d):
    x = np.asarray(draw("uniform_ball", d, 20_000, d, (20_000, d)), float)
    radius = np.linalg.norm(x, axis=1)
    assert radius.max() <= 1 + 1e-6
    assert stats.kstest(radius**d, "uniform").pvalue > 1e-3
    if d > 1:
        assert stats.kstest(radius, "uniform").pvalue < 1e-12  # the law of a uniform radius, a common mistake
    for j in range(d):
        assert abs(z_scores(x[:, j], 0)) < 4
        assert abs(z_scores(x[:, j] ** 2, 1 / (d + 2))) < 4
    if d > 1:
        assert abs(z_scores(x[:, 0] * x[:, -1], 0)) < 4
    for t in (0.3, 0.6):
        assert abs(z_scores(x[:, -1] > t, ball_half_space_probability(t, d))) < 4


@pytest.mark.usefixtures("x64")
def test_the_ball_is_drawn_in_the_precision_asked_for():
    x = np.asarray(draw("uniform_ball", 0, 500, 3, (500, 3), "float64"))
    assert x.dtype == np.float64
    assert np.any(x != x.astype(np.float32))


def test_grid_by_hand():
    np.testing.assert_array_equal(draw("grid", 0, 5, 2, (6, 3))[:5], [[v, 0, 0] for v in (-1, -0.5, 0, 0.5, 1)])
    np.testing.assert_array_equal(draw("grid", 0, 1, 1, (1, 1)), [[1.0]])
