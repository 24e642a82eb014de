"""Isotropic laws: closed forms against quadrature, and draws against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from law_draws import ALPHAS, DATA, ISOTROPIC, N, draw, same_law, share_z, z_score
from scipy import integrate, special, stats

from dynamics.data.closed_forms import BALL, GAUSSIAN, SPHERE, radial_forms, sphere_patch_forms
from dynamics.data.law import DataSpec


def beta_root(a: float, b: float):
    """r^2 ~ Beta(a, b)."""
    mean = special.beta(a + 0.5, b) / special.beta(a, b)
    return lambda s: special.betaincc(a, b, s * s), lambda s: mean * special.betaincc(a + 0.5, b, s * s)


def chi(d: int):
    mean = math.sqrt(2) * special.gamma((d + 1) / 2) / special.gamma(d / 2)
    return lambda s: special.gammaincc(d / 2, s * s / 2), lambda s: mean * special.gammaincc((d + 1) / 2, s * s / 2)


def radius_of(name: str, d: int):
    if name.startswith("radial"):
        a = float(name.split()[1])
        return lambda s: (1 - s) ** a, lambda s: s * (1 - s) ** a + (1 - s) ** (a + 1) / (a + 1)
    return {
        "ball": (lambda s: 1 - s**d, lambda s: d / (d + 1) * (1 - s ** (d + 1))),
        "sphere": (lambda s: 1.0 * (s < 1), lambda s: 1.0 * (s < 1)),
        "gaussian": chi(d),
        "patch": beta_root(d / 2, (12 - d) / 2),
    }[name]


FORMS = {"ball": BALL, "sphere": SPHERE, "gaussian": GAUSSIAN, "patch": sphere_patch_forms(12)}


FORMS |= {f"radial {alpha}": radial_forms(alpha) for alpha in ALPHAS}


def by_angle(name: str, t: float, d: int) -> tuple[float, float]:
    """Q and M at t >= 0: integrals over the angle a between X and the first axis, of density ~ sin^(d - 2) a."""
    beyond, mean = radius_of(name, d)
    if d == 1:
        return beyond(t) / 2, mean(t) / 2
    norm = integrate.quad(lambda a: np.sin(a) ** (d - 2), 0, np.pi)[0]
    end = np.pi / 2 if name == "gaussian" else np.arccos(t)

    def integral(of):
        return integrate.quad(lambda a: np.sin(a) ** (d - 2) * of(np.cos(a)) / norm, 0, end, epsabs=0, epsrel=1e-11, limit=200)[
            0
        ]

    return integral(lambda c: beyond(t / c)), integral(lambda c: c * mean(t / c))


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("name", FORMS)
def test_half_space_probability_and_mean_are_integrals_over_angles(name, d):
    """To nine digits, also where the radius has a singular density at the rim; one law's are not another's."""
    law, t = FORMS[name], np.array([0.05, 0.3, 0.6, 0.9, 0.99])
    q, mean = np.transpose([by_angle(name, s, d) for s in t])
    np.testing.assert_allclose(law.half_space_probability(t, d), q, rtol=1e-9)
    np.testing.assert_allclose(law.half_space_mean(t, d), mean, rtol=1e-9)
    np.testing.assert_allclose(law.half_space_probability(-t, d), 1 - q, rtol=1e-9)
    np.testing.assert_allclose(law.half_space_mean(-t, d), mean, rtol=1e-9)
    np.testing.assert_allclose(law.radial(t, d), [1 - radius_of(name, d)[0](s) for s in t], rtol=1e-12, atol=1e-15)
    for other in FORMS.keys() - {name}:
        if (name, other) not in TWINS.get(d, ()):
            assert np.abs(FORMS[other].half_space_probability(t, d) / q - 1).max() > 0.01, other


# On a line the ball is the law of a uniform radius
TWINS = {1: [("ball", "radial 1.0"), ("radial 1.0", "ball")]}


@pytest.mark.parametrize("name", FORMS)
def test_beyond_the_rim_there_is_nothing(name):
    law = FORMS[name]
    assert (law.radius == math.inf) == (name == "gaussian")
    t = np.array([1.0, 1.5]) if name != "gaussian" else np.array([40.0, 50.0])
    for d in (1, 2, 5):
        assert not law.half_space_probability(t, d).any() and not law.half_space_mean(t, d).any()
        np.testing.assert_array_equal(law.half_space_probability(-t - (d == 1), d), 1)
        assert np.all(law.radial(t, d) == 1)


RIMS = [name for name in FORMS if name not in ("gaussian", "sphere")]


@pytest.mark.parametrize("d", [2, 5])
@pytest.mark.parametrize("name", RIMS)
def test_exponents_at_the_rim_are_those_of_the_closed_forms(name, d):
    """alpha of P(|X| > 1 - eps), kappa of Q, d + 2 alpha of g, and S of P(depth < T),
    as slopes over a decade near the rim."""
    law, h = FORMS[name], np.array([1e-4, 1e-5])
    alpha = {"ball": 1, "patch": (12 - d) / 2}.get(name) or float(name.split()[1])
    q, mean = law.half_space_probability(1 - h, d), law.half_space_mean(1 - h, d)
    weight = (mean - (1 - h) * q) * np.hypot(q, mean)
    outside = radius_of(name, d)[0](1 - h)

    def slope(y, x=h):
        return np.log(y[0] / y[1]) / np.log(x[0] / x[1])

    assert slope(outside) == pytest.approx(alpha, rel=1e-3) == pytest.approx(law.rim(d), rel=1e-3)
    assert slope(q) == pytest.approx(alpha + (d - 1) / 2, rel=1e-3) == pytest.approx(law.tail_exponent(d), rel=1e-3)
    assert slope(weight) == pytest.approx(d + 2 * alpha, rel=1e-3) == pytest.approx(law.weight_exponent(d), rel=1e-3)
    index = 2 * alpha / (d - 1 + 2 * alpha)
    assert slope(outside, q) == pytest.approx(index, rel=1e-3) == pytest.approx(law.depth_exponent(d), rel=1e-3)


def test_exponents_by_hand_of_laws_without_mass_near_the_rim_or_without_a_rim():
    assert [SPHERE.rim(5), SPHERE.tail_exponent(5), SPHERE.weight_exponent(5), SPHERE.depth_exponent(5)] == [0, 2, 5, 0]
    h = np.array([1e-4, 1e-5])
    slope = np.log10(np.divide(*SPHERE.half_space_probability(1 - h, 5)))
    assert slope == pytest.approx(2, rel=1e-3)
    assert GAUSSIAN.depth_exponent(3) == 1 and GAUSSIAN.rim(3) == math.inf
    assert SPHERE.depth_exponent(1) == 0  # both points at depth 0... of two there is no rim to speak of
    assert sphere_patch_forms(12).depth_exponent(5) == pytest.approx((12 - 5) / (12 - 1))


@pytest.mark.parametrize("name", ISOTROPIC)
def test_draws_have_the_half_spaces_and_the_radius_of_their_closed_forms(name):
    """In oblique directions, whose marginals are uncorrelated; and not those of the next dimension."""
    x, part, _ = draw(DATA[name])
    law, d = ISOTROPIC[name], 3
    assert not part.any()
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
    projections = (x @ axes).T
    for projection in projections:
        for t in (-0.5, 0.1, 0.4, 0.6):
            above = projection > t
            assert abs(share_z(above, law.half_space_probability(t, d))) < 4
            assert abs(z_score(projection * above, law.half_space_mean(t, d))) < 4
    assert abs(z_score(projections[0] * projections[1], 0)) < 4
    radius = np.linalg.norm(x, axis=1)
    if name == "sphere":
        np.testing.assert_allclose(radius, 1, rtol=1e-6)
    elif name != "radial":  # below
        assert stats.kstest(radius, lambda r: law.radial(r, d)).pvalue > 1e-3
        assert stats.kstest(radius, lambda r: law.radial(r, d + 1)).pvalue < 1e-6
    if name != "sphere_patch":  # whose marginals do not depend on the dimension
        wrong = [share_z(projections[0] > t, law.half_space_probability(t, d + 1)) for t in (0.1, 0.4, 0.8)]
        assert name == "gaussian" or np.max(np.abs(wrong)) > 6
    elif name == "sphere_patch":
        assert abs(share_z(projections[0] > 0.4, sphere_patch_forms(9).half_space_probability(0.4, d))) > 4


@pytest.mark.parametrize("alpha", ALPHAS)
def test_radial_draws_have_the_mass_at_the_rim_that_alpha_says(alpha):
    """P(|X| > 1 - eps) = eps^alpha. Closer to the rim than 1e-6 radii in 32 bits are 1,
    which is a matter of counting them."""
    x, _, _ = draw(replace(DATA["radial"], alpha=alpha))
    radius = np.linalg.norm(x, axis=1)
    assert radius.max() <= 1 + 1e-6
    for eps in (1e-4, 1e-2, 0.1, 0.5):
        if N * eps**alpha > 50:
            assert abs(share_z(radius > 1 - eps, eps**alpha)) < 4

    def fit(a):
        inside, most = radius[radius < 1 - 1e-5], 1 - 1e-5**a
        return stats.kstest(inside, lambda r: (1 - (1 - r) ** a) / most).pvalue

    assert fit(alpha) > 1e-3
    for wrong in (1.25 * alpha, alpha / 1.25):
        assert fit(wrong) < 1e-4
    center = np.mean(x**2) * 3 - special.beta(3, alpha) * alpha  # E (1 - W)^2, W ~ Beta(alpha, 1)
    assert abs(center) < 5 * np.std(radius**2) / np.sqrt(N)


def test_gaussian_draws_are_independent_normals():
    x, _, _ = draw(DATA["gaussian"])
    for column in x.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3
    assert stats.kstest(np.sum(x**2, axis=1), stats.chi2(3).cdf).pvalue > 1e-3
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert abs(z_score(x[:, i] * x[:, j], 0)) < 4 and abs(z_score(x[:, i] ** 2 * x[:, j] ** 2, 1)) < 4


def test_a_patch_of_the_sphere_is_so_many_coordinates_of_a_draw_from_it():
    """|Z|^2 ~ Beta(m/2, (D - m)/2), and the same samples up to chance as cut out of the sphere of R^D."""
    z, _, _ = draw(DATA["sphere_patch"])
    whole, _, _ = draw(DataSpec("sphere", 8), seed=1)
    square = np.sum(z**2, axis=1)
    assert stats.kstest(square, stats.beta(3 / 2, 5 / 2).cdf).pvalue > 1e-3
    assert stats.kstest(square, stats.beta(3 / 2, 6 / 2).cdf).pvalue < 1e-6
    for m, expected in ((3, True), (4, False)):
        assert (same_law(square, np.sum(whole[:, -m:] ** 2, axis=1)) > 1e-3) == expected
    for u in ([1, 0, 0], [0.6, 0, -0.8]):
        assert same_law(z @ u, whole[:, 2:5] @ u) > 1e-3


@pytest.mark.parametrize("name", ["uniform_ball", "radial", "gaussian"])
def test_depth_is_the_half_space_probability_at_the_norm(name):
    """No half-space through a point that is tried holds less of the law than Q(|x|),
    which the one facing outward holds."""
    x, _, _ = draw(DATA[name])
    points = np.array([[0.05, 0, 0], [0.3, 0.2, -0.1], [0.5, -0.5, 0.4]])
    depth = ISOTROPIC[name].depth(points)
    rng = np.random.default_rng(3)
    tried = rng.normal(size=(3, 400))
    tried /= np.linalg.norm(tried, axis=0)
    error = 4 * np.sqrt(depth * (1 - depth) / N)
    for point, d, e in zip(points, depth, error, strict=True):
        beyond = np.mean(x @ tried > point @ tried, axis=0)
        assert np.all(beyond > d - e)
        assert beyond.min() < d + 0.05  # over-estimated, but not by much in three dimensions
        outward = point / np.linalg.norm(point)
        assert abs(np.mean(x @ outward > point @ outward) - d) < e
    assert np.all(np.diff(depth) < 0) and depth[0] < 0.5
    wrong = np.mean(x @ (points[2] / np.linalg.norm(points[2])) > np.linalg.norm(points[2])) - ISOTROPIC[name].depth(
        points[1:2]
    )
    assert abs(wrong[0]) > error[2]
