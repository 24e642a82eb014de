"""The search of the flat set, held against dense eigenvalues, exact maxima and its own promises."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import hyper_of, net_gradient, net_jacobian, net_output, random_net, to_jax, to_numpy

from dynamics.core import spec as specs
from dynamics.data.problem import DataSpec
from dynamics.errors import InputError
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import TwoLayer, build_two_layer
from dynamics.stability.flat_ascent import (
    ascend_to_peaks,
    clipped_noise_variance,
    power_iteration_step,
    rayleigh_quotient,
    scale_network_output,
)
from dynamics.systems.flat_search import FlatSearchSpec
from dynamics.systems.flat_search_state import FeasibleNet, FlatnessCheck, choose_better, evaluate_network, is_feasible

SIZES = (2, 8, 6)  # input_dim, num_samples, width of the one program that these tests compile
SPEC = FlatSearchSpec(
    data=DataSpec(input_dim=2, num_samples=8, noise_std=0.02, num_test=400),
    model=ModelSpec(width=6),
    start="random",
    ascent_steps=20,
    ascent_rate=0.03,
    batch_size=64,
    num_check=16,
    descent_steps=300,
    precision="float64",
)


def sharpness_by_differences(params: TwoLayer, x: np.ndarray, y: np.ndarray, step: float = 1e-7) -> float:
    """Largest eigenvalue of the Hessian of (1/2n) sum r^2, from differences of the oracle's gradient."""
    flat = np.concatenate([np.ravel(leaf) for leaf in params])
    rows, width = params.hidden.shape
    weights = np.full(len(x), 1 / len(x))

    def gradient(v):
        net = TwoLayer(v[: rows * width].reshape(rows, width), v[rows * width : -1], v[-1])
        return np.concatenate([np.ravel(leaf) for leaf in net_gradient(net, x, y, weights, 0.5)])

    columns = [(gradient(flat + step * e) - gradient(flat - step * e)) / (2 * step) for e in np.eye(len(flat))]
    hessian = np.stack(columns)
    return float(np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1])


def gauss_newton_eigenvalues(params: TwoLayer, x: np.ndarray) -> np.ndarray:
    jacobian = net_jacobian(params, x) / np.sqrt(len(x))
    return np.linalg.eigvalsh(jacobian @ jacobian.T)


def batch_of(params: TwoLayer, x: np.ndarray):
    model = build_two_layer(x.shape[1], params.readout.size, "relu", "torch_default", jnp.float64)
    return jax.jit(model.prepare)(x, np.zeros(len(x)), np.full(len(x), 1 / len(x)))


@pytest.fixture(scope="module")
def programs():
    """init of all starts, step and observe, compiled once at `SIZES`, in float64."""
    with jax.enable_x64(True):
        inits = {s: specs.static(replace(SPEC, start=s)).dynamics().init for s in ("descent", "caps", "random")}
        shared = specs.static(SPEC).dynamics()
        init = jax.jit(lambda key, hyper: {s: f(key, hyper) for s, f in inits.items()})  # what they have in common once
        yield SimpleNamespace(init=init, step=jax.jit(shared.step), observe=jax.jit(shared.observe))


def search(programs, start: str, *, seed: int = 1, dim: int = 2, steps: int = 5, rate: float = 0.4):
    """(scene, states) of a search, the first state before anything was offered."""
    spec = replace(SPEC, start=start, seed=seed, learning_rate=rate, data=replace(SPEC.data, input_dim=dim))
    key = jax.random.key(seed)
    scene, state = programs.init(key, hyper_of(spec))[start]
    states = [state]
    for t in range(steps):
        states.append(programs.step(states[-1], scene, jax.random.fold_in(key, t)))
    return scene, states


def test_rayleigh_gradient_is_that_of_the_top_eigenvalue(x64, rng):
    x, params = rng.normal(size=(6, 2)), random_net(rng, 2, 5)
    batch = batch_of(params, x)
    jacobian = net_jacobian(params, x) / np.sqrt(6)
    values, vectors = np.linalg.eigh(jacobian @ jacobian.T)
    vector = jnp.asarray(vectors[:, -1])
    assert values[-1] - values[-2] > 0.1
    functions = jax.value_and_grad(rayleigh_quotient), power_iteration_step
    (value, slope), stepped = jax.jit(lambda *seen: [f(*seen) for f in functions])(to_jax(params), batch, vector)
    np.testing.assert_allclose(value, values[-1], rtol=1e-12)
    np.testing.assert_allclose(stepped, vector, atol=1e-12)
    toward = random_net(rng, 2, 5)
    step = 1e-6

    def moved(sign):
        return gauss_newton_eigenvalues(TwoLayer(*(p + sign * step * t for p, t in zip(params, toward, strict=True))), x)[-1]

    measured = (moved(1) - moved(-1)) / (2 * step)
    np.testing.assert_allclose(sum(np.sum(g * t) for g, t in zip(slope, toward, strict=True)), measured, rtol=1e-7)


def test_rayleigh_gradient_is_finite_at_a_repeated_eigenvalue(x64):
    # one neuron of constant activation 1 on x = +-2: K_12 = 1 + 1 + (1 - 4) v^2 vanishes at v^2 = 2/3, and K_11 = K_22
    params = TwoLayer(jnp.array([[1.0], [0.0]]), jnp.array([np.sqrt(2 / 3)]), jnp.zeros(()))
    x = np.array([[2.0], [-2.0]])
    low, high = gauss_newton_eigenvalues(to_numpy(params), x)
    np.testing.assert_allclose(low, high, rtol=1e-12)
    slope = jax.jit(jax.grad(rayleigh_quotient))(params, batch_of(params, x), jnp.array([0.6, 0.8]))
    assert all(np.isfinite(leaf).all() for leaf in slope)
    assert np.linalg.norm(slope.hidden) > 0


def test_shrinking_scales_the_net_and_bounds_its_sharpness(x64, rng):
    x, params = rng.normal(size=(7, 3)), random_net(rng, 3, 5)
    before = gauss_newton_eigenvalues(params, x)[-1]
    for factor in (0.0, 0.3, 0.9, 1.0):
        small = to_numpy(scale_network_output(to_jax(params), jnp.asarray(factor)))
        np.testing.assert_allclose(net_output(small, x), factor * net_output(params, x), rtol=1e-12, atol=1e-14)
        assert gauss_newton_eigenvalues(small, x)[-1] - 1 <= factor * (before - 1) * (1 + 1e-12)


def test_climbing_reaches_a_ridge_that_samples_miss(x64, rng):
    u = np.array([0.6, 0.0, 0.8])
    params = TwoLayer(jnp.asarray(np.concatenate([[-0.5], u])[:, None]), jnp.array([-2.0]), jnp.zeros(()))
    points = rng.normal(size=(20, 3))
    points = points / np.linalg.norm(points, axis=1, keepdims=True)

    def largest(x):
        return np.abs(net_output(params, np.asarray(x))).max()

    found = jax.jit(lambda x: ascend_to_peaks(lambda x: evaluate_network(params, x), x, jnp.asarray(1.0), 20))(points)
    assert np.linalg.norm(found, axis=1).max() <= 1 + 1e-12
    np.testing.assert_allclose(largest(found), 1.0, rtol=1e-3)  # 2 (1 - 0.5), at u
    assert largest(points) < 0.95


def test_variance_of_clipped_noise(x64, rng):
    draws = rng.normal(size=1_000_000)
    variance = jax.jit(clipped_noise_variance)
    for std, bound in ((0.5, 1.0), (2.0, 1.0), (0.1, 3.0)):
        expected = np.mean(np.clip(std * draws, -bound, bound) ** 2)
        np.testing.assert_allclose(variance(std, bound), expected, rtol=6e-3)
    assert variance(0.0, 1.0) == 0


@pytest.mark.parametrize("start", ["descent", "caps", "random"])
def test_every_best_point_is_flat_by_differences_and_bounded(programs, x64, start):
    rate = 0.4
    scene, states = search(programs, start, rate=rate)
    x, y, _, _ = to_numpy(scene.run.problem.train)
    for state in states:
        best = to_numpy(state.best.params)
        seen = sharpness_by_differences(best, x, y)
        assert seen <= 2 / rate * (1 + 1e-6)
        np.testing.assert_allclose(state.best.seen.edge, seen * rate / 2, rtol=2e-3)
    circle = np.stack([np.cos(a := np.linspace(0, 2 * np.pi, 4000)), np.sin(a)], axis=1)
    assert np.abs(net_output(to_numpy(states[-1].best.params), circle)).max() <= 1.01


def test_labels_are_cut_off_at_the_bound(programs, x64):
    hyper = hyper_of(replace(SPEC, data=replace(SPEC.data, noise_std=5.0)))
    labels = programs.init(jax.random.key(0), hyper)["random"][0].run.problem.train.labels
    assert np.abs(labels).max() == 1
    assert len(np.unique(labels)) > 2


def test_bound_holds_exactly_on_the_line(programs, x64):
    _, states = search(programs, "random", dim=1)
    best = to_numpy(states[-1].best.params)
    assert np.all(best.hidden[2] == 0)  # the padded coordinate
    kinks = -best.hidden[0] / best.hidden[1]
    where = np.concatenate([kinks[np.abs(kinks) <= 1], [-1, 1]])[:, None]
    largest = np.abs(net_output(TwoLayer(best.hidden[:2], best.readout, best.offset), where)).max()
    assert 0.5 < largest <= 1.005


def test_ascent_leaves_the_flat_set_that_shrinking_brings_it_back_to(programs, x64):
    """The control of the feasibility check: the same points before they are shrunk,
    and the same nets at a larger eta."""
    _, states = search(programs, "random", rate=1.9)
    assert any(float(s.seen.edge) > 1.001 or float(s.seen.sup_norm) > 1.001 for s in states)
    assert all(float(s.best.seen.edge) <= 1 for s in states)
    scene, states = search(programs, "random", rate=0.4)
    x, y, _, _ = to_numpy(scene.run.problem.train)
    assert sharpness_by_differences(to_numpy(states[-1].best.params), x, y) > 2 / 1.9


def test_the_best_only_improves(programs, x64):
    _, states = search(programs, "random", steps=8)
    scores = [float(s.best.score) for s in states]
    assert np.all(np.diff(scores) >= 0)
    assert scores[-1] > scores[1] + 0.05


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_a_point_that_cannot_be_checked_is_rejected(programs, x64, value):
    scene, states = search(programs, "random", steps=3)
    last = states[-1]
    spoilt = last._replace(params=jax.tree.map(lambda p: jnp.full_like(p, value), last.params), iteration=jnp.int32(0))
    after = programs.step(spoilt, scene, jax.random.key(5))  # iteration 0 offers the point as it is
    assert int(after.rejected) == int(last.rejected) + 1
    assert float(after.best.score) == float(last.best.score)
    assert np.array_equal(after.best.params.hidden, last.best.params.hidden)


def test_an_infeasible_point_is_never_kept_however_large_its_gap():
    def point(score, edge, sup_norm):
        net = TwoLayer(jnp.full((3, 4), score), jnp.full(4, score), jnp.asarray(score))
        return FeasibleNet(net, jnp.asarray(score), FlatnessCheck(jnp.asarray(edge), jnp.asarray(sup_norm)))

    best, bound = point(0.3, 0.9, 1.0), jnp.asarray(1.0)
    for injected in (point(9.0, 1.001, 0.5), point(9.0, 0.5, 1.001), point(9.0, np.nan, 0.5), point(0.2, 0.5, 0.5)):
        assert float(choose_better(best, injected, bound).params.hidden[0, 0]) == np.float32(0.3)
    assert float(choose_better(best, point(9.0, 1.0, 1.0), bound).score) == 9.0


def test_feasible_means_both_bounds():
    assert is_feasible(FlatnessCheck(jnp.array(1.0), jnp.array(2.0)), jnp.array(2.0))
    assert not is_feasible(FlatnessCheck(jnp.array(1.001), jnp.array(1.0)), jnp.array(2.0))
    assert not is_feasible(FlatnessCheck(jnp.array(0.5), jnp.array(2.001)), jnp.array(2.0))
    assert not is_feasible(FlatnessCheck(jnp.array(np.nan), jnp.array(1.0)), jnp.array(2.0))


def test_empty_caps_do_not_see_the_data(programs, x64):
    scene, states = search(programs, "caps", steps=1)
    x, y, _, _ = to_numpy(scene.run.problem.train)
    assert np.all(x @ to_numpy(scene.start).hidden[1:] + to_numpy(scene.start).hidden[0] < 0)
    np.testing.assert_allclose(states[-1].start_seen.edge, 0.4 / 2, rtol=1e-9)
    np.testing.assert_allclose(sharpness_by_differences(to_numpy(states[-1].best.params), x, y), 1, rtol=1e-6)
    assert float(states[-1].best.seen.sup_norm) > 0.5


def test_descent_start_is_gradient_descent(programs, x64):
    scene, _ = search(programs, "descent", steps=0)
    fresh, _ = search(programs, "random", steps=0)
    x, y, _, weights = to_numpy(scene.run.problem.train)
    params = to_numpy(fresh.start)
    for _ in range(SPEC.descent_steps):
        gradient = net_gradient(params, x, y, weights, 0.5)
        params = TwoLayer(*(p - 0.4 * g for p, g in zip(params, gradient, strict=True)))
    np.testing.assert_allclose(scene.start.hidden, params.hidden, rtol=1e-6, atol=1e-9)


def test_the_same_seed_finds_the_same_net(programs, x64):
    one, again, other = (search(programs, "random", seed=s)[1][-1].best.params for s in (3, 3, 4))
    assert np.array_equal(one.hidden, again.hidden)
    assert not np.array_equal(one.hidden, other.hidden)


def test_observed_gap_is_that_of_the_best_net(programs, x64):
    scene, states = search(programs, "random")
    seen = programs.observe(states[-1], scene)
    best, (train, test) = to_numpy(states[-1].best.params), to_numpy(scene.run.problem)
    variance = float(jax.jit(clipped_noise_variance)(0.02, 1.0))
    expected = np.mean(net_output(best, test.inputs) ** 2) + variance
    expected -= np.mean((net_output(best, train.inputs) - train.labels) ** 2)
    np.testing.assert_allclose(seen["gap"], expected, rtol=1e-9)
    assert not np.isclose(seen["gap"], seen["validation_gap"], rtol=1e-6)  # it was not chosen on what it is judged by
    assert len(test.inputs) == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 2.0),
        ("learning_rate", 0.0),
        ("bound", 0.5),
        ("start", "best"),
        ("ascent_rate", 0.0),
        ("penalty", -1.0),
        ("batch_size", 0),
        ("ascent_steps", 0),
        ("descent_steps", -1),
        ("data.num_test", 1),
        ("model.activation", "gelu"),
        ("model.parametrization", "ntk"),
        ("model.kind", "linear"),
    ],
)
def test_bad_input_is_named(field, value):
    with pytest.raises(InputError, match=field):
        specs.put(SPEC, {field: value}).check()


def test_good_input_passes():
    SPEC.check()
