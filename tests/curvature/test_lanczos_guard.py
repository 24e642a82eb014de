"""Guarded Lanczos on matrices of chosen spectrum."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracles import to_numpy

from dynamics.curvature.hessian import hessian_sharpness
from dynamics.curvature.lanczos import LEAST, add_random_share, default_tolerance, top_eigenpair

pytestmark = pytest.mark.usefixtures("x64")


@partial(jax.jit, static_argnums=2)
def lanczos(matrix, start, num_steps=30, tolerance=1e-14):
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
    assert top.steps == 6 and np.all(np.abs(top.vector[5:]) < 50 * np.finfo(dtype).eps)  # the zeros are one eigenspace more


@pytest.mark.parametrize("start", [[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
def test_a_start_orthogonal_to_the_top_finds_it(start):
    """The random share of every start sees to that, also for a start that is another eigenvector."""
    matrix = np.diag([1.0, 2.0, 3.0, 10.0])
    top = to_numpy(lanczos(jnp.asarray(matrix), jnp.asarray(start)))
    check_honest(matrix, top)
    assert top.value == pytest.approx(10, rel=1e-12)


def test_a_lower_eigenpair_is_not_settled_on_in_many_dimensions_and_32_bits():
    """Started at the eigenvector of 10, with 60000 parameters:
    the top is in a share of 0.3 / sqrt(60000) of the start."""
    size, at, above = 60_000, 3, 7
    start = jnp.zeros(size, jnp.float32).at[at].set(1)

    @partial(jax.jit, static_argnums=1)
    def find(highest, num_steps):
        spectrum = jnp.linspace(0, 1, size, dtype=jnp.float32).at[jnp.asarray([at, above])].set(jnp.stack([10.0, highest]))
        return top_eigenpair(lambda v: spectrum * v, start, num_steps)

    for highest in np.float32([10.1, 10.03]):
        top = to_numpy(find(highest, 40))
        assert top.value == pytest.approx(highest, rel=1e-6) and top.converged and top.steps == LEAST
    hasty = to_numpy(find(np.float32(10.1), 5))
    assert hasty.value == pytest.approx(10, rel=1e-3) and not hasty.converged  # five products see that there is more,
    assert hasty.residual < 2e-5 * 10  # which a tolerance that does not know the dimension would not mind


@pytest.mark.parametrize("dtype, usual", [(jnp.float32, 2e-5), (jnp.float64, 1e-7)])
def test_the_tolerance_falls_with_the_root_of_the_dimension_until_rounding(dtype, usual):
    tolerances = [default_tolerance(size, jnp.dtype(dtype)) for size in (1, 100, 1000, 4000, 10**9, 10**10)]
    assert tolerances[0] == usual and tolerances == sorted(tolerances, reverse=True)
    if dtype == jnp.float32:
        assert tolerances[2] == pytest.approx(2 * tolerances[3]) and tolerances[4] == tolerances[5] == 16 * 2.0**-23


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
    """An outlier far above the rest is found at the first look, and more steps would not have changed it."""
    matrix = jnp.asarray(with_spectrum(rng, np.concatenate([np.linspace(0, 1, 29), [50.0]]), dtype))
    start = jnp.asarray(rng.normal(size=30).astype(dtype))
    early, full = (to_numpy(lanczos(matrix, start, 30, wanted)) for wanted in (None, 0.0))
    for top in (early, full):
        check_honest(matrix, top, dtype)
        assert float(top.value) == pytest.approx(50, rel=20 * float(np.finfo(dtype).eps))
    assert early.steps == LEAST < full.steps
    assert early.converged and early.residual <= tolerance * 50


def test_a_guess_that_is_another_eigenvector_does_not_mislead():
    """Lanczos alone would stay where it started: the random part of the start is what finds the top."""
    spectrum = jnp.asarray([1.0, 2.0, 3.0, 10.0, -20.0])
    find = jax.jit(lambda guess: hessian_sharpness(lambda p: jnp.sum(spectrum * p**2) / 2, jnp.ones(5), guess=guess))
    for guessed in (0, 2):
        top = to_numpy(find(jnp.asarray(np.eye(5)[guessed])))
        assert top.value == pytest.approx(10, rel=1e-12) and top.converged


def test_more_steps_never_lower_the_value(rng):
    matrix, start = jnp.asarray(with_spectrum(rng, np.linspace(-3, 1, 30))), jnp.asarray(rng.normal(size=30))
    values = [float(lanczos(matrix, start, m).value) for m in (1, 3, 12, 30)]
    assert values == sorted(values) and values[-1] > values[0] + 0.1
    v = add_random_share(start)
    v = v / jnp.linalg.norm(v)
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
