"""Diagonal linear networks: numpy, what the flow conserves, and the hyperbolic form of where it has got to."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of, key_of

from dynamics.core.simulate import start
from dynamics.data.problem import DataSpec
from dynamics.models.losses import LossSpec, mean_loss
from dynamics.models.model_spec import ModelSpec
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.systems.training import TrainingSpec

pytestmark = pytest.mark.usefixtures("x64")

RUN = TrainingSpec(
    seed=1,
    measures=("train_loss",),
    precision="float64",
    data=DataSpec(input_dim=5, num_samples=3, num_test=1, noise_std=0.0),
    model=ModelSpec("diagonal_linear", 1, init_scale=0.3),
    loss=LossSpec("half"),
    optimizer=OptimizerSpec("gradient_flow", learning_rate=0.1),
)


def weights_by_hand(params, form, layers):
    return params[0] ** layers - params[1] ** layers if form == "difference" else np.prod(params, axis=0)


@pytest.mark.parametrize("form", ["difference", "product"])
@pytest.mark.parametrize("depth", [1, 2])
def test_outputs_gradient_and_kernel_are_those_of_their_definition(rng, form, depth):
    model = ModelSpec("diagonal_linear", 1, depth=depth, form=form).build((4,), jnp.dtype("float64"))
    rows = 2 if form == "difference" else depth + 1
    params, x, y = rng.normal(size=(rows, 4)), rng.normal(size=(6, 4)), rng.normal(size=6)

    @jax.jit
    def compute(params, x, y):
        batch = model.prepare(x, y, jnp.full(6, 1 / 6))
        by_autodiff = jax.grad(lambda p: mean_loss("squared", 0.5, model.apply, p, batch))(params)
        return (
            *(model.apply(params, batch), model.squared_gradient(params, batch, 0.5)),
            *(by_autodiff, model.gauss_newton(params, batch)),
        )

    outputs, gradient, by_autodiff, kernel = map(np.asarray, compute(params, x, y))
    predict = lambda p: x @ weights_by_hand(p, form, depth + 1)  # noqa: E731
    np.testing.assert_allclose(outputs, predict(params), rtol=1e-13)
    steps = 1e-6 * np.eye(params.size).reshape(-1, *params.shape)
    jacobian = np.stack([(predict(params + s) - predict(params - s)) / 2e-6 for s in steps], axis=1)
    by_hand = (2 * 0.5 / 6 * (predict(params) - y) @ jacobian).reshape(params.shape)
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(gradient, by_autodiff, rtol=1e-12)
    np.testing.assert_allclose(kernel, jacobian @ jacobian.T / 6, rtol=1e-7, atol=1e-9)


def followed(spec, steps=300):
    dynamics = spec.dynamics()

    @jax.jit
    def run(key, hyper):
        fixed, state = start(dynamics, key, hyper)
        end = jax.lax.fori_loop(0, steps, lambda t, s: dynamics.step(s, fixed, key), state)
        return fixed.problem.train.inputs, state.params, end.params

    return map(np.asarray, run(key_of(spec), hyper_of(spec)))


@pytest.mark.parametrize("kind", ["gradient_flow", "gd"])
def test_the_flow_conserves_its_products_and_stays_where_the_hyperbolic_form_says(kind):
    """beta(t) = 2 alpha^2 sinh(X^T s) for some s: arcsinh(beta / 2 alpha^2) is in the span of the samples
    (Woodworth 2020)."""
    spec = change(RUN, optimizer__kind=kind)
    x, begun, end = followed(spec)
    product = np.max(np.abs(end[0] * end[1] - begun[0] * begun[1]))
    beta = end[0] ** 2 - end[1] ** 2
    mirror = np.arcsinh(beta / (2 * 0.3**2))
    outside = np.max(np.abs(mirror - np.linalg.pinv(x) @ (x @ mirror)))
    assert np.max(np.abs(beta)) > 0.1
    assert (product < 1e-7 and outside < 1e-5) == (kind == "gradient_flow")


def test_layers_of_the_product_form_keep_the_difference_of_their_squares_and_padding_changes_nothing():
    spec = change(RUN, model__form="product", model__depth=2)
    _, begun, end = followed(spec)
    assert np.array_equal(begun, np.array([[0.3], [0.3], [0.0]]) * np.ones(5))
    np.testing.assert_allclose(end[:-1] ** 2 - end[1:] ** 2, begun[:-1] ** 2 - begun[1:] ** 2, atol=1e-7)
    assert np.max(np.abs(end - begun)) > 0.05
    for form in ("difference", "product"):
        model = ModelSpec("diagonal_linear", 1, form=form).build((7,), jnp.dtype("float64"))
        inputs = np.pad(np.ones((2, 5)), ((0, 0), (0, 2)))

        @jax.jit
        def compute(key, hyper, model=model, inputs=inputs):
            padded = model.init(key, hyper)
            return padded, model.squared_gradient(padded, model.prepare(inputs, np.ones(2), np.full(2, 0.5)), 1.0)

        assert not any(np.any(found[:, 5:]) for found in map(np.asarray, compute(key_of(RUN), hyper_of(RUN))))
    assert spec.model.parameters((5,)) == end.size == 15 and RUN.model.parameters((5,)) == 10
