"""Patch networks with several outputs, against numpy unit by unit and output by output."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import PHI, SLOPE, hyper_of, key_of

from dynamics.data.problem import DataSpec
from dynamics.data.views import ViewSpec, list_views
from dynamics.models.losses import mean_loss
from dynamics.models.model_spec import ModelSpec
from dynamics.models.row_streams import BLOCK_BYTES, count_sample_blocks
from dynamics.models.several_outputs import SeveralOutputs
from dynamics.systems.training import TrainingSpec

DIM, SAMPLES, FILTERS, OUTPUTS = 12, 7, 5, 3
MANY, FEW = ViewSpec("sliding", 3), ViewSpec("disjoint", 4)  # more views than numbers in one, and fewer
NETS = [
    ModelSpec("convolutional", FILTERS, views=MANY),
    ModelSpec("convolutional", FILTERS, views=MANY, pooling="sum"),
    ModelSpec("convolutional", FILTERS, views=MANY, activation="gelu"),
    ModelSpec("convolutional", FILTERS, views=ViewSpec("sliding", 1)),
    ModelSpec("convolutional", FILTERS, views=FEW),
    ModelSpec("locally_connected", FILTERS, views=MANY),
    ModelSpec("locally_connected", FILTERS, views=FEW, readout="unit", pooling="sum"),
    ModelSpec("two_layer", FILTERS),
]


def random_params(rng: np.random.Generator, spec: ModelSpec) -> SeveralOutputs:
    num_views, size = spec.rows((DIM,))
    filters = num_views if spec.kind == "locally_connected" else 1
    readouts = num_views if spec.readout == "unit" else 1
    shapes = (filters, size + 1, FILTERS), (readouts, FILTERS, OUTPUTS), (OUTPUTS,)
    return SeveralOutputs(*(rng.normal(size=shape) for shape in shapes))


def expected(params: SeveralOutputs, spec: ModelSpec, x: np.ndarray, outward: np.ndarray) -> tuple[np.ndarray, SeveralOutputs]:
    """Predictions (n, C), and the gradient of sum_ic outward_ic f_c(x_i), one unit at one position after another."""
    f = np.tile(params.offset, (len(x), 1))
    gradient = SeveralOutputs(np.zeros_like(params.hidden), np.zeros_like(params.readout), outward.sum(axis=0))
    seen = list_views(spec.views, (DIM,))
    share = 1 / len(seen) if spec.pooling == "mean" else 1.0
    for position, view in enumerate(seen):
        p, q = position % len(params.hidden), position % len(params.readout)
        rows = np.concatenate([np.ones((len(x), 1)), x[:, view]], axis=1)
        for k in range(FILTERS):
            z, v = rows @ params.hidden[p, :, k], params.readout[q, k]
            f += share * np.outer(PHI[spec.activation](z), v)
            gradient.readout[q, k] += share * PHI[spec.activation](z) @ outward
            gradient.hidden[p, :, k] += share * ((outward @ v) * SLOPE[spec.activation](z)) @ rows
    return f, gradient


def softmax(f: np.ndarray) -> np.ndarray:
    e = np.exp(f - f.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def close(actual, desired, tolerance: float) -> None:
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.max(np.abs(b)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("spec", NETS, ids=lambda m: f"{m.kind}-{m.views.scheme}{m.views.size}-{m.pooling}-{m.activation}")
def test_predictions_and_gradients_of_both_losses_are_those_of_numpy(rng, spec, dtype):
    """With kernels, where there are any, and without."""
    params = jax.tree.map(lambda a: a.astype(dtype), random_params(rng, spec))
    x, y = rng.normal(size=(SAMPLES, DIM)).astype(dtype), rng.normal(size=(SAMPLES, OUTPUTS)).astype(dtype)
    classes = np.eye(OUTPUTS, dtype=dtype)[rng.integers(OUTPUTS, size=SAMPLES)]
    wide = jax.tree.map(lambda a: a.astype(np.float64), params)
    f, _ = expected(wide, spec, x, np.zeros_like(y))
    _, squared = expected(wide, spec, x, 2 * (f - y) / SAMPLES)
    _, entropy = expected(wide, spec, x, (softmax(f) - classes) / SAMPLES)
    tolerance = 2e-5 if dtype == "float32" else 1e-12

    @jax.jit
    def both_ways(params, x, y, classes, weights):
        found = []
        for gradient in ("closed_form", "autodiff"):
            model = replace(spec, gradient=gradient).build((DIM,), jnp.dtype(dtype), OUTPUTS)

            def slope(kind, labels, model=model):
                batch = model.prepare(x, labels, weights)
                return jax.grad(lambda p: mean_loss(kind, 1.0, model.apply, p, batch))(params)

            predictions = jnp.concatenate(list(model.apply(params, model.prepare(x, y, weights))))[:SAMPLES]
            found.append((predictions, slope("squared", y), slope("cross_entropy", classes)))
        return found

    with jax.enable_x64(dtype == "float64"):
        for seen in both_ways(params, x, y, classes, np.full(SAMPLES, 1 / SAMPLES, dtype)):
            for actual, desired in zip(seen, (f, squared, entropy), strict=True):
                close(actual, desired, tolerance)


def test_samples_that_fill_up_a_block_have_no_say(rng):
    """So many filters that a block holds two samples of seven."""
    width = BLOCK_BYTES // 4 // 10 // 2
    spec = ModelSpec("convolutional", width, views=MANY)
    assert count_sample_blocks(SAMPLES * 10, width, 4, 4, jax.default_backend()) == 4
    model = spec.build((DIM,), jnp.dtype("float32"), OUTPUTS)
    x, y = rng.normal(size=(SAMPLES, DIM)).astype(np.float32), rng.normal(size=(SAMPLES, OUTPUTS)).astype(np.float32)
    training = TrainingSpec(data=DataSpec(input_dim=DIM, num_samples=SAMPLES), model=spec)
    params = jax.jit(model.init)(key_of(training), hyper_of(training))

    @jax.jit
    def gradient(x, y):
        batch = model.prepare(x, y, np.full(len(x), 1 / SAMPLES, np.float32))
        return jax.grad(lambda p: mean_loss("squared", 1.0, model.apply, p, batch))(params)

    parts = [gradient(x[i : i + 1], y[i : i + 1]) for i in range(SAMPLES)]
    close(gradient(x, y), jax.tree.map(lambda *leaves: sum(leaves), *parts), 1e-5)


@pytest.mark.parametrize("spec", NETS, ids=lambda m: f"{m.kind}-{m.views.scheme}{m.views.size}-{m.pooling}-{m.activation}")
def test_a_configs_count_of_parameters_is_what_a_net_has(spec):
    training = TrainingSpec(data=DataSpec(input_dim=DIM), model=spec)
    params = jax.eval_shape(spec.build((DIM,), jnp.dtype("float32"), OUTPUTS).init, key_of(training), hyper_of(training))
    assert spec.parameters((DIM,), OUTPUTS) == sum(leaf.size for leaf in jax.tree.leaves(params))


def test_the_sharing_ablations_nets_have_the_papers_counts_of_parameters():
    """10,510 twice and 10,230 (Liang et al. 2026b, X7)."""
    patches = ViewSpec("disjoint", 10)
    nets = [
        ModelSpec("convolutional", 500, views=patches),
        ModelSpec("locally_connected", 10, views=patches, readout="unit"),
        ModelSpec("two_layer", 20),
    ]
    assert [net.parameters((500,), 10) for net in nets] == [10510, 10510, 10230]
