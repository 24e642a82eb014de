"""Ways to choose views, on a line of coordinates and on an image alike.

A scheme works on pixels, numbered in C order; the channels of an image come in later (`dynamics/data/views.py`). It is
called with a `Frame` and a generator, and returns the pixels (L, p) that its L views see, p = `Frame.seen`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Frame(NamedTuple):
    """The pixels of a sample, and the views of them that are wanted.

    sides: of the pixels, (d,) or (height, width); size: of a view, along each side; stride; count: views to draw
    options: the `ViewSpec` in which a scheme finds fields of its own
    """

    sides: tuple[int, ...]
    size: int
    stride: int
    count: int
    options: Any = None

    @property
    def pixels(self) -> int:
        return math.prod(self.sides)

    @property
    def seen(self) -> int:
        """Return p, the number of pixels of a view."""
        return self.size ** len(self.sides)

    @property
    def extent(self) -> tuple[int, ...]:
        """Return the sides of a window."""
        return (self.size,) * len(self.sides)


class Scheme(NamedTuple):
    """A way to choose views: draw(frame, rng) returns the pixels (L, p) of L views.

    strides: whether it heeds the stride
    usual: the scheme that has as many views as this one draws where count is 0; empty: it does not heed the count
    most(frame): the most views that it can draw; None: any number
    extent(frame): the least sides that the frame must have
    images: whether it is for images alone, and not for vectors
    random: whether it draws, so that a seed makes a difference
    """

    draw: Callable[[Frame, np.random.Generator], np.ndarray]
    strides: bool = False
    usual: str = ""
    most: Callable[[Frame], int] | None = None
    extent: Callable[[Frame], tuple[int, ...]] = lambda frame: frame.extent
    images: bool = False
    random: bool = True


def box_offsets(extent: Sequence[int]) -> np.ndarray:
    """Return every offset (prod(extent), dims) in a box, in C order."""
    return np.indices(extent).reshape(len(extent), -1).T


def window_corners(sides: Sequence[int], extent: Sequence[int], step: int) -> np.ndarray:
    """Return the corners (L, dims) of all boxes `step` apart that lie inside the sides."""
    starts = [np.arange(0, side - length + 1, step) for side, length in zip(sides, extent, strict=True)]
    return np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, len(sides))


def draw_window_corners(frame: Frame, extent: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Return the corners (count, dims) of windows at independent uniform places inside the frame."""
    room = np.subtract(frame.sides, extent) + 1
    return rng.integers(room, size=(frame.count, len(frame.sides)))


def window_pixels(corners: np.ndarray, offsets: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """Return the pixels (L, p) at offsets (p, dims), or (L, p, dims), from corners (L, dims)."""
    at = corners[:, None, :] + offsets
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(at, -1, 0)), tuple(sides)))


def draw_subsets(rng: np.random.Generator, count: int, total: int, size: int) -> np.ndarray:
    """Return independent uniform subsets (count, size) of range(total), sorted.

    The first of a larger count are those of a smaller one.
    """
    nearest = np.argpartition(rng.random((count, total)), size - 1, axis=1)[:, :size]
    return np.sort(nearest, axis=1)


def powers_of_two(most: int) -> list[int]:
    """Return 1, 2, 4, ... up to `most`."""
    return [2**level for level in range(most.bit_length())]


def sliding_windows(frame: Frame, rng: np.random.Generator | None = None) -> np.ndarray:
    """Return the pixels of windows `stride` apart."""
    return window_pixels(window_corners(frame.sides, frame.extent, frame.stride), box_offsets(frame.extent), frame.sides)


def disjoint_windows(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels of windows side by side; pixels left over at the end are not seen."""
    return sliding_windows(frame._replace(stride=frame.size))


def random_subsets(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return views of p random pixels each, sorted; views are independent and may share pixels."""
    return draw_subsets(rng, frame.count, frame.pixels, frame.seen)


def random_disjoint_subsets(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return views of p random pixels each that no other view has, sorted: a random permutation cut into pieces."""
    used = rng.permutation(frame.pixels)[: frame.count * frame.seen]
    return np.sort(used.reshape(frame.count, frame.seen), axis=1)


def randomly_placed_windows(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels of windows at independent uniform places."""
    return window_pixels(draw_window_corners(frame, frame.extent, rng), box_offsets(frame.extent), frame.sides)


def shuffled_windows(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels of windows `stride` apart on pixels that were permuted, once for all views.

    In a view they are in the order of its window.
    """
    return rng.permutation(frame.pixels)[sliding_windows(frame)]


def hierarchical_windows(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels of windows at dyadic scales.

    Side by side windows of extent size 2^j, every 2^j-th pixel of each, for all j for which one fits.
    """
    levels = []
    for dilation in powers_of_two(min(frame.sides) // frame.size):
        extent = (frame.size * dilation,) * len(frame.sides)
        levels.append(
            window_pixels(window_corners(frame.sides, extent, extent[0]), dilation * box_offsets(frame.extent), frame.sides)
        )
    return np.concatenate(levels)


LINE_SCHEMES = {
    "sliding": Scheme(sliding_windows, strides=True, random=False),
    "disjoint": Scheme(disjoint_windows, random=False),
    "random_subsets": Scheme(random_subsets, usual="sliding"),
    "random_disjoint": Scheme(random_disjoint_subsets, usual="disjoint", most=lambda frame: frame.pixels // frame.seen),
    "random_placement": Scheme(randomly_placed_windows, usual="sliding"),
    "shuffle": Scheme(shuffled_windows, strides=True),
    "hierarchical": Scheme(hierarchical_windows, random=False),
}
