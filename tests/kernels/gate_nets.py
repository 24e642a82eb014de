"""Layers, networks and runs for the tests of the ReLU gate kernels, with 64-bit numpy beside them."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from oracles import change, hyper_of, key_of, net_gradient, patch_jacobian, patch_output, random_net

from dynamics.core.simulate import start
from dynamics.data.problem import DataSpec
from dynamics.data.views import ViewSpec
from dynamics.kernels import build, gates
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import TwoLayer, build_two_layer
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.systems.training import TrainingSpec

module = importlib.import_module("dynamics.models.two_layer")  # the package exports a function of this name


BUILT = build.find_library()


MOST = BUILT.dynamics_most() if BUILT else 2  # entries of a row, the leading 1 included


needs_kernels = pytest.mark.skipif(not BUILT, reason=build.explain_missing_library() or "built")


ROUNDING = 2e-6  # of sums in 32 bits, relative to the sum of their terms' magnitudes


def features() -> str:
    """What the processor can do."""
    info = Path("/proc/cpuinfo")
    return info.read_text() if info.exists() else ""


# ---- the three passes


class Layer(NamedTuple):
    """x (n, D), hidden (D, K), readout (K,); coefficients r (n,) for `moments`, vectors u (D, K) for `sums`."""

    x: np.ndarray
    hidden: np.ndarray
    readout: np.ndarray
    r: np.ndarray
    u: np.ndarray


def draw_layer(rng: np.random.Generator, n: int, width: int, num_inputs: int) -> Layer:
    """On a coarse grid, so that pre-activations are exact in 32 bits and often exactly 0;
    some neurons have no direction."""
    x, hidden = rng.integers(-8, 9, size=(n, num_inputs)) / 4, rng.integers(-8, 9, size=(num_inputs, width)) / 4
    x[:, 0] = 1
    hidden[1:, ::5] = 0
    if num_inputs == gates.LINE_ROWS:
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


# ---- the model made of them


def net_of(rng, d: int, n: int, width: int, dtype=np.float32, **options):
    """(parameters, model, batch, (x, y)): a random net and data,
    samples in increasing order of their first coordinate."""
    params = jax.tree.map(lambda a: np.asarray(a, dtype), random_net(rng, d, width))
    x, y = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=n).astype(dtype)
    x = x[np.argsort(x[:, 0])]
    model = build_two_layer(d, width, options.pop("activation", "relu"), "torch_default", dtype, **options)
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


def refusal(word: str) -> None:
    """There is no library, and one line that says why."""
    assert build.find_library() is None
    assert word in build.explain_missing_library() and len(build.explain_missing_library().splitlines()) == 1
    assert not gates.has_kernels(3, "float32")
