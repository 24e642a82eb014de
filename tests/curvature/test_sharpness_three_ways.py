"""Sharpness three ways: the n x n kernel, guarded Lanczos, and the dense matrix."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles import net_gradient, net_jacobian, net_output, random_net, to_jax, to_numpy

from dynamics.curvature.gauss_newton import gauss_newton_kernel, gauss_newton_sharpness
from dynamics.curvature.hessian import build_hessian_product, dense_hessian, hessian_sharpness
from dynamics.models.linear import build_linear_model
from dynamics.models.mlp import build_mlp
from dynamics.models.two_layer import TwoLayer, build_two_layer

pytestmark = pytest.mark.usefixtures("x64")


def loss_on(model, batch, factor):
    return lambda params: factor * jnp.sum(batch.weights * (model.apply(params, batch) - batch.labels) ** 2)


@cache
def curvatures(kind, d, width, variant):
    """(params, x, y, factor) -> kernel sharpness, Lanczos sharpness, dense Hessian; one program for all of them."""
    model = build(kind, d, width, variant)

    @jax.jit
    def seen(params, x, y, factor):
        batch = model.prepare(x, y, jnp.full(len(y), 1 / len(y)))
        loss = loss_on(model, batch, factor)
        return (
            gauss_newton_sharpness(model, params, batch, factor),
            hessian_sharpness(loss, params, num_steps=200, tolerance=1e-10),
            dense_hessian(loss, params),
        )

    return lambda *args: to_numpy(seen(*to_jax(args)))


def build(kind, d, width, variant):
    if kind == "mlp":
        return build_mlp(d, width, variant, "tanh", jnp.float64)
    return (
        build_two_layer(d, width, variant, "torch_default", jnp.float64)
        if kind == "two_layer"
        else build_linear_model(d, jnp.float64)
    )


N, D, WIDTH = 12, 2, 6  # of the networks below, so that they share programs


def dense_gauss_newton(params, x, factor, activation):
    jacobian = net_jacobian(params, x, activation)
    return 2 * factor * jacobian.T @ jacobian / len(x)


def trained_net(params, x, y, activation="relu", steps=600, rate=0.1):
    for _ in range(steps):
        gradient = net_gradient(params, x, y, np.full(len(y), 1 / len(y)), 1.0, activation)
        params = TwoLayer(*(p - rate * g for p, g in zip(params, gradient, strict=True)))
    return params


@pytest.mark.parametrize("factor", [1.0, 0.5])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_kernel_lanczos_and_dense_agree_on_untrained_and_trained_nets(rng, activation, factor):
    see = curvatures("two_layer", D, WIDTH, activation)
    for trained in (False, False, True):
        params, x, y = random_net(rng, D, WIDTH), rng.normal(size=(N, D)), rng.normal(size=N)
        if trained:
            params = trained_net(params, x, y, activation)
        from_kernel, from_products, hessian = see(params, x, y, factor)
        gauss_newton = np.linalg.eigvalsh(dense_gauss_newton(params, x, factor, activation))
        assert from_kernel.value == pytest.approx(gauss_newton[-1], rel=1e-11)
        values = np.linalg.eigvalsh(hessian)
        assert from_products.value == pytest.approx(values[-1], rel=1e-10)
        assert from_products.converged and from_kernel.converged
        assert values[-1] >= 2 * factor  # the offset's diagonal entry
        if not trained:
            assert abs(values[-1] - gauss_newton[-1]) > 1e-3  # the two are different numbers away from minima


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_residual_part_of_the_hessian_has_norm_max_k_q_k(rng, factor):
    """Section 1.4 of the theory: |H - GN|_2 = max_k |q_k|, q_k = (2 factor / n) sum_i r_i 1{active} (1, x_i)."""
    see = curvatures("two_layer", D, WIDTH, "relu")
    for _ in range(8):
        params, x, y = random_net(rng, D, WIDTH), rng.normal(size=(N, D)), 3 * rng.normal(size=N)
        residual, extended = net_output(params, x) - y, np.column_stack([np.ones(N), x])
        active = extended @ params.hidden > 0
        q = 2 * factor / N * (active * residual[:, None]).T @ extended
        from_kernel, _, hessian = see(params, x, y, factor)
        rest = hessian - dense_gauss_newton(params, x, factor, "relu")
        largest = np.linalg.norm(q, axis=1).max()
        assert np.linalg.norm(rest, 2) == pytest.approx(largest, rel=1e-11)
        assert abs(np.linalg.eigvalsh(hessian)[-1] - from_kernel.value) <= largest * (1 + 1e-12)


def test_kernel_by_hand(rng):
    """K_ij = 1 + phi_i . phi_j + (x_i . x_j + 1) sum_k v_k^2 1_ik 1_jk, weighted by 1/n, summed neuron by neuron."""
    n, d, width = 6, 2, 4
    params, x = random_net(rng, d, width), rng.normal(size=(n, d))
    model = build_two_layer(d, width, "relu", "torch_default", jnp.float64)
    seen = gauss_newton_kernel(model, to_jax(params), model.prepare(jnp.asarray(x), jnp.zeros(n), jnp.full(n, 1 / n)))
    for i in range(n):
        for j in range(n):
            entry = 1.0
            for k in range(width):
                z = [x[s] @ params.hidden[1:, k] + params.hidden[0, k] for s in (i, j)]
                if min(z) > 0:
                    entry += z[0] * z[1] + (x[i] @ x[j] + 1) * params.readout[k] ** 2
            assert seen[i, j] == pytest.approx(entry / n, rel=1e-12)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_linear_model_sharpness_is_that_of_the_exact_hessian(rng, factor):
    w, x, y = rng.normal(size=4), rng.normal(size=(9, 4)), rng.normal(size=9)
    from_kernel, from_products, hessian = curvatures("linear", 4, 1, None)(w, x, y, factor)
    exact = 2 * factor * x.T @ x / 9
    np.testing.assert_allclose(hessian, exact, rtol=1e-12, atol=1e-14)
    assert from_kernel.value == pytest.approx(np.linalg.eigvalsh(exact)[-1], rel=1e-12)
    assert from_products.value == pytest.approx(np.linalg.eigvalsh(exact)[-1], rel=1e-12)


def test_mlp_sharpness_equals_dense_and_its_kernel_the_jacobians(rng):
    model = build("mlp", 2, 4, 2)
    params = jax.jit(model.init)(jax.random.key(1), {"model.init_scale": jnp.asarray(1.5), "model.readout_scale": 1.0})
    x, y = rng.normal(size=(7, 2)), 2 * rng.normal(size=7)
    from_kernel, from_products, hessian = curvatures("mlp", 2, 4, 2)(params, x, y, 1.0)
    assert from_products.value == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-10)
    flat, unravel = ravel_pytree(params)
    outputs = jax.jit(lambda p: model.apply(unravel(p), model.prepare(jnp.asarray(x), jnp.asarray(y), jnp.ones(7))))
    steps = 1e-6 * np.eye(flat.size)
    differences = [np.asarray(outputs(flat + step)) - np.asarray(outputs(flat - step)) for step in steps]
    jacobian = np.stack(differences, axis=1) / 2e-6
    exact = np.linalg.eigvalsh(2 * jacobian @ jacobian.T / 7)[-1]
    assert from_kernel.value == pytest.approx(exact, rel=1e-7)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_dead_net_has_the_curvature_of_its_offset_alone(rng, factor):
    params, x, y = random_net(rng, D, WIDTH), rng.uniform(-1, 1, size=(N, D)), 20 * rng.normal(size=N)
    params.hidden[:] = np.array([-100.0, 1.0, -1.0])[:, None]
    from_kernel, from_products, hessian = curvatures("two_layer", D, WIDTH, "relu")(params, x, y, factor)
    expected = np.zeros((25, 25))
    expected[-1, -1] = 2 * factor
    np.testing.assert_allclose(hessian, expected, atol=1e-14)
    for seen in (from_kernel, from_products):
        assert seen.value == pytest.approx(2 * factor, rel=1e-13) and seen.converged


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_zero_neurons_and_zero_coordinates_do_not_bend_the_loss_of_a_relu_net(rng, activation):
    """Padding sits exactly on the ReLU's kink; residuals this large would show any slope that it were given there.

    A GELU has slope 1/2 at 0, so its zero neurons do couple to the residual: only the kernel stays what it is.
    """
    params, x, y = random_net(rng, D, WIDTH), rng.uniform(-1, 1, size=(N, D)), 50 + rng.normal(size=N)
    params.hidden[:] = np.array([-100.0, 1.0, -1.0])[:, None]
    wide = TwoLayer(np.pad(params.hidden, ((0, 2), (0, 3))), np.pad(params.readout, (0, 3)), params.offset)
    plain = curvatures("two_layer", D, WIDTH, activation)(params, x, y, 0.5)
    padded = curvatures("two_layer", D + 2, WIDTH + 3, activation)(wide, np.pad(x, ((0, 0), (0, 2))), y, 0.5)
    assert padded[0].value == pytest.approx(plain[0].value, rel=1e-12)
    same = padded[1].value == pytest.approx(plain[1].value, rel=1e-12)
    assert same == (activation == "relu")
    assert np.allclose(padded[2], padded[2].T)


def test_hessian_products_are_those_of_the_dense_matrix(rng):
    model = build("mlp", 2, 3, 1)

    @jax.jit
    def both(x, y, v):
        params = model.init(jax.random.key(0), {"model.init_scale": jnp.asarray(1.0), "model.readout_scale": 1.0})
        loss = loss_on(model, model.prepare(x, y, jnp.full(5, 0.2)), 1.0)
        return build_hessian_product(loss, params)(v), dense_hessian(loss, params)

    v = rng.normal(size=13)
    product, hessian = to_numpy(both(*to_jax((rng.normal(size=(5, 2)), rng.normal(size=5), v))))
    np.testing.assert_allclose(product, hessian @ v, rtol=1e-10)
