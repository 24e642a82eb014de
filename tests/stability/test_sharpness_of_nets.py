"""Sharpness of nets against SciPy, the Hessian of the net itself, and the flat set."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from net_cases import COLUMNS, Case, D, K, N, in_ball, kink_distance, look_at, many, torch_like, train, trained_cases
from oracles import dense_hessian, net_jacobian, random_net, to_jax
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, eigsh

from dynamics.curvature import hessian
from dynamics.errors import InputError
from dynamics.measures import flatness as flat
from dynamics.measures.view import view
from dynamics.models.two_layer import TwoLayer, build_two_layer

pytestmark = pytest.mark.usefixtures("x64")


# Sharpness


def check_curvature(cases, seen, tolerance=1e-5):
    """Hessian, Gauss-Newton, the rest's exact norm and the bracket,
    against SciPy on dense matrices of numpy's making."""
    for i, c in enumerate(cases):
        full, jacobian = c.hessian, net_jacobian(c.net, c.x)
        values = linalg.eigvalsh(full)
        assert seen["sharpness"][i] == pytest.approx(values[-1], rel=tolerance)
        gauss_newton = 2 * c.factor / len(c.y) * jacobian @ jacobian.T
        assert seen["gauss_newton_sharpness"][i] == pytest.approx(linalg.eigvalsh(gauss_newton)[-1], rel=1e-9)
        rest = linalg.eigvalsh(full - 2 * c.factor / len(c.y) * jacobian.T @ jacobian)
        scale = np.abs(full).max()  # the difference of two large matrices
        assert seen["residual_sharpness"][i] == pytest.approx(np.abs(rest).max(), rel=1e-10, abs=1e-13 * scale)
        assert rest[0] == pytest.approx(-rest[-1], abs=1e-12 * scale)
        assert abs(values[-1] - seen["gauss_newton_sharpness"][i]) <= seen["residual_sharpness"][i] + 1e-9 * values[-1]
        assert values[-1] >= 2 * c.factor * (1 - 1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_sharpness_of_nets_of_any_scale_is_scipys(seed):
    cases = many(seed, 128)
    seen = look_at(cases)
    check_curvature(cases, seen)
    assert seen["sharpness_converged"].all()
    # the Gauss-Newton value, and the eigenvalue of largest magnitude, are other numbers: the check tells them apart
    assert np.mean(np.abs(seen["gauss_newton_sharpness"] / seen["sharpness"] - 1) > 1e-3) > 0.1


def test_sharpness_of_trained_nets_is_scipys():
    """But for the few that GD has brought onto a kink, to rounding: there the loss has no Hessian."""
    cases, rates, steps = trained_cases()
    smooth = np.array([kink_distance(c) > 1e-12 for c in cases])
    assert smooth.mean() > 0.95
    cases, rates, steps = [c for c, s in zip(cases, smooth, strict=True) if s], rates[smooth], steps[smooth]
    seen = look_at(cases)
    check_curvature(cases, seen, tolerance=1e-9)
    edge = rates * seen["sharpness"] / 2
    assert np.sum(np.abs(edge[steps == 8000] - 1) < 0.05) >= 5  # some did arrive at 2 / eta


def test_sharpness_where_residuals_rule_and_many_blocks_nearly_tie():
    """The hard case: the top eigenvalues are |q_k| of many neurons active on nearly the same samples, so they nearly
    tie, and the Gauss-Newton vector that Lanczos is started from is no help.
    """
    n, d, width = shape = (30, 2, 40)
    rng, cases = np.random.default_rng(7), []
    for i in range(24):
        net = random_net(rng, d, width)
        net = TwoLayer(net.hidden * 10 ** rng.uniform(-3, 0, size=(d + 1, 1)), 0.01 * net.readout, net.offset)
        y = rng.normal(size=n) * 10 ** rng.uniform(0, 3)
        cases.append(Case(net, in_ball(rng, n, d), y + 10 * np.abs(y).max() * (i % 3 == 0)))
    seen = look_at(cases, shape, measures=COLUMNS[:2], size=len(cases))
    top = np.array([linalg.eigvalsh(c.hessian)[-2:] for c in cases])
    np.testing.assert_allclose(seen["sharpness"], top[:, 1], rtol=1e-5)
    assert np.mean(seen["gauss_newton_sharpness"] < 0.1 * top[:, 1]) > 0.4
    assert np.min(1 - top[:, 0] / top[:, 1]) < 1e-4  # such near ties do occur


@cache
def start_and_edge():
    start = torch_like(np.random.default_rng(11), N, D, K)
    return start, train([start], [1.2], [8000])[0]


def named_cases():
    """The nets that the demand names, by name."""
    start, edge = (Case(c.net, c.x, c.y) for c in start_and_edge())
    dead = Case(edge.net._replace(hidden=edge.net.hidden + np.eye(D + 1, 1) * -100), edge.x, edge.y)
    twice = TwoLayer(np.tile(start.net.hidden[:, :4], 2), np.tile(start.net.readout[:4], 2), start.net.offset)
    larger = TwoLayer(
        np.pad(start.net.hidden[:3, :5], ((0, 1), (0, 3))), np.pad(start.net.readout[:5], (0, 3)), start.net.offset
    )
    flat_x = start.x * [1, 1, 0]
    return {
        "start": start,
        "edge": edge,
        "dead": dead,
        "duplicated": Case(twice, start.x, start.y),
        "padded": Case(larger, flat_x, start.y),
        "far labels": Case(start.net, start.x, 1e3 * start.y),
        "one sample": Case(start.net, start.x[:1], start.y[:1]),
    }


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_sharpness_of_the_nets_that_were_asked_for_is_scipys(factor):
    cases = list(named_cases().values())
    for case in cases:
        case.factor = factor
    check_curvature(cases, look_at(cases), tolerance=1e-9)


@pytest.mark.parametrize("name, normalization, factor", [("edge", "half", 0.5), ("far labels", "mse", 1.0)])
def test_dense_lanczos_and_arpack_agree(monkeypatch, name, normalization, factor):
    case = named_cases()[name]
    case.factor = factor
    seen = view(case.net, case.x, case.y, normalization=normalization)
    exact = linalg.eigvalsh(case.hessian)[-1]
    dense = flat.decompose_curvature(seen)
    assert (dense.method, dense.residual) == ("dense", 0.0)
    assert dense.hessian == pytest.approx(exact, rel=1e-11)
    assert max(dense.low, 2 * factor) <= exact <= dense.high and dense.low >= 2 * factor
    product = jax.jit(hessian.build_hessian_product(seen.loss, seen.params))  # by autodiff, not by the closed form
    operator = LinearOperator(case.hessian.shape, lambda v: np.asarray(product(v.ravel())), dtype=float)
    arpack = eigsh(operator, 1, which="LA", tol=1e-12, v0=np.ones(len(case.hessian)))[0][0]
    assert dense.hessian == pytest.approx(arpack, rel=1e-9)
    monkeypatch.setattr(flat, "DENSE_PARAMETERS", 0)
    lanczos = flat.decompose_curvature(seen)
    assert lanczos.method == "lanczos" and lanczos.residual <= 1e-6 * exact
    assert lanczos.hessian == pytest.approx(arpack, rel=1e-9)
    assert (lanczos.low, lanczos.high) == (dense.low, dense.high)


def test_a_net_that_is_dead_on_the_data_has_sharpness_one_exactly_and_none_has_less():
    """Proposition I.2 and section 1.4 of the notes: the output bias alone has curvature 1 in theory units,
    at every theta."""
    dead = named_cases()["dead"]
    seen = look_at([dead, Case(dead.net, dead.x, 0 * dead.y), *many(3, 128)])
    np.testing.assert_allclose(seen["sharpness"][:2], 1.0, rtol=4e-16)
    np.testing.assert_allclose(seen["gauss_newton_sharpness"][:2], 1.0, rtol=1e-15)  # sums over n, twice
    assert (seen["c1_scale"] >= 1 - 1e-12).all() and (seen["c1_scale"] > 1 + 1e-3).any()


# The Hessian of the net itself


def test_second_derivative_of_the_output_is_bounded_by_its_neurons(rng):
    """Lemma C.1 with its exact constant: |z' Hess f(x) z| <= max_k 1_k sqrt(1 + |x|^2) <= R + 1 for unit z,
    attained."""
    model = build_two_layer(D, 4, "relu", "torch_default", jnp.float64)
    curve = jax.jit(jax.hessian(lambda p, x: model.apply(p, model.prepare(x[None], jnp.zeros(1), jnp.ones(1)))[0, 0]))
    for _ in range(6):
        net, x = random_net(rng, D, 4), 2 * rng.normal(size=D)
        parts = curve(to_jax(net), jnp.asarray(x))
        sizes = [np.size(leaf) for leaf in net]
        matrix = np.block([[np.asarray(parts[i][j]).reshape(sizes[i], sizes[j]) for j in range(3)] for i in range(3)])
        active = x @ net.hidden[1:] + net.hidden[0] > 0
        bound = np.sqrt(1 + x @ x) * active.any()
        assert np.abs(linalg.eigvalsh(matrix)).max() == pytest.approx(bound, rel=1e-12)
        assert bound <= np.linalg.norm(x) + 1


# The flat set


def test_below_edge_of_stability_compares_with_two_over_eta_in_the_units_of_the_loss():
    case = named_cases()["start"]
    seen = view(case.net, case.x, case.y, normalization="mse")
    top = linalg.eigvalsh(dense_hessian(case.net, case.x, case.y, 1.0))[-1]
    assert flat.below_edge_of_stability(seen, 2 / top * (1 - 1e-9))
    assert not flat.below_edge_of_stability(seen, 2 / top * (1 + 1e-9))
    assert flat.below_edge_of_stability(seen, 2 / flat.decompose_curvature(seen).hessian)  # equality counts
    for rate in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="learning_rate"):
            flat.below_edge_of_stability(seen, rate)


def test_above_rate_two_nothing_is_flat():
    dead = named_cases()["dead"]
    seen = view(dead.net, dead.x, dead.y)
    assert flat.below_edge_of_stability(seen, 2.0) and not flat.below_edge_of_stability(seen, 2.0 + 1e-9)
