"""The three passes of the ReLU gate kernels against 64-bit numpy, at every shape."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import jax
import numpy as np
import pytest
from gate_nets import BUILT, MOST, ROUNDING, Layer, compare, draw_layer, expected, features, needs_kernels, net_of, passes
from jax.flatten_util import ravel_pytree

from dynamics.kernels import build, gates
from dynamics.kernels.threads import cores_per_device


def test_where_there_is_a_compiler_and_a_processor_for_it_there_are_kernels():
    """Else everything below is skipped, and nobody sees it."""
    if (
        os.environ.get(build.SWITCH) == "off"
        or "avx2" not in features()
        or "compiler (set CXX)" in build.explain_missing_library()
    ):
        pytest.skip(build.explain_missing_library())
    assert build.explain_missing_library() == "" and BUILT and MOST >= 12


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
    monkeypatch.setattr(gates, "MIN_THREAD_WORK", 1)
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


OTHER_VECTORS = """
import sys
sys.path[:0] = sys.argv[1:]
import conftest
import numpy as np
from dynamics.kernels import build, gates

other = {"-O3": "-O0", "-march=native": "-march=haswell"}
made = build.load_library(build.build_library(tuple(other.get(flag, flag) for flag in build.FLAGS)))
build.open_library = lambda: (made, "")
import gate_nets, test_gate_passes

rng = np.random.default_rng(3)
gate_nets.compare(test_gate_passes.spread_of_shapes(rng) + test_gate_passes.lines(rng))
for d in (2, 3):
    test_gate_passes.test_at_the_kink_the_slope_is_exactly_zero_whatever_the_sign_of_zero(rng, d)
print(made.dynamics_word(), made.dynamics_pair())
"""


@needs_kernels
@pytest.mark.skipif(platform.machine() != "x86_64" or "fma" not in features(), reason="no AVX2 here")
def test_vectors_of_eight_numbers_come_to_the_same():
    """The kernels of a processor without AVX-512, built for it here, in a process of their own."""
    command = [sys.executable, "-c", OTHER_VECTORS, *map(str, Path(__file__).parents[1::-1])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["24", "16"]
