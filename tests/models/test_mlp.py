"""Fully connected networks of any depth against numpy unit by unit, and the exact statements about them."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of, key_of, to_numpy
from scipy import special, stats

from dynamics.data.problem import DataSpec
from dynamics.models.activations import ACTIVATIONS
from dynamics.models.initial_laws import LAYER_INITS, draw_orthogonal
from dynamics.models.losses import LossSpec, mean_loss
from dynamics.models.mlp import DenseLayer, build_mlp
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import build_two_layer
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.systems.training import TrainingSpec

pytestmark = pytest.mark.usefixtures("x64")

PHI = {
    "relu": lambda z: np.where(z > 0, z, 0.0),
    "gelu": lambda z: z * special.ndtr(z),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "tanh": np.tanh,
    "erf": special.erf,
    "swish": lambda z: z * special.expit(z),
    "quadratic": lambda z: z * z,
    "linear": lambda z: z,
}
KINKED = ("relu", "leaky_relu")
DIM, WIDTH, DEPTH, SAMPLES = 3, 5, 3, 7


def hyper(d=DIM, width=WIDTH, scale=1.0, readout=1.0):
    sizes = {"data.input_dim": np.int32(d), "model.width": np.int32(width)}
    return sizes | {"model.init_scale": np.float64(scale), "model.readout_scale": np.float64(readout)}


def drawn_layers(rng, bias, depth):
    sizes = (DIM, *(WIDTH,) * depth, 2)
    return tuple(
        DenseLayer(rng.normal(size=n) if bias else None, rng.normal(size=(m, n)) / np.sqrt(m)) for m, n in pairwise(sizes)
    )


def output_by_units(layers, x, phi):
    """(n, outputs), one unit after another."""
    h = x
    for number, (bias, weight) in enumerate(layers):
        z = [sum(h[:, i] * weight[i, k] for i in range(len(weight))) for k in range(weight.shape[1])]
        z = np.stack([unit + (0 if bias is None else bias[k]) for k, unit in enumerate(z)], axis=1)
        h = z if number == len(layers) - 1 else phi(z)
    return h


Z = np.linspace(-3, 3, 40)  # without 0, where two have a kink


@pytest.fixture(scope="module")
def activations():
    """Of each what it is at `Z`: value, slope and derivative; at 0: the same,
    and the second derivative through a scan."""

    def look(act, z, zero):
        swept = jax.grad(jax.grad(lambda a: jax.lax.scan(lambda c, _: (act.value(a * c), None), 1.0, None, length=2)[0]))
        derivative = jax.grad(act.value)
        at_zero = act.value(zero), act.slope(zero), derivative(zero), swept(zero)
        return (act.value(z), act.slope(z), jax.vmap(derivative)(z)), at_zero

    with jax.enable_x64(True):
        return to_numpy(jax.jit(lambda *at: {name: look(act, *at) for name, act in ACTIVATIONS.items()})(Z, 0.0))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_its_formula_with_its_derivative_degree_and_slope_at_zero(name, activations):
    assert set(ACTIVATIONS) == set(PHI)
    act, ((value, slope, derivative), (nothing, at_zero, differentiated, swept)) = ACTIVATIONS[name], activations[name]
    np.testing.assert_allclose(value, PHI[name](Z), rtol=1e-13, atol=1e-15)
    differences = (PHI[name](Z + 1e-6) - PHI[name](Z - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope, differences, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(derivative, slope, rtol=1e-12)
    assert nothing == 0 and (at_zero == 0) == act.flat_at_zero
    assert differentiated == pytest.approx(at_zero)
    found = [k for k in (1, 2) if np.allclose(PHI[name](2.5 * Z), 2.5**k * PHI[name](Z), rtol=1e-10)]
    assert found == ([] if act.degree is None else [act.degree])
    assert np.isfinite(swept)


CASES = [*((name, True, 1) for name in ACTIVATIONS), ("gelu", True, DEPTH), ("tanh", False, DEPTH)]  # bias, depth


@pytest.fixture(scope="module")
def computed():
    """Of each case a net and its data, a direction, and what the library makes of it: outputs, gradient,
    masks of weights."""
    rng, given = np.random.default_rng(3), {}
    for name, bias, depth in CASES:
        nets = drawn_layers(rng, bias, depth), drawn_layers(rng, bias, depth)
        given[name, bias, depth] = (*nets, rng.normal(size=(SAMPLES, DIM)), rng.normal(size=(SAMPLES, 2)))

    def compute(case, layers, x, y):
        name, bias, depth = case
        model = build_mlp(DIM, WIDTH, depth, name, jnp.float64, outputs=2, bias=bias)
        batch = model.prepare(x, y, jnp.full(SAMPLES, 1 / SAMPLES))
        gradient = jax.grad(lambda p: mean_loss("squared", 1.0, model.apply, p, batch))(layers)
        return model.apply(layers, batch), gradient, model.is_weight(layers)

    with jax.enable_x64(True):
        found = jax.jit(lambda nets: [compute(case, *net) for case, net in zip(CASES, nets, strict=True)])(
            [(layers, x, y) for layers, _, x, y in given.values()]
        )
    return {case: (own, to_numpy(seen)) for (case, own), seen in zip(given.items(), found, strict=True)}


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_those_of_the_units_and_gradients_those_of_differences(case, computed):
    ((layers, direction, x, y), (outputs, gradient, is_weight)), (name, bias, depth) = computed[case], case
    np.testing.assert_allclose(outputs, output_by_units(layers, x, PHI[name]), rtol=1e-11, atol=1e-13)
    along = sum(np.sum(g * v) for g, v in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))

    def loss(step):
        moved = jax.tree.map(lambda p, v: p + step * v, layers, direction)
        return np.mean(np.sum((output_by_units(moved, x, PHI[name]) - y) ** 2, axis=1))

    assert along == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-6)
    masks = jax.tree.leaves(is_weight)
    assert sum(float(mask) for mask in masks) == depth + 1 and len(masks) == (depth + 1) * (1 + bias)


def test_one_hidden_layer_is_the_two_layer_net_from_its_start_on(rng):
    deep = build_mlp(DIM, WIDTH, 1, "gelu", jnp.float64, init="torch_default")
    known = build_two_layer(DIM, WIDTH, "gelu", "torch_default", jnp.float64)
    ones = np.ones(SAMPLES)

    @jax.jit
    def begin(key, hyper, x):
        drawn = deep.init(key, hyper), known.init(key, hyper)
        return drawn, [m.apply(p, m.prepare(x, ones, ones)) for m, p in zip((deep, known), drawn, strict=True)]

    ((first, last), net), outputs = to_numpy(begin(jax.random.key(4), hyper(scale=1.5), rng.normal(size=(SAMPLES, DIM))))
    np.testing.assert_array_equal(np.concatenate([first.bias[None], first.weight]), net.hidden)
    np.testing.assert_array_equal(np.append(last.weight[:, 0], last.bias), np.append(net.readout, net.offset))
    np.testing.assert_allclose(*map(np.ravel, outputs), rtol=1e-13)


LAW = {  # of a weight with 300 inputs and 200 outputs
    "torch_default": stats.uniform(-(300**-0.5), 2 * 300**-0.5),
    "kaiming_normal": stats.norm(scale=(2 / 300) ** 0.5),
    "kaiming_lecun": stats.norm(scale=(2 / 300) ** 0.5),
    "kaiming_uniform": stats.uniform(-((6 / 300) ** 0.5), 2 * (6 / 300) ** 0.5),
    "lecun_normal": stats.norm(scale=300**-0.5),
    "xavier_normal": stats.norm(scale=(2 / 500) ** 0.5),
    "xavier_uniform": stats.uniform(-((6 / 500) ** 0.5), 2 * (6 / 500) ** 0.5),
    "flax_default": stats.truncnorm(-2, 2, scale=300**-0.5 / stats.truncnorm(-2, 2).std()),
}


@pytest.mark.parametrize("init", LAW)
def test_initial_weights_have_their_law_and_scales_multiply_them(init):
    assert set(LAYER_INITS) < set(LAW)
    model = build_mlp(300, 200, 1, "relu", jnp.float64, init=init, outputs=3)
    first, last = to_numpy(jax.jit(model.init)(jax.random.key(0), hyper(300, 200, scale=2.0, readout=0.0)))
    assert stats.kstest(first.weight.ravel()[:20000] / 2, LAW[init].cdf).pvalue > 1e-3
    assert np.var(first.weight / 2) == pytest.approx(LAW[init].var(), rel=0.05)
    assert not last.weight.any() and not last.bias.any() and last.weight.shape == (200, 3)
    assert bool(first.bias.any()) == (init == "torch_default")


def test_orthogonal_matrices_are_orthogonal_and_without_a_direction():
    shapes = [(12, 30), (30, 12)]

    @jax.jit
    @jax.vmap
    def draw(seed):
        return [draw_orthogonal(jax.random.key(seed), *shape, jnp.float64) for shape in shapes]

    for (rows, columns), drawn in zip(shapes, map(np.asarray, draw(np.arange(60))), strict=True):
        for q in drawn:
            short = q.T if rows >= columns else q
            np.testing.assert_allclose(short @ short.T, np.eye(min(rows, columns)), atol=1e-13)
        entries = drawn[:, 0, -1] * np.sqrt(max(rows, columns))
        assert stats.kstest(entries, stats.norm.cdf).pvalue > 1e-3  # nearly normal, as an entry of a uniform direction is


def test_padded_neurons_and_inputs_change_nothing_and_stay_zero(rng):
    """By the activation that is not flat at zero."""
    x, y = rng.normal(size=(SAMPLES, DIM)), rng.normal(size=SAMPLES)

    def gradient(d, width, key, hyper):
        model = build_mlp(d, width, 2, "swish", jnp.float64, init="torch_default")
        params = model.init(key, hyper)
        batch = model.prepare(np.pad(x, ((0, 0), (0, d - DIM))), y, np.full(SAMPLES, 1 / SAMPLES))
        return params, jax.grad(lambda p: mean_loss("squared", 1.0, model.apply, p, batch))(params)

    both = jax.jit(lambda *start: (gradient(DIM, WIDTH, *start), gradient(DIM + 2, WIDTH + 3, *start)))
    for plain, padded in zip(*to_numpy(both(jax.random.key(1), hyper())), strict=True):
        for small, large in zip(jax.tree.leaves(plain), jax.tree.leaves(padded), strict=True):
            inside = tuple(slice(0, size) for size in small.shape)
            np.testing.assert_allclose(large[inside], small, rtol=1e-11, atol=1e-15)
            rest = large.copy()
            rest[inside] = 0
            assert not rest.any()


DEEP = TrainingSpec(
    seed=2,
    precision="float64",
    data=DataSpec(input_dim=3, num_samples=8, num_test=1),
    model=ModelSpec("mlp", 4, depth=2, activation="linear", layer_init="lecun_normal", bias=False),
    loss=LossSpec("half"),
    optimizer=OptimizerSpec("gradient_flow", learning_rate=0.05),
)


def test_deep_linear_nets_conserve_their_balance_along_the_flow_and_not_under_large_steps():
    """W_(l+1) W_(l+1)^T - W_l^T W_l is constant (Arora et al. 2018), here with W_l of shape (fan-in, fan-out)."""

    @jax.jit
    def follow(key, hyper):
        ends = []
        for spec in (DEEP, change(DEEP, optimizer__kind="gd")):
            dynamics = spec.dynamics()
            fixed, state = dynamics.init(key, hyper)
            end = jax.lax.fori_loop(0, 200, lambda i, s, go=dynamics.step, own=fixed: go(s, own, key), state)
            ends.append((state.params, end.params))
        return ends

    def drift(begun, end):
        def balances(params):
            weights = [layer.weight for layer in params]
            return [b @ b.T - a.T @ a for a, b in pairwise(weights)]

        moved = max(np.abs(a.weight - b.weight).max() for a, b in zip(begun, end, strict=True))
        return max(np.abs(a - b).max() for a, b in zip(balances(begun), balances(end), strict=True)), moved

    (flow, moved), (steps, _) = (drift(*run) for run in to_numpy(follow(key_of(DEEP), hyper_of(DEEP))))
    assert flow < 1e-6 and moved > 0.05
    assert steps > 1e-3


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [0, 3])
@pytest.mark.parametrize("init", ["flax_default", "orthogonal", "xavier_normal"])
def test_parameters_are_counted_as_they_are(init, outputs, bias):
    spec = ModelSpec("mlp", 6, depth=3, activation="swish", layer_init=init, bias=bias)
    model = spec.build((4,), jnp.dtype("float64"), outputs)
    drawn = jax.eval_shape(lambda: model.init(jax.random.key(0), hyper(4, 6)))
    assert spec.parameters((4,), outputs) == sum(leaf.size for leaf in jax.tree.leaves(drawn))
    assert spec.pads == (
        ("data.input_dim", "data.num_samples", "model.width") if init == "xavier_normal" else ("data.num_samples",)
    )
