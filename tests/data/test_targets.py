"""Targets by hand and by their law."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import z_scores
from scipy import special

from dynamics.data.problem import DataSpec
from dynamics.data.targets import TARGETS, TargetContext, TargetSpec


def target(kind, dim, width=None, seed=0, degree=4):
    """f_0 of inputs alone, in so many coordinates of which `dim` are meant."""
    setting = TargetContext(dim, DataSpec(input_dim=width or dim), TargetSpec(kind, degree), None, jnp.float64)
    f = TARGETS[kind].draw(jax.random.key(seed), setting)
    return lambda x: f(x, jnp.zeros(len(x), jnp.int32))


@pytest.mark.usefixtures("x64")
def test_linear_and_zero_targets_by_hand(rng):
    x = jnp.asarray(rng.uniform(-1, 1, size=(6, 3)))
    np.testing.assert_array_equal(target("linear", 3)(x), x[:, 0])
    np.testing.assert_array_equal(target("zero", 3)(x), np.zeros(6))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4, 7])
def test_chebyshev_target_is_the_polynomial(rng, degree):
    x = rng.uniform(-1, 1, size=(20, 2))
    np.testing.assert_allclose(
        target("chebyshev", 2, degree=degree)(jnp.asarray(x)), special.eval_chebyt(degree, x[:, 0]), atol=1e-12
    )


@pytest.mark.usefixtures("x64")
def test_holder_target_is_one_plus_the_mean_root_over_d_unit_directions(rng):
    """In d = 1 that is 1 + |x|^(1/2). In d > 1 the directions are found from the target's squared increments."""
    x = rng.uniform(-1, 1, size=(20, 1))
    np.testing.assert_allclose(target("holder_half", 1)(jnp.asarray(x)), 1 + np.sqrt(np.abs(x[:, 0])), rtol=1e-14)

    f = target("holder_half", 3, seed=5)
    assert f(jnp.zeros((1, 3)))[0] == 1
    y = jnp.asarray(rng.uniform(-1, 1, size=(20, 3)))
    np.testing.assert_allclose(f(4 * y) - 1, 2 * (f(y) - 1), rtol=1e-13)  # homogeneous of degree 1/2
    np.testing.assert_allclose(f(-y), f(y), rtol=1e-14)
    assert np.all(np.asarray(f(y)) <= 1 + np.linalg.norm(np.asarray(y), axis=1) ** 0.5)  # |u_j . x| <= |x|
    np.testing.assert_allclose(target("holder_half", 3, 6, seed=5)(jnp.pad(y, ((0, 0), (0, 3)))), f(y), rtol=1e-13)


@pytest.mark.usefixtures("x64")
def test_holder_directions_are_uniform_over_seeds():
    """E |u . e_1|^(1/2) over the circle is Gamma(3/4) / (sqrt pi Gamma(5/4)); f_0(e_1) is one plus a mean of such."""
    e1 = jnp.asarray([[1.0, 0.0]])
    make = jax.vmap(lambda seed: target("holder_half", 2, seed=seed)(e1)[0])
    values = np.asarray(jax.jit(make)(jnp.arange(4000)))
    expected = 1 + special.gamma(3 / 4) / (np.sqrt(np.pi) * special.gamma(5 / 4))
    assert abs(z_scores(values, expected)) < 4
