"""Images as inputs: the sets of `images.py`, and dead leaves, which need none.

The pixels of a set are read once for all runs (`Law.shared_arrays`); a run's seed says which images it trains on. A
set with a test part of its own is tested on that, another one on images that are not among the training ones.
`data.stand_in` puts something else in their place.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.dynamics import Hyper
from dynamics.data import image_files as images
from dynamics.data import stand_ins
from dynamics.data.law import LAWS, DataSpec, Law, Row, Source
from dynamics.errors import choose, require

POOLS = ("pool", "pool_parts", "test_pool", "test_pool_parts")


def _shared_arrays(data: DataSpec) -> dict[str, np.ndarray]:
    if data.stand_in in stand_ins.DRAWN:
        return stand_ins.shared_arrays(data, *statistics(data))
    found = images.load(data.law, data.root)
    arrays = (found.pixels, found.classes, found.test_pixels, found.test_classes)
    return {name: a.reshape(len(a), -1) if a.ndim > 1 else a for name, a in zip(POOLS, arrays, strict=True) if a is not None}


def statistics(data: DataSpec) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation that every pixel is standardised with, (channels,) each, of pixels in [0, 1]."""
    if data.normalization in images.NORMALIZATIONS:
        mean, std = images.NORMALIZATIONS[data.normalization]
        return np.asarray(mean), np.asarray(std)
    return _own_statistics(data.law, data.root)


@cache  # seconds over CIFAR-10, and asked for whenever a program is traced
def _own_statistics(law: str, root: str) -> tuple[np.ndarray, np.ndarray]:
    found = images.load(law, root)
    return images.channel_statistics(found.pixels, found.highest)


def _source(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
    if data.stand_in in stand_ins.DRAWN:
        return Source(stand_ins.drawn(data, hyper, dtype))
    mean, std = (jnp.asarray(np.resize(a, data.input_dim), dtype) for a in statistics(data))
    highest = images.load(data.law, data.root).highest

    def rows(which: str, backwards: bool = False) -> Row:
        pool, parts = hyper[f"data.{which}"], hyper[f"data.{which}_parts"]
        order = jax.random.permutation(key, len(parts))
        order = order[::-1] if backwards else order

        def row(_, index, num_samples):
            chosen = order[jnp.minimum(index, len(parts) - 1)]
            return (pool[chosen].astype(dtype) / highest - mean) / std, parts[chosen]

        return row

    both = rows("pool"), rows("test_pool") if "data.test_pool" in hyper else rows("pool", backwards=True)
    image, fresh = map(stand_ins.shuffled, both) if data.stand_in == "shuffled" else both
    return Source(image, None, fresh)


def _check(data: DataSpec) -> None:
    size = math.prod(images.shape(data.law))
    require(data.input_dim == size, "data.input_dim", data.input_dim, f"must be {size} for data.law = {data.law}")
    if data.normalization != "own":
        channels = len(images.NORMALIZATIONS[data.normalization][0])
        fits = channels == images.shape(data.law)[-1]
        require(fits, "data.normalization", data.normalization, f"is for images of {channels} channels")
    if data.stand_in:
        choose("data.stand_in", data.stand_in, stand_ins.STAND_INS)
    if data.stand_in == "dead_leaves":
        _check_leaves(data, images.shape(data.law)[0])
    found = images.load(data.law, data.root)
    there = len(found.pixels)
    if data.stand_in in stand_ins.DRAWN:
        return
    if found.test_pixels is not None:
        most = len(found.test_pixels)
        require(data.num_test <= most, "data.num_test", data.num_test, f"{data.law} has {most} test images")
        require(data.num_samples <= there, "data.num_samples", data.num_samples, f"{data.law} has {there} training images")
    else:
        allowed = f"with data.num_test = {data.num_test} must be at most {there}, so many images {data.law} has"
        require(data.num_samples + data.num_test <= there, "data.num_samples", data.num_samples, allowed)


def _side(data: DataSpec) -> int:
    return math.isqrt(data.input_dim // data.channels)


def _leaves(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
    draw = stand_ins.leaves(data, hyper, dtype)
    return Source(lambda key, index, num_samples: (draw(key), jnp.int32(0)))


def _check_frame(data: DataSpec) -> None:
    whole = data.input_dim == _side(data) ** 2 * data.channels
    require(whole, "data.input_dim", data.input_dim, f"must be side^2 * data.channels, with data.channels = {data.channels}")
    _check_leaves(data, _side(data))


def _check_leaves(data: DataSpec, side: int) -> None:
    allowed = f"must be above 0 and below the side, {side}"
    require(0 < data.smallest_leaf < side, "data.smallest_leaf", data.smallest_leaf, allowed)


def _num_parts(data: DataSpec) -> int:
    return 1 if data.stand_in in stand_ins.DRAWN else images.classes(data.law)


LEAF_FIELDS = ("leaves", "smallest_leaf", "leaf_exponent", "texture")


def _set_fields(data: DataSpec) -> tuple[str, ...]:
    """The fields that an image set uses: those of dead leaves only where these stand in for the images."""
    return ("root", "normalization", "stand_in", *(LEAF_FIELDS if data.stand_in == "dead_leaves" else ()))


def _image_set(name: str) -> Law:
    return Law(_source, _check, grid=lambda data: images.shape(name), num_parts=_num_parts, shared_arrays=_shared_arrays)


for set_name in ("digits", "mnist", "cifar10"):
    LAWS.add(set_name, _image_set(set_name), uses=_set_fields)

LAWS.add(
    "dead_leaves",
    Law(_leaves, _check_frame, grid=lambda data: (_side(data), _side(data), data.channels)),
    uses=("channels", *LEAF_FIELDS),
)
