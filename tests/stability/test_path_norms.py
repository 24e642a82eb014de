"""Path norms: ridges, their reduced form, and the integral that it is on a line."""

from __future__ import annotations

import numpy as np
import pytest
from net_cases import Case, in_ball, look_at
from oracles import net_output, path_norms, random_net, two_sided_weight

from dynamics.models.two_layer import TwoLayer
from dynamics.stability.ridges import list_ridges, merge_equal_ridges, path_norm, weighted_path_norm

pytestmark = pytest.mark.usefixtures("x64")


def test_path_norms_of_a_view_leave_samples_on_kinks_out(rng):
    """Integer nets and inputs on a line, full of ties, duplicates, zero weights and zero readouts."""
    cases = []
    for _ in range(60):
        net = TwoLayer(rng.integers(-2, 3, (2, 6)).astype(float), rng.integers(-2, 3, 6).astype(float), 0.0)
        cases.append(Case(net, rng.integers(-2, 3, (5, 1)).astype(float), np.zeros(5)))
    seen = look_at(cases)
    expected = np.array([path_norms(c.net, c.x) for c in cases])
    for column, name in enumerate(("path_norm", "weighted_path_norm", "one_sided_path_norm")):
        np.testing.assert_allclose(seen[name], expected[:, column], rtol=1e-12, atol=1e-14)


def ridge_sum(net, x):
    return np.maximum(x @ net.direction - net.offset, 0) @ net.coefficient


def affine_rest(values, x):
    """What an affine function of x cannot explain."""
    columns = np.column_stack([np.ones(len(x)), x])
    return values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]


def test_ridges_are_the_neurons_in_normal_form(rng):
    net, x = random_net(rng, 3, 6), rng.normal(size=(50, 3))
    net.hidden[1:, 2] = 0
    form = list_ridges(net)
    assert form.coefficient.shape == (5,)
    np.testing.assert_allclose(np.linalg.norm(form.direction, axis=0), 1, rtol=1e-14)
    constant = net.readout[2] * max(net.hidden[0, 2], 0) + net.offset
    np.testing.assert_allclose(ridge_sum(form, x) + constant, net_output(net, x), rtol=1e-12)
    assert path_norm(form) == pytest.approx(path_norms(net, x)[0], rel=1e-13)
    assert weighted_path_norm(form, x) == pytest.approx(path_norms(net, x)[1], rel=1e-12)


def test_reduced_form_merges_duplicates_and_opposites_and_differs_by_an_affine_function(rng):
    """Neuron 1 is neuron 0 thrice as large, 2 its opposite, 3 and 4 cancel, 5 stands alone, 6 has no weight."""
    base = rng.normal(size=(4, 3))
    hidden = np.stack([base[:, 0], 3 * base[:, 0], -0.5 * base[:, 0], base[:, 1], 2 * base[:, 1], base[:, 2], np.eye(4)[0]], 1)
    net = TwoLayer(hidden, np.array([1.0, 2.0, -4.0, 2.0, -1.0, 0.7, 5.0]), 0.3)
    form, x = merge_equal_ridges(net), rng.normal(size=(80, 3))
    norms = np.linalg.norm(base[1:], axis=0)
    assert sorted(np.abs(form.coefficient)) == pytest.approx(sorted([5 * norms[0], 0.7 * norms[2]]), rel=1e-12)
    np.testing.assert_allclose(affine_rest(net_output(net, x) - ridge_sum(form, x), x), 0, atol=1e-12)
    assert np.abs(affine_rest(net_output(net, x), x)).max() > 0.1
    inputs = in_ball(rng, 30, 3)
    assert weighted_path_norm(form, inputs) < path_norms(net, inputs)[1]


def test_reduced_form_of_nothing_is_nothing(rng):
    empty = merge_equal_ridges(TwoLayer(np.eye(3, 2)[[0, 2, 1]] * [1, 0], np.ones(2), 0.0))
    assert (path_norm(empty), weighted_path_norm(empty, rng.normal(size=(4, 2)))) == (0.0, 0.0)


def test_two_opposite_neurons_may_be_affine_and_then_cost_nothing(rng):
    """relu(z) - relu(-z) = z: the seminorm is 0, though (u, t) and (-u, -t) are distinct and their sum is 2 g(u, t).

    A reduced form in which only the pairs (u_j, t_j) are distinct is therefore not reduced enough.
    """
    w, x = rng.normal(size=(4, 1)), in_ball(rng, 40, 3)
    w[0] = 0.1
    net = TwoLayer(np.concatenate([w, -w], axis=1), np.array([1.0, -1.0]), 0.0)
    np.testing.assert_allclose(affine_rest(net_output(net, x), x), 0, atol=1e-13)
    norm = np.linalg.norm(w[1:])
    naive = 2 * norm * two_sided_weight(x, w[1:, 0] / norm, -w[0, 0] / norm)
    assert weighted_path_norm(list_ridges(net), x) == pytest.approx(naive, rel=1e-12) and naive > 0.05
    assert weighted_path_norm(merge_equal_ridges(net), x) == 0


def test_on_a_line_the_reduced_path_norm_is_the_integral_of_f_second_times_g(rng):
    """The integral on a grid of 40 000 cells, from values of f alone."""
    for _ in range(4):
        x = rng.uniform(-1, 1, size=(15, 1))
        net = random_net(rng, 1, 7)
        net.hidden[:, 5], net.hidden[:, 6] = -2 * net.hidden[:, 0], 0.5 * net.hidden[:, 1]
        grid = np.linspace(-1.01, 1.01, 40_001)
        bends = np.abs(np.diff(net_output(net, grid[:, None]), 2)) / (grid[1] - grid[0])  # mass of |f''| in a cell
        where = np.flatnonzero(bends > 1e-6)
        integral = sum(bends[i] * two_sided_weight(x, np.ones(1), grid[i + 1]) for i in where)
        seen = weighted_path_norm(merge_equal_ridges(net), x)
        assert seen == pytest.approx(integral, rel=2e-3) and seen > 1e-3
        assert weighted_path_norm(list_ridges(net), x) > seen * 1.01
