"""Segments of gradient descent in one call of the CPU kernels, against numpy in 64 bits."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import net_gradient, random_net

from dynamics.kernels import gates
from dynamics.models import stepping
from dynamics.models.two_layer import TwoLayer, build_two_layer

pytestmark = pytest.mark.skipif(not gates.has_kernels(3, jnp.float32), reason="no kernels on this machine")

STEPS, FACTOR = 100, 0.5
SHAPES = [(1, 1, 1), (45, 1, 70), (9, 16, 5), (33, 3, 40), (200, 5, 33)]  # n, d, K
SETTINGS = [(0.05, math.inf, 0.0, "all"), (0.05, 0.3, 0.1, "all"), (0.05, 0.3, 0.1, "weights")]  # rate, clip, decay, on what


def numpy_descent(net, x, y, weights, rate, clip, decay, on, steps=STEPS):
    """The rule `gd` written out in 64 bits."""
    for _ in range(steps):
        gradient = net_gradient(net, x, y, weights, FACTOR)
        norm = math.sqrt(sum(float(np.sum(np.square(g))) for g in gradient))
        scale = min(1.0, clip / norm)
        spared = [np.ones_like(p) for p in net]
        if on == "weights":
            spared[0][0], spared[2] = 0, 0
        net = type(net)(*(p - rate * (scale * g + decay * m * p) for p, g, m in zip(net, gradient, spared, strict=True)))
    return net


def problem(seed, n, d, width):
    rng = np.random.default_rng(seed)
    return random_net(rng, d, width), rng.normal(size=(n, d)), rng.normal(size=n), rng.uniform(0.5, 2, size=n) / n


@partial(jax.jit, static_argnums=4)
def descend(net, samples, steps, scalars, on):
    model = build_two_layer(samples[0].shape[1], net.readout.size, "relu", "torch_default", jnp.float32)
    return stepping.descend(net, model.prepare(*samples), FACTOR, steps, scalars, on)


def by_kernel(net, x, y, weights, rate, clip, decay, on, steps=STEPS):
    arrays = jax.tree.map(np.float32, (TwoLayer(*net), (x, y, weights)))
    return descend(*arrays, np.int32(steps), tuple(np.float32(s) for s in (rate, clip, decay)), on)


def off_by(found, expected):
    """The largest difference of a leaf as a share of its largest entry."""
    pairs = zip(found, expected, strict=True)
    return max(float(np.max(np.abs(np.asarray(a, float) - b)) / max(np.max(np.abs(b)), 1e-3)) for a, b in pairs)


@pytest.mark.parametrize("n, d, width", SHAPES)
def test_a_hundred_steps_are_numpys(n, d, width):
    net, x, y, weights = problem(n, n, d, width)
    steps = STEPS if n < 100 else STEPS // 4  # numpy takes long over many samples
    for setting in SETTINGS:
        expected = numpy_descent(net, x, y, weights, *setting, steps)
        assert off_by(by_kernel(net, x, y, weights, *setting, steps), expected) < 2e-5, setting


def test_the_comparison_can_fail():
    net, x, y, weights = problem(0, 33, 3, 40)
    rate, clip, decay, on = SETTINGS[2]
    expected = numpy_descent(net, x, y, weights, rate, clip, decay, on)
    others = {
        "a step fewer": by_kernel(net, x, y, weights, rate, clip, decay, on, STEPS - 1),
        "rate": by_kernel(net, x, y, weights, 1.01 * rate, clip, decay, on),
        "clip": by_kernel(net, x, y, weights, rate, 1.01 * clip, decay, on),
        "decay": by_kernel(net, x, y, weights, rate, clip, 1.01 * decay, on),
        "on what": by_kernel(net, x, y, weights, rate, clip, decay, "all"),
    }
    assert all(off_by(found, expected) > 1e-4 for found in others.values())


def test_where_a_segment_is_cut_changes_no_bit_and_no_steps_change_nothing():
    for d in (1, 4):
        net, x, y, weights = problem(1, 50, d, 37)
        whole = by_kernel(net, x, y, weights, *SETTINGS[1], steps=60)
        half = by_kernel(net, x, y, weights, *SETTINGS[1], steps=23)
        rest = by_kernel(jax.tree.map(np.asarray, half), x, y, weights, *SETTINGS[1], steps=37)
        none = by_kernel(jax.tree.map(np.asarray, half), x, y, weights, *SETTINGS[1], steps=0)
        assert all(np.array_equal(a, b) for a, b in zip(whole, rest, strict=True))
        assert all(np.array_equal(a, b) for a, b in zip(half, none, strict=True))


def test_a_run_that_diverges_is_seen_to():
    for d in (1, 3):
        net, x, y, weights = problem(2, 30, d, 20)
        found = by_kernel(net, x, y, weights, 1e6, math.inf, 0.0, "all")
        assert not all(np.isfinite(leaf).all() for leaf in found)


def test_members_of_an_ensemble_are_what_they_are_alone():
    for d in (1, 3):
        problems = [problem(seed, 30, d, 20) for seed in range(3)]
        nets, samples = zip(*[jax.tree.map(np.float32, (TwoLayer(*net), data)) for net, *data in problems], strict=True)
        rates = np.float32([0.01, 0.02, 0.05])

        def run(net, samples, rate):
            return descend(net, samples, np.int32(20), (rate, np.float32(0.5), np.float32(0.1)), "all")

        def stack(trees):
            return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)

        together = jax.jit(jax.vmap(run))(stack(nets), stack(samples), rates)
        alone = stack([run(*each) for each in zip(nets, samples, rates, strict=True)])
        assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


def test_a_norm_that_overflows_does_what_it_does_in_the_rule():
    """In 32 bits, as optax has it: with a finite limit the update vanishes, without one it is not a number."""
    for d in (1, 3):
        net, x, _, weights = problem(3, 30, d, 20)
        y = np.full(30, 1e20)  # the gradient is finite, its square is not
        for clip in (0.3, math.inf):
            found = by_kernel(net, x, y, weights, 0.1, clip, 0.0, "all", steps=1)
            if clip == math.inf:
                assert all(np.isnan(leaf).all() for leaf in found)
            else:
                assert all(np.array_equal(a, np.asarray(p, np.float32)) for a, p in zip(found, net, strict=True))
