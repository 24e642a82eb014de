"""The weight function: its definition, closed forms, Monte Carlo, and laws known by their radius."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from net_cases import in_ball
from oracles import one_sided_weight, two_sided_weight
from scipy import special

from dynamics.data.closed_forms import BALL, integrate_over_radii, radial_forms
from dynamics.errors import InputError
from dynamics.stability import weight as module
from dynamics.stability.weight import line_weight, population_weight

empirical_weight = jax.jit(module.empirical_weight, static_argnames="sides")
pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("d", [1, 2, 5])
def test_empirical_weight_is_its_definition(rng, d):
    x, u = in_ball(rng, 25, d), rng.normal(size=(d, 40))
    u /= np.linalg.norm(u, axis=0)
    t = rng.uniform(-1.2, 1.2, size=40)
    front = [one_sided_weight(x, u[:, k], t[k]) for k in range(40)]
    both = [two_sided_weight(x, u[:, k], t[k]) for k in range(40)]
    np.testing.assert_allclose(empirical_weight(x, u, t, sides=1), front, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(empirical_weight(x, u, t), both, rtol=1e-12, atol=1e-16)
    assert np.max(np.abs(np.array(front) - both)) > 1e-3  # the side matters
    weights = np.full(25, 1 / 25)
    np.testing.assert_allclose(empirical_weight(x, u, t, jnp.asarray(weights)), both, rtol=1e-12, atol=1e-16)
    beyond = np.linalg.norm(x, axis=1).max() * 1.000001
    assert not np.any(empirical_weight(x, u, np.where(t > 0, beyond, -beyond)))


def test_weights_leave_samples_out_as_if_they_were_not_there(rng):
    x, u, t = in_ball(rng, 20, 2), np.eye(2), np.array([0.1, -0.2])
    weights = np.pad(np.full(15, 1 / 15), (0, 5))
    np.testing.assert_allclose(empirical_weight(x, u, t, jnp.asarray(weights)), empirical_weight(x[:15], u, t), rtol=1e-13)


def test_a_sample_on_the_kink_is_on_neither_side_and_a_kink_at_the_radius_is_free():
    """Samples -2, 0, 1, 1, 3 and the kink at 1: one above, two below; by hand."""
    x = np.array([[-2.0], [0], [1], [1], [3]])
    front = (1 / 5) ** 2 * (3 - 1) * np.sqrt(1 + 3**2)
    back = (2 / 5) ** 2 * (1 - -1) * np.sqrt(1 + (-1) ** 2)
    u, t = np.array([[1.0, -1.0]]), np.array([1.0, -1.0])
    np.testing.assert_allclose(empirical_weight(x, u, t, sides=1), [front, back], rtol=1e-14)
    np.testing.assert_allclose(empirical_weight(x, u, t), min(front, back), rtol=1e-14)
    assert not np.any(empirical_weight(x, np.ones((1, 4)), np.array([-3.0, 3.0, -2.0, 5.0])))


def test_on_a_line_sorting_gives_the_same_weight(rng):
    x = np.concatenate([rng.integers(-3, 4, size=12), rng.uniform(-3, 3, size=9)]).astype(float)
    t = np.concatenate([x, rng.uniform(-4, 4, size=50), [x.min(), x.max(), -9, 9]])
    expected = [two_sided_weight(x[:, None], np.ones(1), kink) for kink in t]
    np.testing.assert_allclose(line_weight(x, t), expected, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(empirical_weight(x[:, None], np.ones((1, len(t))), t), expected, rtol=1e-12, atol=1e-16)
    assert np.max(expected) > 0.1


DIMENSIONS = (1, 2, 3, 5, 10)


def monte_carlo_weight(u_x, x, t):
    """One-sided weight from samples, with its standard error over 20 batches."""

    def of(z, x):
        over = z > t
        mean = x[over].mean(axis=0)
        return over.mean() ** 2 * (z[over].mean() - t) * np.sqrt(1 + mean @ mean)

    batches = [of(z, part) for z, part in zip(np.split(u_x, 20), np.split(x, 20), strict=True)]
    return of(u_x, x), np.std(batches) / np.sqrt(19)


@pytest.mark.parametrize("law", ["uniform_ball", "sphere"])
@pytest.mark.parametrize("d", DIMENSIONS)
def test_population_weight_agrees_with_monte_carlo(law, d):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(100_000, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    if law == "uniform_ball":
        x *= rng.uniform(size=(len(x), 1)) ** (1 / d)
    direction = np.ones(d) / np.sqrt(d)
    for t in (-0.4, 0.0, 0.25):
        seen, error = monte_carlo_weight(x @ direction, x, t)
        assert abs(population_weight(law, t, d, sides=1) - seen) < 5 * error + 1e-12
    assert abs(population_weight(law, t, d + 1, sides=1) - seen) > 5 * error  # sharp enough to tell the dimensions apart


def test_population_weight_of_the_ball_has_the_tabulated_centre_and_tail():
    """Liang et al. 2025, App. E, and its constants: g ~ A_d (1 - |t|)^(d + 2)."""
    centre = [float(population_weight("uniform_ball", 0.0, d)) for d in DIMENSIONS]
    np.testing.assert_allclose(centre, [0.13975, 0.11526, 0.10013, 0.08185, 0.06040], atol=6e-6)
    for d, constant in zip(DIMENSIONS, [0.1768, 0.2038, 0.2652, 0.5524, 6.16], strict=True):
        h = np.array([1e-3, 1e-4])
        ratio = population_weight("uniform_ball", 1 - h, d) / h ** (d + 2) / constant
        np.testing.assert_allclose(ratio, 1, atol=0.005)
        wrong = population_weight("uniform_ball", 1 - h, d) / h ** (d + 1)
        assert wrong[1] / wrong[0] < 0.2


def test_population_weight_on_a_line_is_its_closed_form():
    t = np.linspace(0, 1, 51)
    closed = (1 - t) ** 3 / 8 * np.sqrt(1 + ((1 + t) / 2) ** 2)
    np.testing.assert_allclose(population_weight("uniform_ball", t, 1), closed, rtol=1e-12, atol=1e-17)
    np.testing.assert_allclose(population_weight("uniform_ball", -t, 1), closed, rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("law", ["uniform_ball", "sphere"])
@pytest.mark.parametrize("d", DIMENSIONS)
def test_the_far_side_attains_the_minimum_and_kinks_outside_are_free(law, d):
    t = np.linspace(0, 0.999, 200)
    near, far = population_weight(law, -t, d, sides=1), population_weight(law, t, d, sides=1)
    assert np.all(far <= near * (1 + 1e-12)) and np.all(far[1:] < near[1:])
    np.testing.assert_allclose(population_weight(law, t, d), far, rtol=1e-12)
    assert not np.any(population_weight(law, [1.0, -1.0, 1.5, -3.0], d))


def test_weight_of_the_sphere_by_hand():
    """d = 1: +-1 with equal chances; d = 3: the coordinate is uniform on [-1, 1]."""
    assert population_weight("sphere", 0.25, 1) == pytest.approx(0.25 * 0.75 * np.sqrt(2), rel=1e-14)
    q, mean = 0.5 * (1 - 0.25), 0.25 * (1 - 0.25**2)
    expected = q**2 * (mean / q - 0.25) * np.sqrt(1 + (mean / q) ** 2)
    assert population_weight("sphere", 0.25, 3) == pytest.approx(expected, rel=1e-13)


def test_the_empirical_weight_tends_to_the_populations_at_the_root_of_n():
    rng, t = np.random.default_rng(2), np.linspace(-0.9, 0.9, 19)
    u = np.repeat(np.eye(3)[:, :1], len(t), axis=1)
    off = [
        np.abs(empirical_weight(in_ball(rng, n, 3), u, t) - population_weight("uniform_ball", t, 3)).max()
        for n in (100, 40_000)
    ]
    assert off[1] < 0.003 and off[0] > 4 * off[1]


def test_a_law_without_closed_forms_is_refused_by_name():
    with pytest.raises(InputError, match="uniform_ball, sphere, gaussian"):
        population_weight("grid", 0.0, 2)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_a_law_by_its_radius_reproduces_the_ball(d):
    """|X| = (1 - s)^(1/d) with s uniform; and not with the next dimension's radius."""
    t = np.linspace(-0.999, 0.999, 41)

    def law(d):
        return BALL._replace(
            **dict(zip(TAILS, integrate_over_radii(lambda s: (1 - s) ** (1 / d), lambda t: 1 - t**d), strict=True))
        )

    for tail in TAILS:
        np.testing.assert_allclose(getattr(law(d), tail)(t, d), getattr(BALL, tail)(t, d), rtol=1e-11)
        assert np.abs(getattr(law(d + 1), tail)(t, d) / getattr(BALL, tail)(t, d) - 1).max() > 0.05
    np.testing.assert_allclose(population_weight(law(d), t, d), population_weight("uniform_ball", t, d), rtol=1e-9)


TAILS = ("half_space_probability", "half_space_mean")


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("alpha", [0.1, 0.3, 1.0, 1.5, 5.0])
def test_beta_radial_law_has_the_tail_of_its_radius(alpha, d):
    """Q ~ C (1 - t)^kappa with kappa = alpha + (d - 1)/2, mean excess (1 - t)/(kappa + 1), g ~ (1 - t)^(d + 2 alpha).

    The relative error is of order 1 - t, and nothing is added to it by the quadrature,
    where the density is singular either.
    """
    law = radial_forms(alpha)
    kappa, h = alpha + (d - 1) / 2, np.array([1e-2, 1e-4])
    constant = 0.5
    if d > 1:
        c = special.gamma(d / 2) / np.sqrt(np.pi) / special.gamma((d - 1) / 2)
        constant = c * 2 ** ((d - 1) / 2) / (d - 1) * alpha * special.beta(alpha, (d + 1) / 2)
    q = law.half_space_probability(1 - h, d)
    excess = law.half_space_mean(1 - h, d) / q - (1 - h)
    weight = population_weight(law, 1 - h, d)
    ratios = (
        q / (constant * h**kappa),
        excess / (h / (kappa + 1)),
        weight / (np.sqrt(2) * constant**2 / (kappa + 1) * h ** (d + 2 * alpha)),
    )
    for ratio in ratios:
        assert np.all(np.abs(ratio - 1) <= 4 * h + 1e-9), ratio
