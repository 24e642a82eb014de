"""What a filter sees of a sample: a view is a tuple of its coordinates, and all views of a sample are of one length.

A sample is a vector of `grid` (d,), or an image of `grid` (height, width, channels) laid out in C order. A view of an image has
all channels of each of its pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from dynamics.core.spec import added_field
from dynamics.data.image_views import IMAGE_SCHEMES
from dynamics.data.view_schemes import SCHEMES as SCHEMES_OF_ANY
from dynamics.data.view_schemes import Frame, Scheme
from dynamics.errors import choose, require

SCHEMES = SCHEMES_OF_ANY | IMAGE_SCHEMES


@dataclass(frozen=True)
class ViewSpec:
    """scheme: of `SCHEMES`, or several joined by +, whose views follow one another; empty: the whole sample, seen once.

    size: how many coordinates of a vector a view has, or the side of a square of as many pixels as it has of an image
    stride: of the schemes that lay views out in a grid
    count: how many views each scheme draws that draws any (`random_subsets`, `random_disjoint`, `random_placement`, `voronoi`,
        `radial`); 0: as many as `sliding` has at this size and stride, for `random_disjoint` as many as `disjoint`
    seed: of the random schemes; the others have the same views for all seeds
    """

    scheme: str = added_field("")
    size: int = added_field(0)
    stride: int = added_field(1)
    count: int = added_field(0)
    seed: int = added_field(0)

    @property
    def schemes(self) -> tuple[str, ...]:
        return tuple(self.scheme.split("+")) if self.scheme else ()

    def check(self, where: str, grid: tuple[int, ...]) -> None:
        """Raise an `InputError` on `<where>.<field>` for what is not allowed on samples of this grid."""

        def ensure(condition: bool, name: str, allowed: str) -> None:
            require(condition, f"{where}.{name}", getattr(self, name), allowed)

        require(len(grid) in (1, 3) and min(grid) >= 1, "grid", grid, "must be (d,) or (height, width, channels)")
        ensure(0 <= self.seed < 2**31, "seed", "must be an integer from 0 to 2^31 - 1")
        if not self.scheme:
            for name, default in {"size": 0, "stride": 1, "count": 0}.items():
                ensure(getattr(self, name) == default, name, f"is for the views of a scheme; set {where}.scheme too")
            return
        ensure("" not in self.schemes, "scheme", "an empty name; the whole sample is longer than a view and cannot be appended")
        chosen: dict[str, Scheme] = {name: choose(f"{where}.scheme", name, SCHEMES) for name in self.schemes}
        ensure(self.stride >= 1, "stride", "must be at least 1")
        ensure(self.count >= 0, "count", "must be at least 0")
        usual, frame = [scheme.usual for scheme in chosen.values()], self.frame(grid)
        for name, scheme in chosen.items():
            images = f"{name} needs a law of images (height x width x channels), not of vectors of {grid[0]} coordinates"
            ensure(len(grid) == 3 or name not in IMAGE_SCHEMES, "scheme", images)
            if not fits(scheme, frame):
                most = max(size for size in range(1, min(frame.sides) + 1) if fits(scheme, frame._replace(size=size)))
                ensure(False, "size", f"must be from 1 to {most} for {name} views of {' x '.join(map(str, grid))}")
            if scheme.most:
                ensure(self.count <= scheme.most(frame), "count", f"{name} has at most {scheme.most(frame)} views of this size")
        strides = any(scheme.strides for scheme in chosen.values()) or ("sliding" in usual and not self.count)
        ensure(strides or self.stride == 1, "stride", f"is not used by {self.scheme}{' with a count' if self.count else ''}")
        drawn = ", ".join(name for name, scheme in SCHEMES.items() if scheme.usual)
        ensure(any(usual) or self.count == 0, "count", f"is for the schemes that draw views: {drawn}")

    def frame(self, grid: tuple[int, ...]) -> Frame:
        """The views asked for as schemes see them, without channels."""
        return Frame(grid if len(grid) == 1 else grid[:2], self.size, self.stride, self.count)


def fits(scheme: Scheme, frame: Frame) -> bool:
    """Whether one view of the frame's size fits into it."""
    return frame.size >= 1 and all(need <= side for need, side in zip(scheme.extent(frame), frame.sides, strict=True))


@lru_cache(maxsize=256)
def views(spec: ViewSpec, grid: tuple[int, ...]) -> np.ndarray:
    """The coordinates (L, m), int32 and not to be written to, of all L views of a sample.

    m is `size` for a vector, size^2 channels for an image, and all of the sample where there is no scheme. The scheme at place
    i of the sum draws from the generator of (seed, i).

    >>> views(ViewSpec("sliding", 3, stride=2), (5,)).tolist()
    [[0, 1, 2], [2, 3, 4]]
    >>> views(ViewSpec("disjoint", 2), (2, 3, 2)).tolist()
    [[0, 1, 2, 3, 6, 7, 8, 9]]
    """
    spec.check("views", grid)
    frame, channels = spec.frame(grid), 1 if len(grid) == 1 else grid[2]
    pixels = [np.arange(frame.pixels)[None]] if not spec.schemes else []
    for place, name in enumerate(spec.schemes):
        scheme = SCHEMES[name]
        asked = frame if spec.count or not scheme.usual else frame._replace(count=_usual(scheme.usual, frame))
        pixels.append(scheme.draw(asked, np.random.default_rng([spec.seed, place])))
    seen = np.concatenate(pixels)[:, :, None] * channels + np.arange(channels)
    seen = seen.reshape(len(seen), -1).astype(np.int32)
    seen.flags.writeable = False
    return seen


def _usual(scheme: str, frame: Frame) -> int:
    """How many views `sliding` or `disjoint` has."""
    step = frame.size if scheme == "disjoint" else frame.stride
    return math.prod((side - frame.size) // step + 1 for side in frame.sides)


def shape(spec: ViewSpec, grid: tuple[int, ...]) -> tuple[int, int]:
    """(L, m): how many views there are and how many coordinates each has, which no seed changes."""
    if not spec.schemes:  # of however many coordinates, none are listed
        spec.check("views", grid)
        return 1, math.prod(grid)
    count, size = views(replace(spec, seed=0), grid).shape
    return count, size
