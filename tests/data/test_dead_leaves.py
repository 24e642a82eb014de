"""Dead leaves: the law of the radii, occlusion, and the covariance against its closed form,
each with a control that fails."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from dynamics.data.dead_leaves import draw_dead_leaves, power_law_quantile

SIDE = 6


@cache
def painter(side=SIDE, channels=1, leaves=60, dtype=jnp.float32):
    """jit of (keys (n,), smallest, exponent, texture) -> pictures (n, side, side, channels)."""
    one = lambda key, *scalars: draw_dead_leaves(key, side, channels, leaves, *scalars, dtype)  # noqa: E731
    return jax.jit(jax.vmap(one, in_axes=(0, None, None, None)))


@cache
def pictures(n, smallest=1.0, exponent=3.0, texture=0.0, seed=0, **static) -> np.ndarray:
    return np.asarray(painter(**static)(jax.random.split(jax.random.key(seed), n), smallest, exponent, texture))


def covariance(drawn: np.ndarray) -> np.ndarray:
    """Of the pixels of one channel, about the mean 1/2 that they all have."""
    pixels = drawn.reshape(len(drawn), -1) - 0.5
    return pixels.T @ pixels / len(pixels)


# Radii


def power_law_cdf(r, smallest, largest, exponent):
    def mass(r):
        return np.log(r / smallest) if exponent == 1 else (r ** (1 - exponent) - smallest ** (1 - exponent)) / (1 - exponent)

    return mass(r) / mass(largest)


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 1.0, 1.0 + 1e-6, 2.5, 3.0, 8.0])
def test_radii_have_the_density_of_the_power_law_and_not_that_of_the_next_exponent(rng, exponent):
    radii = np.asarray(power_law_quantile(jnp.asarray(rng.uniform(size=20_000), jnp.float32), 0.5, 16, exponent), float)
    assert stats.kstest(radii, lambda r: power_law_cdf(r, 0.5, 16, exponent)).pvalue > 1e-3
    assert stats.kstest(radii, lambda r: power_law_cdf(r, 0.5, 16, exponent + 0.5)).pvalue < 1e-6


@pytest.mark.parametrize("exponent", [0.0, 1.0, 3.0, 8.0])
def test_radii_end_where_they_should(exponent):
    with jax.debug_nans(True):  # nor is there a 0 / 0 on the way
        ends = power_law_quantile(jnp.asarray([0.0, 1.0]), 0.5, 16, exponent)
    np.testing.assert_allclose(ends, [0.5, 16], rtol=1e-3)


# Occlusion


def overlap(radius, distance):
    """Area that two discs of a radius have in common:
    where the centre of a leaf may be that covers both of two pixels."""
    half = np.minimum(distance / (2 * radius), 1)
    return 2 * radius**2 * (np.arccos(half) - half * np.sqrt(1 - half**2))


def same_leaf(distance, smallest, exponent, leaves, room=9 * SIDE**2):
    """P(two pixels show the same leaf, or both the background), centres being uniform on an area `room`."""
    norm = integrate.quad(lambda r: r**-exponent, smallest, SIDE)[0]
    chance = lambda d: integrate.quad(lambda r: r**-exponent * overlap(r, d), smallest, SIDE)[0] / norm / room  # noqa: E731
    both, either = chance(distance), 2 * chance(0.0) - chance(distance)
    none = (1 - either) ** leaves
    return both / either * (1 - none) + none


PAIRS = [((0, 0), (0, 1)), ((2, 2), (3, 3)), ((0, 5), (4, 2)), ((5, 0), (3, 1))]


def test_two_pixels_show_the_same_leaf_as_often_as_geometry_says():
    """Same colour without texture means same leaf. Controls: other radii, fewer leaves, centres on another square."""
    n, law = 20_000, {"smallest": 0.7, "exponent": 2.0, "leaves": 30}
    drawn = pictures(n, 0.7, 2.0, leaves=30)[..., 0]
    seen = np.array([np.mean(drawn[:, *a] == drawn[:, *b]) for a, b in PAIRS])

    def worst(**other):
        expected = np.array([same_leaf(np.hypot(*np.subtract(a, b)), **law | other) for a, b in PAIRS])
        return np.max(np.abs(seen - expected) / np.sqrt(expected * (1 - expected) / n))

    assert worst() < 4
    for other in ({"exponent": 2.5}, {"smallest": 1.1}, {"leaves": 25}, {"room": SIDE**2}, {"room": 12 * SIDE**2}):
        assert worst(**other) > 8, other


def test_covariance_is_a_twelfth_of_that_chance_plus_the_texture():
    n, texture = 20_000, 0.3
    found = covariance(pictures(n, 0.7, 2.0, texture, leaves=30))
    number = lambda pixel: pixel[0] * SIDE + pixel[1]  # noqa: E731
    for a, b in PAIRS:
        expected = same_leaf(np.hypot(*np.subtract(a, b)), 0.7, 2.0, 30) / 12
        assert abs(found[number(a), number(b)] - expected) < 5 * (1 / 12 + texture**2) / np.sqrt(n)
    assert abs(np.diag(found).mean() - (1 / 12 + texture**2)) < 0.003
    assert abs(np.diag(covariance(pictures(n, 0.7, 2.0, leaves=30))).mean() - 1 / 12) < 0.003


def test_more_leaves_lie_below_those_that_are_there():
    """A pixel that changes when leaves are added showed the background before, which is under all of them."""
    keys = jax.random.split(jax.random.key(3), 50)
    few, many = (np.asarray(painter(leaves=leaves)(keys, 1.0, 2.0, 0.0))[..., 0] for leaves in (20, 200))
    bare = np.asarray(painter(leaves=1)(keys, 1e-3, 60.0, 0.0))[..., 0]  # one leaf, a thousandth of a pixel
    background = np.median(bare, axis=(1, 2))[:, None, None]
    changed = few != many
    assert 0.05 < changed.mean() < 0.9
    assert (few == background)[changed].all()
    assert not (many == background)[changed].any() and not (few == background).all()


def test_colours_are_uniform_and_each_channel_has_its_own():
    drawn = pictures(4000, channels=3)
    for channel in range(3):
        assert stats.kstest(drawn[:, 2, 3, channel], "uniform").pvalue > 1e-3
    middle = drawn[:, 2, 3] - 0.5
    off = np.corrcoef(middle.T)[~np.eye(3, dtype=bool)]
    assert np.abs(off).max() < 5 / np.sqrt(4000)
    together = (drawn[:, 2, 3] == drawn[:, 2, 4]).mean(axis=1)
    assert set(together) == {0.0, 1.0}  # an edge of a leaf is an edge in all channels


# Covariance as the docstring moves it


def top_share(found: np.ndarray) -> float:
    values = np.linalg.eigvalsh(found)
    return values[-1] / values.sum()


def test_the_spectrum_goes_from_rank_one_to_white():
    """Of patches of 3 x 3: white is a share of 1/9."""
    cases = {
        "few": (0.7, 3.0, 0.0, 2),
        "large": (5.9, 3.0, 0.0, 100),
        "natural": (0.7, 3.0, 0.0, 100),
        "rough": (0.7, 3.0, 0.3, 100),
        "noise": (0.7, 3.0, 3.0, 100),
        "small": (0.45, 60.0, 0.0, 1200),
    }
    found = {name: covariance(pictures(500, *scalars, leaves=leaves)[:, :3, :3]) for name, (*scalars, leaves) in cases.items()}
    share = {name: top_share(matrix) for name, matrix in found.items()}
    assert share["few"] > 0.9 and share["large"] > 0.7
    assert share["large"] > share["natural"] + 0.1 > share["rough"] + 0.2
    assert share["rough"] > 1.5 / 9 > 1.4 / 9 > max(share["noise"], share["small"])
    constant = np.linalg.eigh(found["large"])[1][:, -1]
    assert np.abs(constant.sum()) / 3 > 0.99  # the top eigenvector is the mean of the nine pixels


def test_texture_is_white_gaussian_noise_of_its_size_on_the_same_picture():
    noise = (pictures(500, texture=0.2, leaves=100) - pictures(500, leaves=100)) / 0.2
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    np.testing.assert_allclose(covariance(noise + 0.5), np.eye(SIDE**2), atol=5 * np.sqrt(2 / 500))
    assert len(np.unique(noise.round(5))) > 0.95 * noise.size


# Draws


def test_one_key_one_picture_in_whatever_company_and_another_key_another():
    keys = jax.random.split(jax.random.key(1), 5)
    scalars = jnp.float32(0.7), jnp.float32(3), jnp.float32(0)
    alone = jax.jit(lambda key: draw_dead_leaves(key, SIDE, 3, 40, *scalars, jnp.float32))
    together = np.asarray(painter(channels=3, leaves=40)(keys, *scalars))
    assert together.shape == (5, SIDE, SIDE, 3) and together.dtype == np.float32
    for key, picture in zip(keys, together, strict=True):
        np.testing.assert_array_equal(alone(key), picture)
    np.testing.assert_array_equal(painter(channels=3, leaves=40)(keys[::-1], *scalars)[::-1], together)
    assert len(np.unique(together[:, 0, 0, 0])) == 5


def test_swept_scalars_share_one_trace_and_each_gets_its_own_picture():
    traces = 0

    def draw(smallest, exponent, texture):
        nonlocal traces
        traces += 1
        return draw_dead_leaves(jax.random.key(2), SIDE, 1, 40, smallest, exponent, texture, jnp.float32)

    swept = [jnp.asarray(values, jnp.float32) for values in ([0.5, 1, 2, 2], [3, 1, 0, 0], [0, 0.1, 0.2, 0.4])]
    together, single = jax.jit(jax.vmap(draw))(*swept), jax.jit(draw)
    for i in range(4):
        np.testing.assert_allclose(single(*(values[i] for values in swept)), together[i], rtol=1e-5, atol=1e-6)
    assert traces == 2
    assert len(np.unique(np.asarray(together)[:, 0, 0, 0])) == 4


@pytest.mark.usefixtures("x64")
def test_a_picture_has_the_type_that_is_asked_for():
    for dtype in (jnp.float32, jnp.float64):
        assert jax.eval_shape(lambda key: draw_dead_leaves(key, 3, 2, 4, 1, 3, 0, dtype), jax.random.key(0)).dtype == dtype
