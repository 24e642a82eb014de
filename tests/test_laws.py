"""Every input law: draws against closed forms, closed forms against quadrature, and what runs of a law share.

Draws are made as a program makes them, from specs whose scalars are NaN, by the keys of `draw_problem`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of, key_of, to_numpy
from scipy import integrate, special, stats

from dynamics.core import spec as specs
from dynamics.data import closed_forms, mixtures
from dynamics.data import image_files as images
from dynamics.data.closed_forms import BALL, GAUSSIAN, SPHERE, radial, sphere_patch
from dynamics.data.dead_leaves import dead_leaves
from dynamics.data.image_files import ImageSet
from dynamics.data.law import LAWS, DataSpec, rows
from dynamics.data.mixtures import Subspaces, mixture_mean, mixture_probability
from dynamics.data.patchwise import vocabulary_half_space
from dynamics.data.problem import TargetSpec, draw_problem
from dynamics.data.targets import TARGETS, Setting
from dynamics.data.views import ViewSpec
from dynamics.errors import InputError
from dynamics.models.spec import ModelSpec
from dynamics.stability.weight import empirical_weight, weight_of
from dynamics.systems.training import TrainingSpec

pytestmark = pytest.mark.xdist_group("laws")  # tests share draws and their programs

N = 10_000
ALPHAS = (0.1, 0.3, 1.0, 1.5, 5.0)
# one run of every law that needs no file but the digits'
DATA = {
    "uniform_ball": DataSpec("uniform_ball", 3),
    "sphere": DataSpec("sphere", 3),
    "radial": DataSpec("radial", 3, alpha=0.3),
    "gaussian": DataSpec("gaussian", 3),
    "sphere_patch": DataSpec("sphere_patch", 3, ambient_dim=8),
    "grid": DataSpec("grid", 3),
    "subspace_balls": DataSpec("subspace_balls", 6, intrinsic_dim=2, components=3, offset=0.7),
    "patch_spheres": DataSpec("patch_spheres", 12, patch_dim=3),
    "tiled": DataSpec("tiled", 12, patch_dim=3),
    "vocabulary": DataSpec("vocabulary", 50, patch_dim=5, components=3),
    "cone_clusters": DataSpec("cone_clusters", 12, patch_dim=4, components=2, cone_std=0.3),
    "digits": DataSpec("digits", 64),
    "dead_leaves": DataSpec("dead_leaves", 32, channels=2, leaves=5, smallest_leaf=0.5, leaf_exponent=2.5, texture=0.1),
}
NEED_FILES = {"mnist", "cifar10"}


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def program(data, size, fresh, dtype, key, which, hyper):
    """Inputs and parts of `size` samples, and what the parts stand for; which: 0 for training samples, 3 for test samples."""
    source = LAWS[data.law].source(jax.random.fold_in(key, 4), data, hyper, jnp.dtype(dtype))
    return *rows(source, jax.random.fold_in(key, which), hyper["data.num_samples"], size, fresh=fresh), source.parts


def draw(data: DataSpec, n: int = N, *, seed: int = 0, size: int = 0, padded: int = 0, fresh: bool = False, dtype="float32"):
    """n inputs (n, d), their parts and what these stand for; in arrays of `size` rows and `padded` columns if that is more."""
    data = replace(data, num_samples=n)
    spec = TrainingSpec(seed=seed, precision=dtype, data=data, model=ModelSpec(width=1), target=TargetSpec("zero"))
    static = replace(specs.static(spec).data, input_dim=padded or data.input_dim, num_samples=1)
    with jax.enable_x64(dtype == "float64"):
        hyper = {**hyper_of(spec), **spec.shared_arrays()}
        drawn_otherwise = fresh and LAWS[data.law].reads is not None  # else one program for both
        found = program(static, size or n, drawn_otherwise, dtype, key_of(spec), jnp.int32(3 * fresh), hyper)
    x, part, stands_for = (None if a is None else np.asarray(a) for a in found)
    assert x.dtype == dtype and part.dtype.kind == "i"
    return x[:n].astype(float), part[:n], stands_for


def z_score(samples: np.ndarray, expected: float) -> float:
    return (np.mean(samples) - expected) / (np.std(samples, ddof=1) / np.sqrt(len(samples)))


def share_z(happened: np.ndarray, probability: float) -> float:
    """z-score of a share, with the deviation that it should have."""
    return (np.mean(happened) - probability) / np.sqrt(probability * (1 - probability) / len(happened))


def same_law(a: np.ndarray, b: np.ndarray) -> float:
    return stats.ks_2samp(a, b).pvalue


def uniformly_one_of(counted: np.ndarray, count: int) -> float:
    return stats.chisquare(np.bincount(counted, minlength=count)).pvalue


def test_every_law_is_looked_at():
    assert set(DATA) | NEED_FILES == set(LAWS)
    for data in DATA.values():
        data.check()


# Closed forms of isotropic laws. What is known of a radius: P(r > s), E[r 1{r > s}]; everything else follows by quadrature


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


FORMS = {"ball": BALL, "sphere": SPHERE, "gaussian": GAUSSIAN, "patch": sphere_patch(12)}
FORMS |= {f"radial {alpha}": radial(alpha) for alpha in ALPHAS}


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
    """alpha of P(|X| > 1 - eps), kappa of Q, d + 2 alpha of g, and S of P(depth < T), as slopes over a decade near the rim."""
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
    assert sphere_patch(12).depth_exponent(5) == pytest.approx((12 - 5) / (12 - 1))


# Draws


ISOTROPIC = {
    "uniform_ball": BALL,
    "sphere": SPHERE,
    "radial": radial(0.3),
    "gaussian": GAUSSIAN,
    "sphere_patch": sphere_patch(8),
}


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
        assert abs(share_z(projections[0] > 0.4, sphere_patch(9).half_space_probability(0.4, d))) > 4


@pytest.mark.parametrize("alpha", ALPHAS)
def test_radial_draws_have_the_mass_at_the_rim_that_alpha_says(alpha):
    """P(|X| > 1 - eps) = eps^alpha. Closer to the rim than 1e-6 radii in 32 bits are 1, which is a matter of counting them."""
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
    """No half-space through a point that is tried holds less of the law than Q(|x|), which the one facing outward holds."""
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


# Mixtures of balls in subspaces


BALLS = DATA["subspace_balls"]


@cache
def parts_of(data: DataSpec, seed: int = 0) -> Subspaces:
    """The subspaces of a run, by the law's key."""
    return to_numpy(
        mixtures.subspaces(jax.random.fold_in(jax.random.key(seed), 4), data, jnp.float32(data.offset), jnp.float32)
    )


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


def directions(rng, d: int, count: int) -> np.ndarray:
    u = rng.normal(size=(d, count))
    return u / np.linalg.norm(u, axis=0)


def check_half_spaces(
    samples: np.ndarray, u: np.ndarray, t: np.ndarray, probability: np.ndarray, mean: np.ndarray
) -> list[float]:
    """Largest z-scores of P(u.Z > t) and of E[Z 1{u.Z > t}], for samples (n, J, d) of which only the n are independent."""
    worst = []
    for k in range(len(t)):
        over = samples @ u[:, k] > t[k]
        worst.append(abs(z_score(over.mean(axis=1), probability[k])))
        moment = np.mean(samples * over[..., None], axis=1)
        worst += [abs(z_score(moment[:, i], mean[i, k])) for i in range(len(u))]
    return worst


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
    weight = weight_of(probability, mean, u, t)
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


# Laws made of patches


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


# What labels are made of


@cache
def problem_of(spec: TrainingSpec):
    """Drawn as a program draws it."""
    static = specs.static(spec)
    with jax.enable_x64(spec.precision == "float64"):
        hyper = {**hyper_of(spec), **spec.shared_arrays()}
        draw = jax.jit(lambda key, hyper: draw_problem(static.data, static.target, key, hyper, jnp.dtype(spec.precision)))
        return to_numpy(draw(key_of(spec), hyper))


VOCABULARY = specs.freeze(
    TrainingSpec(
        data=replace(DATA["vocabulary"], num_samples=400, num_test=300, noise_std=0.5),
        target=TargetSpec("parts"),
        model=ModelSpec(width=1),
    )
)


def target_of(kind: str, data: DataSpec, stands_for: np.ndarray | None = None, seed: int = 0):
    setting = Setting(data.input_dim, data, TargetSpec(kind), stands_for, jnp.float32)
    setting.target.check(data)
    return TARGETS[kind].draw(jax.random.key(seed), setting)


def test_targets_of_parts_are_what_the_parts_stand_for():
    for name, stands_for in (("vocabulary", 5), ("cone_clusters", 4), ("subspace_balls", 6)):
        data = DATA[name]
        x, part, meaning = draw(data, 9, size=N)
        np.testing.assert_array_equal(target_of("parts", data, jnp.asarray(meaning))(x, part), meaning[part])
        np.testing.assert_array_equal(target_of("part_index", data)(x, part), part)
        np.testing.assert_array_equal(target_of("one_hot", data)(x, part), np.eye(data.components)[part])
        outputs = [TargetSpec(kind).outputs(data) for kind in ("parts", "part_index", "one_hot")]
        assert outputs == [stands_for, 0, data.components] and meaning.shape == (data.components, stands_for)
        assert len(set(part)) > 1
    assert TargetSpec("one_hot").outputs(DATA["digits"]) == 10


def test_a_problem_is_drawn_by_the_laws_keys_with_independent_noise_on_every_output():
    problem = problem_of(VOCABULARY)
    for samples, fresh in ((problem.train, False), (problem.test, True)):
        x, part, words = draw(VOCABULARY.data, len(samples.labels), size=N, fresh=fresh)
        np.testing.assert_allclose(samples.inputs, x, atol=1e-6)
        np.testing.assert_allclose(samples.clean, words[part], atol=1e-6)
        noise = (samples.labels - samples.clean) / 0.5
        assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
        assert abs(z_score(noise[:, 0] * noise[:, 1], 0)) < 4 and abs(z_score(noise[1:, 0] * noise[:-1, 4], 0)) < 4


def test_shuffled_parts_say_nothing_of_the_inputs():
    """Without it they say everything; either way inputs are the same, and more samples leave the first labels as they are."""
    told, shuffled = problem_of(VOCABULARY), problem_of(change(VOCABULARY, data__shuffle_parts=True))
    more = problem_of(change(VOCABULARY, data__shuffle_parts=True, data__num_samples=500))
    words, said = draw(VOCABULARY.data, 1, size=N)[2], []
    for plain, at_random in zip(told, shuffled, strict=True):
        np.testing.assert_allclose(plain.inputs, at_random.inputs, atol=1e-6)
        seen = np.argmax(np.max(plain.inputs.reshape(-1, 10, 5) @ words.T, axis=1), axis=1)
        said += [np.argmax(samples.clean @ words.T, axis=1) for samples in (plain, at_random)]
        assert np.mean(seen == said[-2]) > 0.9 > 0.5 > np.mean(seen == said[-1])
        assert stats.chi2_contingency(np.histogram2d(seen, said[-1], 3)[0]).pvalue > 1e-3
        assert uniformly_one_of(said[-1], 3) > 1e-3
    assert np.mean(said[1][:300] == said[3]) < 0.5  # test samples are shuffled anew
    np.testing.assert_array_equal(more.train.labels[:400], shuffled.train.labels)


def test_a_random_linear_target_is_the_scalar_product_with_a_unit_vector(rng):
    x, found = rng.normal(size=(50, 3)), []
    for seed in (0, 1):
        f = target_of("random_linear", DATA["gaussian"], seed=seed)(jnp.asarray(x, jnp.float32), None)
        w, left, *_ = np.linalg.lstsq(x, np.asarray(f, float), rcond=None)
        assert left.sum() < 1e-9 and np.linalg.norm(w) == pytest.approx(1, rel=1e-5) and np.all(np.abs(w) > 1e-3)
        found.append(w)
    assert np.max(np.abs(found[0] - found[1])) > 0.1


# Images


def sorted_rows(x: np.ndarray) -> np.ndarray:
    return x[np.lexsort(x.T)]


def test_training_and_test_images_are_different_ones_and_the_first_of_more():
    """All 1797 digits go out once, standardised by their own mean and deviation; another seed trains on others."""
    own = images.load("digits")
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
    monkeypatch.setattr(images, "load", lambda name, root="": found)
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
    paint = jax.jit(jax.vmap(lambda i: dead_leaves(jax.random.fold_in(key, i), 4, 2, 5, 0.5, 2.5, 0.1, jnp.float32)))
    np.testing.assert_allclose(
        x, (np.asarray(paint(jnp.arange(50))).reshape(50, 32) - 0.5) * math.sqrt(12), rtol=1e-5, atol=1e-5
    )
    many = draw(replace(data, texture=0.0), 4000)[0]
    assert np.mean(many) == pytest.approx(0, abs=0.05) and np.var(many) == pytest.approx(1, abs=0.05)


# What runs share


@pytest.mark.parametrize("name", DATA)
def test_a_smaller_n_has_the_first_samples_of_a_larger_one(name):
    """To the last bits, which hang on how a processor takes arrays of a length; another seed and test samples have others."""
    large = 1000 if name == "digits" else N
    few, part, stands_for = draw(DATA[name], 5)
    more, more_part, more_for = draw(DATA[name], 5 if name == "grid" else large, size=large)  # a grid is spread anew
    np.testing.assert_allclose(more[:5], few, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(more_part[:5], part)
    if stands_for is not None:
        np.testing.assert_array_equal(more_for, stands_for)
    if name != "grid":
        others = [draw(DATA[name], 5, seed=1)[0], draw(DATA[name], 5, fresh=True)[0]]
        assert len(np.unique(np.concatenate([few, *others]), axis=0)) == 15


@pytest.mark.parametrize("name", [name for name in DATA if LAWS[name].pads])
def test_padded_inputs_are_the_same_ones_and_zeros(name):
    plain, padded = draw(DATA[name], 5)[0], draw(DATA[name], 5, padded=7)[0]
    np.testing.assert_array_equal(padded[:, :3], plain)
    assert padded.shape == (5, 7) and not padded[:, 3:].any()


@pytest.mark.parametrize("name", ["radial", "vocabulary"])
def test_laws_are_drawn_in_the_precision_asked_for(name):
    wide, narrow = draw(DATA[name], 5, dtype="float64")[0], draw(DATA[name], 5)[0]
    assert np.any(wide != wide.astype(np.float32)) and np.all(narrow == narrow.astype(np.float32))


# Bad input


BAD = {
    "alpha": ("radial", {"alpha": 0.0}, "data.alpha = 0.0: must be a number above 0"),
    "infinite alpha": ("radial", {"alpha": math.inf}, "data.alpha = inf: must be a number above 0"),
    "whole sphere": ("sphere_patch", {"ambient_dim": 3}, "data.ambient_dim = 3: must be above data.input_dim = 3"),
    "no sphere": ("sphere_patch", {"ambient_dim": 0}, "data.ambient_dim = 0: must be above data.input_dim = 3"),
    "whole space": (
        "subspace_balls",
        {"intrinsic_dim": 6},
        "data.intrinsic_dim = 6: must be at least 1 and below data.input_dim = 6",
    ),
    "no dimension": ("subspace_balls", {"intrinsic_dim": 0}, "data.intrinsic_dim = 0: must be an integer from 1"),
    "no ball": ("subspace_balls", {"components": 0}, "data.components = 0: must be an integer from 1"),
    "inward": ("subspace_balls", {"offset": -0.1}, "data.offset = -0.1: must be a number, at least 0"),
    **{
        f"{how} {name}": (
            name,
            {"patch_dim": size},
            f"data.patch_dim = {size}: must divide data.input_dim = {DATA[name].input_dim}",
        )
        for name in ("patch_spheres", "tiled", "vocabulary", "cone_clusters")
        for how, size in {"uneven": 7, "no patch": 0, "larger patch": 100}.items()
    },
    "no word": ("vocabulary", {"components": 0}, "data.components = 0: must be an integer from 1"),
    "no cluster": ("cone_clusters", {"components": -1}, "data.components = -1: must be an integer from 1"),
    "narrow": ("cone_clusters", {"cone_std": -0.1}, "data.cone_std = -0.1: must be a number, at least 0"),
    "other image": ("digits", {"input_dim": 63}, "data.input_dim = 63: must be 64 for data.law = digits"),
    "too many digits": (
        "digits",
        {"num_samples": 1000, "num_test": 798},
        "data.num_samples = 1000: with data.num_test = 798 must be at most 1797",
    ),
    "colours of grey": ("digits", {"normalization": "cifar10"}, "data.normalization = 'cifar10': is for images of 3 channels"),
    "no such normalization": ("uniform_ball", {"normalization": "mine"}, "data.normalization = 'mine': choose one of"),
    "no files": (
        "digits",
        {"law": "mnist", "input_dim": 784, "root": "/no/such/folder"},
        "data.root = '/no/such/folder': is no folder",
    ),
    "no square": (
        "dead_leaves",
        {"input_dim": 30},
        "data.input_dim = 30: must be side^2 * data.channels, with data.channels = 2",
    ),
    "no channel": ("dead_leaves", {"channels": 0}, "data.channels = 0: must be an integer from 1"),
    "no leaf": ("dead_leaves", {"leaves": 0}, "data.leaves = 0: must be an integer from 1"),
    "leaf as large": ("dead_leaves", {"smallest_leaf": 4.0}, "data.smallest_leaf = 4.0: must be above 0 and below the side, 4"),
    "leaf of no size": ("dead_leaves", {"smallest_leaf": 0.0}, "data.smallest_leaf = 0.0: must be a number above 0"),
    "flat exponent": ("dead_leaves", {"leaf_exponent": 1.0}, "data.leaf_exponent = 1.0: must be a number above 1"),
    "less texture": ("dead_leaves", {"texture": -1.0}, "data.texture = -1.0: must be a number, at least 0"),
    "endless noise": ("uniform_ball", {"noise_std": math.inf}, "data.noise_std = inf: must be a number, at least 0"),
    "endless scale": ("uniform_ball", {"scale": math.inf}, "data.scale = inf: must be a number above 0"),
    "another's field": (
        "uniform_ball",
        {"components": 2**31},
        "data.components = 2147483648: must be an integer from 1 to 2^31 - 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_field_that_a_law_does_not_allow_is_told_by_name(case):
    name, values, message = BAD[case]
    DATA[name].check()
    with pytest.raises(InputError) as error:
        replace(DATA[name], **values).check()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


BAD_TARGETS = {
    "nothing stands": ("uniform_ball", TargetSpec("parts"), "target.kind = 'parts': needs a data.law among"),
    "images stand for nothing": ("digits", TargetSpec("parts"), "target.kind = 'parts': needs a data.law among"),
    "one class": ("uniform_ball", TargetSpec("one_hot"), "target.kind = 'one_hot': needs a data.law of several parts"),
    "no unit": ("gaussian", TargetSpec("teacher", units=0), "target.units = 0: must be an integer from 1"),
    "large view": (
        "gaussian",
        TargetSpec("teacher", views=ViewSpec("sliding", 4)),
        "target.views.size = 4: must be from 1 to 3",
    ),
    "no such": ("gaussian", TargetSpec("teachr"), "target.kind = 'teachr': choose one of"),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_a_target_that_does_not_go_with_the_law_is_told_by_name(case):
    name, target, message = BAD_TARGETS[case]
    with pytest.raises(InputError) as error:
        target.check(DATA[name])
    assert str(error.value).startswith(message)


def test_closed_forms_are_known_by_the_laws_name():
    """Of a law with parameters by its spec; of one that is not isotropic there are none."""
    for name, law in LAWS.items():
        assert (law.forms is not None) == (name in ISOTROPIC), name
    for name, expected in ISOTROPIC.items():
        forms = LAWS[name].forms(DATA[name])
        assert forms.half_space_probability(0.3, 3) == expected.half_space_probability(0.3, 3)
        assert forms.rim(3) == expected.rim(3)
    assert closed_forms.radial(0.3).rim(3) == 0.3
