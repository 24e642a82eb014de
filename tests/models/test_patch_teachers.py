"""Teachers that are patch networks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.data.law import DataSpec
from dynamics.data.problem import TargetSpec
from dynamics.data.targets import TARGETS, TargetContext
from dynamics.data.views import ViewSpec, list_views


def teacher_of(kind: str, target: TargetSpec, data: DataSpec):
    return lambda key: TARGETS[kind].draw(key, TargetContext(data.input_dim, data, target, None, jnp.float64))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["teacher", "scaled_teacher"])
@pytest.mark.parametrize(
    "seen, law", [(ViewSpec("disjoint", 3), "gaussian"), (ViewSpec("sliding", 2, 2), "digits"), (ViewSpec(), "gaussian")]
)
def test_a_teacher_is_a_patch_net_with_shared_filters(rng, kind, seen, law):
    """Of parameters drawn from keys of their own, filter by filter; `scaled` has no biases and is homogeneous."""
    data = DataSpec(law, 64 if law == "digits" else 7)
    target, key = TargetSpec(kind, units=4, views=seen), jax.random.key(3)
    target.check(data)
    x = rng.normal(size=(9, data.input_dim))
    f = np.asarray(teacher_of(kind, target, data)(key)(jnp.asarray(x), None))
    places = list_views(seen, data.grid)
    keys, m = [jax.random.fold_in(key, i) for i in range(4)], places.shape[1]
    v, w = (np.asarray(jax.random.normal(k, shape)) for k, shape in zip(keys, ((4,), (m, 4)), strict=False))
    b, c = (
        np.asarray(jax.random.uniform(keys[2], (4,), minval=-0.5, maxval=0.5)),
        float(jax.random.uniform(keys[3], minval=-1, maxval=1)),
    )
    if kind == "scaled_teacher":
        v, w, b, c = v / 2, w / np.sqrt(m), 0 * b, 0.0
    expected = np.full(9, c)
    for place in places:
        for k in range(4):
            expected += v[k] * np.maximum(x[:, place] @ w[:, k] - b[k], 0) / len(places)
    np.testing.assert_allclose(f, expected, rtol=1e-12)
    again = np.asarray(teacher_of(kind, target, data)(key)(jnp.asarray(3 * x), None))
    assert np.allclose(again, 3 * f, rtol=1e-12) == (kind == "scaled_teacher")


@pytest.mark.usefixtures("x64")
def test_teachers_have_the_second_moments_of_their_law():
    """Over keys, at an input of one view: K E v^2 E relu(z)^2 + E c^2, z being symmetric;
    half of E z^2 is left by the ReLU."""
    x, data, keys = np.array([[0.5, -1.0, 2.0]]), DataSpec("gaussian", 3), jax.random.split(jax.random.key(0), 4000)
    square = np.sum(x**2)
    for kind, expected in (("teacher", 5 * (square + 1 / 12) / 2 + 1 / 3), ("scaled_teacher", square / 3 / 2)):
        make = teacher_of(kind, TargetSpec(kind, units=5), data)
        f = np.asarray(jax.jit(jax.vmap(lambda key, make=make: make(key)(jnp.asarray(x), None)[0]))(keys))
        assert abs(np.mean(f**2) - expected) < 4 * np.std(f**2) / np.sqrt(len(keys))
        assert abs(np.mean(f)) < 4 * np.std(f) / np.sqrt(len(keys))
