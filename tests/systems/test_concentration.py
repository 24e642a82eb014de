"""The search for sup |g_n - g_P|, the counting lemmas, conserved quantities and the curvature measure,
by independent means."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import random_net
from scipy import integrate, stats

from dynamics.core.simulate import simulate
from dynamics.data.law import draw_inputs
from dynamics.errors import InputError
from dynamics.measures.balance import conserved
from dynamics.measures.table import MEASURES
from dynamics.measures.view import view
from dynamics.models.two_layer import TwoLayer
from dynamics.stability.one_dimension import effective_knot_count, find_knots, weighted_curvature_integral
from dynamics.stability.ridges import list_ridges, merge_equal_ridges, weighted_path_norm
from dynamics.stability.weight import empirical_weight, population_weight
from dynamics.systems.deviation_search import ConcentrationSpec, weights_in_gaps
from dynamics.theory import uniform_deviation as theory


@partial(jax.jit, static_argnums=(0, 2, 3))
def draw(law, key, n, d):
    return draw_inputs(law, key, n, d, (n, d), float)


def search(schedule=(0, 1, 8), **values):
    spec = ConcentrationSpec(**{"directions": 16, "precision": "float64", **values}).resolve()
    spec.check()
    hyper = {"num_samples": jnp.int32(spec.num_samples), "annulus": jnp.asarray(spec.annulus), "cap": jnp.asarray(spec.cap)}
    key = jax.random.key(spec.seed)
    x = draw(spec.law, jax.random.fold_in(key, 0), spec.num_samples, spec.input_dim)
    return simulate(spec.dynamics(), key, hyper, schedule), np.asarray(x)


def test_found_deviation_is_attained_and_not_overshot(x64):
    """At the direction that is reported a fine grid of thresholds, with g_n counted sample by sample,
    sees the same sup."""
    law, d = "sphere", 3
    run, x = search(law=law, input_dim=d, num_samples=17)
    u = np.asarray(run.state.direction)
    assert np.linalg.norm(u) == pytest.approx(1)
    ends = np.sort(x @ u)
    t = np.concatenate([np.linspace(-1, 1, 4001), ends - 1e-9, ends + 1e-9])
    g = np.array([min(one_sided(x, u, s), one_sided(x, -u, -s)) for s in t])
    assert run.records["deviation"][-1] == pytest.approx(np.abs(g - population_weight(law, t, d)).max(), rel=2e-3)
    assert np.all(np.diff(run.records["deviation"]) >= 0) and run.records["deviation"][1] > 0


def one_sided(x, u, t):
    """P^2 E[X.u - t | .] sqrt(1 + |E[X | .]|^2), from its definition."""
    inside = x[x @ u > t]
    if not len(inside):
        return 0.0
    mean = inside.mean(axis=0)
    return (len(inside) / len(x)) ** 2 * (mean @ u - t) * math.sqrt(1 + mean @ mean)


def test_one_dimension_leaves_nothing_to_search(x64):
    """There are two directions, g is the same in both, so the first step finds the sup."""
    run, _ = search(input_dim=1, num_samples=40)
    assert run.records["deviation"][1] == pytest.approx(run.records["deviation"][2], rel=1e-12)


def test_gap_weights_ignore_padding(rng, x64):
    x, u = rng.uniform(-0.5, 0.5, (12, 2)), np.array([0.6, 0.8])
    gaps = jax.jit(weights_in_gaps)
    t, g = gaps(x, np.full(12, 1 / 12), u, 1.0)
    padded = gaps(np.pad(x, [(0, 5), (0, 0)]), np.pad(np.full(12, 1 / 12), (0, 5)), u, 1.0)
    np.testing.assert_allclose(padded[1][:, :13], g, atol=1e-15)
    assert np.all(padded[1][:, 13:] == 0) and np.all(padded[0][:, 13:] == 1)
    middle = jax.jit(empirical_weight)(x, np.repeat(u[:, None], 13, axis=1), np.asarray(t[1]))
    np.testing.assert_allclose(g[1], middle, atol=1e-15)


def test_another_dimension_does_not_fit_and_counts_are_those_of_the_sample(x64):
    """The sup against the law itself falls with n, that against another dimension's g_P stays at their distance."""
    apart = np.abs(population_weight("uniform_ball", 0.0, 2) - population_weight("uniform_ball", 0.0, 5))
    values = {"input_dim": 2, "num_samples": 1000, "annulus": 0.2, "cap": 0.7}
    (run, x), (other, _) = (search((0, 4), weight_dim=w, **values) for w in (2, 5))
    assert run.records["deviation"][-1] < 0.6 * apart < 0.9 * apart < other.records["deviation"][-1]
    assert run.records["in_annulus"][0] == np.sum(np.linalg.norm(x, axis=1) > 0.8)
    assert run.records["in_cap"][0] == np.sum(x[:, 0] >= 0.3)


@pytest.mark.parametrize(
    "values, field", [({"law": "grid"}, "law"), ({"annulus": 0.0}, "annulus"), ({"directions": 1}, "directions")]
)
def test_bad_values_are_named(values, field):
    with pytest.raises(InputError, match=field):
        replace(ConcentrationSpec(), **values).resolve().check()


@pytest.mark.parametrize("d", [1, 2, 5, 10])
def test_cap_bounds(d):
    """Against quadrature of the density of X_1, and the constants are not swapped."""
    density = integrate.quad(lambda s: (1 - s * s) ** ((d - 1) / 2), -1, 1)[0]
    low, high = theory.cap_constants(d)
    for h in (0.01, 0.3, 1.0):
        p = integrate.quad(lambda s: (1 - s * s) ** ((d - 1) / 2), 1 - h, 1)[0] / density
        assert theory.cap_probability(h, d) == pytest.approx(p, rel=1e-6)
        assert low * h ** ((d + 1) / 2) * (1 - 1e-9) <= p <= high * h ** ((d + 1) / 2) * (1 + 1e-9)
    assert high / low == pytest.approx(2 ** ((d - 1) / 2))
    assert p / low < 2 ** ((d - 1) / 2) or d == 1  # at h = 1 the upper bound is not attained


def test_lemma_f7_needs_its_chernoff_condition():
    """The counterexample by hand: one sample in the annulus is already too many, and that is likelier than delta."""
    n, p, delta = 512, 1.2e-4, 0.01
    bound = float(theory.annulus_bound(p, n, delta))
    assert n * bound < 1 and not theory.chernoff_applies(p, n, delta)
    assert theory.exceedance_probability(bound, p, n) == pytest.approx(1 - (1 - p) ** n, rel=1e-9)
    assert theory.exceedance_probability(bound, p, n) > 5 * delta
    assert theory.exceedance_probability(theory.bernstein_bound(p, n, delta), p, n) <= delta
    admitted = 0.1
    assert theory.chernoff_applies(admitted, n, delta)
    bound = theory.annulus_bound(admitted, n, delta)
    k = np.arange(n + 1)
    assert theory.exceedance_probability(bound, admitted, n) == pytest.approx(
        stats.binom.pmf(k, n, admitted)[k > n * bound].sum()
    )
    assert theory.exceedance_probability(bound, admitted, n) <= delta


def descend(params, x, y, rate, steps, decay=0.0):
    """Gradient descent in plain JAX autodiff on (1/2n) sum (f - y)^2 + decay/2 |theta|^2."""

    def loss(p):
        z = p.hidden[0] + x @ p.hidden[1:]
        f = jnp.where(z <= 0, 0, z) @ p.readout + p.offset
        return jnp.mean((f - y) ** 2) / 2 + decay / 2 * sum(jnp.sum(leaf**2) for leaf in p)

    return jax.lax.fori_loop(0, steps, lambda _, p: jax.tree.map(lambda a, g: a - rate * g, p, jax.grad(loss)(p)), params)


def test_conserved_moves_at_second_order_a_step(rng, x64):
    """One GD step moves c_k by eta^2 (|dL/d(w, b)|^2 - (dL/dv)^2) exactly;
    decay shrinks it by (1 - eta decay)^2 first."""
    params = jax.tree.map(jnp.asarray, random_net(rng, 2, 6))
    x, y = rng.uniform(-1, 1, (9, 2)), rng.normal(size=9)
    rate = 0.1

    @jax.jit
    def look(params, decay):
        return conserved(descend(params, x, y, rate, 1, decay)), conserved(params), conserved(view(params, x, y).gradient)

    for decay in (0.0, 0.3):
        after, before, of_gradient = map(np.asarray, look(params, decay))
        np.testing.assert_allclose(after, (1 - rate * decay) ** 2 * before + rate**2 * of_gradient, rtol=1e-10, atol=1e-12)
    assert np.abs(of_gradient).max() > 1e-3  # so that a missing term would be seen


def test_balance_reads_the_right_norms(x64):
    """Three neurons by hand: one balanced with its bias, one without, one too small to carry."""
    hidden = np.array([[3.0, 3.0, 1e-5], [4.0, 4.0, 0.0]])
    params = TwoLayer(hidden, np.array([5.0, 4.0, 1.0]), np.array(0.0))
    seen = jax.jit(lambda params: MEASURES["balance"](view(params, np.zeros((1, 1)), np.zeros(1))))(params)
    assert seen["imbalance_max"] == pytest.approx(9 / 41) and seen["imbalance_mean"] == pytest.approx(9 / 82)
    assert seen["weights_imbalance_max"] == pytest.approx(9 / 41)
    assert seen["carrying_fraction"] == pytest.approx(2 / 3)
    assert seen["conserved_sum"] == pytest.approx(0 + 9 - 1, abs=1e-9)


def net_of(kinks, jumps, flipped=()):
    """A net of one input with these kinks and jumps; those flipped stand as relu(-(x - t))."""
    sign = np.array([-1.0 if k in flipped else 1.0 for k in range(len(kinks))])
    return TwoLayer(np.stack([-sign * kinks, sign]), np.array(jumps, float), np.array(0.2))


def value(params):
    return lambda x: np.maximum(x[:, None] * params.hidden[1] + params.hidden[0], 0) @ params.readout + params.offset


def test_curvature_integral_is_the_reduced_norm(rng, x64):
    x = rng.uniform(-1, 1, 30)
    params = net_of(np.array([-0.41, 0.1003, 0.333]), [1.5, -2.0, 0.7], flipped=(1,))
    norm = weighted_path_norm(merge_equal_ridges(params), x[:, None])
    assert weighted_curvature_integral(value(params), x, 20001) == pytest.approx(norm, rel=1e-6)
    assert weighted_curvature_integral(lambda s: 3 * s + 1, x, 20001) == pytest.approx(0, abs=1e-6)
    at, jump = find_knots(params, x)
    np.testing.assert_allclose(at, [-0.41, 0.1003, 0.333])
    np.testing.assert_allclose(jump, [1.5, -2.0, 0.7])


def test_merging_opposite_neurons_lowers_the_norm(rng, x64):
    """relu(z) - relu(-z) = z: two neurons, no curvature. Unmerged they would be charged for both."""
    x = rng.uniform(-1, 1, 30)
    params = net_of(np.array([0.1, 0.1, -0.3]), [2.0, -2.0, 1.0], flipped=(1,))
    merged, naive = (weighted_path_norm(form(params), x[:, None]) for form in (merge_equal_ridges, list_ridges))
    assert weighted_curvature_integral(value(params), x, 20001) == pytest.approx(merged, rel=1e-6)
    assert naive > 2 * merged


def test_effective_knots_count_gaps():
    x = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    assert effective_knot_count(net_of(np.array([-0.7, 0.2, 0.3]), [1.0, 0.5, 0.5]), x) == pytest.approx(2)
    assert effective_knot_count(net_of(np.array([-0.7, 0.2, 0.7]), [1.0, 1.0, -1.0]), x) == pytest.approx(3)
    assert effective_knot_count(net_of(np.array([1.5]), [1.0]), x) == 0
