"""Flat interpolators: the nets by hand, their true curvature against closed forms and bounds,
descent from beside them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import dense_hessian, net_jacobian, net_output, patch_hessian, patch_jacobian, patch_output, to_numpy

from dynamics.core import spec as specs
from dynamics.core.dynamics import Dynamics
from dynamics.core.simulate import advance, drive, start
from dynamics.curvature.paired import top_eigenpairs_of_both
from dynamics.data.closed_forms import BALL, SPHERE, radial_forms
from dynamics.data.problem import DataSpec
from dynamics.errors import InputError
from dynamics.measures.view import view
from dynamics.models.two_layer import TwoLayer
from dynamics.stability.weight import empirical_weight
from dynamics.systems.interpolator_descent import InterpolationSpec
from dynamics.theory.flat_interpolators import (
    SCALINGS,
    build_isolating_neurons,
    build_patch_interpolator,
    build_sphere_interpolator,
    interpolator_sharpness,
    kernel_diagonal,
    kernel_top_eigenvalue,
    memorable_share,
    patch_sharpness_bound,
    sphere_sharpness_bound,
    standout_margins,
)


def on_sphere(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def tops(hessian: np.ndarray, jacobian: np.ndarray) -> tuple[float, float]:
    """(Hessian's, Gauss-Newton's) largest eigenvalue by dense decompositions."""
    return np.linalg.eigvalsh(hessian)[-1], np.linalg.eigvalsh(jacobian @ jacobian.T / len(jacobian))[-1]


def tops_of_net(net: TwoLayer, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    return tops(dense_hessian(net, x, y, 0.5), net_jacobian(net, x))


def test_two_points_by_hand(x64):
    """x = e_1, e_2 and y = 1, -2: kinks half way from 0 to 1, K = [[4, 1], [1, 7]], so mu = (11 + sqrt 13) / 2."""
    x, y = np.eye(2), np.array([1.0, -2.0])
    net = build_sphere_interpolator(x, y)
    np.testing.assert_allclose(net.hidden, [[-1, -2], [2, 0], [0, 4]], atol=1e-15)
    np.testing.assert_allclose(net.readout, [1, -1])
    assert net.offset == 0 and interpolator_sharpness(y, "paper") == pytest.approx((11 + 13**0.5) / 4, rel=1e-12)
    near = build_sphere_interpolator(x, y, margin=0.75)
    np.testing.assert_allclose(near.hidden[:, 0], [-3, 4, 0], atol=1e-15)
    best = build_sphere_interpolator(x, y, "optimal")
    pre_activation = best.hidden[0] + np.diag(np.asarray(best.hidden[1:]))
    np.testing.assert_allclose(pre_activation**2, 2**0.5 * np.abs(y))
    np.testing.assert_allclose(best.readout * pre_activation, y)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("d", [2, 5])
def test_sphere_net_has_the_sharpness_of_its_secular_equation(d, scaling, rng, x64):
    x, y = on_sphere(rng, 9, d), rng.uniform(-1.5, 1.5, 9)
    y[4] = 0
    net = to_numpy(build_sphere_interpolator(x, y, scaling))
    assert np.count_nonzero(np.any(np.asarray(net.hidden) != 0, axis=0)) == 8
    np.testing.assert_allclose(net_output(net, x), y, atol=1e-9)
    active = np.asarray(net.hidden[0] + x @ net.hidden[1:]) > 0
    assert active.sum(axis=0).max() == 1
    hessian, squared = tops_of_net(net, x, y)
    assert hessian == pytest.approx(interpolator_sharpness(y, scaling), rel=1e-8)
    assert squared == pytest.approx(hessian, rel=1e-8)
    assert hessian < sphere_sharpness_bound(9, np.abs(y).max(), scaling)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_patch_net_has_it_too_and_its_filters_are_alone_among_all_patches(scaling, rng, x64):
    n, num, m = 7, 3, 4
    x, y = on_sphere(rng, n, num, m), rng.uniform(-1.5, 1.5, n)
    net = to_numpy(build_patch_interpolator(x.reshape(n, -1), y, m, scaling))
    active = np.asarray(net.hidden[0] + x.reshape(-1, m) @ net.hidden[1:]) > 0  # of all n J patches
    assert active.sum(axis=0).tolist() == [1] * n
    assert (np.argmax(active, axis=0) // num).tolist() == list(range(n))
    apart = 1 - x.reshape(-1, m) @ x.reshape(-1, m).T + 9 * np.eye(n * num)  # the best separated patch was chosen
    assert (np.argmax(active, axis=0) % num).tolist() == apart.min(axis=1).reshape(n, num).argmax(axis=1).tolist()
    whole = x.reshape(n, -1)
    np.testing.assert_allclose(patch_output(net, whole, m, m), y, atol=1e-12)
    hessian, squared = tops(patch_hessian(net, whole, y, 0.5, m, m), patch_jacobian(net, whole, m, m))
    assert hessian == pytest.approx(interpolator_sharpness(y, scaling, num), rel=1e-10)
    assert squared == pytest.approx(hessian, rel=1e-10)
    assert hessian < patch_sharpness_bound(n, np.abs(y).max(), num, scaling)


def test_points_of_other_norms_have_it_with_their_own_radius_and_those_that_do_not_stand_out_are_left(x64):
    x = np.array([[2.0, 0], [0, 1], [0.5, 0], [-1, -1]])  # the third is behind the first
    y = np.array([1.0, -0.5, 0.7, 2.0])
    gap = standout_margins(x)
    assert np.asarray(gap > 0).tolist() == [True, True, False, True]
    net = to_numpy(build_isolating_neurons(jnp.asarray(x), gap, jnp.asarray(y), "optimal"))
    np.testing.assert_allclose(net_output(net, x), [1, -0.5, 0, 2], atol=1e-14)
    diagonal = kernel_diagonal(y * [1, 1, 0, 1], "optimal", radius=np.linalg.norm(x, axis=1))
    np.testing.assert_allclose(diagonal, 2 * np.array([1, 0.5, 0, 2]) * np.sqrt([5, 2, 1.25, 3]))
    assert tops_of_net(net, x, y) == pytest.approx((float(kernel_top_eigenvalue(diagonal)) / 4,) * 2)


def test_bounds_are_the_notes_and_attained_by_labels_of_one_size(x64):
    assert sphere_sharpness_bound(64, 1.0, "paper") == pytest.approx(1.04688, abs=1e-5)
    assert sphere_sharpness_bound(200, 2.0, "paper") == pytest.approx(1.03)
    assert patch_sharpness_bound(50, 1.5, 4, "paper") == pytest.approx(1.0475)
    assert patch_sharpness_bound(50, 1.5, 4, "optimal") == pytest.approx(1 + 2 * 2**0.5 * 1.5 / 200)
    for num in (1, 4):
        for scaling in SCALINGS:
            y = np.array([1.5, -1.5, 1.5])
            assert interpolator_sharpness(y, scaling, num) == pytest.approx(
                patch_sharpness_bound(3, 1.5, num, scaling), rel=1e-12
            )
            y[0] = 0.5
            assert 1 < interpolator_sharpness(y, scaling, num) < patch_sharpness_bound(3, 1.5, num, scaling) - 1e-3
    assert sphere_sharpness_bound(9, 2**0.5, "paper") == pytest.approx(sphere_sharpness_bound(9, 2**0.5, "optimal"))


def test_no_rescaling_of_single_pairs_is_flatter_than_the_optimal(rng, x64):
    """Factors drawn for every pair on its own; a factor on all of the paper's pairs makes that net flatter."""
    y = rng.uniform(-1, 1, 30)
    for num in (1, 3):
        least = {s: interpolator_sharpness(y, s, num) for s in SCALINGS}
        factors = np.exp(rng.normal(scale=0.3, size=(50, 30)))
        found = jax.vmap(lambda f: kernel_top_eigenvalue(kernel_diagonal(y, "optimal", num, pair_scale=f)))(factors) / 30
        assert found.min() > least["optimal"] < least["paper"]
    assert kernel_top_eigenvalue(kernel_diagonal(y, "paper", pair_scale=1.3)) / 30 < interpolator_sharpness(y, "paper") - 1e-3


def test_theory_s_lower_bound_is_the_mean_of_the_diagonal(rng, x64):
    """1 + 2 sum |v_k| |w_k| g~_k = 1 + mean(c)/n for optimal pairs, so C1 is attained by labels of one size."""
    x, y = on_sphere(rng, 12, 3), rng.uniform(-1, 1, 12)
    net = build_sphere_interpolator(x, y, "optimal")
    size = np.linalg.norm(net.hidden[1:], axis=0)
    weight = empirical_weight(x, net.hidden[1:] / size, -net.hidden[0] / size, sides=1)
    low = 1 + 2 * float(np.sum(np.abs(net.readout) * size * weight))
    assert low == pytest.approx(1 + float(jnp.mean(kernel_diagonal(y, "optimal"))) / 12)
    assert low < interpolator_sharpness(y, "optimal")


@pytest.mark.parametrize("diagonal", [[2.0], [3.0, 3.0, 3.0], [0.0, 0.0, 5.0], [1e6, 1.0, 0.5], [1.0, 1.0 + 1e-9, 0.2]])
def test_top_eigenvalue_is_that_of_the_matrix(diagonal, x64):
    c = np.array(diagonal)
    exact = np.linalg.eigvalsh(np.ones((len(c), len(c))) + np.diag(c))[-1]
    assert float(kernel_top_eigenvalue(c)) == pytest.approx(exact, rel=1e-12)
    padded, used = np.append(c, [9e9, 0]), np.append(np.ones(len(c), bool), [False, False])
    assert float(kernel_top_eigenvalue(padded, used)) == pytest.approx(exact, rel=1e-12)


def test_memorable_share_is_the_share_that_stands_out(rng, x64):
    assert memorable_share(BALL, 2, 1) == pytest.approx(3 / 4, abs=1e-6)  # E (1 + |x|) / 2
    assert memorable_share(BALL, 1, 3) == pytest.approx(1)
    assert memorable_share(SPHERE, 50, 3) == pytest.approx(1, abs=1e-9)
    seen = jax.jit(jax.vmap(standout_margins))
    for alpha in (0.5, 2.0):
        points = on_sphere(rng, 200, 20, 3) * (1 - rng.uniform(size=(200, 20, 1)) ** (1 / alpha))
        shares = np.mean(np.asarray(seen(points)) > 0, axis=1)
        assert shares.mean() == pytest.approx(memorable_share(radial_forms(alpha), 20, 3), abs=4 * shares.std() / 200**0.5)
    exponent = np.log2(memorable_share(BALL, 10**6, 2) / memorable_share(BALL, 2 * 10**6, 2))
    assert exponent == pytest.approx(BALL.depth_exponent(2), abs=0.01)


def test_both_sharpnesses_are_those_of_the_matrices_where_they_differ(rng, x64):
    x, y = on_sphere(rng, 10, 3), rng.normal(size=10)
    net = TwoLayer(jnp.asarray(rng.normal(size=(4, 6))), jnp.asarray(rng.normal(size=6)), jnp.asarray(0.3))
    seen = view(net, x, y)
    guess = jax.tree.map(jnp.ones_like, net)
    found = jax.jit(lambda p: top_eigenpairs_of_both(seen.model, p, seen.train, 0.5, seen.loss_gradient, guess).value)(net)
    hessian, squared = tops_of_net(to_numpy(net), x, y)
    assert abs(hessian - squared) > 1e-3
    np.testing.assert_allclose(found, [squared, hessian], rtol=1e-8)


def runner(program: Dynamics):
    """(spec, schedule) -> records, compiled once for all specs of the program."""
    begin = jax.jit(lambda key, hyper: start(program, key, hyper))
    segment = jax.jit(lambda key, fixed, *rest: advance(program, key, fixed, *rest))

    def records(spec: InterpolationSpec, schedule: tuple[int, ...]) -> dict[str, np.ndarray]:
        key = jax.random.key(spec.seed)
        fixed, state = begin(key, traced(spec))
        return drive(lambda *a: segment(key, fixed, *a), state, schedule).records

    return records


def traced(spec: InterpolationSpec) -> dict[str, jax.Array]:
    sizes = set(spec.shape_fields)
    return {k: jnp.asarray(v, jnp.int32 if k in sizes else spec.precision) for k, v in specs.hyper(spec).items()}


def test_descent_stays_leaves_or_settles_elsewhere_and_padding_changes_nothing(x64):
    """One program for all, padded in n and d. With labels +-1/2 and n = 12 a flatter net is stable up to
    1.062 of the edge."""
    base = InterpolationSpec(
        data=DataSpec(law="sphere", input_dim=3, num_samples=12),
        precision="float64",
        bound=0.5,
        label_spread=0.0,
        perturbation=1e-3,
    )
    base.check()
    padded, plain = runner(specs.static(base, (5, 14)).dynamics()), runner(specs.static(base).dynamics())
    ends = {}
    for ratio in (0.9, 1.03, 1.1):
        records = padded(specs.put(base, {"edge_ratio": ratio}), (0, 1500))
        assert records["exact_sharpness"][0] == pytest.approx(1 + 2.25 / 12)
        assert records["sharpness"][0] == pytest.approx(1 + 2.25 / 12, abs=1e-2)
        assert records["used_width"].tolist() == [12, 12] and records["distance"][0] <= 1e-3
        ends[ratio] = {name: float(values[-1]) for name, values in records.items()}
    assert ends[0.9]["interpolation_error"] < 1e-12 and ends[0.9]["distance"] < 2e-3
    assert ends[1.03]["interpolation_error"] < 1e-6 and ends[1.03]["distance"] > 0.02 and ends[1.03]["edge"] < 1
    assert ends[1.03]["sharpness"] >= sphere_sharpness_bound(12, 0.5, "optimal") - 1e-6
    assert ends[1.1]["interpolation_error"] > 0.01
    others = padded(base, (0, 20))
    for name, values in plain(base, (0, 20)).items():
        np.testing.assert_allclose(others[name], values, rtol=1e-6, atol=1e-8, err_msg=name)


def test_bad_input_is_named(rng):
    x, y = on_sphere(rng, 4, 3), np.ones(4)
    with pytest.raises(InputError, match="scaling = 'best': choose one of optimal, paper"):
        build_sphere_interpolator(x, y, "best")
    with pytest.raises(InputError, match=r"margin = 1\.0: must be in \(0, 1\)"):
        build_sphere_interpolator(x, y, margin=1.0)
    with pytest.raises(InputError, match="off the unit sphere"):
        build_sphere_interpolator(2 * x, y)
    with pytest.raises(InputError, match="two points are the same"):
        build_sphere_interpolator(np.concatenate([x, x[:1]]), np.ones(5))
    with pytest.raises(InputError, match="patch_dim = 2: must divide the 3 coordinates"):
        build_patch_interpolator(x, y, 2)
    with pytest.raises(InputError, match=r"data\.law = 'sphere': choose one of patch_spheres"):
        InterpolationSpec(construction="patch_paper").check()
    with pytest.raises(InputError, match=r"margin = 1\.5: must be below 1"):
        InterpolationSpec(margin=1.5).check()
