"""What a filter sees of a sample: a view is a tuple of its coordinates, and all views of a sample are of one length.

A sample is a vector of `grid` (d,), or an image of `grid` (height, width, channels) laid out in C order. A view of an
image has all channels of each of its pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dynamics.core.checked_fields import CheckedFields
from dynamics.core.extension import until_registration
from dynamics.core.registry import Registry, names_of
from dynamics.core.spec import added_field, check_options
from dynamics.data.image_views import IMAGE_SCHEMES
from dynamics.data.view_schemes import LINE_SCHEMES, Frame, Scheme
from dynamics.errors import choose, require

SCHEMES: Registry[Scheme] = Registry("view scheme", "views", lambda: ViewSpec, selector="scheme", static=True)


@dataclass(frozen=True)
class ViewSpec(CheckedFields):
    """The coordinates of a sample that each filter sees.

    Views are chosen before a program is compiled, so nothing here is swept.

    scheme: of `SCHEMES`, or several joined by +, whose views follow one another; empty: the whole sample, seen once

    >>> import dynamics as dyn
    >>> dyn.Model(kind="convolutional", views=dyn.Views(scheme="sliding", size=2, stride=2)).rows((6,))  # views, numbers
    (3, 2)
    """

    scheme: str = added_field(
        "", doc="how the views are chosen, several schemes joined by +; empty: one view of the whole sample"
    )
    size: int = added_field(0, at_least=0, doc="coordinates of a view of a vector; side of a view of an image, in pixels")
    stride: int = added_field(1, at_least=1, doc="distance of neighbouring views, of the schemes that lay them out in a grid")
    count: int = added_field(
        0, at_least=0, doc="number of views that are drawn; 0: as many as a grid has at this size and stride"
    )
    seed: int = added_field(0, at_least=0, doc="what the random schemes draw from")

    def check_names(self) -> None:
        named = [name for name in self.schemes if name]
        SCHEMES.look_for(named)
        for name in named:
            choose("views.scheme", name, SCHEMES)

    @property
    def schemes(self) -> tuple[str, ...]:
        """Return the names of the schemes that are joined."""
        return names_of(self.scheme)

    def check(self, where: str, grid: tuple[int, ...]) -> None:
        """Raise an `InputError` on `<where>.<field>` for what is not allowed on samples of this grid."""

        def ensure(condition: bool, name: str, allowed: str) -> None:
            require(condition, f"{where}.{name}", getattr(self, name), allowed)

        require(len(grid) in (1, 3) and min(grid) >= 1, "grid", grid, "must be (d,) or (height, width, channels)")
        check_options(self, where)
        if not self.scheme:
            for name, default in {"size": 0, "stride": 1, "count": 0}.items():
                ensure(getattr(self, name) == default, name, f"is for the views of a scheme; set {where}.scheme too")
            return
        ensure("" not in self.schemes, "scheme", "an empty name; the whole sample is longer than a view and cannot be appended")
        chosen: dict[str, Scheme] = {name: choose(f"{where}.scheme", name, SCHEMES) for name in self.schemes}
        usual, frame = [scheme.usual for scheme in chosen.values()], self.frame(grid)
        for name, scheme in chosen.items():
            images = f"{name} needs a law of images (height x width x channels), not of vectors of {grid[0]} coordinates"
            ensure(len(grid) == 3 or not scheme.images, "scheme", images)
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
        """Return the wanted views as schemes see them, without channels."""
        return Frame(grid if len(grid) == 1 else grid[:2], self.size, self.stride, self.count, self)


def fits(scheme: Scheme, frame: Frame) -> bool:
    """Return whether one view of the frame's size fits into it."""
    return frame.size >= 1 and all(need <= side for need, side in zip(scheme.extent(frame), frame.sides, strict=True))


@until_registration(maxsize=256)
def list_views(spec: ViewSpec, grid: tuple[int, ...]) -> np.ndarray:
    """Return the coordinates (L, m), read-only int32, of all L views of a sample.

    m is `size` for a vector, size^2 channels for an image, and all of the sample where there is no scheme. The scheme
    at place i of the sum draws from the generator of (seed, i).

    >>> list_views(ViewSpec("sliding", 3, stride=2), (5,)).tolist()
    [[0, 1, 2], [2, 3, 4]]
    >>> list_views(ViewSpec("disjoint", 2), (2, 3, 2)).tolist()
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
    """Return how many views `sliding` or `disjoint` has."""
    step = frame.size if scheme == "disjoint" else frame.stride
    return math.prod((side - frame.size) // step + 1 for side in frame.sides)


def view_shape(spec: ViewSpec, grid: tuple[int, ...]) -> tuple[int, int]:
    """Return (L, m), the number of views and of coordinates in each, which no seed changes."""
    if not spec.schemes:  # of however many coordinates, none are listed
        spec.check("views", grid)
        return 1, math.prod(grid)
    count, size = list_views(replace(spec, seed=0), grid).shape
    return count, size


def used_fields(scheme: Scheme) -> Callable[[ViewSpec], tuple[str, ...]]:
    """Return the fields that a scheme uses.

    All that lay out a grid heed the stride, and so do those that count as a grid does.
    """

    def used(spec: ViewSpec) -> tuple[str, ...]:
        stride = scheme.strides or (scheme.usual == "sliding" and not spec.count)
        heeded = {"seed": scheme.random, "stride": stride, "count": bool(scheme.usual)}
        return ("size", *(name for name, heeds in heeded.items() if heeds))

    return used


def add_scheme(name: str, scheme: Scheme, **more: Any) -> None:
    """Register a scheme, with the fields that it uses worked out from what it says of itself."""
    SCHEMES.add(name, scheme, uses=used_fields(scheme), **more)


for _name, _scheme in (LINE_SCHEMES | IMAGE_SCHEMES).items():
    add_scheme(_name, _scheme)
