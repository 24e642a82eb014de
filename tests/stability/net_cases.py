"""Nets of every kind, small, trained and extreme, padded to one shape and measured by one program."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from oracles import dense_hessian, net_output, random_net, to_jax, to_numpy

from dynamics.data.problem import Problem, Samples
from dynamics.measures.table import MEASURES
from dynamics.measures.view import View, prepare_run_data
from dynamics.models.two_layer import TwoLayer, build_two_layer

N, D, K = 12, 3, 8  # the shape that small nets are padded to


BATCH = 64


COLUMNS = ("gauss_newton_sharpness", "sharpness", "residual_sharpness", "path_norms", "stability_checks")


@cache
def program(n, d, width, dtype, measures):
    """(nets, x, y, weights, factor, learning rate), each with a leading axis of nets -> every column of
    these measures."""
    model = build_two_layer(d, width, "relu", "torch_default", dtype)

    def look(net, x, y, weights, factor, rate):
        samples = Samples(x, y, y, weights)
        hyper = {"optimizer.learning_rate": rate, "model.width": jnp.int32(width)}
        seen = View(model, net, prepare_run_data(model, Problem(samples, samples), hyper, jax.random.key(0)), factor)
        return {name: value for measure in measures for name, value in MEASURES[measure](seen).items()}

    return jax.jit(jax.vmap(look))


@cache
def descent(n, d, width):
    """(nets, x, y, weights, rate, steps) -> the nets after so many steps on (1/2n) sum (f - y)^2."""
    model = build_two_layer(d, width, "relu", "torch_default", jnp.float64)

    def descend(net, x, y, weights, rate, steps):
        batch = model.prepare(x, y, weights)
        down = lambda _, p: jax.tree.map(lambda a, g: a - rate * g, p, model.squared_gradient(p, batch, 0.5))  # noqa: E731
        return jax.lax.fori_loop(0, steps, down, net)

    return jax.jit(jax.vmap(descend))


class Case:
    """A net, its data, and the loss's factor and rate, at true size."""

    def __init__(self, net, x, y, factor=0.5, rate=0.1):
        self.net, self.x, self.y, self.factor, self.rate = net, x, y, factor, rate

    @property
    def hessian(self):
        return dense_hessian(self.net, self.x, self.y, self.factor)


def padded(cases, shape=(N, D, K)):
    """The cases as arrays of one shape, on a leading axis."""
    n, d, width = shape

    def grow(a, *sizes):
        return np.pad(a, [(0, size - own) for size, own in zip(sizes, a.shape, strict=True)])

    def stack(column):
        return np.stack([column(c) for c in cases])

    net = TwoLayer(
        stack(lambda c: grow(c.net.hidden, d + 1, width)),
        stack(lambda c: grow(c.net.readout, width)),
        stack(lambda c: np.asarray(c.net.offset)),
    )
    weights = stack(lambda c: grow(np.full(len(c.y), 1 / len(c.y)), n))
    return net, stack(lambda c: grow(c.x, n, d)), stack(lambda c: grow(c.y, n)), weights


def look_at(cases, shape=(N, D, K), dtype=jnp.float64, measures=COLUMNS, size=BATCH):
    """Every column for every case, by batches of one size, so that it is one program."""
    found = []
    for begin in range(0, len(cases), size):
        batch = cases[begin : begin + size]
        filled = batch + batch[:1] * (size - len(batch))
        arrays = (*padded(filled, shape), np.array([c.factor for c in filled]), np.array([c.rate for c in filled]))
        with jax.enable_x64(dtype == jnp.float64):
            seen = program(*shape, dtype, measures)(*jax.tree.map(lambda a: jnp.asarray(a, dtype), arrays))
        found.append({name: np.asarray(value, float)[: len(batch)] for name, value in seen.items()})
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def train(cases, rates, steps):
    """The cases with their nets descended, in place of the ones they had."""
    net, x, y, weights = to_jax(padded(cases))
    nets = to_numpy(descent(N, D, K)(net, x, y, weights, jnp.asarray(rates), jnp.asarray(steps, jnp.int32)))
    trained = []
    for i, c in enumerate(cases):
        rows, width = c.net.hidden.shape
        own = TwoLayer(nets.hidden[i, :rows, :width], nets.readout[i, :width], nets.offset[i])
        trained.append(Case(own, c.x, c.y, c.factor, c.rate))
    return trained


def in_ball(rng, n, d):
    x = rng.normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * rng.uniform(size=(n, 1)) ** (1 / d)


def any_case(rng):
    """A net of any scale and size, its neurons partly dead, duplicated, opposite or without weights;
    labels near and far."""
    n, d, width = rng.integers(1, (N, D, K), endpoint=True)
    scale = 10 ** rng.uniform(-3, 3, size=5)
    balanced = rng.uniform() < 0.4
    net = random_net(rng, d, width)
    net.hidden[1:] *= scale[0]
    net.hidden[0] *= scale[0] if balanced else scale[1]
    net = net._replace(readout=net.readout * (scale[0] if balanced else scale[2]), offset=net.offset * scale[3])
    half = width // 2
    kind = rng.choice(["plain", "dead", "duplicated", "opposite", "weightless"])
    if kind == "dead":
        net.hidden[0, half:] = -100 * (1 + np.abs(net.hidden).max())
    if kind in ("duplicated", "opposite"):
        net.hidden[:, half : 2 * half] = net.hidden[:, :half] * (1 if kind == "duplicated" else -1)
    if kind == "weightless":
        net.hidden[1:, half:] = 0
    x, y = in_ball(rng, n, d), scale[4] * rng.normal(size=n)
    if rng.uniform() < 0.4:  # nearly interpolated
        y = net_output(net, x) + 10 ** rng.uniform(-6, 0) * rng.normal(size=n)
    return Case(net, x, y, rng.choice([1.0, 0.5]), 10 ** rng.uniform(-3, 1))


def many(seed, count):
    rng = np.random.default_rng(seed)
    return [any_case(rng) for _ in range(count)]


def torch_like(rng, n, d, width, noise=1.0):
    """PyTorch's default start on a linear teacher with noise, as the paper trains it."""
    hidden = rng.uniform(-1, 1, size=(d + 1, width)) / np.sqrt(d)
    net = TwoLayer(hidden, rng.uniform(-1, 1, size=width) / np.sqrt(width), rng.uniform(-1, 1) / np.sqrt(width))
    x = in_ball(rng, n, d)
    return Case(net, x, x[:, 0] + noise * rng.normal(size=n))


@cache
def trained_cases():
    """Small runs at several rates (theory units), after few and many steps; those at large rates live at the edge."""
    rng = np.random.default_rng(5)
    cases = [torch_like(rng, N, 1 + i % D, K) for i in range(96)]
    rates, steps = np.resize([0.4, 0.8, 1.2], 96), np.resize([0, 30, 1000, 8000], 96)
    for case, rate in zip(cases, rates, strict=True):
        case.rate = rate / (2 * case.factor)
    return train(cases, rates, steps), rates, steps


def kink_distance(case):
    """The smallest pre-activation of a sample, relative to the neuron's size."""
    z = case.x @ case.net.hidden[1:] + case.net.hidden[0]
    return np.min(np.abs(z) / np.linalg.norm(case.net.hidden, axis=0))
