"""The GPU kernels, run as plain JAX (`interpret`) against numpy, and lowered for a GPU without having one."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest
from oracles import assert_trees_close, net_gradient, random_net, to_numpy

from dynamics.core import spec as specs
from dynamics.core.recording import RecordSpec
from dynamics.data.problem import DataSpec
from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.kernels.gpu import Tiles, default_tiles, gradient, split_loop
from dynamics.kernels.gpu_blocks import Tile
from dynamics.kernels.gpu_descent import descend, fits_on_chip
from dynamics.models import stepping
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import TwoLayer, build_two_layer
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.systems.training import TrainingSpec

SMALL = Tiles(Tile(4, 8, 4), Tile(2, 8, 4))  # several blocks each way at the sizes of a test
SMALL_DOT = Tiles(Tile(8, 16, 4), Tile(8, 16, 4))
# n, d, K: one of each, blocks that just fit, overhang either way, loops in parts, matrix products, two slabs of inputs
SHAPES = [(1, 1, 1, SMALL), (8, 2, 16, SMALL), (9, 5, 33, SMALL), (45, 1, 70, SMALL), (13, 3, 150, None)]
WIDE = [(21, 16, 37, SMALL_DOT), (11, 140, 9, SMALL_DOT), (40, 20, 70, None)]
LEARNING_RATE, STEPS = 0.02, 100


def samples_of(rng, n, d):
    return rng.normal(size=(n, d)), rng.normal(size=n), rng.uniform(0.5, 2, size=n) / n


def arrays(params, x, y, weights, dtype=jnp.float32):
    """What the kernels take."""
    extended = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), (params, extended, y, weights))


def close(actual, desired, tolerance):
    """Within a share of the largest entry of each leaf."""
    for a, b in zip(actual, desired, strict=True):
        assert_trees_close(a, b, rtol=0, atol=tolerance * float(np.max(np.abs(b))))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n, d, width, tiles", SHAPES + WIDE)
def test_gradient_equals_numpys(rng, n, d, width, tiles):
    params, problem = random_net(rng, d, width), samples_of(rng, n, d)
    took = jax.jit(lambda *a: gradient(*a, 0.5, tiles=tiles, interpret=True))(*arrays(params, *problem, dtype=jnp.float64))
    close(took, net_gradient(params, *problem, 0.5), 1e-13)


@pytest.mark.parametrize("d, tiles", [(2, SMALL), (17, SMALL_DOT)])
def test_padding_has_exactly_zero_gradient_and_the_rest_is_numpys_to_rounding(rng, d, tiles):
    n, width = 7, 5
    params, (x, y, weights) = random_net(rng, d, width), samples_of(rng, 7, d)
    wide = TwoLayer(np.pad(params.hidden, ((0, 2), (0, 9))), np.pad(params.readout, (0, 9)), params.offset)
    padded = np.pad(x, ((0, 6), (0, 2))), np.pad(y, (0, 6)), np.pad(weights, (0, 6))
    took = to_numpy(jax.jit(lambda *a: gradient(*a, 1.0, tiles=tiles, interpret=True))(*arrays(wide, *padded)))
    assert took.hidden.dtype == np.float32
    assert not took.hidden[d + 1 :].any() and not took.hidden[:, width:].any() and not took.readout[width:].any()
    kept = TwoLayer(took.hidden[: d + 1, :width], took.readout[:width], took.offset)
    close(kept, net_gradient(params, x[:n], y[:n], weights, 1.0), 3e-6)


def test_at_the_kink_the_slope_is_zero_and_what_is_not_a_number_is_not_hidden(rng):
    params, (x, y, weights) = random_net(rng, 2, 4), samples_of(rng, 6, 2)
    params.hidden[0], x[:3] = 0, 0  # pre-activations exactly 0 for every neuron
    call = jax.jit(lambda *a: gradient(*a, 1.0, tiles=SMALL, interpret=True))
    close(call(*arrays(params, x, y, weights)), net_gradient(params, x, y, weights, 1.0), 1e-6)
    params.hidden[1, 2] = np.nan
    spoilt = call(*arrays(params, x, y, weights))
    assert np.isnan(spoilt.offset) and np.isnan(spoilt.hidden[:, 2]).all()


def test_an_ensemble_is_its_runs_with_their_own_data_or_the_same(rng):
    nets, problems = zip(*((random_net(rng, 3, 20), samples_of(rng, 9, 3)) for _ in range(3)), strict=True)
    stacked = jax.tree.map(
        lambda *a: jnp.stack(a), *(arrays(net, *problem) for net, problem in zip(nets, problems, strict=True))
    )

    @jax.jit
    def run(params, *a):
        def call(*own):
            return gradient(*own, 1.0, runs=3, tiles=SMALL, interpret=True)

        return jax.vmap(call)(params, *a), jax.vmap(call, in_axes=(0, None, None, None))(params, *(b[0] for b in a))

    own, same = run(*stacked)
    for i, net in enumerate(nets):
        close(jax.tree.map(lambda a: a[i], own), net_gradient(net, *problems[i], 1.0), 3e-6)
        close(jax.tree.map(lambda a: a[i], same), net_gradient(net, *problems[0], 1.0), 3e-6)


def plain_descent(params, problem, clip_norm, weight_decay, decay, steps=STEPS):
    """In numpy: clip to the norm, add the decay, step. The parameters, and how often it was clipped."""
    biased = 0.0 if decay == "weights" else 1.0
    rows = np.ones((params.hidden.shape[0], 1))
    rows[0] = biased
    clipped = 0
    for _ in range(steps):
        g = net_gradient(params, *problem, 1.0)
        norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in g))
        clipped += norm > clip_norm
        scale = min(1.0, clip_norm / norm)
        moves = (scale * leaf + weight_decay * m * p for leaf, m, p in zip(g, (rows, 1.0, biased), params, strict=True))
        params = TwoLayer(*(p - LEARNING_RATE * move for p, move in zip(params, moves, strict=True)))
    return params, clipped


SWEPT = [(np.inf, 0.0), (4.0, 0.1)]  # clip norm, weight decay; the clipping bites for a while


@pytest.fixture(scope="module")
def trained():
    """A start, and where 100 steps in numpy lead for each pair of `SWEPT` and either decay."""
    rng = np.random.default_rng(7)
    params, problem = random_net(rng, 2, 6), samples_of(rng, 20, 2)
    ends = {decay: [plain_descent(params, problem, *swept, decay) for swept in SWEPT] for decay in ("all", "weights")}
    assert 5 < ends["all"][1][1] < STEPS and ends["all"][0][1] == 0
    return params, problem, {decay: [end for end, _ in runs] for decay, runs in ends.items()}


@pytest.mark.parametrize("decay", ["all", "weights"])
def test_a_hundred_steps_in_one_launch_are_numpys_to_rounding(trained, decay):
    params, problem, ends = trained
    clip_norm, weight_decay = (jnp.array(column) for column in zip(*SWEPT, strict=True))
    a = arrays(params, *problem)

    @jax.jit
    def run(begin, end, start):
        def one(start, clip_norm, weight_decay):
            rest = LEARNING_RATE, clip_norm, weight_decay
            return descend(start, *a[1:], 1.0, begin, end, *rest, decay=decay, interpret=True)

        return jax.vmap(one)(start, clip_norm, weight_decay)

    start = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(SWEPT)), a[0])
    took = run(0, STEPS, start)
    for i, desired in enumerate(ends[decay]):
        close(jax.tree.map(lambda leaf: leaf[i], took), desired, 2e-5)
    assert_trees_close(run(37, STEPS, run(0, 37, start)), took, rtol=0)  # where a segment is cut changes no bit
    assert_trees_close(run(5, 5, start), start, rtol=0)


def test_a_hundred_steps_of_gradient_and_rule_are_numpys_to_rounding(trained):
    params, problem, ends = trained
    start, *a = arrays(params, *problem)
    names = ("optimizer.clip_norm", "optimizer.weight_decay", "optimizer.learning_rate")

    @jax.jit
    def run(*swept):
        rule = OptimizerSpec("gd").rule(
            dict(zip(names, (*swept, LEARNING_RATE), strict=True)), jax.tree.map(jnp.ones_like, start)
        )

        def take(step, state):
            slope = lambda p: gradient(p, *a, 1.0, tiles=SMALL, interpret=True)  # noqa: E731
            return rule.update(*state, slope, step=step, key=jax.random.key(0))

        return jax.lax.fori_loop(0, STEPS, take, (start, rule.init(start)))[0]

    for swept, desired in zip(SWEPT, ends["all"], strict=True):
        close(run(*swept), desired, 2e-5)


def test_descent_leaves_padding_where_it_is(rng):
    params, (x, y, weights) = random_net(rng, 2, 3), samples_of(rng, 5, 2)
    wide = TwoLayer(np.pad(params.hidden, ((0, 1), (0, 4))), np.pad(params.readout, (0, 4)), params.offset)
    padded = np.pad(x, ((0, 6), (0, 1))), np.pad(y, (0, 6)), np.pad(weights, (0, 6))
    took = jax.jit(lambda *a: descend(*a, 1.0, 0, 5, LEARNING_RATE, 0.5, 0.1, interpret=True))(*arrays(wide, *padded))
    assert not took.hidden[3:].any() and not took.hidden[:, 3:].any() and not took.readout[3:].any()
    kept, _ = plain_descent(params, (x, y, weights), 0.5, 0.1, "all", steps=5)
    close(TwoLayer(took.hidden[:3, :3], took.readout[:3], took.offset), kept, 1e-5)


def test_what_fits_on_chip():
    assert fits_on_chip(128, 512, 5) and fits_on_chip(512, 2048, 1)
    assert not fits_on_chip(128, 4096, 5)  # registers for the neurons
    assert not fits_on_chip(8192, 512, 5)  # cache for the samples
    assert not fits_on_chip(128, 512, 16)  # products not written out


@pytest.mark.parametrize(
    "loop, programs, most", [(1, 1, 9), (7, 1, 9), (100, 3, 512), (100, 3, 2), (32, 600, 9), (5000, 1, 512)]
)
def test_a_loop_is_shared_out_whole_and_enough(loop, programs, most):
    share, parts = split_loop(loop, programs, most)
    assert (parts - 1) * share < loop <= parts * share
    assert share >= 4 or parts == 1
    assert parts <= most and parts >= 0.9 * min(512 / programs, loop / 8, most)


# a later jaxlib compiles Triton while it lowers, and wants its GPU plugin for that
version = tuple(int(part) for part in jaxlib.__version__.split(".")[:3])
lowers = pytest.mark.skipif(version > (0, 10, 2), reason="lowering Triton needs a GPU plugin")


def lowered(function, *arguments) -> str:
    """The program for an NVIDIA GPU, without what is inside its kernels."""
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
    return re.sub(r'ir = "(?:[^"\\]|\\.)*"', "", text)


def largest(text: str) -> int:
    shapes = re.findall(r"tensor<((?:\d+x)*)[a-z]", text)
    return max(int(np.prod([int(s) for s in shape.split("x")[:-1]])) for shape in shapes)


def problem_of(n, d, width, runs=None):
    def struct(*shape):
        return jax.ShapeDtypeStruct(shape if runs is None else (runs, *shape), jnp.float32)

    return TwoLayer(struct(d + 1, width), struct(width), struct()), struct(n, d + 1), struct(n), struct(n)


@lowers
@pytest.mark.parametrize("n, d, width", [(1, 1, 1), (512, 5, 2048), (300, 15, 1000), (512, 63, 1024), (64, 200, 100)])
def test_two_kernels_for_a_gpu_and_no_array_over_neurons_and_samples(n, d, width):
    text = lowered(lambda *a: gradient(*a, 1.0), *problem_of(n, d, width))
    assert len(re.findall(r"custom_call @\S*triton", text)) == 2
    assert width == 1 or largest(text) < max(n * width / 2, (d + 1) * max(n, width) + 1)


@lowers
def test_a_large_ensemble_has_few_partial_sums():
    def call(runs):
        return lowered(jax.vmap(lambda *a: gradient(*a, 1.0, runs=runs)), *problem_of(512, 5, 2048, runs=256))

    assert largest(call(256)) == 256 * 6 * 2048 < largest(call(1))


@lowers
def test_an_ensemble_in_a_loop_for_a_gpu():
    def steps(params, *a):
        def step(_, p):
            return jax.tree.map(lambda x, g: x - 0.1 * g, p, jax.vmap(lambda *b: gradient(*b, 1.0))(p, *a))

        return jax.lax.fori_loop(0, 10, step, params)

    text = lowered(steps, *problem_of(512, 5, 2048, runs=3))
    assert len(re.findall(r"custom_call @\S*triton", text)) == 2
    assert largest(text) < 3 * 512 * 2048 / 2


@lowers
@pytest.mark.parametrize("n, d, width", [(1, 1, 1), (128, 5, 512), (200, 9, 700)])
def test_one_kernel_for_all_steps_on_a_gpu(n, d, width):
    def call(a, end, *swept):
        return descend(*a, 1.0, 0, end, *swept)

    scalars = (jax.ShapeDtypeStruct((4,), t) for t in (jnp.int32, *(jnp.float32,) * 3))
    text = lowered(jax.vmap(call), problem_of(n, d, width, runs=4), *scalars)
    assert len(re.findall(r"custom_call @\S*triton", text)) == 1
    assert width == 1 or largest(text) <= 4 * max((d + 1) * max(n, width), n * width / 2)


@lowers
def test_the_look_at_sizes_sees_the_plain_closed_form():
    def plain(params, x, y, weights):
        return weights * (jnp.maximum(x @ params.hidden, 0) @ params.readout - y)

    assert largest(lowered(plain, *problem_of(512, 5, 2048))) == 512 * 2048


def test_matrix_products_are_in_full_precision():
    text = str(jax.make_jaxpr(lambda *a: gradient(*a, 1.0))(*problem_of(40, 20, 70)))
    assert text.count("dot_general[") == text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == 3


def test_default_blocks_are_powers_of_two():
    for rows in (2, 6, 9, 16, 17, 800):
        for tile in default_tiles(rows):
            assert all(size & (size - 1) == 0 for size in tile)


@pytest.mark.parametrize("way", ["gradient", "descend"])
def test_a_run_that_is_stepped_by_the_kernels_sees_what_a_plain_one_sees(monkeypatch, way):
    """The engine's whole way, with the choice that a trial would make on a GPU made for it."""
    spec = TrainingSpec(
        steps=25,
        record=RecordSpec(num=3),
        data=DataSpec(input_dim=3, num_samples=20, num_test=8),
        model=ModelSpec(width=12),
        optimizer=OptimizerSpec(learning_rate=0.1, weight_decay=0.1, decay="weights", clip_norm=0.5),
        measures=["train_loss", "weight_norm"],
    )
    runs = [specs.freeze(replace(spec, seed=seed).resolve()) for seed in range(3)]
    (plain,) = Executor().compute_plan(make_plan(runs))
    monkeypatch.setattr(stepping, "INTERPRET", True)
    monkeypatch.setattr(stepping, "choose_backend", lambda *_, **__: way)
    assert (specs.static(runs[0]).dynamics().leap is not None) == (way == "descend")
    (quick,) = Executor().compute_plan(make_plan(runs))
    for name, values in plain.trajectory.records.items():
        np.testing.assert_allclose(quick.trajectory.records[name], values, rtol=2e-5, atol=1e-6, err_msg=name)
    assert quick.trajectory.state.step.tolist() == [25, 25, 25]


def test_the_fastest_backend_is_found_by_timing_and_one_that_fails_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(stepping, "INTERPRET", True)
    monkeypatch.setattr(stepping, "STEPS", 2)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    model = build_two_layer(2, 8, "relu", "torch_default", jnp.float32, kernels=False)
    raced = stepping.list_backends(16, 8, 2, model.squared_gradient, descends=True)
    assert set(raced) == {"plain", "gradient", "descend"}
    assert all(0 < stepping.time_backend(way, 16, 8, 2) < math.inf for way in raced.values())
    assert stepping.time_backend(lambda *_: 1 / 0, 16, 8, 2) == math.inf

    def short_of_memory(*_):
        raise MemoryError

    assert math.isnan(stepping.time_backend(short_of_memory, 16, 8, 2))
    taken = {"plain": 3.0, "gradient": 2.0, "descend": 1.0}
    listed = lambda *_, descends, **__: {k: k for k in taken if descends or k != "descend"}  # noqa: E731
    monkeypatch.setattr(stepping, "list_backends", listed)
    monkeypatch.setattr(stepping, "time_backend", lambda way, *_: taken[way])
    assert stepping.choose_backend(16, 8, 2, model.squared_gradient, descends=True) == "descend"
    assert stepping.choose_backend(16, 8, 2, model.squared_gradient, descends=False) == "gradient"
    taken["gradient"] = 9.0  # found out already: not tried again, by other processes neither
    stepping._time_once.cache_clear()
    assert stepping.choose_backend(16, 8, 2, model.squared_gradient, descends=False) == "gradient"
    assert stepping.choose_backend(16, 8, 3, model.squared_gradient, descends=True) == "descend"
    for seconds, found in ((math.nan, "descend"), (0.5, "gradient")):  # memory ran out: not kept on disk, so tried again
        taken["gradient"] = seconds
        stepping._time_once.cache_clear()
        assert stepping.choose_backend(16, 8, 4, model.squared_gradient, descends=True) == found
    monkeypatch.setenv("DYNAMICS_KERNELS", "off")
    assert stepping.choose_backend(16, 8, 2, model.squared_gradient, descends=True) == "plain"
