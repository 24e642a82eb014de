"""Half-space depth against brute force, closed forms and hand counts; the search against all of them."""

from dataclasses import replace
from fractions import Fraction
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.analysis.depth_curves import count_components, cumulate_energy, draw_samples, find_elbow, view_covariance
from dynamics.core import spec as specs
from dynamics.core.checked_fields import TRACED
from dynamics.core.simulate import advance, drive, start
from dynamics.data.closed_forms import GAUSSIAN, SPHERE, radial_forms, sphere_patch_forms
from dynamics.data.law import LAWS, DataSpec
from dynamics.data.views import ViewSpec, list_views
from dynamics.errors import InputError
from dynamics.stability.half_space_depth import (
    THRESHOLDS,
    concentration_curve,
    concentration_curve_area,
    depth_by_directions,
    depth_in_plane,
    depth_on_line,
    fit_shatterability,
    isotropic_concentration_curve,
    log_log_slope,
)
from dynamics.stability.half_spaces import (
    build_point_cloud,
    draw_nearby_directions,
    draw_uniform_directions,
    lighter_half_space_shares,
    lighter_half_space_shares_per_query,
    whiten_queries,
)
from dynamics.stability.isotropic_depth import build_isotropic_depth
from dynamics.systems.depth_search import DEEP, SHALLOW, DepthSpec


def made(**values):
    spec = DepthSpec(**values).resolve()
    spec.check()
    return specs.freeze(spec)


def hyper(spec):
    sizes = spec.shape_fields
    scalars = {k: jnp.asarray(v, jnp.int32 if k in sizes else spec.precision) for k, v in specs.hyper(spec).items()}
    return scalars | {k: jnp.asarray(v) for k, v in spec.shared_arrays().items()}


@cache
def programs(static):
    """Of one shape, compiled once for all tests in 32 bits."""
    dynamics = static.dynamics()
    return jax.jit(partial(start, dynamics)), jax.jit(partial(advance, dynamics))


def run(spec, schedule=(), padded=None):
    """(what the run keeps, its trajectory over the schedule)."""
    begin, segment = programs(specs.static(spec, padded))
    key = jax.random.key(spec.seed)
    fixed, state = begin(key, hyper(spec))
    return fixed, drive(lambda state, *span: segment(key, fixed, state, *span), state, schedule) if schedule else None


def brute_plane(x, reference):
    """In whole numbers: half-planes whose boundary is turned a little to either side of the line through
    x and a point."""
    away = [(int(a), int(b)) for a, b in reference - x if (a, b) != (0, 0)]
    copies, fewest = len(reference) - len(away), len(away)
    for a, b in away:
        for turn in (1, -1):
            sides = [(-b * p + a * q, turn * (a * p + b * q)) for p, q in away]
            above = sum(side > 0 or (side == 0 and along > 0) for side, along in sides)
            fewest = min(fewest, above, len(away) - above)
    return Fraction(copies + fewest, len(reference))


SMALL = made(data=DataSpec("radial", 3, 70, 20, alpha=0.5), directions_per_step=4, steps=3)


def test_line_by_hand():
    reference = np.array([0.0, 1.0, 1.0, 2.0])
    np.testing.assert_array_equal(
        depth_on_line(np.array([-1, 0, 0.5, 1, 1.5, 2, 3]), reference), [0, 1 / 4, 1 / 4, 3 / 4, 1 / 4, 1 / 4, 0]
    )


def test_plane_is_brute_force_with_ties_copies_and_collinear_points(rng):
    for size, spread in ((1, 2), (7, 2), (25, 3), (40, 30)):
        reference = rng.integers(-spread, spread + 1, (size, 2))
        queries = np.concatenate([reference[:8], rng.integers(-spread, spread + 1, (8, 2))])
        expected = [float(brute_plane(x, reference)) for x in queries]
        np.testing.assert_allclose(depth_in_plane(queries, reference), expected, atol=1e-12)
    assert depth_in_plane(np.zeros((1, 2)), np.zeros((3, 2))) == 1
    square = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    np.testing.assert_allclose(depth_in_plane(np.array([[0, 0], [0.9, 0], [1, 1], [2, 2]]), square), [1 / 2, 1 / 4, 1 / 4, 0])


def test_directions_bound_from_above_and_reach_the_depth(rng):
    reference, queries = rng.normal(size=(60, 2)), rng.normal(size=(15, 2))
    exact = depth_in_plane(queries, reference)
    few, many = (depth_by_directions(queries, reference, rng.normal(size=(count, 2))) for count in (5, 4000))
    assert np.all(few >= exact) and np.any(few > exact) and np.all(many <= few + 1)
    np.testing.assert_allclose(many, exact)
    line = depth_by_directions(queries[:, :1], reference[:, :1], np.array([[3.0]]))
    np.testing.assert_array_equal(line, depth_on_line(queries[:, 0], reference[:, 0]))


def test_closed_sides_count_what_lies_on_the_boundary():
    reference = np.array([[0.1, 0.3]] * 3 + [[0.7, 0.9]])
    assert depth_by_directions(reference[:1], reference, np.array([[0.1, 0.7], [-1.3, 0.2]])) == 3 / 4
    assert depth_by_directions(reference[3:], reference, np.array([[0.1, 0.7], [-1.3, 0.2]])) == 1 / 4


def test_curve_and_area_by_hand():
    depths = np.array([0.1, 0.3, 0.3, 0.9])
    at = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    psi = concentration_curve(depths, at)
    np.testing.assert_allclose(psi, [1, 1, 3 / 4, 3 / 4, 1 / 4, 1 / 4])
    assert concentration_curve_area(psi, at) == pytest.approx(0.1 * (1 / 2 + 1 + 3 / 4 + 3 / 4 + 1 / 4 + 1 / 8))
    assert concentration_curve_area(concentration_curve(depths)) == pytest.approx(
        np.minimum(depths, 0.5).mean(), abs=THRESHOLDS[1] / 2
    )
    np.testing.assert_array_equal(concentration_curve(depths.astype(np.float32), at), psi)  # 0.3 is less in 32 bits


@pytest.mark.parametrize("alpha, d", [(0.3, 2), (1.5, 5)])
def test_isotropic_curve_is_that_of_sampled_exact_depths(rng, alpha, d):
    forms = radial_forms(alpha)
    radius = 1 - rng.random(200_000) ** (1 / alpha)
    depths = np.interp(radius, np.linspace(0, 1, 3000), forms.half_space_probability(np.linspace(0, 1, 3000), d))
    np.testing.assert_allclose(isotropic_concentration_curve(forms, d), concentration_curve(depths), atol=0.006)
    assert concentration_curve_area(isotropic_concentration_curve(SPHERE, d)) == pytest.approx(
        THRESHOLDS[1] / 2, abs=1e-4
    )  # half a step: Psi(0) = 1


def test_exponents():
    """Of a power law that is known, and of a patch of a sphere at its rim: S = (D - m) / (D - 1)."""
    depths = 0.5 * np.linspace(0, 1, 200_001)[1:] ** (1 / 0.6)
    assert fit_shatterability(depths, 1e-3, 1e-1) == pytest.approx(0.6, abs=1e-3)
    assert np.isnan(fit_shatterability(np.array([0.3, 0.4]), 0.01, 0.1))
    with pytest.raises(InputError, match="low < high"):
        fit_shatterability(depths, 0.2, 0.1)
    for big, m in ((4, 2), (9, 3)):
        forms, eps = sphere_patch_forms(big), np.geomspace(1e-4, 1e-3, 9)
        assert forms.depth_exponent(m) == pytest.approx((big - m) / (big - 1))
        inside, deep = forms.radial(1 - eps, m), forms.half_space_probability(1 - eps, m)
        assert log_log_slope(1 - inside, deep) == pytest.approx((big - m) / (big - 1), abs=2e-3)


LAWS_WITH_FORMS = {
    "uniform_ball": DataSpec("uniform_ball", 3),
    "sphere": DataSpec("sphere", 2),
    "radial": DataSpec("radial", 4, alpha=0.3),
    "gaussian": DataSpec("gaussian", 3),
    "sphere_patch": DataSpec("sphere_patch", 3, ambient_dim=7),
}


@pytest.mark.parametrize("name", LAWS_WITH_FORMS)
def test_exact_depth_in_a_program_is_the_closed_form(name, x64):
    data = LAWS_WITH_FORMS[name]
    at = np.concatenate([np.linspace(0, 1, 50), [1 - 1e-6, 1.0]]) * (1 if name != "gaussian" else 4)
    forms = LAWS[name].closed_forms(data)
    for width in {data.input_dim, data.input_dim + 3} if LAWS[name].pads else {data.input_dim}:
        depth = build_isotropic_depth(replace(data, input_dim=width, alpha=TRACED), float)
        seen = depth(jnp.asarray(at), {"data.input_dim": jnp.int32(data.input_dim), "data.alpha": jnp.asarray(data.alpha)})
        np.testing.assert_allclose(seen, forms.half_space_probability(at, data.input_dim), atol=2e-6)
    assert build_isotropic_depth(DataSpec("digits", 64), float) is None


def test_counting_with_ties_copies_and_padding(rng):
    """Points on a lattice and directions along it: every count is known; what is padded does not count."""
    reference, queries = rng.integers(-2, 3, (30, 2)).astype(np.float32), rng.integers(-2, 3, (9, 2)).astype(np.float32)
    tried = np.array([[1, 0], [0, 1], [0.6, 0.8], [-0.8, 0.6]], np.float32)
    padded = np.concatenate([reference, np.full((6, 2), 9, np.float32)])
    seen = build_point_cloud(jnp.asarray(padded), jnp.asarray(queries), jnp.arange(36) < 30, jnp.int32(30), jnp.int32(2))
    z = np.round((reference @ tried.T)[:, None] - queries @ tried.T, 4)  # (N, Q, D)
    expected = np.minimum((z >= 0).mean(axis=0), (z <= 0).mean(axis=0))
    np.testing.assert_allclose(jax.jit(lighter_half_space_shares)(jnp.asarray(tried), seen), expected.T, rtol=1e-6)
    own = jnp.broadcast_to(jnp.asarray(tried), (9, 4, 2))
    np.testing.assert_allclose(jax.jit(lighter_half_space_shares_per_query)(own, seen), expected, rtol=1e-6)


def test_whitened_direction_is_the_ellipsoids_normal(rng):
    spread = np.array([[3.0, 0, 0], [1, 0.5, 0], [0, 0.2, 1]])
    reference, queries = rng.normal(size=(400, 3)) @ spread + 1, rng.normal(size=(5, 3)) @ spread
    seen = build_point_cloud(jnp.asarray(reference), jnp.asarray(queries), jnp.ones(400, bool), jnp.int32(400), jnp.int32(3))
    covariance = np.cov(reference.T, bias=True)
    floor = 1e-3 * np.trace(covariance) / 3 * np.eye(3)
    expected = np.linalg.solve(covariance + floor, (queries - reference.mean(axis=0)).T).T
    own = jax.jit(whiten_queries)(seen)
    np.testing.assert_allclose(own, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-3)
    near = np.asarray(jax.jit(draw_nearby_directions, static_argnums=2)(jax.random.key(0), own, 4, seen))
    np.testing.assert_allclose(near[:, 0], own, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(near, axis=-1), 1, rtol=1e-6)


def test_random_search_is_numpys_count_over_its_directions():
    fixed, found = run(SMALL, (0, 1, 3))
    key = jax.random.fold_in(jax.random.key(0), 1)
    draw = jax.jit(lambda t: draw_uniform_directions(jax.random.fold_in(jax.random.fold_in(key, t), 0), 4, fixed.cloud))
    points = (np.asarray(a, float) for a in (fixed.cloud.queries, fixed.cloud.reference))
    expected = np.minimum(depth_by_directions(*points, np.concatenate([draw(t) for t in range(3)])), 0.5)
    depths = np.asarray(found.state.depth)
    np.testing.assert_allclose(depths, expected, atol=1e-6)
    last = {name: values[-1] for name, values in found.records.items()}
    assert last["mean_depth"] == pytest.approx(depths.mean(), rel=1e-5)
    assert last["area"] == pytest.approx(float(concentration_curve_area(concentration_curve(depths))), rel=1e-4)
    np.testing.assert_allclose(last["deep"], concentration_curve(depths, np.array(DEEP)), atol=1e-6)
    np.testing.assert_allclose(last["shallow"], [(depths < t).mean() for t in SHALLOW], atol=1e-6)
    exact = radial_forms(SMALL.data.alpha).depth(np.asarray(fixed.cloud.queries, float))
    assert last["mean_excess"] == pytest.approx((depths - exact).mean(), abs=1e-4)
    assert last["least_excess"] == pytest.approx((depths - exact).min(), abs=1e-4)
    assert np.all(np.diff(found.records["mean_depth"]) <= 0) and found.records["mean_depth"][0] == 0.5


def test_padding_changes_no_depth():
    assert SMALL.paddable == ("data.input_dim", "data.num_samples")
    (_, alone), (_, padded) = run(SMALL, (0, 1, 3)), run(SMALL, (0, 1, 3), padded=(5, 90))
    for name, values in alone.records.items():
        np.testing.assert_allclose(padded.records[name], values, rtol=1e-5, atol=1e-6)


def guided(d):
    return made(data=DataSpec("radial", d, 1000, 60, alpha=1.0), search="guided", directions_per_step=8, steps=6)


def test_guided_search_comes_close_and_says_where():
    """In the plane no search is below the exact depth of the sample; the reported half-space has the reported mass."""
    assert guided(2).paddable == ("data.input_dim",)
    fixed, found = run(guided(2), (0, 6), padded=(10,))
    queries, reference = (np.asarray(a, float)[:, :2] for a in (fixed.cloud.queries, fixed.cloud.reference))
    exact = depth_in_plane(queries, reference)
    depths, towards = np.asarray(found.state.depth), np.asarray(found.state.direction)
    assert not np.any(towards[:, 2:])
    assert np.all(depths >= exact - 1e-6) and np.mean(depths - exact) < 0.005
    at = [depth_by_directions(q[None], reference, u[None])[0] for q, u in zip(queries, towards[:, :2], strict=True)]
    np.testing.assert_allclose(depths, np.minimum(at, 0.5), atol=1.1e-3)  # a sample within rounding of the boundary


def test_own_direction_is_enough_for_an_isotropic_law(rng):
    """In ten dimensions one step of the guided search is closer to the law's depth than as many uniform directions."""
    fixed, found = run(guided(10), (0, 1), padded=(10,))
    queries, reference = np.asarray(fixed.cloud.queries, float), np.asarray(fixed.cloud.reference, float)
    random = depth_by_directions(queries, reference, rng.normal(size=(8, 10)))
    bias = np.minimum(random, 0.5).mean() - found.records["mean_exact"][-1]
    assert bias > 0.03 and abs(found.records["mean_excess"][-1]) < bias / 5


def test_views_are_patches_of_the_same_seeds_samples():
    spec = made(
        data=DataSpec("digits", 64, 30, 10), views=ViewSpec("sliding", 3, stride=2), views_per_sample=4, views_per_query=99
    )
    assert spec.views_per_query == 9 and spec.derived_columns() == {"dim": 9, "num_reference": 120, "num_queries": 90}
    whole, seen = draw_samples(spec), list_views(spec.views, spec.data.grid)
    fixed, _ = run(spec)
    for image, patches in zip(whole, np.asarray(fixed.cloud.reference).reshape(30, 4, 9), strict=True):
        of_image = [row.tobytes() for row in image[seen]]
        assert all(row.tobytes() in of_image for row in patches)
    assert fixed.exact is None
    together = np.concatenate([image[seen] for image in whole])
    np.testing.assert_allclose(view_covariance(whole, seen), np.cov(together.T, bias=True), rtol=1e-4, atol=1e-5)
    assert find_elbow(together) == count_components(cumulate_energy(view_covariance(whole, seen)))


def test_elbow_by_hand():
    energies = cumulate_energy(np.diag([1.0, 5, 3, 1]))
    np.testing.assert_allclose(energies, [0.5, 0.8, 0.9, 1])
    assert [count_components(energies, share) for share in (0.4, 0.5, 0.9, 0.95, 1)] == [1, 1, 3, 4, 4]
    assert find_elbow(np.array([[1.0], [2.0]])) == 1


@pytest.mark.parametrize(
    "values, field",
    [
        ({"search": "exhaustive"}, "search"),
        ({"search": "guided", "directions_per_step": 1}, "directions_per_step"),
        ({"views_per_sample": 0}, "views_per_sample"),
        ({"views": ViewSpec("sliding", 9)}, "views.size"),
        ({"data": lambda: DataSpec("ball")}, "data.law"),
    ],
)
def test_bad_values_are_named(values, field):
    with pytest.raises(InputError, match=field):
        given = {name: value() if callable(value) else value for name, value in values.items()}
        replace(DepthSpec(), **given).resolve().check()


def test_gaussian_depth_is_its_tail():
    assert GAUSSIAN.depth(np.array([[3.0, 4.0]]))[0] == pytest.approx(2.866515718e-07)
