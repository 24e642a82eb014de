"""Residual networks against flax's own layers and norms, and what normalisation around a block does to its scale."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from oracles import change, hyper_of

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


def draw(spec, **values):
    training = TrainingSpec(model=change(spec, **values), precision="float64")
    training = change(training, data__input_dim=DIM)
    return training.model.build((DIM,), jnp.dtype("float64"), 2).init(jax.random.key(0), hyper_of(training))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("spec", CASES, ids=lambda s: f"{s.placement}-{s.norm}-{s.bias}")
def test_outputs_are_those_of_flax_and_gradients_those_of_differences(spec, rng):
    model = spec.build((DIM,), jnp.dtype("float64"), 2)
    params = jax.tree.map(lambda p: jnp.asarray(p + 0.3 * rng.normal(size=p.shape)), draw(spec))
    x, y = jnp.asarray(rng.normal(size=(SAMPLES, DIM))), jnp.asarray(rng.normal(size=(SAMPLES, 2)))
    batch = model.prepare(x, y, jnp.full(SAMPLES, 1 / SAMPLES))
    np.testing.assert_allclose(model.apply(params, batch), output_of_flax(spec, params, x), rtol=1e-6, atol=1e-8)
    loss = lambda p: mean_loss("squared", 1.0, model.apply, p, batch)  # noqa: E731
    way = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), params)
    along = sum(jnp.sum(g * v) for g, v in zip(jax.tree.leaves(jax.grad(loss)(params)), jax.tree.leaves(way), strict=True))
    ends = [loss(jax.tree.map(lambda p, v: p + step * v, params, way)) for step in (1e-6, -1e-6)]
    assert float(along) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-6)
    assert spec.parameters((DIM,), 2) == sum(p.size for p in jax.tree.leaves(params))
    masks: ResidualNet = model.is_weight(params)
    assert all(float(layer.weight) == 1 for layer in masks.layers)
    spared = jax.tree.leaves((masks.gains, masks.shifts, [layer.bias for layer in masks.layers]))
    assert not any(np.any(mask) for mask in spared)


@pytest.mark.usefixtures("x64")
def test_a_norm_around_a_block_takes_the_scale_of_its_last_layer_out_and_one_before_it_does_not(rng):
    """Kim et al. 2025. Blocks that start at zero are the identity, and gains and scales are what was set."""
    x = jnp.asarray(rng.normal(size=(SAMPLES, DIM)))

    def change_by_scale(placement):
        spec = change(SPEC, placement=placement, norm="rms_norm", bias=False, activation="relu")
        model = spec.build((DIM,), jnp.dtype("float64"), 2)
        batch = model.prepare(x, jnp.zeros((SAMPLES, 2)), jnp.ones(SAMPLES))
        small, large = (model.apply(draw(spec, branch_scale=scale), batch) for scale in (1.0, 4.0))
        return float(jnp.max(jnp.abs(large - small)))

    assert change_by_scale("peri") < 1e-3 < 0.1 < change_by_scale("pre")
    spec = change(SPEC, placement="none", bias=False)
    zero, model = draw(spec, branch_scale=0.0), spec.build((DIM,), jnp.dtype("float64"), 2)
    batch = model.prepare(x, jnp.zeros((SAMPLES, 2)), jnp.ones(SAMPLES))
    np.testing.assert_allclose(model.apply(zero, batch), x @ zero.layers[0].weight @ zero.layers[-1].weight, rtol=1e-12)
    assert np.all(draw(SPEC, norm_gain=0.5).gains == 0.5)


@pytest.mark.parametrize("init", ["flax_default", "orthogonal"])
def test_laws_of_whole_matrices_are_taken_too_and_a_norm_is_idle_where_there_is_none(init):
    run = change(TrainingSpec(), model=change(SPEC, layer_init=init), data__input_dim=DIM)
    run.check()
    drawn = run.network().init(jax.random.key(0), hyper_of(run))
    assert len(drawn.layers) == 2 * DEPTH + 2 and np.all(np.isfinite(drawn.layers[2].weight))
    idle = change(TrainingSpec(), model=change(SPEC, placement="none", norm="rms_norm"))
    assert ignored_fields(idle) == {"model.norm": "rms_norm"}
