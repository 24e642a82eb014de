"""Ways to choose views of an image that have no counterpart on a line of coordinates."""

from __future__ import annotations

import math

import numpy as np

from dynamics.data.view_schemes import (
    Frame,
    Scheme,
    box_offsets,
    draw_subsets,
    draw_window_corners,
    powers_of_two,
    window_corners,
    window_pixels,
)


def jittered_grid(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels of windows `stride` apart, each moved at random within its cell.

    Down and to the right by 0 to stride - 1 pixels, as far as the image goes.
    """
    at = window_corners(frame.sides, frame.extent, frame.stride)
    at = np.minimum(at + rng.integers(frame.stride, size=at.shape), np.subtract(frame.sides, frame.size))
    return window_pixels(at, box_offsets(frame.extent), frame.sides)


def hexagonal(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels of windows on a hexagonal lattice.

    Rows are sqrt(3)/2 strides apart, every other one half a stride to the right.

    Places are rounded to pixels, halves up; of those that fall together at stride 1 one is kept.
    """
    down, room = math.sqrt(3) / 2 * frame.stride, np.subtract(frame.sides, frame.size)
    row, column = box_offsets((int(room[0] / down) + 2, room[1] // frame.stride + 1)).T
    at = np.stack([row * down, (column + row % 2 / 2) * frame.stride], axis=-1)
    at = np.floor(at + 0.5).astype(int)
    return window_pixels(np.unique(at[np.all(at <= room, axis=1)], axis=0), box_offsets(frame.extent), frame.sides)


def draw_jittered_sites(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return pixels (count,), one drawn from each cell of a grid of rows and columns as even as the count allows."""
    (height, width), count = frame.sides, frame.count
    rows = min(max(round(math.sqrt(count * height / width)), math.ceil(count / width)), height, count)
    down, sites = split_evenly(height, rows), []
    for top, bottom, columns in zip(down, down[1:], np.diff(split_evenly(count, rows)), strict=False):
        across = split_evenly(width, columns)
        sites.append(width * rng.integers(top, bottom, size=columns) + rng.integers(across[:-1], across[1:]))
    return np.concatenate(sites)


def split_evenly(length: int, parts: int) -> np.ndarray:
    """Return the ends (parts + 1,) that cut range(length) into parts whose sizes differ by at most one."""
    return np.arange(parts + 1) * length // parts


def voronoi(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return for each of `count` sites the p nearest pixels, those in its Voronoi cell first; sorted.

    Sites are a jittered grid. Pixels equally near to two sites are the first one's; of pixels equally near to a site
    the first are taken.
    """
    at, sites = box_offsets(frame.sides), draw_jittered_sites(frame, rng)
    nearest, owner = np.full(frame.pixels, np.iinfo(int).max), np.zeros(frame.pixels, int)
    for site in sites:
        distance = np.sum((at - at[site]) ** 2, axis=1)
        owner[distance < nearest] = site
        nearest = np.minimum(nearest, distance)
    beyond, seen = sum(side**2 for side in frame.sides), []
    for site in sites:
        distance = np.sum((at - at[site]) ** 2, axis=1) + beyond * (owner != site)
        seen.append(np.sort(np.argsort(distance, kind="stable")[: frame.seen]))
    return np.stack(seen)


def log_polar_pattern(extent: int, size: int) -> np.ndarray:
    """Return pixels (size^2, 2) of a square of side `extent` on a log-polar pattern, no pixel twice.

    They are the nearest to `size` angles on each of `size` rings.

    Rings are centred, of radii in geometric progression from R / size to R = (extent - 1) / 2; angles are even,
    clockwise from the right. Inner rings choose first.
    """
    middle, at = (extent - 1) / 2, box_offsets((extent, extent))
    angles, taken = 2 * np.pi * np.arange(size) / size, []
    for radius in middle * np.geomspace(1 / size, 1, size):
        for angle in angles:
            distance = np.sum((at - middle - radius * np.array([np.sin(angle), np.cos(angle)])) ** 2, axis=1).round(9)
            distance[taken] = np.inf
            taken.append(int(np.argmin(distance)))
    return at[taken]


def radial(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels of one log-polar pattern at independent uniform places.

    In a square of side 2 size + 1 or the largest that fits.
    """
    extent = min(2 * frame.size + 1, *frame.sides)
    return window_pixels(draw_window_corners(frame, (extent, extent), rng), log_polar_pattern(extent, frame.size), frame.sides)


def multi_scale(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels of windows whose size x size pixels are r = 1, 2, 4, ... apart, for all r for which one fits.

    Their stride is r `stride`.
    """
    most = (min(frame.sides) - 1) // (frame.size - 1) if frame.size > 1 else min(frame.sides)
    scales = []
    for dilation in powers_of_two(most):
        extent = (dilation * (frame.size - 1) + 1,) * 2
        at = window_corners(frame.sides, extent, dilation * frame.stride)
        scales.append(window_pixels(at, dilation * box_offsets(frame.extent), frame.sides))
    return np.concatenate(scales)


def cross_extent(frame: Frame) -> tuple[int, int]:
    """Return the sides of the smallest box around a cross of the frame's size."""
    arm = frame.size**2 // 4
    return 2 * arm + frame.size % 2, 2 * arm + 1


def cross(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels of plus signs of size^2 pixels, `stride` apart.

    For an odd size a centre and four arms of (size^2 - 1) / 4 pixels; for an even one the arms have size^2 / 4, the
    upper one a pixel less.
    """
    extent, arm = cross_extent(frame), frame.size**2 // 4
    at = box_offsets(extent)
    plus = at[(at[:, 0] == extent[0] - 1 - arm) | (at[:, 1] == arm)]
    return window_pixels(window_corners(frame.sides, extent, frame.stride), plus, frame.sides)


def large_extent(frame: Frame) -> tuple[int, int]:
    """Return the sides of a square of twice the size, or the largest that fits."""
    side = min(2 * frame.size, *frame.sides)
    return side, side


def large_sparse(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return p pixels of each window of twice the size, `stride` apart: one random choice, the same in all windows."""
    pattern = box_offsets(large_extent(frame))[draw_subsets(rng, 1, math.prod(large_extent(frame)), frame.seen)[0]]
    return window_pixels(window_corners(frame.sides, large_extent(frame), frame.stride), pattern, frame.sides)


def random_local(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    """Return p pixels of each window of twice the size, `stride` apart: an independent random choice in each."""
    at = window_corners(frame.sides, large_extent(frame), frame.stride)
    patterns = box_offsets(large_extent(frame))[draw_subsets(rng, len(at), math.prod(large_extent(frame)), frame.seen)]
    return window_pixels(at, patterns, frame.sides)


IMAGE_SCHEMES = {
    "jittered_grid": Scheme(jittered_grid, strides=True, images=True),
    "hexagonal": Scheme(hexagonal, strides=True, images=True, random=False),
    "voronoi": Scheme(voronoi, usual="sliding", most=lambda frame: frame.pixels, images=True),
    "radial": Scheme(radial, usual="sliding", images=True),
    "multi_scale": Scheme(multi_scale, strides=True, images=True, random=False),
    "cross": Scheme(cross, strides=True, extent=cross_extent, images=True, random=False),
    "large_sparse": Scheme(large_sparse, strides=True, images=True),
    "random_local": Scheme(random_local, strides=True, images=True),
}
