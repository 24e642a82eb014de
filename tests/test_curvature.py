"""Sharpness three ways: the n x n kernel, guarded Lanczos, and the dense matrix; and Lanczos on chosen spectra."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.flatten_util import ravel_pytree
from oracles import net_gradient, net_jacobian, net_output, random_net, to_jax, to_numpy

from dynamics.curvature.gauss_newton import gauss_newton_sharpness, kernel
from dynamics.curvature.hessian import dense_hessian, hessian_product, sharpness
from dynamics.curvature.lanczos import PATIENCE, top_eigenpair
from dynamics.models.linear import linear
from dynamics.models.mlp import mlp
from dynamics.models.two_layer import TwoLayer, two_layer

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
            sharpness(loss, params, num_steps=200, tolerance=1e-10),
            dense_hessian(loss, params),
        )

    return lambda *args: to_numpy(seen(*to_jax(args)))


def build(kind, d, width, variant):
    if kind == "mlp":
        return mlp(d, width, variant, "tanh", jnp.float64)
    return two_layer(d, width, variant, "torch_default", jnp.float64) if kind == "two_layer" else linear(d, jnp.float64)


N, D, WIDTH = 12, 2, 6  # of the networks below, so that they share programs


def dense_gauss_newton(params, x, factor, activation):
    jacobian = net_jacobian(params, x, activation)
    return 2 * factor * jacobian.T @ jacobian / len(x)


def trained_net(params, x, y, activation="relu", steps=600, rate=0.1):
    for _ in range(steps):
        gradient = net_gradient(params, x, y, np.full(len(y), 1 / len(y)), 1.0, activation)
        params = TwoLayer(*(p - rate * g for p, g in zip(params, gradient, strict=True)))
    return params


# Networks: kernel, residual part, Lanczos, dense


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
    model = two_layer(d, width, "relu", "torch_default", jnp.float64)
    seen = kernel(model, to_jax(params), model.prepare(jnp.asarray(x), jnp.zeros(n), jnp.full(n, 1 / n)))
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
    params = jax.jit(model.init)(jax.random.key(1), {"model.init_scale": jnp.asarray(1.5)})
    x, y = rng.normal(size=(7, 2)), 2 * rng.normal(size=7)
    from_kernel, from_products, hessian = curvatures("mlp", 2, 4, 2)(params, x, y, 1.0)
    assert from_products.value == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-10)
    flat, unravel = ravel_pytree(params)
    outputs = jax.jit(lambda p: model.apply(unravel(p), model.prepare(jnp.asarray(x), jnp.asarray(y), jnp.ones(7))))
    h = 1e-6
    differences = [(outputs(flat.at[i].add(h)) - outputs(flat.at[i].add(-h))) / (2 * h) for i in range(flat.size)]
    jacobian = np.stack([np.asarray(c) for c in differences], axis=1)
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
        params = model.init(jax.random.key(0), {"model.init_scale": jnp.asarray(1.0)})
        loss = loss_on(model, model.prepare(x, y, jnp.full(5, 0.2)), 1.0)
        return hessian_product(loss, params)(v), dense_hessian(loss, params)

    v = rng.normal(size=13)
    product, hessian = to_numpy(both(*to_jax((rng.normal(size=(5, 2)), rng.normal(size=5), v))))
    np.testing.assert_allclose(product, hessian @ v, rtol=1e-10)


# Lanczos on matrices of chosen spectrum


@partial(jax.jit, static_argnums=2)
def lanczos(matrix, start, num_steps=40, tolerance=1e-14):
    return top_eigenpair(lambda v: matrix @ v, start, num_steps, tolerance)


def with_spectrum(rng, values, dtype=np.float64):
    basis, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))))
    return ((basis * values) @ basis.T).astype(dtype)


def check_honest(matrix, top, dtype=np.float64):
    """The reported residual and vector are what they claim to be, and the value never exceeds the spectrum."""
    epsilon, values = float(np.finfo(dtype).eps), np.linalg.eigvalsh(np.asarray(matrix, np.float64))
    scale = max(float(np.abs(values).max()), float(np.finfo(dtype).tiny))
    vector, exact = np.asarray(top.vector, np.float64), np.asarray(matrix, np.float64)
    assert top.value.dtype == top.vector.dtype == top.residual.dtype == dtype
    assert np.linalg.norm(vector) == pytest.approx(1, abs=100 * epsilon)
    residual = np.linalg.norm(exact @ vector - float(top.value) * vector)
    assert float(top.residual) == pytest.approx(residual, rel=1e-3, abs=200 * epsilon * scale)
    assert float(top.value) <= values[-1] + 100 * epsilon * scale
    assert np.min(np.abs(values - float(top.value))) <= residual + 100 * epsilon * scale
    return values


SPECTRA = {
    "positive": np.linspace(0.1, 3.0, 30),
    "large negative": np.concatenate([[-100.0], np.linspace(-1, 2, 29)]),
    "all negative": np.linspace(-50.0, -2.0, 30),
    "rank two": np.concatenate([np.zeros(28), [1.0, 4.0]]),
    "negative of rank two": np.concatenate([[-4.0, -1.0], np.zeros(28)]),
    "outlier": np.concatenate([np.linspace(0, 1, 29), [1e6]]),
    "tiny": 1e-12 * np.linspace(-1, 1, 30),
    "pairs": np.repeat(np.arange(15.0), 2),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", SPECTRA)
def test_lanczos_finds_the_algebraically_largest_eigenvalue(rng, name, dtype):
    matrix = with_spectrum(rng, SPECTRA[name], dtype)
    top = to_numpy(lanczos(jnp.asarray(matrix), jnp.asarray(rng.normal(size=30).astype(dtype))))
    values = check_honest(matrix, top, dtype)
    assert float(top.value) == pytest.approx(values[-1], abs=200 * float(np.finfo(dtype).eps * np.abs(values).max()))
    assert top.converged


def test_the_oracle_tells_algebraic_from_magnitude():
    """What the test above would have to accept if sharpness were the eigenvalue of largest magnitude."""
    assert SPECTRA["large negative"][np.argmax(np.abs(SPECTRA["large negative"]))] == -100


@pytest.mark.parametrize("distinct", [1, 2, 3])
def test_lanczos_stops_once_the_krylov_space_is_exhausted(rng, distinct):
    matrix = with_spectrum(rng, np.resize(np.arange(1.0, distinct + 1), 30))
    top = to_numpy(lanczos(jnp.asarray(matrix), jnp.asarray(rng.normal(size=30))))
    check_honest(matrix, top)
    assert top.steps == distinct
    assert top.value == pytest.approx(distinct, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("start", ["random", "zero", "basis"])
@pytest.mark.parametrize("scale", [0.0, 1.0, -3.0])
def test_multiples_of_the_identity_take_one_step_from_any_start(rng, scale, start, dtype):
    matrix = (scale * np.eye(30)).astype(dtype)
    first = {"random": rng.normal(size=30), "zero": np.zeros(30), "basis": np.eye(30)[4]}[start].astype(dtype)
    top = to_numpy(lanczos(jnp.asarray(matrix), jnp.asarray(first)))
    check_honest(matrix, top, dtype)
    assert (float(top.value), int(top.steps), bool(top.converged)) == (pytest.approx(scale, rel=1e-6), 1, True)
    if start == "basis":
        np.testing.assert_allclose(np.abs(top.vector), first, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 2.5, -7.0])
def test_one_by_one(value):
    top = to_numpy(lanczos(jnp.full((1, 1), value), jnp.ones(1)))
    check_honest(np.full((1, 1), value), top)
    assert (top.value, top.steps, top.converged) == (value, 1, True)


def test_two_by_two_by_hand():
    """[[1, 2], [2, 1]] from e_1: eigenvalues 3 and -1, the vector (1, 1) / sqrt 2."""
    top = lanczos(jnp.asarray([[1.0, 2.0], [2.0, 1.0]]), jnp.asarray([1.0, 0.0]))
    assert float(top.value) == pytest.approx(3, rel=1e-14) and int(top.steps) == 2
    np.testing.assert_allclose(np.abs(top.vector), np.full(2, 0.5**0.5), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("zeros", [1, 25])
def test_appended_zeros_do_not_change_a_positive_top_eigenvalue(rng, zeros, dtype):
    """Exact zeros exhaust the Krylov space early: the case that the guard is for."""
    matrix = np.pad(with_spectrum(rng, np.array([-9.0, 0.5, 1.0, 2.0, 5.0]), dtype), (0, zeros))
    start = np.concatenate([rng.normal(size=5), np.zeros(zeros)]).astype(dtype)
    top = to_numpy(lanczos(jnp.asarray(matrix), jnp.asarray(start)))
    check_honest(matrix, top, dtype)
    assert float(top.value) == pytest.approx(5, rel=50 * float(np.finfo(dtype).eps))
    assert top.steps == 5 and not top.vector[5:].any()


def test_a_start_orthogonal_to_the_top_is_blind_to_it_and_says_no_more_than_it_knows(rng):
    """The documented condition on `start`: the value is then an eigenvalue still, with a small residual."""
    matrix = np.diag([1.0, 2.0, 3.0, 10.0])
    top = to_numpy(lanczos(jnp.asarray(matrix), jnp.asarray([1.0, 1.0, 1.0, 0.0])))
    check_honest(matrix, top)
    assert top.value == pytest.approx(3, rel=1e-12)


def test_converged_is_said_exactly_when_the_residual_is_within_tolerance(rng):
    """A dense top of the spectrum: too hard for 12 steps at 1e-6, easy at 1e-1, done within 30."""
    matrix, start = jnp.asarray(with_spectrum(rng, np.linspace(0, 1, 30) ** 0.5)), jnp.asarray(rng.normal(size=30))
    for num_steps, tolerance, expected in ((12, 1e-6, False), (12, 1e-1, True), (3, 3e-2, False), (30, 1e-6, True)):
        top = to_numpy(lanczos(matrix, start, num_steps, tolerance))
        check_honest(matrix, top)
        assert bool(top.converged) == expected
        assert bool(top.residual <= tolerance * top.value) == expected
        assert top.steps <= num_steps and (expected or top.steps == num_steps)  # it ends early only once it has converged
    assert top.value == pytest.approx(1, rel=1e-10)


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-7), (np.float32, 1e-4)])
def test_an_easy_top_takes_few_of_the_steps_that_are_allowed(rng, dtype, tolerance):
    """An outlier far above the rest is found within two looks, and more steps would not have changed it."""
    matrix = jnp.asarray(with_spectrum(rng, np.concatenate([np.linspace(0, 1, 29), [50.0]]), dtype))
    start = jnp.asarray(rng.normal(size=30).astype(dtype))
    early, full = (to_numpy(lanczos(matrix, start, 30, wanted)) for wanted in (None, 0.0))
    for top in (early, full):
        check_honest(matrix, top, dtype)
        assert float(top.value) == pytest.approx(50, rel=20 * float(np.finfo(dtype).eps))
    assert early.steps <= 2 * PATIENCE < full.steps
    assert early.converged and early.residual <= tolerance * 50


@pytest.mark.parametrize("guessed", [0, 2])
def test_a_guess_that_is_another_eigenvector_does_not_mislead(guessed):
    """Lanczos alone would stay where it started: the random part of the start is what finds the top."""
    spectrum = jnp.asarray([1.0, 2.0, 3.0, 10.0, -20.0])
    top = to_numpy(sharpness(lambda p: jnp.sum(spectrum * p**2) / 2, jnp.ones(5), guess=jnp.eye(5)[guessed]))
    assert top.value == pytest.approx(10, rel=1e-12) and top.converged


def test_more_steps_never_lower_the_value(rng):
    matrix, start = jnp.asarray(with_spectrum(rng, np.linspace(-3, 1, 30))), jnp.asarray(rng.normal(size=30))
    values = [float(lanczos(matrix, start, m).value) for m in (1, 3, 12, 30)]
    assert values == sorted(values) and values[-1] > values[0] + 0.1
    v = start / jnp.linalg.norm(start)
    assert values[0] == pytest.approx(float(v @ matrix @ v), rel=1e-12)  # one step is the Rayleigh quotient


def test_a_matrix_that_is_not_finite_is_not_called_converged():
    top = lanczos(jnp.full((6, 6), jnp.nan), jnp.ones(6))
    assert not bool(top.converged)


@given(
    hnp.arrays(np.float64, (6, 6), elements=st.integers(-3, 3).map(float)),
    hnp.arrays(np.float64, 6, elements=st.integers(-2, 2).map(float)),
)
def test_any_integer_matrix_and_start_yields_an_honest_pair(half, start):
    """Many are rank-deficient, repeated or reducible; the value is an eigenvalue and at least the Rayleigh quotient."""
    matrix = half + half.T
    top = to_numpy(lanczos(jnp.asarray(matrix), jnp.asarray(start)))
    check_honest(matrix, top)
    first = start / np.linalg.norm(start) if start.any() else np.full(6, 6**-0.5)
    assert top.value >= first @ matrix @ first - 1e-12
    assert top.converged and top.residual <= 1e-10
