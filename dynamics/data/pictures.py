"""Images as inputs: the sets of `image_files.py`, one's own (`own_images.py`), and dead leaves, which need none.

The pixels of a set are read once for all runs (`Law.shared_arrays`); a run's seed says which images it trains on. A
set with a test part of its own is tested on that, another one on images that are not among the training ones.
`data.stand_in` puts something else in their place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.dynamics import Hyper
from dynamics.data import image_files as images
from dynamics.data import own_images, stand_ins
from dynamics.data.law import LAWS, DataSpec, Law, Source
from dynamics.data.pools import POOL_ARRAYS, check_digest, check_sizes, pool_source
from dynamics.errors import choose, require


def _load(data: DataSpec) -> images.ImageSet:
    return own_images.load_images(data.law, data.root)


def _shape(data: DataSpec) -> tuple[int, ...]:
    """Return (height, width, channels) of a set's images; reads a user's own, and no file of the suite's sets."""
    return _load(data).pixels.shape[1:] if data.law == "images" else images.image_shape(data.law)


def _shared_arrays(data: DataSpec) -> dict[str, np.ndarray]:
    if data.stand_in in stand_ins.DRAWN:
        return stand_ins.shared_arrays(data, *pixel_statistics(data))
    found = _load(data)
    arrays = (found.pixels, found.classes, found.test_pixels, found.test_classes)
    return {
        name: a.reshape(len(a), -1) if a.ndim > 1 else a for name, a in zip(POOL_ARRAYS, arrays, strict=True) if a is not None
    }


def pixel_statistics(data: DataSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, (channels,) each, that pixels in [0, 1] are standardised with."""
    if data.normalization in images.NORMALIZATIONS:
        mean, std = images.NORMALIZATIONS[data.normalization]
        return np.asarray(mean), np.asarray(std)
    return _own_statistics(data.law, data.root, data.digest)


@lru_cache(maxsize=8)  # seconds over CIFAR-10, and asked for whenever a program is traced
def _own_statistics(law: str, root: str, digest: str) -> tuple[np.ndarray, np.ndarray]:
    found = own_images.load_images(law, root)
    return images.channel_statistics(found.pixels, found.highest)


def _source(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
    if data.stand_in in stand_ins.DRAWN:
        return Source(stand_ins.draw_stand_in(data, hyper, dtype))
    mean, std = (jnp.asarray(np.resize(a, data.input_dim), dtype) for a in pixel_statistics(data))
    highest = _load(data).highest
    wrap = stand_ins.shuffle_pixels if data.stand_in == "shuffled" else lambda row: row
    return pool_source(key, hyper, lambda pixels: (pixels.astype(dtype) / highest - mean) / std, wrap)


def _check(data: DataSpec) -> None:
    shape = _shape(data)
    size = math.prod(shape)
    require(data.input_dim == size, "data.input_dim", data.input_dim, f"must be {size} for data.law = {data.law}")
    if data.normalization != "own":
        channels = len(images.NORMALIZATIONS[data.normalization][0])
        require(channels == shape[-1], "data.normalization", data.normalization, f"is for images of {channels} channels")
    if data.stand_in:
        choose("data.stand_in", data.stand_in, stand_ins.STAND_INS)
    if data.stand_in == "dead_leaves":
        require(shape[0] == shape[1], "data.stand_in", data.stand_in, f"are square, the images are {shape[0]} x {shape[1]}")
        _check_leaves(data, shape[0])
    found = _load(data)
    if data.normalization == "own" and data.stand_in not in stand_ins.DRAWN:
        constant = np.flatnonzero(pixel_statistics(data)[1] == 0).tolist()
        require(not constant, "data.root", data.root, f"holds images whose channels {constant} are of one value throughout")
    if data.stand_in not in stand_ins.DRAWN:
        check_sizes(data, len(found.pixels), None if found.test_pixels is None else len(found.test_pixels), "image")


def _side(data: DataSpec) -> int:
    return math.isqrt(data.input_dim // data.channels)


def _leaves(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
    draw = stand_ins.dead_leaves_sampler(data, hyper, dtype)
    return Source(lambda key, index, num_samples: (draw(key), jnp.int32(0)))


def _check_frame(data: DataSpec) -> None:
    whole = data.input_dim == _side(data) ** 2 * data.channels
    require(whole, "data.input_dim", data.input_dim, f"must be side^2 * data.channels, with data.channels = {data.channels}")
    _check_leaves(data, _side(data))


def _check_leaves(data: DataSpec, side: int) -> None:
    allowed = f"must be above 0 and below the side, {side}"
    require(0 < data.smallest_leaf < side, "data.smallest_leaf", data.smallest_leaf, allowed)


def _num_parts(data: DataSpec) -> int:
    if data.stand_in in stand_ins.DRAWN:
        return 1
    return own_images.load_own_images(data.root).num_classes if data.law == "images" else images.count_classes(data.law)


LEAF_FIELDS = ("leaves", "smallest_leaf", "leaf_exponent", "texture")


def _set_fields(data: DataSpec) -> tuple[str, ...]:
    """Return the fields that an image set uses: those of dead leaves only where these stand in for the images."""
    own = ("digest",) if data.law == "images" else ()
    pixels = () if data.stand_in in ("gaussian", "dead_leaves") else ("normalization",)
    return ("root", *own, *pixels, "stand_in", *(LEAF_FIELDS if data.stand_in == "dead_leaves" else ()))


def _resolve(data: DataSpec) -> DataSpec:
    """Return own images with the digest of their files and, if it is 0, the number of coordinates."""
    found = own_images.load_own_images(data.root)
    check_digest(data, "data.root", data.root, found.digest)
    return replace(data, digest=found.digest, input_dim=data.input_dim or math.prod(_shape(data)))


def _image_set(resolve: Callable[[DataSpec], DataSpec] | None = None) -> Law:
    return Law(_source, _check, grid=_shape, num_parts=_num_parts, shared_arrays=_shared_arrays, resolve=resolve)


for set_name in images.SHAPES:
    LAWS.add(set_name, _image_set(), uses=_set_fields)
LAWS.add("images", _image_set(_resolve), uses=_set_fields)
LAWS.add(
    "dead_leaves",
    Law(_leaves, _check_frame, grid=lambda data: (_side(data), _side(data), data.channels)),
    uses=("channels", *LEAF_FIELDS),
)
