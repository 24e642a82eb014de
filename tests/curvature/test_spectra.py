"""Both ends, sums and density of spectra: matrices of chosen spectrum, numpy's eigenvalues, moments by hand."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from oracles import to_numpy

from dynamics.curvature.eigenpairs import bottom_eigenpairs, top_eigenpairs
from dynamics.curvature.jacobi_rotations import diagonalise
from dynamics.curvature.spectral_density import estimate_density
from dynamics.curvature.trace_estimates import estimate_moments

pytestmark = pytest.mark.usefixtures("x64")

SIZE, K = 24, 4
MOST = 72  # products: too few where the top is as dense as the rest
SPECTRA = {
    "positive": np.linspace(0.1, 3.0, SIZE),
    "large negative": np.concatenate([[-100.0], np.linspace(-1, 2, SIZE - 1)]),
    "all negative": np.linspace(-50.0, -2.0, SIZE),
    "rank two": np.concatenate([np.zeros(SIZE - 2), [1.0, 4.0]]),
    "negative of rank two": np.concatenate([[-4.0, -1.0], np.zeros(SIZE - 2)]),
    "four equal on top": np.concatenate([np.linspace(-1, 1, SIZE - K), np.full(K, 2.0)]),
    "pairs": np.repeat(np.arange(SIZE / 2), 2),
    "zero": np.zeros(SIZE),
    "minus the identity": np.full(SIZE, -1.0),
    "tiny": 1e-12 * np.linspace(-1, 1, SIZE),
    "huge": 1e12 * np.linspace(-1, 1, SIZE),
}


def with_spectrum(rng, values, dtype=np.float64):
    basis, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))))
    matrix = (basis * values) @ basis.T
    return ((matrix + matrix.T) / 2).astype(dtype)


@jax.jit
def both_ends(matrices):
    def bottom(matrix):
        return bottom_eigenpairs(lambda v: matrix @ v, jnp.zeros((K, SIZE), matrix.dtype), SIZE)

    found = jax.vmap(bottom)(jnp.concatenate([matrices, -matrices]))
    low, high = (jax.tree.map(lambda leaf: leaf[part], found) for part in (slice(len(matrices)), slice(len(matrices), None)))
    return high._replace(value=-high.value), low


@pytest.fixture(scope="module")
def ends():
    """The matrices in 32 bits, padded by six rows of zeros in one case, and what was found; all in one program.

    In 64 bits other searches are held against exact values: of a diagonal, over devices,
        and the measures of a classifier.
    """
    with jax.enable_x64(True):
        rng = np.random.default_rng(5)
        matrices = {name: with_spectrum(rng, values, np.float32) for name, values in SPECTRA.items()}
        matrices["padded"] = np.pad(with_spectrum(rng, np.linspace(-2, 3, SIZE - 6), np.float32), (0, 6))
        found = to_numpy(both_ends(jnp.asarray(np.stack(list(matrices.values())))))
    return np.float32, matrices, found


@pytest.mark.parametrize("end", [0, 1], ids=["top", "bottom"])
def test_both_ends_are_numpys_with_honest_residuals_and_orthonormal_vectors(ends, end):
    dtype, matrices, found = ends
    epsilon = float(np.finfo(dtype).eps)
    for row, (name, matrix) in enumerate(matrices.items()):
        exact = np.asarray(matrix, np.float64)
        values = np.linalg.eigvalsh(exact)
        expected = values[::-1][:K] if end == 0 else values[:K]
        scale = np.abs(values).max() or 1.0
        pair = type(found[end])(*(leaf[row] for leaf in found[end]))
        vectors = np.asarray(pair.vector, np.float64)
        np.testing.assert_allclose(pair.value, expected, atol=50 * epsilon * scale, rtol=0, err_msg=name)
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(K), atol=50 * epsilon, err_msg=name)
        residuals = np.linalg.norm(vectors @ exact - np.asarray(pair.value, np.float64)[:, None] * vectors, axis=1)
        np.testing.assert_allclose(pair.residual, residuals, atol=50 * epsilon * scale, rtol=1e-3, err_msg=name)
        assert pair.converged.all(), name


def test_an_exhausted_space_ends_the_search_and_a_cluster_is_counted_as_often_as_it_is_there(ends):
    _, matrices, (top, _) = ends
    steps = dict(zip(matrices, top.steps, strict=True))
    assert steps["zero"] == steps["minus the identity"] == K and steps["rank two"] == K + 2


@jax.jit
def search(diagonal, starts):
    return top_eigenpairs(lambda v: diagonal * v, starts, MOST)


def test_warm_starts_take_fewer_products_and_too_few_are_told():
    size = 100
    diagonal = np.concatenate([np.linspace(-1, 1, size - 3), [1.6, 2.4, 3.5]])
    cold = to_numpy(search(diagonal, np.zeros((3, size))))
    warm = to_numpy(search(1.0001 * diagonal, cold.vector))
    short = to_numpy(search(np.linspace(-1, 1, size), np.zeros((3, size))))
    broken = search(np.full(size, np.nan), np.zeros((3, size)))
    for found, factor in ((cold, 1), (warm, 1.0001)):
        np.testing.assert_allclose(found.value, factor * np.array([3.5, 2.4, 1.6]), rtol=1e-9)
        assert found.converged.all()
    assert warm.steps < cold.steps < MOST
    assert not short.converged.any() and (short.value < [1, 1 - 2 / 99, 1 - 4 / 99]).all() and (short.residual > 1e-5).all()
    assert not np.asarray(broken.converged).any()


@pytest.mark.parametrize("size", [1, 7, 12])
def test_rotations_diagonalise_small_matrices_zero_rows_in_their_place(rng, size):
    random = rng.normal(size=(size, size))
    cases = {"random": random + random.T, "zero": np.zeros((size, size)), "pairs": with_spectrum(rng, np.arange(size) // 2.0)}
    cases["tridiagonal"] = np.diag(rng.normal(size=size)) + np.eye(size, k=1) + np.eye(size, k=-1)
    cases["huge"] = 1e200 * cases["random"]
    cases["last row empty"] = np.pad(with_spectrum(rng, np.arange(1.0, size)), (0, 1))
    values, vectors = to_numpy(jax.jit(jax.vmap(diagonalise))(jnp.asarray(np.stack(list(cases.values())))))
    for name, matrix, value, vector in zip(cases, cases.values(), values, vectors, strict=True):
        scale = np.abs(matrix).max()
        np.testing.assert_allclose(np.sort(value), np.linalg.eigvalsh(matrix), atol=1e-14 * scale, err_msg=name)
        np.testing.assert_allclose(matrix @ vector, vector * value, atol=2e-14 * scale, err_msg=name)
        np.testing.assert_allclose(vector.T @ vector, np.eye(size), atol=2e-14, err_msg=name)
    assert values[-1][-1] == 0 and np.array_equal(vectors[-1][:, -1], np.eye(size)[-1])


@partial(jax.jit, static_argnums=(2, 3))
def many_moments(matrix, keys, num_probes, sketch):
    return jax.vmap(lambda key: estimate_moments(lambda v: matrix @ v, SIZE, key, num_probes, sketch, matrix.dtype))(keys)


@pytest.mark.parametrize("sketch", [0, 3])
def test_trace_and_frobenius_are_unbiased_with_errors_of_the_right_size(rng, sketch):
    """Over 400 keys: the mean is the truth, and one error is one standard deviation. A sketch cuts the error."""
    values = np.concatenate([[8.0, -5.0], rng.normal(size=SIZE - 2)])
    matrix, keys = jnp.asarray(with_spectrum(rng, values)), jax.random.split(jax.random.key(1), 400)
    found = to_numpy(many_moments(matrix, keys, 12, sketch))
    for value, error, truth in (
        (found.trace, found.trace_error, values.sum()),
        (found.square, found.square_error, np.sum(values**2)),
    ):
        assert abs(value.mean() - truth) < 4 * value.std() / 20
        assert 0.9 < np.sqrt(np.mean(error**2)) / value.std() < 1.1
    if sketch:
        assert np.median(found.trace_error) < 0.6 * np.median(to_numpy(many_moments(matrix, keys, 12, 0)).trace_error)


def test_a_sketch_of_the_whole_range_is_exact_and_a_zero_matrix_has_no_moments(rng):
    for values in (np.concatenate([[4.0, -1.0], np.zeros(SIZE - 2)]), np.zeros(SIZE)):
        matrix = jnp.asarray(with_spectrum(rng, values))
        found = to_numpy(many_moments(matrix, jax.random.split(jax.random.key(2), 400), 12, 3))
        np.testing.assert_allclose(found.trace, values.sum(), atol=1e-12)
        np.testing.assert_allclose(found.square, np.sum(values**2), atol=1e-12)
        assert found.trace_error.max() < 1e-12
        norm, error = type(found)(*(jnp.asarray(leaf) for leaf in found)).frobenius
        np.testing.assert_allclose(norm, np.linalg.norm(values), atol=1e-6)
        assert np.isfinite(error).all()


def test_a_density_has_the_moments_of_its_probes_and_integrates_to_one(rng):
    """Gauss's rule with m nodes is exact for powers below 2 m; broadening widens only what is drawn."""
    m, key = 6, jax.random.key(3)
    signs = np.asarray(jax.random.rademacher(key, (3, SIZE), jnp.float64))
    estimate = jax.jit(lambda a: estimate_density(lambda v: a @ v, SIZE, key, 3, m, a.dtype, 0.05, 2000))
    for name, values in SPECTRA.items():
        matrix = with_spectrum(rng, values)
        found = to_numpy(estimate(jnp.asarray(matrix)))
        scale = np.abs(values).max() or 1.0
        for power in range(2 * m):
            exact = [z @ np.linalg.matrix_power(matrix / scale, power) @ z / SIZE for z in signs]
            seen = np.sum(found.weights * (found.nodes / scale) ** power, axis=1)
            np.testing.assert_allclose(seen, exact, atol=1e-10, err_msg=f"{name}, power {power}")
        assert np.trapezoid(found.density, found.grid) == pytest.approx(1, abs=1e-3), name
        mean, error = type(found)(*(jnp.asarray(leaf) for leaf in found)).moment(1)
        assert float(mean) == pytest.approx(np.mean([z @ matrix @ z / SIZE for z in signs]), abs=1e-10 * scale)
        center = np.trapezoid(found.density * found.grid, found.grid)
        assert center == pytest.approx(float(mean), abs=2e-2 * max(float(found.width), 1e-12 * scale)), name
        assert np.isfinite(found.error).all() and error >= 0


def test_a_density_is_that_of_the_eigenvalues():
    """A thousand of them, spread as a half and a half: the mass of each half within three errors, the gap empty."""
    size = 1000
    diagonal = np.concatenate([np.linspace(-1, 0, size // 2), np.linspace(2, 3, size // 2)])
    key, product = jax.random.key(0), lambda v: diagonal * v
    found = to_numpy(jax.jit(lambda key: estimate_density(product, size, key, 10, 40, jnp.float64, 0.01, 500))(key))
    left, gap = found.grid < 0.5, (found.grid > 0.3) & (found.grid < 1.7)
    share = np.trapezoid(found.density[left], found.grid[left])
    assert share == pytest.approx(0.5, abs=0.02) and found.density[gap].max() < 1e-6
    assert found.density[(found.grid > -0.8) & (found.grid < -0.2)].mean() == pytest.approx(0.5, rel=0.05)


def test_all_of_it_is_mapped_over_devices(rng):
    """Runs of a device one after another, on four devices at once: no LAPACK that waits for its pool."""
    matrices, key = np.stack([with_spectrum(rng, rng.normal(size=10)) for _ in range(8)]), jax.random.key(0)

    def look(matrix):
        product = lambda v: matrix @ v  # noqa: E731
        return (
            top_eigenpairs(product, jnp.zeros((2, 10)), 10).value,
            estimate_moments(product, 10, key, 2, 2, matrix.dtype).trace,
            estimate_density(product, 10, key, 2, 4, matrix.dtype, points=8).moment(1)[0],
        )

    mesh, over = Mesh(np.array(jax.devices()[:4]), ("runs",)), PartitionSpec("runs")
    loop = partial(jax.lax.map, look)
    tops, traces, moments = jax.jit(jax.shard_map(loop, mesh=mesh, in_specs=over, out_specs=over, check_vma=False))(matrices)
    sketch, probes, signs = (np.asarray(jax.random.rademacher(k, (2, 10), jnp.float64)) for k in (*jax.random.split(key), key))

    def trace(matrix):  # on the sketch's range exactly, and of the rest the mean over probes
        basis = np.linalg.qr(matrix @ sketch.T)[0]
        rest = probes - probes @ basis @ basis.T
        return np.trace(basis.T @ matrix @ basis) + np.sum(rest @ matrix * rest) / 2

    np.testing.assert_allclose(tops, np.linalg.eigvalsh(matrices)[:, :-3:-1], rtol=1e-9)
    np.testing.assert_allclose(traces, [trace(matrix) for matrix in matrices], rtol=1e-9)
    np.testing.assert_allclose(moments, np.einsum("ki,nij,kj->n", signs, matrices, signs) / 20, rtol=1e-9)
