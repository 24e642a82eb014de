"""Patch networks against numpy: predictions, gradients, kernels, half-space sums, initial sizes."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles import assert_trees_close, hyper_of, key_of, to_jax, to_numpy
from patch_nets import (
    DIM,
    FILTERS,
    NETS,
    OTHERS,
    SAMPLES,
    SHARED,
    UNIT,
    UNSHARED,
    by_name,
    close,
    flat,
    jacobian,
    output,
    random_params,
    share,
    units,
    with_one,
)
from scipy import optimize, stats

from dynamics.data.law import DataSpec
from dynamics.data.views import ViewSpec
from dynamics.kernels import build
from dynamics.models.locally_connected import LocallyConnected
from dynamics.models.losses import mean_loss
from dynamics.models.model_spec import ModelSpec
from dynamics.systems.training import TrainingSpec


@pytest.mark.parametrize("dtype, activation", [("float32", "relu"), ("float64", "relu"), ("float64", "gelu")])
def test_predictions_gradients_and_kernels_are_those_of_numpy(rng, dtype, activation):
    """In closed form (by kernels in 32 bits where there are any, and without), by autodiff,
    and with filled-up samples."""
    nets = [replace(net, activation=activation) for net in (*OTHERS, SHARED, UNSHARED, UNIT)]
    nets = nets[3:] if (dtype, activation) == ("float64", "relu") else nets  # what is compiled for 32 bits without kernels too
    ways = ("closed_form", "autodiff") if dtype == "float32" else ("closed_form",)
    x, y = rng.normal(size=(SAMPLES + 2, DIM)), rng.normal(size=SAMPLES + 2)
    weights = np.append(rng.dirichlet(np.full(SAMPLES, 3.0)), [0, 0])  # any that sum to one
    params = [random_params(rng, net) for net in nets]
    params, x, y, weights = jax.tree.map(lambda a: np.asarray(a, dtype), (params, x, y, weights))

    @jax.jit
    def everything(params, *samples):
        found = []
        for p, net in zip(params, nets, strict=True):
            for way in ways:
                model = replace(net, gradient=way).build((DIM,), jnp.dtype(dtype))
                batch = model.prepare(*samples)
                seen = [model.apply(p, batch).reshape(-1), model.squared_gradient(p, batch, 0.5)]
                seen.append(jax.grad(lambda p, m=model, b=batch: mean_loss("squared", 0.5, m.apply, p, b))(p))
                found.append((*seen, model.gauss_newton(p, batch)))
        return found

    with jax.enable_x64(dtype == "float64"):
        found = iter(to_numpy(everything(params, x, y, weights)))
    params, x, y, weights = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, x, y, weights))
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    for p, net in zip(params, nets, strict=True):
        f, rows, root = output(net, p, x), jacobian(net, p, x), np.sqrt(weights)
        gradient = (weights * (f - y)) @ rows
        for _ in ways:
            prediction, closed, autodiff, kernel = next(found)
            close(prediction[: len(x)], f, tolerance)
            close(flat(closed), gradient, tolerance)
            close(flat(autodiff), gradient, tolerance)
            close(kernel[: len(x), : len(x)], root[:, None] * (rows @ rows.T) * root, tolerance)
    assert next(found, None) is None


def test_the_oracles_jacobian_is_a_derivative(rng):
    """Finite differences of numpy's own output."""
    for net in (*NETS, replace(UNIT, activation="gelu")):
        params, x = random_params(rng, net), rng.normal(size=(2, DIM))
        shapes = [np.shape(leaf) for leaf in params]
        sizes = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])

        def f(theta, net=net, params=params, x=x, shapes=shapes, sizes=sizes):
            parts = [theta[a:b].reshape(s) for a, b, s in zip(sizes, sizes[1:], shapes, strict=False)]
            return output(net, type(params)(*parts), x)

        theta = flat(params)
        np.testing.assert_allclose(optimize.approx_fprime(theta, f, 1e-7), jacobian(net, params, x), atol=1e-5)


@by_name
def test_half_spaces_are_sums_over_open_and_closed_gates(rng, spec):
    """Of several coefficients at once; plain, and by kernels in 32 bits."""
    params, x = random_params(rng, spec), rng.normal(size=(SAMPLES, DIM))
    coefficients = rng.normal(size=(2, SAMPLES))
    width, rows = int(spec.width), with_one(x[:, :3]).shape[1]
    num_units = FILTERS if spec.kind == "convolutional" else 3 * FILTERS
    expected = np.zeros((2, 2, rows, num_units))
    for n, unit in enumerate(units(spec, x)):
        z = with_one(unit.seen) @ params.hidden[unit.hidden]
        for side, on in enumerate((z > 0, z < 0)):
            place = n % width if spec.kind == "convolutional" else n
            expected[side, :, :, place] += share(spec) * (coefficients * on) @ with_one(unit.seen)
    for dtype, tolerance in (("float64", 1e-12), ("float32", 2e-5)):
        with jax.enable_x64(dtype == "float64"):
            model = spec.build((DIM,), jnp.dtype(dtype))
            given = jax.tree.map(lambda a: jnp.asarray(a, dtype), (params, x, coefficients))

            @jax.jit
            def sums(p, x, c, model=model):
                batch = model.prepare(x, c[0], c[1])
                return model.half_spaces(p, batch, c.reshape(2, *batch.weights.shape)), model.neurons(p)

            seen, neurons = to_numpy(sums(*given))
        close(seen, expected, tolerance)
        for n, unit in enumerate(units(spec, x)[:num_units]):
            close(neurons.hidden[:, n], params.hidden[unit.hidden], 1e-6)
            close(neurons.readout[n], params.readout[unit.readout], 1e-6)


def test_kernels_are_used_where_there_are_some():
    if build.find_library() is None:
        pytest.skip(build.explain_missing_library())
    for net in NETS:
        for way in ("closed_form", "autodiff"):
            model = replace(net, gradient=way).build((DIM,), jnp.dtype("float32"))
            params = to_jax(jax.tree.map(np.float32, random_params(np.random.default_rng(0), net)))
            batch = model.prepare(jnp.zeros((2, DIM)), jnp.zeros(2), jnp.zeros(2))
            program = str(jax.make_jaxpr(lambda p, m=model, b=batch: m.squared_gradient(p, b, 1.0))(params))
            assert ("dynamics_" in program) == (way == "closed_form")


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_one_position_that_sees_everything_is_a_two_layer_net(rng, activation):
    """Of the same parameters; whether the readout is shared or not makes no difference there."""
    everything = ViewSpec("sliding", DIM)
    dense = ModelSpec(width=FILTERS, activation=activation)
    params, x, y = (
        random_params(rng, replace(SHARED, views=everything)),
        rng.normal(size=(SAMPLES, DIM)),
        rng.normal(size=SAMPLES),
    )
    results = []
    for net in (dense, *(replace(u, views=everything, activation=activation) for u in (UNSHARED, UNIT))):
        model = net.build((DIM,), jnp.dtype("float64"))

        @jax.jit
        def seen(p, x, y, model=model):
            batch = model.prepare(x, y, jnp.full(SAMPLES, 1 / SAMPLES))
            c = jnp.stack([batch.weights, batch.labels])
            gradient = model.squared_gradient(p, batch, 1.0)
            curves = (model.gauss_newton(p, batch), model.half_spaces(p, batch, c), model.neurons(p))
            return model.apply(p, batch).reshape(-1), [jnp.ravel(leaf) for leaf in gradient], curves

        own = params
        if net is not dense:
            readout = params.readout[None] if net.readout == "unit" else params.readout
            own = LocallyConnected(params.hidden[None], readout, params.offset)
        results.append(to_numpy(seen(to_jax(own), x, y)))
        assert net.parameters((DIM,)) == flat(own).size
    for other in results[1:]:
        assert_trees_close(other, results[0], rtol=1e-11, atol=1e-13)


def test_positions_are_drawn_for_what_they_see_and_the_readout_for_what_it_sums():
    """Uniform on +-1/sqrt(fan-in): m for a filter, K or K L for the readout; no two weights alike."""
    for spec, fan_mid in ((UNSHARED, 400), (UNIT, 400 * 3)):
        spec = replace(spec, width=400)
        run = TrainingSpec(data=DataSpec(input_dim=DIM), model=spec)
        params = to_numpy(jax.jit(spec.build((DIM,), jnp.dtype("float32")).init)(key_of(run), hyper_of(run)))
        assert params.hidden.shape == (3, 4, 400) and params.readout.shape == ((3, 400) if fan_mid == 1200 else (400,))
        for position in params.hidden:
            for row in position:
                assert stats.kstest(row, stats.uniform(-(3**-0.5), 2 * 3**-0.5).cdf).pvalue > 1e-3
        assert stats.kstest(params.readout.ravel(), stats.uniform(-(fan_mid**-0.5), 2 * fan_mid**-0.5).cdf).pvalue > 1e-3
        assert len(np.unique(flat(params))) > 0.999 * flat(params).size
        assert spec.parameters((DIM,)) == flat(params).size == ravel_pytree(params)[0].size
