"""What can stand in for the images of a set: inputs of the same shape that share some of what the set has, and no more.

gaussian: N(0, I), the shape alone; shuffled: each image's own values, and so its norm, at pixels in an order of its
own;
covariance: a Gaussian with the mean and the covariance of the set's pixels; dead_leaves: pictures with edges and
occlusion that show nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.dynamics import Hyper
from dynamics.data import image_files as images
from dynamics.data.dead_leaves import draw_dead_leaves
from dynamics.data.law import DataSpec, Row
from dynamics.data.own_images import load_images

Draw = Callable[[jax.Array], jax.Array]  # key -> inputs (d,)
MEAN, ROOT = "pixel_mean", "pixel_root"


def shared_arrays(data: DataSpec, mean: np.ndarray, std: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays that a stand-in needs of the image set, standardised with mean and std (channels,)."""
    if data.stand_in != "covariance":
        return {}
    where = (data.law, data.root, data.digest)
    return dict(zip((MEAN, ROOT), _moments(where, tuple(mean.tolist()), tuple(std.tolist())), strict=True))


@lru_cache(maxsize=8)
def _moments(where: tuple[str, str, str], mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (d,) and the covariance's root (d, d) of the set's standardised pixels; where: law, root, digest."""
    law, root, _ = where
    found = load_images(law, root)
    pixels = images.standardize_pixels(found.pixels, found.highest, mean, std)
    values, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False, bias=True))
    return pixels.mean(axis=0), (vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T).astype(np.float32)


def shuffle_pixels(image: Row) -> Row:
    """Return the sampler of images whose pixels are each permuted in an order of their own."""

    def row(key, index, num_samples):
        pixels, part = image(key, index, num_samples)
        return jax.random.permutation(key, pixels), part

    return row


def draw_stand_in(data: DataSpec, hyper: Hyper, dtype: Any) -> Row:
    """Return the sampler of a stand-in of `DRAWN`, whose samples are all of one part."""
    draw = DRAWN[data.stand_in](data, hyper, dtype)
    return lambda key, index, num_samples: (draw(key), jnp.int32(0))


def gaussian_sampler(data: DataSpec, hyper: Hyper, dtype: Any) -> Draw:
    """Return the sampler of N(0, I) in the images' dimension."""
    return lambda key: jax.random.normal(key, (data.input_dim,), dtype)


def covariance_sampler(data: DataSpec, hyper: Hyper, dtype: Any) -> Draw:
    """Return the sampler of the Gaussian with the mean and covariance of the set's pixels."""
    mean, root = (hyper[f"data.{name}"].astype(dtype) for name in (MEAN, ROOT))
    return lambda key: mean + root @ jax.random.normal(key, (data.input_dim,), dtype)


def dead_leaves_sampler(data: DataSpec, hyper: Hyper, dtype: Any) -> Draw:
    """Return the sampler of dead-leaves pictures of the law's grid.

    Standardised as uniform colours are: mean 1/2, variance 1/12.
    """
    side, _, channels = data.grid
    smallest, exponent, texture = (hyper[f"data.{name}"] for name in ("smallest_leaf", "leaf_exponent", "texture"))

    def draw(key: jax.Array) -> jax.Array:
        picture = draw_dead_leaves(key, side, channels, data.leaves, smallest, exponent, texture, dtype)
        return (picture.reshape(-1) - 0.5) * math.sqrt(12)

    return draw


DRAWN = {
    "gaussian": gaussian_sampler,
    "covariance": covariance_sampler,
    "dead_leaves": dead_leaves_sampler,
}  # of no image of the set
STAND_INS = {"shuffled": shuffle_pixels, **DRAWN}
