"""Update rules: closed forms on a quadratic, exact stability thresholds, and numpy step for step."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import FACTOR, NOISELESS, assert_trees_close, change, hyper_of, key_of, net_gradient, steps_of_rule, to_numpy
from scipy.linalg import expm

from dynamics.core import spec as specs
from dynamics.core.simulate import start
from dynamics.data.problem import DataSpec
from dynamics.models.losses import LossSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import TwoLayer
from dynamics.optimizers.rules import FLOWS, RULES, OptimizerSpec
from dynamics.systems.minibatches import draw_epoch_batch
from dynamics.systems.training import TrainingSpec, TrainState

pytestmark = pytest.mark.usefixtures("x64")

QUADRATIC = TrainingSpec(
    seed=3,
    precision="float64",
    data=DataSpec(input_dim=3, num_samples=12, num_test=1),
    model=ModelSpec(kind="linear", width=1),
    loss=LossSpec("half"),
)
NETWORK = change(
    QUADRATIC, model=ModelSpec(kind="two_layer", width=5), data__input_dim=2, data__num_samples=9, loss=LossSpec("mse")
)


NUM_STEPS = {"linear": 400, "two_layer": 1000}


PROGRAMS: dict[str, Callable] = {}


def trained(spec: TrainingSpec, steps: int):
    """(fixed, params after 0..steps steps): built from the static choices alone and fed with the scalars."""
    key, hyper = key_of(spec), hyper_of(spec)
    plain = change(spec, optimizer=OptimizerSpec(), loss=LossSpec())  # the start is the same for all rules
    fixed, params = compiled("start", plain, start_of)(key, hyper)
    trajectory = compiled("run", spec, run_of)(key, hyper, fixed, params)
    return to_numpy(fixed), jax.tree.map(lambda p: np.asarray(p[: steps + 1]), trajectory)


def compiled(what: str, spec: TrainingSpec, make: Callable) -> Callable:
    spec = specs.freeze(spec)
    name = what + specs.family(spec)
    if name not in PROGRAMS:
        PROGRAMS[name] = jax.jit(make(specs.static(spec)))
    return PROGRAMS[name]


def start_of(spec: TrainingSpec) -> Callable:
    def begin(key, hyper):
        fixed, state = start(spec.dynamics(), key, hyper)
        return fixed, state.params

    return begin


def run_of(spec: TrainingSpec) -> Callable:
    dynamics = spec.dynamics()

    def run(key, hyper, fixed, params):
        rule = spec.optimizer.rule(hyper, jax.tree.map(jnp.ones_like, params)).init(params)
        fixed = fixed._replace(hyper=hyper)
        state = TrainState(params, rule, jnp.int32(0))

        def step(s, t):
            return dynamics.step(s, fixed, jax.random.fold_in(key, t)), s.params

        return jax.lax.scan(step, state, jnp.arange(NUM_STEPS[spec.model.kind] + 1))[1]

    return run


def quadratic(fixed, factor: float):
    """Hessian (3, 3), minimiser (3,) of factor * mean (X w - y)^2, from the raw samples."""
    x, y = fixed.problem.train.inputs, fixed.problem.train.labels
    hessian = 2 * factor * x.T @ x / len(x)
    return hessian, np.linalg.solve(hessian, 2 * factor * x.T @ y / len(x))


def top(hessian):
    values, vectors = np.linalg.eigh(hessian)
    return values[-1], vectors[:, -1]


@pytest.mark.parametrize("normalization", ["mse", "half"])
def test_gd_on_a_quadratic_follows_its_closed_form(normalization):
    spec = change(QUADRATIC, loss__normalization=normalization, optimizer__learning_rate=0.3)
    fixed, params = trained(spec, 60)
    hessian, optimum = quadratic(fixed, FACTOR[normalization])
    for t in (0, 1, 2, 10, 60):
        expected = optimum + np.linalg.matrix_power(np.eye(3) - 0.3 * hessian, t) @ (params[0] - optimum)
        np.testing.assert_allclose(params[t], expected, rtol=1e-11, atol=1e-14)


def growth(kind: str, ratio: float, momentum: float = 0.0, steps: int = 400) -> float:
    """|top component| of the error after `steps`, over the initial one, at learning rate ratio / lambda."""
    fixed, _ = trained(change(QUADRATIC, optimizer__kind=kind), steps)
    hessian, optimum = quadratic(fixed, 0.5)
    sharpness, direction = top(hessian)
    spec = change(QUADRATIC, optimizer__kind=kind, optimizer__learning_rate=ratio / sharpness, optimizer__momentum=momentum)
    error = (trained(spec, steps)[1] - optimum) @ direction
    return float(abs(error[-1] / error[0]))


def test_gd_is_stable_if_and_only_if_rate_times_sharpness_is_below_two():
    assert growth("gd", 1.99) == pytest.approx(0.99**400, rel=1e-6)
    assert growth("gd", 2.01) == pytest.approx(1.01**400, rel=1e-6)
    assert growth("gd", 2.0) == pytest.approx(1.0, rel=1e-6)


THRESHOLD = {"momentum": lambda b: 2 + 2 * b, "nesterov": lambda b: (2 + 2 * b) / (1 + 2 * b)}


@pytest.mark.parametrize("momentum", [0.3, 0.9])
@pytest.mark.parametrize("kind", THRESHOLD)
def test_momentum_rules_are_stable_exactly_up_to_their_threshold(kind, momentum):
    """eta lambda < 2 + 2b for heavy ball, < (2 + 2b) / (1 + 2b) for Nesterov (Cohen et al. 2021, App. B)."""
    edge = THRESHOLD[kind](momentum)
    assert growth(kind, 0.99 * edge, momentum) < 1e-1
    assert growth(kind, 1.01 * edge, momentum) > 1e1


def test_momentum_thresholds_differ_from_those_of_gd_and_of_one_another():
    """The test above could pass for a rule that ignored its momentum only if these agreed."""
    assert growth("momentum", 2.1, 0.9) < 1e-6 and growth("gd", 2.1) > 1e6
    assert growth("nesterov", 1.5, 0.9) > 1e6


def test_gradient_flow_is_the_fourth_order_polynomial_of_the_matrix_exponential():
    spec = change(QUADRATIC, optimizer__kind="gradient_flow", optimizer__learning_rate=0.4)
    fixed, params = trained(spec, 40)
    hessian, optimum = quadratic(fixed, 0.5)
    z = -0.4 * hessian
    one_step = np.eye(3) + z @ (np.eye(3) + z @ (np.eye(3) + z @ (np.eye(3) + z / 4) / 3) / 2)
    for t in (1, 7, 40):
        expected = optimum + np.linalg.matrix_power(one_step, t) @ (params[0] - optimum)
        np.testing.assert_allclose(params[t], expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_gradient_flow_converges_to_the_matrix_exponential_at_fourth_order(decay):
    errors = []
    for rate, steps in ((0.2, 25), (0.1, 50)):
        spec = change(QUADRATIC, optimizer__kind="gradient_flow", optimizer__learning_rate=rate, optimizer__weight_decay=decay)
        fixed, params = trained(spec, steps)
        hessian, optimum = quadratic(fixed, 0.5)
        damped = hessian + decay * np.eye(3)
        rest = np.linalg.solve(damped, hessian @ optimum)
        flow = rest + expm(-5.0 * damped) @ (params[0] - rest)
        errors.append(np.linalg.norm(params[-1] - flow))
    assert errors[1] < 1e-5
    assert 13 < errors[0] / errors[1] < 20


RATE, CLIP, DECAY = 0.25, 0.4, 0.02


def normalised_pair(**values):
    mse = change(NETWORK, optimizer__learning_rate=RATE, **values)
    return mse, change(mse, loss__normalization="half", optimizer__learning_rate=2 * RATE)


def test_mse_at_eta_equals_half_at_twice_eta_step_for_step():
    mse, half = normalised_pair()
    assert_trees_close(trained(mse, 100)[1], trained(half, 100)[1], rtol=1e-13)
    same_rate = trained(change(half, optimizer__learning_rate=RATE), 100)[1]
    assert np.max(np.abs(same_rate.hidden - trained(mse, 100)[1].hidden)) > 1e-2


def test_with_clip_and_decay_the_half_run_needs_half_of_both():
    mse, half = normalised_pair(optimizer__clip_norm=CLIP, optimizer__weight_decay=DECAY)
    halved = change(half, optimizer__clip_norm=CLIP / 2, optimizer__weight_decay=DECAY / 2)
    fixed, params = trained(mse, 100)
    assert_trees_close(params, trained(halved, 100)[1], rtol=1e-13)
    for wrong in (half, change(halved, optimizer__clip_norm=CLIP), change(halved, optimizer__weight_decay=DECAY)):
        assert np.max(np.abs(trained(wrong, 100)[1].hidden - params.hidden)) > 1e-4
    norms = [np.linalg.norm(flat(gradient_at(fixed, TwoLayer(*(p[t] for p in params))))) for t in range(101)]
    assert min(norms) < CLIP < max(norms)  # the clip was on at some steps and off at others


# The rules once more, on flat vectors. `g(p)` is the gradient, `m` the mask of what decays, `h` the spec's scalars.


def flat(params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in params])


def unflat(p: np.ndarray) -> TwoLayer:
    return TwoLayer(p[:15].reshape(3, 5), p[15:20], p[20])


def gradient_at(fixed, params: TwoLayer, index=slice(None)) -> TwoLayer:
    x, y = fixed.problem.train.inputs[index], fixed.problem.train.labels[index]
    return net_gradient(params, x, y, np.full(len(y), 1 / len(y)), 1.0)


WEIGHTS_ALONE = np.concatenate([np.zeros(5), np.ones(10), np.ones(5), [0.0]])  # hidden biases, weights, readout, offset
SCALARS = OptimizerSpec(learning_rate=0.05, momentum=0.8, beta1=0.7, beta2=0.95, epsilon=1e-3, radius=0.3)


@pytest.mark.parametrize("clip", [np.inf, 0.3])
@pytest.mark.parametrize("decay, weight_decay", [("all", 0.0), ("all", 0.4), ("weights", 0.4)])
@pytest.mark.parametrize("kind", [kind for kind in RULES if kind not in FLOWS])  # of those see test_flows
def test_every_rule_follows_numpy_step_for_step(kind, decay, weight_decay, clip):
    h = change(SCALARS, kind=kind, decay=decay, weight_decay=weight_decay, clip_norm=float(clip), **NOISELESS.get(kind, {}))
    fixed, params = trained(change(NETWORK, optimizer=h), 10)
    begin = flat([leaf[0] for leaf in params])
    mask = WEIGHTS_ALONE if decay == "weights" else np.ones(21)
    expected = steps_of_rule(kind, h, begin, lambda p: flat(gradient_at(fixed, unflat(p))), mask, 10)
    for t in range(11):
        np.testing.assert_allclose(flat([leaf[t] for leaf in params]), expected[t], rtol=1e-9, atol=1e-12)
    assert np.linalg.norm(flat(gradient_at(fixed, unflat(begin)))) > 0.3  # so that the clip is on
    assert np.max(np.abs(expected[10] - begin)) > 1e-2


def test_the_rules_are_all_different():
    """Otherwise the comparison above could not tell one rule from another."""
    kinds = [kind for kind in RULES if kind not in FLOWS]
    ends = {kind: trained(change(NETWORK, optimizer=change(SCALARS, kind=kind, weight_decay=0.4)), 10)[1] for kind in kinds}
    final = np.stack([flat([leaf[10] for leaf in params]) for params in ends.values()])
    gaps = np.abs(final[:, None] - final[None]).max(-1) + np.eye(len(final))
    assert gaps.min() > 1e-3


def imbalance(params: TwoLayer, t: int) -> np.ndarray:
    """|w_k|^2 + b_k^2 - v_k^2 of every neuron."""
    return np.sum(params.hidden[t] ** 2, axis=0) - params.readout[t] ** 2


def test_decay_of_all_parameters_balances_every_neuron_and_decay_of_weights_alone_does_not():
    """At a stationary point v_k^2 = |w_k|^2 + b_k^2 if decay acts on biases too;
    to O(eta) when samples sit on kinks."""
    h = OptimizerSpec(learning_rate=0.05, weight_decay=0.2)
    everything, weights = (trained(change(NETWORK, optimizer=change(h, decay=d)), 1000)[1] for d in ("all", "weights"))
    assert everything.readout[-1].max() > 0.3  # some neuron is left
    assert np.max(np.abs(imbalance(everything, 1000))) < 0.01
    assert np.max(np.abs(imbalance(weights, 1000))) > 0.1


def test_the_balance_of_a_neuron_drifts_in_proportion_to_the_learning_rate_and_not_along_the_flow():
    """|w_k|^2 + b_k^2 - v_k^2 is constant along the gradient flow of a homogeneous network."""

    def drift(kind, rate):
        params = trained(change(NETWORK, seed=2, optimizer=OptimizerSpec(kind, learning_rate=rate)), 600)[1]
        return np.max(np.abs(imbalance(params, round(3 / rate)) - imbalance(params, 0)))

    assert drift("gradient_flow", 0.01) < 1e-6
    assert drift("gd", 0.01) == pytest.approx(2 * drift("gd", 0.005), rel=0.02)
    assert drift("gd", 0.01) > 1e-4


EPOCH = jax.jit(draw_epoch_batch, static_argnums=(3, 4))


@pytest.mark.parametrize("n, size", [(12, 4), (12, 12), (12, 1), (11, 4)])
def test_an_epoch_visits_each_sample_at_most_once_and_all_if_the_batch_divides_them(n, size):
    order, per_epoch = jax.random.key(7), n // size
    epochs = []
    for epoch in range(3):
        batches = [np.asarray(EPOCH(order, epoch * per_epoch + i, n, n, size)) for i in range(per_epoch)]
        visited = np.concatenate(batches)
        assert len(set(visited.tolist())) == per_epoch * size
        assert set(visited.tolist()) <= set(range(n))
        epochs.append(visited.tolist())
    assert epochs[0] != epochs[1] != epochs[2]


def test_minibatches_do_not_depend_on_padding():
    order = jax.random.key(1)
    for step in range(7):
        plain = np.asarray(EPOCH(order, step, 10, 10, 3))
        np.testing.assert_array_equal(plain, np.asarray(EPOCH(order, step, 10, 17, 3)))


def test_every_sample_is_drawn_first_equally_often():
    """A shuffle that never moved some sample to the front would pass the tests above."""
    draw = jax.jit(jax.vmap(lambda step: draw_epoch_batch(jax.random.key(0), step, 5, 8, 5)))
    first = np.asarray(draw(jnp.arange(4000)))[:, 0]
    counts = np.bincount(first, minlength=8)
    assert not counts[5:].any()
    assert np.sum((counts[:5] - 800) ** 2 / 800) < 18.5  # chi-squared with 4 degrees of freedom, 99.9 %


def test_a_minibatch_step_descends_the_mean_over_its_batch():
    spec = change(NETWORK, optimizer=OptimizerSpec(learning_rate=0.1, batch_size=4))
    fixed, params = trained(spec, 5)
    p = flat([leaf[0] for leaf in params])
    for t in range(5):
        index = np.asarray(EPOCH(jnp.asarray(fixed.order), t, 9, 9, 4))
        p = p - 0.1 * flat(gradient_at(fixed, unflat(p), index))
        np.testing.assert_allclose(flat([leaf[t + 1] for leaf in params]), p, rtol=1e-10)
