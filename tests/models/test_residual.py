"""Residual networks against flax's own layers and norms, and what normalisation around a block does to its scale."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from oracles import change, hyper_of, key_of, to_numpy

from dynamics.core.usage import ignored_fields
from dynamics.models.losses import mean_loss
from dynamics.models.model_spec import ModelSpec
from dynamics.models.residual import ResidualNet
from dynamics.systems.training import TrainingSpec

DIM, WIDTH, DEPTH, SAMPLES = 3, 6, 2, 5
SPEC = ModelSpec("residual", WIDTH, depth=DEPTH, activation="tanh", layer_init="torch_default")
CASES = [
    SPEC,
    change(SPEC, placement="peri", norm="rms_norm"),
    change(SPEC, placement="peri", bias=False),
    change(SPEC, placement="none"),
]


def output_of_flax(spec, params, x):
    """The same network put together of flax's modules, each called with its own parameters."""
    norms = iter(range(99))
    layers = iter(params.layers)

    def dense(h):
        layer = next(layers)
        own = {"kernel": layer.weight} | ({} if layer.bias is None else {"bias": layer.bias})
        return nn.Dense(layer.weight.shape[1], use_bias=layer.bias is not None).apply({"params": own}, h)

    def norm(h):
        if spec.placement == "none":
            return h
        i = next(norms)
        own = {"scale": params.gains[i]} | ({} if params.shifts is None else {"bias": params.shifts[i]})
        made = nn.RMSNorm() if spec.norm == "rms_norm" else nn.LayerNorm(use_bias=params.shifts is not None)
        return made.apply({"params": own}, h)

    h = dense(x)
    for _ in range(spec.depth):
        branch = dense(jnp.tanh(dense(norm(h))))
        h = h + (norm(branch) if spec.placement == "peri" else branch)
    return dense(norm(h))


def draw(spec, branch_scale=1.0):
    run = change(TrainingSpec(model=spec, precision="float64"), data__input_dim=DIM)
    hyper = {**hyper_of(run), "model.branch_scale": branch_scale}
    return spec.build((DIM,), jnp.dtype("float64"), 2).init(jax.random.key(0), hyper)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("spec", CASES, ids=lambda s: f"{s.placement}-{s.norm}-{s.bias}")
def test_outputs_are_those_of_flax_and_gradients_those_of_differences(spec, rng):
    model = spec.build((DIM,), jnp.dtype("float64"), 2)
    shapes = jax.eval_shape(lambda: draw(spec))
    params, way = (jax.tree.map(lambda p: 0.5 * rng.normal(size=p.shape), shapes) for _ in range(2))
    x, y = rng.normal(size=(SAMPLES, DIM)), rng.normal(size=(SAMPLES, 2))

    @jax.jit
    def compute(params, way, x, y):
        batch = model.prepare(x, y, jnp.full(SAMPLES, 1 / SAMPLES))
        loss = lambda p: mean_loss("squared", 1.0, model.apply, p, batch)  # noqa: E731
        along = jax.tree.reduce(jnp.add, jax.tree.map(lambda g, v: jnp.sum(g * v), jax.grad(loss)(params), way))
        ends = jax.vmap(lambda step: loss(jax.tree.map(lambda p, v: p + step * v, params, way)))(jnp.array([1e-6, -1e-6]))
        return (model.apply(params, batch), output_of_flax(spec, params, x)), (along, ends), model.is_weight(params)

    outputs, (along, ends), masks = to_numpy(compute(params, way, x, y))
    np.testing.assert_allclose(*outputs, rtol=1e-6, atol=1e-8)
    assert along == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)
    assert spec.parameters((DIM,), 2) == sum(p.size for p in jax.tree.leaves(params))
    assert isinstance(masks, ResidualNet) and all(float(layer.weight) == 1 for layer in masks.layers)
    spared = jax.tree.leaves((masks.gains, masks.shifts, [layer.bias for layer in masks.layers]))
    assert not any(np.any(mask) for mask in spared)


@pytest.mark.usefixtures("x64")
def test_a_norm_around_a_block_takes_the_scale_of_its_last_layer_out_and_one_before_it_does_not(rng):
    """Kim et al. 2025. Blocks that start at zero are the identity, and gains and scales are what was set."""
    x = rng.normal(size=(SAMPLES, DIM))

    def outputs(x, scales, **values):
        """The first and the last layer, and the outputs (scales, n, 2) of blocks that start so large."""
        spec = change(SPEC, bias=False, **values)
        model = spec.build((DIM,), jnp.dtype("float64"), 2)
        batch = model.prepare(x, jnp.zeros((SAMPLES, 2)), jnp.ones(SAMPLES))
        nets = jax.vmap(lambda scale: draw(spec, scale))(jnp.array(scales))
        return nets.layers[0].weight[0], nets.layers[-1].weight[0], jax.vmap(lambda net: model.apply(net, batch))(nets)

    @jax.jit
    def begin(x):
        scaled = [outputs(x, (1.0, 4.0), placement=kind, norm="rms_norm", activation="relu")[2] for kind in ("peri", "pre")]
        return scaled, outputs(x, (0.0,), placement="none"), draw(change(SPEC, norm_gain=0.5)).gains

    scaled, (first, last, zero), gains = to_numpy(begin(x))
    peri, pre = (np.max(np.abs(small - large)) for small, large in scaled)
    assert peri < 1e-3 < 0.1 < pre
    np.testing.assert_allclose(zero[0], x @ first @ last, rtol=1e-12)
    assert np.all(gains == 0.5)


@pytest.mark.parametrize("init", ["flax_default", "orthogonal"])
def test_laws_of_whole_matrices_are_taken_too_and_a_norm_is_idle_where_there_is_none(init):
    run = change(TrainingSpec(), model=change(SPEC, layer_init=init), data__input_dim=DIM)
    run.check()
    count = 2 * DEPTH + 2
    weights = jax.jit(lambda *given: [layer.weight for layer in run.network().init(*given).layers][count // 2 :])
    assert len(drawn := weights(key_of(run), hyper_of(run))) == count // 2 and all(np.all(np.isfinite(w)) for w in drawn)
    idle = change(TrainingSpec(), model=change(SPEC, placement="none", norm="rms_norm"))
    assert ignored_fields(idle) == {"model.norm": "rms_norm"}
