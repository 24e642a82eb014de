"""The kernels for ReLU gates against 64-bit numpy: every pass, every derivative, whole runs; and how they are built."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
import threading
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec
from oracles import (
    change,
    dense_hessian,
    hyper_of,
    key_of,
    net_gradient,
    net_jacobian,
    patch_jacobian,
    patch_output,
    random_net,
    to_numpy,
)
from test_gd import reference

from dynamics.core.simulate import start
from dynamics.curvature.gauss_newton import kernel_product
from dynamics.curvature.hessian import hessian_product
from dynamics.data.problem import DataSpec
from dynamics.data.views import ViewSpec
from dynamics.errors import InputError
from dynamics.kernels import build, gates
from dynamics.kernels.threads import cores_per_device
from dynamics.models.spec import ModelSpec
from dynamics.models.two_layer import TwoLayer, two_layer
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.systems.training import TrainingSpec

module = importlib.import_module("dynamics.models.two_layer")  # the package exports a function of this name
BUILT = build.library()
MOST = BUILT.dynamics_most() if BUILT else 2  # entries of a row, the leading 1 included
needs_kernels = pytest.mark.skipif(not BUILT, reason=build.why_not() or "built")
ROUNDING = 2e-6  # of sums in 32 bits, relative to the sum of their terms' magnitudes


def features() -> str:
    """What the processor can do."""
    info = Path("/proc/cpuinfo")
    return info.read_text() if info.exists() else ""


def test_where_there_is_a_compiler_and_a_processor_for_it_there_are_kernels():
    """Else everything below is skipped, and nobody sees it."""
    if os.environ.get(build.SWITCH) == "off" or "avx2" not in features() or "compiler (set CXX)" in build.why_not():
        pytest.skip(build.why_not())
    assert build.why_not() == "" and BUILT and MOST >= 12


# ---- the three passes


class Layer(NamedTuple):
    """x (n, D), hidden (D, K), readout (K,); coefficients r (n,) for `moments`, vectors u (D, K) for `sums`."""

    x: np.ndarray
    hidden: np.ndarray
    readout: np.ndarray
    r: np.ndarray
    u: np.ndarray


def draw_layer(rng: np.random.Generator, n: int, width: int, num_inputs: int) -> Layer:
    """On a coarse grid, so that pre-activations are exact in 32 bits and often exactly 0; some neurons have no direction."""
    x, hidden = rng.integers(-8, 9, size=(n, num_inputs)) / 4, rng.integers(-8, 9, size=(num_inputs, width)) / 4
    x[:, 0] = 1
    hidden[1:, ::5] = 0
    if num_inputs == gates.LINE:
        x = x[np.argsort(x[:, 1])]
    arrays = x, hidden, rng.normal(size=width), rng.normal(size=n), rng.normal(size=(num_inputs, width))
    return Layer(*(a.astype(np.float32) for a in arrays))


def passes(layer: Layer) -> tuple[jax.Array, jax.Array, jax.Array]:
    s, on = gates.open_gates(layer.x, layer.hidden, layer.readout)
    return s, gates.moments(layer.x, on, layer.r, layer.readout.shape[0]), gates.sums(layer.x, on, layer.u)


def expected(layer: Layer) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """What the passes should give, each beside the sum of its terms' magnitudes."""
    x, hidden, readout, r, u = (np.asarray(a, float) for a in layer)
    z = x @ hidden
    on = (z > 0).astype(float)
    each = on * (x @ u)
    return (
        ((z * on) @ readout, (np.abs(x) @ np.abs(hidden) * on) @ np.abs(readout)),
        (x.T @ (on * r[:, None]), np.abs(x).T @ (on * np.abs(r)[:, None])),
        (each.sum(1), (on * (np.abs(x) @ np.abs(u))).sum(1)),
    )


def compare(layers: list[Layer]) -> None:
    """All of them in one program. Where no term is on the sum must be exactly 0."""
    seen = jax.jit(lambda all: [passes(layer) for layer in all])(layers)
    for layer, results in zip(layers, seen, strict=True):
        for name, result, (exact, size) in zip(("gates", "moments", "sums"), results, expected(layer), strict=True):
            error = np.abs(np.asarray(result, float) - exact)
            assert np.shape(result) == exact.shape and np.all(error <= ROUNDING * size), (name, layer.x.shape, exact.shape)


COUNTS = (1, 2, 7, 8, 9, 23, 24, 25, 31, 32, 33, 48, 63, 64, 65, 191, 192, 193, 255, 256, 257, 300)
WIDTHS = (1, 3, 8, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65, 100, 129)


def spread_of_shapes(rng: np.random.Generator) -> list[Layer]:
    """Every number of inputs, every n with several widths; 22 and 15 have no common divisor, so the pairs differ."""
    widths, inputs = cycle(WIDTHS), cycle(range(2, MOST + 1))
    return [draw_layer(rng, n, next(widths), next(inputs)) for n in COUNTS * 4]


def lines(rng: np.random.Generator) -> list[Layer]:
    """One input: all pairs of a few n and widths, ties and neurons without direction among them."""
    shapes = [(n, width) for n in (1, 2, 3, 7, 8, 16, 33, 128, 257) for width in (1, 16, 64, 65, 130)]
    return [draw_layer(rng, n, width, 2) for n, width in shapes]


@needs_kernels
def test_every_pass_is_that_of_numpy_at_every_shape(rng):
    layers = spread_of_shapes(rng)
    assert {layer.x.shape[1] for layer in layers} == set(range(2, MOST + 1))
    assert any(np.any(layer.x @ layer.hidden == 0) for layer in layers if layer.x.shape[1] > 2)
    compare(layers)


@needs_kernels
def test_threads_that_share_a_pass_change_no_bit(rng, monkeypatch):
    layers = [
        draw_layer(rng, n, width, d) for n, width, d in ((257, 129, 5), (64, 65, 2), (193, 33, MOST), (8, 300, 13), (1, 1, 3))
    ]
    alone = jax.jit(lambda all: [passes(layer) for layer in all])(layers)
    monkeypatch.setattr(gates, "WORTH", 1)
    for threads in (2, 7):
        before = cores_per_device.set(threads)
        shared = jax.jit(lambda all: [passes(layer) for layer in all])
        text, results = shared.lower(layers).as_text(), shared(layers)
        cores_per_device.reset(before)
        assert f"threads = {threads} : i64" in text
        jax.tree.map(np.testing.assert_array_equal, results, alone)


@needs_kernels
def test_the_comparison_catches_a_single_gate(rng):
    layer = draw_layer(rng, 257, 129, 5)
    compare([layer])
    z = layer.x.astype(float) @ layer.hidden
    sample, neuron = next(zip(*np.nonzero(z == 0), strict=True))  # barely off; just on it would be
    barely = layer._replace(hidden=layer.hidden.copy())
    barely.hidden[0, neuron] += 2.0**-20
    assert (barely.x[sample].astype(float) @ barely.hidden[:, neuron]) > 0
    right, wrong = expected(layer)[1], expected(barely)[1]
    assert np.max(np.abs(right[0] - wrong[0]) - ROUNDING * right[1]) > 1e-3


@needs_kernels
def test_sorted_samples_with_ties_and_kinks_upon_them(rng):
    compare(lines(rng))
    x = np.array([-1, -1, -0.5, 0, 0, 0, 0.25, 1, 1, 1])
    kinks = [(-t, 1.0) for t in (-2, *np.unique(x), 0.3, 2)]
    neurons = [*kinks, *((-b, -w) for b, w in kinks), (1, 0.0), (-1, 0.0), (0, 0.0), (1, -0.0), (0.0, -0.0), (-0.0, 0.0)]
    for some in (neurons, [(5.0, 1.0), (5.0, -1.0)], [(-5.0, 1.0), (-5.0, -1.0)], [(1, 0.0)], [(0, 0.0)]):
        hidden = np.array(some).T
        own = draw_layer(rng, len(x), len(some), 2)._replace(x=np.stack([np.ones_like(x), x], 1), hidden=hidden)
        compare([Layer(*(a.astype(np.float32) for a in own))])


@needs_kernels
@pytest.mark.parametrize("num_inputs", [2, 3])
def test_at_the_kink_the_slope_is_exactly_zero_whatever_the_sign_of_zero(rng, num_inputs):
    """Not the least bit above it, where it is one."""
    zeros = np.array([0.0, -0.0], np.float32)
    hidden = np.stack([*np.meshgrid(zeros, [1, -1, 0, -0.0]), *[np.ones((4, 2))] * (num_inputs - 2)]).reshape(num_inputs, -1)
    x = np.zeros((9, num_inputs), np.float32)
    x[:, 0], x[::2, 1:] = 1, -0.0
    own = draw_layer(rng, 9, 8, num_inputs)._replace(x=x, hidden=hidden.astype(np.float32))
    assert not any(np.any(result) for result in passes(own))
    own.hidden[0] = 2.0**-60
    compare([own])
    assert all(np.all(np.any(result)) for result in passes(own))


@needs_kernels
@pytest.mark.parametrize("d", [1, 3])
def test_what_is_not_a_number_is_not_swallowed(rng, d):
    """A run that has diverged must look so, in its loss and in its next step; a NaN is neither above 0 nor below."""
    _, model, batch, _ = net_of(rng, d, 9, 4)
    gradient, apply = (
        jax.jit(lambda p, f=f: ravel_pytree(f(p))[0])
        for f in (lambda p: model.squared_gradient(p, batch, 1.0), lambda p: model.apply(p, batch))
    )
    for value in (np.nan, -np.nan, np.inf):
        for at in ((0, 0), (d, 2)):
            params = net_of(rng, d, 9, 4)[0]
            assert np.all(np.isfinite(apply(params))) and np.all(np.isfinite(gradient(params)))
            params.hidden[at] = value
            assert not np.all(np.isfinite(apply(params)))
            assert not np.all(np.isfinite(gradient(params)))


# ---- the model made of them


def net_of(rng, d: int, n: int, width: int, dtype=np.float32, **options):
    """(parameters, model, batch, (x, y)): a random net and data, samples in increasing order of their first coordinate."""
    params = jax.tree.map(lambda a: np.asarray(a, dtype), random_net(rng, d, width))
    x, y = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=n).astype(dtype)
    x = x[np.argsort(x[:, 0])]
    model = two_layer(d, width, options.pop("activation", "relu"), "torch_default", dtype, **options)
    return params, model, model.prepare(*map(jnp.asarray, (x, y, np.full(n, 1 / n, dtype)))), (x, y)


def in_64_bits(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def exact_gradient(params, x, y, factor=1.0, activation="relu") -> np.ndarray:
    params, x, y = in_64_bits((params, x, y))
    return flat(net_gradient(params, x, y, np.full(len(x), 1 / len(x)), factor, activation))


def flat(params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in params])


def close(actual, desired, tolerance=1e-5) -> None:
    """To rounding, relative to the largest entry."""
    actual, desired = np.asarray(actual, float), np.asarray(desired, float)
    assert actual.shape == desired.shape
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * np.max(np.abs(desired)))


FUSED = [(1, {}), (MOST - 1, {})]
PLAIN = [
    (MOST, {}),
    (3, {"dtype": np.float64}),
    (1, {"dtype": np.float64}),
    (3, {"activation": "gelu"}),
    (1, {"activation": "gelu"}),
    (3, {"kernels": False}),
]


@needs_kernels
@pytest.mark.parametrize("d, options", FUSED + PLAIN)
def test_kernels_are_used_where_they_are_meant_to_be_and_all_goes_on_without(rng, d, options):
    with jax.enable_x64(options.get("dtype") is np.float64):
        params, model, batch, data = net_of(rng, d, 9, 5, **options)
        program = jax.make_jaxpr(lambda p: model.squared_gradient(p, batch, 1.0))(params)
        assert ("dynamics_" in str(program)) == ((d, options) in FUSED)
        gradient = jax.jit(lambda p: model.squared_gradient(p, batch, 1.0))(params)
    close(flat(gradient), exact_gradient(params, *data, activation=options.get("activation", "relu")))


@needs_kernels
def test_usable_says_for_how_many_inputs_and_which_numbers():
    assert [gates.usable(count, "float32") for count in (1, 2, MOST, MOST + 1)] == [False, True, True, False]
    assert not gates.usable(3, "float64")


@needs_kernels
@pytest.mark.parametrize("d", [1, 2, 5])
def test_padded_neurons_samples_and_coordinates_have_exactly_zero_gradient_and_change_no_bit(rng, d):
    n, width, more = 21, 13, 0 if d == 1 else 2  # padding in d leaves the sorted path, so its bits are others
    params, model, batch, (x, y) = net_of(rng, d, n, width)
    wide = TwoLayer(np.pad(params.hidden, ((0, more), (0, 30))), np.pad(params.readout, (0, 30)), params.offset)
    model_of_more = two_layer(d + more, width + 30, "relu", "torch_default", jnp.float32)
    fresh, labels = rng.normal(size=(20, d)).astype(np.float32), rng.normal(size=20).astype(np.float32)
    padded = np.pad(np.concatenate([x, fresh]), ((0, 0), (0, more))), np.concatenate([y, labels])
    weights = np.pad(np.full(n, 1 / n, np.float32), (0, 20))
    gradient, plain = jax.jit(
        lambda p, q, samples: (
            model_of_more.squared_gradient(p, model_of_more.prepare(*samples), 1.0),
            model.squared_gradient(q, batch, 1.0),
        )
    )(wide, params, (*padded, weights))
    gradient = to_numpy(gradient)
    assert not gradient.hidden[:, width:].any() and not gradient.readout[width:].any()
    assert not gradient.hidden[d + 1 :].any()
    kept = TwoLayer(gradient.hidden[: d + 1, :width], gradient.readout[:width], gradient.offset)
    close(flat(kept), flat(plain), 1e-6)
    close(flat(plain), exact_gradient(params, x, y))


@needs_kernels
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("blocks", [1, 2, 4, 7])
def test_blocks_that_samples_do_not_fill_change_nothing(monkeypatch, rng, d, blocks):
    """What fills the last block up is no sample, and least of all one that lies where sorted samples go on."""
    monkeypatch.setattr(module, "block_count", lambda *_: blocks)
    params, model, _, (x, y) = net_of(rng, d, 17, 40)
    for shift in (0, 3, -3):  # zeros lie within the data, below it, above it
        moved = x + np.float32(shift)
        params.hidden[0] = -np.sum(params.hidden[1:] * moved[rng.integers(17, size=40)].T, axis=0) + 1e-3  # kinks amid samples
        batch = model.prepare(*map(jnp.asarray, (moved, y, np.full(17, 1 / 17, np.float32))))
        close(flat(model.squared_gradient(params, batch, 1.0)), exact_gradient(params, moved, y))


@needs_kernels
@pytest.mark.parametrize("d", [1, 3])
def test_derivatives_of_every_order_and_mode(rng, d):
    params, model, batch, (x, y) = net_of(rng, d, 11, 6)
    p, unravel = ravel_pytree(params)
    v = rng.normal(size=p.size).astype(np.float32)

    def loss(p):
        return 0.5 * jnp.sum(batch.weights * (model.apply(unravel(p), batch) - batch.labels) ** 2)

    def closed(p):
        return ravel_pytree(model.squared_gradient(unravel(p), batch, 0.5))[0]

    def after_two_steps(p):
        return loss(lax.scan(lambda q, _: (q - 0.1 * closed(q), None), p, length=2)[0])

    def along(f, p, v):
        return jax.jvp(f, (p,), (v,))[1]

    @jax.jit
    def everything(p, v):
        return {
            "gradient": (jax.grad(loss)(p), closed(p), jax.grad(lambda q: lax.map(loss, q[None])[0])(p)),
            "slope along v": (along(loss, p, v),),
            "product": (
                along(closed, p, v),
                along(jax.grad(loss), p, v),
                jax.linearize(closed, p)[1](v),
                jax.vjp(closed, p)[1](v)[0],
                hessian_product(lambda q: loss(ravel_pytree(q)[0]), unravel(p))(v),
            ),
            "of half the squared norm": tuple(jax.grad(lambda q: jnp.sum(g(q) ** 2) / 2)(p) for g in (closed, jax.grad(loss))),
            "hessian": (jax.hessian(loss)(p), jax.jacrev(closed)(p), jax.jacfwd(closed)(p)),
            "after two steps": (jax.grad(after_two_steps)(p),),
        }

    params, x, y = in_64_bits((params, x, y))
    hessian, gradient = dense_hessian(params, x, y, 0.5), exact_gradient(params, x, y, 0.5)
    one = in_64_bits(unravel(jnp.asarray(flat(params) - 0.1 * gradient, jnp.float32)))
    two = in_64_bits(unravel(jnp.asarray(flat(one) - 0.1 * exact_gradient(one, x, y, 0.5), jnp.float32)))
    identity = np.eye(len(hessian))
    back = exact_gradient(two, x, y, 0.5)
    for each in (one, params):
        back = (identity - 0.1 * dense_hessian(each, x, y, 0.5)) @ back
    desired = {
        "gradient": gradient,
        "slope along v": gradient @ v,
        "product": hessian @ v,
        "of half the squared norm": hessian @ gradient,
        "hessian": hessian,
        "after two steps": back,
    }
    for name, results in everything(p, v).items():
        for result in results:
            close(result, desired[name])


@needs_kernels
@pytest.mark.parametrize("d", [1, 3])
def test_products_with_the_kernel_of_gauss_newton(rng, d):
    params, model, batch, (x, _) = net_of(rng, d, 13, 6)
    u = rng.normal(size=13).astype(np.float32)
    jacobian = net_jacobian(*in_64_bits((params, x)))
    close(jax.jit(lambda p: kernel_product(model, p, batch)(u))(params), jacobian @ (jacobian.T @ u) / 13)


@needs_kernels
@pytest.mark.parametrize("num_inputs", [2, 3])
def test_vmap_over_any_of_the_arguments_and_any_axis(rng, num_inputs):
    n, width, members = 10, 5, 3
    layers = [draw_layer(rng, n, width, num_inputs) for _ in range(members)]
    stacked, first = Layer(*map(np.stack, zip(*layers, strict=True))), layers[0]
    axes = [
        Layer(0, 0, 0, 0, 0),
        Layer(None, 0, 0, 0, 0),
        Layer(0, None, None, None, None),
        Layer(None, None, 0, None, None),
        Layer(None, None, None, 0, 2),
        Layer(1, 2, 1, 1, 1),
    ]

    def moved(own: Layer) -> Layer:
        pick = lambda a, b, axis: a if axis is None else np.moveaxis(b, 0, axis)  # noqa: E731
        return Layer(*(pick(*leaf) for leaf in zip(first, stacked, own, strict=True)))

    @jax.jit
    def everything(stacked, arguments):
        seen = [jax.vmap(passes, in_axes=(own,))(each) for own, each in zip(axes, arguments, strict=True)]
        twice = jax.vmap(jax.vmap(passes, (Layer(0, None, None, 0, None),)), (Layer(None, 0, 0, None, 0),))(stacked)
        return seen, twice

    seen, twice = everything(stacked, [moved(own) for own in axes])
    for own, results in zip(axes, seen, strict=True):
        for i, layer in enumerate(layers):
            exact = expected(Layer(*(a if axis is None else b for a, b, axis in zip(first, layer, own, strict=True))))
            for result, (value, size) in zip(results, exact, strict=True):
                assert np.all(np.abs(result[i] - value) <= ROUNDING * size)
    for i, a in enumerate(layers):
        for j, b in enumerate(layers):
            for result, (value, size) in zip(twice, expected(a._replace(x=b.x, r=b.r)), strict=True):
                assert np.all(np.abs(result[i, j] - value) <= ROUNDING * size)


@needs_kernels
def test_loops_maps_and_devices(rng):
    """Eight nets on four devices, two lanes each, some steps of descent; d = 1 and d = 3 in one program."""
    devices, rate = jax.local_devices(), 0.05
    assert len(devices) == 4
    nets = {d: [net_of(rng, d, 9, 4) for _ in range(8)] for d in (1, 3)}
    stacked = {d: jax.tree.map(lambda *a: jnp.stack(a), *[(params, batch) for params, _, batch, _ in nets[d]]) for d in nets}

    def descend(d, params, batch, steps):
        def step(_, p):
            return jax.tree.map(lambda a, g: a - rate * g, p, nets[d][0][1].squared_gradient(p, batch, 1.0))

        return lax.fori_loop(0, steps, step, params)

    def local(ensembles, steps):
        return {d: lax.map(lambda one: descend(d, *one, steps), ensembles[d], batch_size=None) for d in ensembles}

    mesh, runs = Mesh(np.array(devices), ("run",)), PartitionSpec("run")
    everywhere = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(runs, PartitionSpec()), out_specs=runs, check_vma=False))
    ends = everywhere(stacked, np.int32(4))
    for d, members in nets.items():
        for i, (params, _, _, data) in enumerate(members):
            p, like = flat(in_64_bits(params)), params.hidden.size
            for _ in range(4):
                now = TwoLayer(p[:like].reshape(d + 1, 4), p[like:-1], p[-1])
                p = p - rate * exact_gradient(now, *data)
            close(flat([leaf[i] for leaf in ends[d]]), p)


@needs_kernels
def test_a_derivative_in_the_data_is_refused_in_plain_words(rng):
    params, model, batch, _ = net_of(rng, 2, 5, 3)
    layer = draw_layer(rng, 5, 3, 3)
    with pytest.raises(NotImplementedError, match="the inputs are data, no derivative in them"):
        jax.grad(lambda x: jnp.sum(model.apply(params, batch._replace(inputs=x))))(batch.inputs)
    with pytest.raises(NotImplementedError, match="the inputs are data"):
        jax.jvp(lambda x: gates.open_gates(x, layer.hidden, layer.readout)[0], (layer.x,), (layer.x,))
    _, on = gates.open_gates(layer.x, layer.hidden, layer.readout)
    for linear in (lambda x: gates.moments(x, on, layer.r, 3), lambda x: gates.sums(x, on, layer.u)):
        with pytest.raises(NotImplementedError, match="no derivative in what it holds fixed"):
            jax.jvp(linear, (layer.x,), (layer.x,))


# ---- runs

RUN = TrainingSpec(
    seed=5,
    data=DataSpec(num_samples=24, num_test=1, noise_std=0.5),
    model=ModelSpec(width=10),
    optimizer=OptimizerSpec(learning_rate=0.05, weight_decay=0.1, clip_norm=0.8, momentum=0.7),
)
STEPS = 100


def descended(spec: TrainingSpec):
    """(x, y, parameters before and after so many steps), by the dynamics that the engine runs."""
    dynamics = spec.dynamics()

    @jax.jit
    def run(key, hyper):
        fixed, state = start(dynamics, key, hyper)

        def step(s, t):
            return dynamics.step(s, fixed, jax.random.fold_in(key, t)), None

        train = fixed.problem.train
        return train.inputs, train.labels, state.params, lax.scan(step, state, jnp.arange(STEPS))[0].params

    return in_64_bits(run(key_of(spec), hyper_of(spec)))


@cache
def descended_by_kernels(name: str):
    return descended(RUNS[name])


def gradient_of(spec: TrainingSpec, x, y, p: np.ndarray) -> np.ndarray:
    """The gradient of the mean square; a network without patches sees all of a sample, once."""
    size, width = spec.model.views.size or spec.data.input_dim, int(spec.model.width)
    hidden = (size + 1) * width
    params = TwoLayer(p[:hidden].reshape(-1, width), p[hidden:-1], p[-1])
    residual = patch_output(params, x, size, spec.model.views.stride) - y
    return 2 / len(y) * residual @ patch_jacobian(params, x, size, spec.model.views.stride)


def decays(spec: TrainingSpec) -> np.ndarray:
    rows, width = (spec.model.views.size or spec.data.input_dim) + 1, int(spec.model.width)
    biases = spec.optimizer.decay == "all"
    return np.concatenate([np.full(width, biases), np.ones(rows * width), [biases]]).astype(float)


RUNS = {
    "d = 1": change(RUN, data__input_dim=1, optimizer__kind="momentum", optimizer__decay="weights"),
    "d = 2": change(RUN, data__input_dim=2),
    "d = 5": change(RUN, data__input_dim=5, optimizer__kind="momentum", optimizer__decay="weights"),
    "convolutional": change(RUN, data__input_dim=6, model=ModelSpec("convolutional", 10, views=ViewSpec("sliding", 3, 2))),
}


@needs_kernels
@pytest.mark.parametrize("name", RUNS)
def test_a_hundred_steps_are_those_of_numpy_in_64_bits(name):
    spec = RUNS[name]
    x, y, begin, end = descended_by_kernels(name)
    begin, end, mask = flat(begin), flat(end), decays(spec)
    sizes = []

    def gradient(p):
        g = gradient_of(spec, x, y, p)
        sizes.append(np.linalg.norm(g))
        return g

    def path(**values):
        return reference(spec.optimizer.kind, change(spec.optimizer, **values), begin, gradient, mask, STEPS)[-1]

    exact = path()
    assert min(sizes) < spec.optimizer.clip_norm < max(sizes)  # the clip was on at some steps and off at others
    close(end, exact)
    close(exact, exact)
    for wrong in ({"learning_rate": 0.0501}, {"weight_decay": 0.101}, {"clip_norm": 0.801}):
        with pytest.raises(AssertionError):
            close(path(**wrong), exact)
    with pytest.raises(AssertionError):
        close(reference(spec.optimizer.kind, spec.optimizer, begin, gradient, mask, STEPS - 1)[-1], exact)


# ---- how they are built


@pytest.fixture
def anew(monkeypatch, tmp_path):
    """An empty cache folder, and whether there is a library not decided yet; afterwards as it was."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(build.SWITCH, raising=False)
    build.opened.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    build.opened.cache_clear()


def compiler(folder: Path, body: str, version: str = "fake 1.0") -> str:
    """A compiler that tells its version and otherwise does this; `$out` is what it should write."""
    file = folder / "fake++"
    head = f'[ "$1" = --version ] && {{ printf "%s\\n" "{version}"; exit 0; }}\nfor out; do :; done\n'
    file.write_text(f"#!/bin/sh\n{head}{body}\n")
    file.chmod(0o755)
    return str(file)


def refusal(word: str) -> None:
    """There is no library, and one line that says why."""
    assert build.library() is None
    assert word in build.why_not() and len(build.why_not().splitlines()) == 1
    assert not gates.usable(3, "float32")


@needs_kernels
def test_without_a_compiler_all_goes_on_and_the_reason_is_told(request, monkeypatch):
    with_kernels = descended_by_kernels("d = 2")[-1]
    monkeypatch.setenv("PATH", str(request.getfixturevalue("anew")))
    monkeypatch.delenv("CXX", raising=False)
    refusal("no C++ compiler (set CXX)")
    close(flat(descended(RUNS["d = 2"])[-1]), flat(with_kernels))


BROKEN = {
    "an error in two lines": ("echo 'gates.cc:1: error: no immintrin.h' >&2; echo more >&2; exit 1", "error: no immintrin.h"),
    "no word": ("exit 1", "fake++: failed"),
    "words in no known alphabet": ("printf '\\377\\376' >&2; exit 1", "fake++: "),
    "nothing written": ("exit 0", "No such file"),
    "no library": ('echo no library > "$out"', "gates-"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_compiler_that_fails_is_told_in_one_line(anew, monkeypatch, name):
    body, word = BROKEN[name]
    monkeypatch.setenv("CXX", compiler(anew, body))
    refusal(word)
    assert not [file for file in (anew / "cache").rglob("*") if file.is_dir() and file.name.startswith("tmp")]


def test_a_compiler_that_does_not_tell_its_version(anew, monkeypatch):
    monkeypatch.setenv("CXX", compiler(anew, "exit 1", version=""))
    refusal("fake++: failed")
    next((anew / "cache" / "dynamics" / "kernels").glob("*.failed")).unlink()  # its note: it is not asked again
    Path(compiler(anew, "")).write_text("#!/bin/sh\nexit 0\n")
    build.opened.cache_clear()
    refusal("No such file")


def test_the_switch_turns_them_off_and_knows_no_third_word(anew, monkeypatch, cli):
    monkeypatch.setenv(build.SWITCH, "off")
    refusal("DYNAMICS_KERNELS=off")
    monkeypatch.setenv(build.SWITCH, "maybe")
    build.opened.cache_clear()
    with pytest.raises(InputError, match="DYNAMICS_KERNELS = 'maybe': choose one of auto, off"):
        build.library()
    code, _, err = cli("experiment=stable_minima/rates", "size=smoke", "mode=plan", f"output={anew / 'out'}")
    assert code == 2 and err.startswith("error: DYNAMICS_KERNELS = 'maybe'") and len(err.splitlines()) == 1


def test_a_cache_folder_that_cannot_be_written_is_a_reason_and_no_crash(anew, monkeypatch):
    monkeypatch.setenv("CXX", compiler(anew, "exit 1"))
    (anew / "cache").write_text("a file in the folder's place")
    refusal(str(anew / "cache"))

    monkeypatch.setenv("XDG_CACHE_HOME", str(anew / ("x" * 300)))
    build.opened.cache_clear()
    refusal("File name too long")


def test_a_user_without_a_home_has_no_cache_folder(anew, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("CXX", compiler(anew, "exit 1"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    refusal("no cache folder: Could not determine home directory")


SLOW = 'echo built >> "$(dirname "$0")/count"; sleep 1; echo library > "$out"'


def test_two_processes_at_once_build_once_and_a_third_not_at_all(anew, monkeypatch):
    monkeypatch.setenv("CXX", compiler(anew, SLOW))
    code = "from dynamics.kernels.build import build; print(build())"
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert len({out for out, _ in outputs}) == 1
    assert sum("building the CPU kernels" in err for _, err in outputs) == 1
    assert (anew / "count").read_text() == "built\n"
    assert build.build() == Path(outputs[0][0].strip())
    assert (anew / "count").read_text() == "built\n"
    build.build((*build.FLAGS, "-DOTHER"))  # what is built otherwise is another library
    assert (anew / "count").read_text() == "built\n" * 2


def test_threads_that_ask_at_once_build_once(anew, monkeypatch):
    """Programs are compiled in several threads, and each asks."""
    monkeypatch.setenv("CXX", compiler(anew, SLOW))
    threads = [threading.Thread(target=build.library) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (anew / "count").read_text() == "built\n"


OTHER_VECTORS = """
import sys
sys.path.insert(0, sys.argv[1])
import conftest
import numpy as np
from dynamics.kernels import build, gates

other = {"-O3": "-O0", "-march=native": "-march=haswell"}
made = build.load(build.build(tuple(other.get(flag, flag) for flag in build.FLAGS)))
build.opened = lambda: (made, "")
import test_gates

rng = np.random.default_rng(3)
test_gates.compare(test_gates.spread_of_shapes(rng) + test_gates.lines(rng))
for d in (2, 3):
    test_gates.test_at_the_kink_the_slope_is_exactly_zero_whatever_the_sign_of_zero(rng, d)
print(made.dynamics_word(), made.dynamics_pair())
"""


@needs_kernels
@pytest.mark.skipif(platform.machine() != "x86_64" or "fma" not in features(), reason="no AVX2 here")
def test_vectors_of_eight_numbers_come_to_the_same():
    """The kernels of a processor without AVX-512, built for it here, in a process of their own."""
    command = [sys.executable, "-c", OTHER_VECTORS, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["24", "16"]


def counting(folder: Path, body: str) -> str:
    """A compiler that leaves a line for every time it is asked to compile."""
    return compiler(folder, f"echo once >> {folder / 'calls'}\n{body}")


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text().splitlines())


def test_a_compiler_that_failed_is_not_asked_again(anew, monkeypatch, capfd):
    monkeypatch.setenv("CXX", counting(anew, "echo no header >&2; exit 1"))
    refusal("fake++: no header")
    build.opened.cache_clear()
    capfd.readouterr()
    refusal("fake++: no header (noted in ")
    assert calls(anew) == 1
    assert capfd.readouterr().err == ""


def test_a_library_that_is_not_whole_or_not_ours_alone_is_built_again(anew, monkeypatch):
    monkeypatch.setenv("CXX", counting(anew, 'echo library > "$out"'))
    file = build.build()
    assert build.build() == file and calls(anew) == 1
    assert not file.parent.stat().st_mode & 0o077 and not file.stat().st_mode & 0o077
    file.write_text("lib")  # torn
    assert build.build().read_text() == "library\n" and calls(anew) == 2
    file.chmod(0o770)  # others may have written it
    assert build.build() == file and calls(anew) == 3
    file.with_suffix(".sha256").unlink()
    assert build.build() == file and calls(anew) == 4


def test_other_processors_are_told_without_asking_a_compiler(anew, monkeypatch, capfd):
    monkeypatch.setattr(build.platform, "machine", lambda: "aarch64")
    refusal("written for x86-64, not for aarch64")
    assert capfd.readouterr().err == ""
