"""Grids and views for the tests of what filters see."""

from __future__ import annotations

import numpy as np

from dynamics.data.image_views import IMAGE_SCHEMES
from dynamics.data.views import SCHEMES, ViewSpec

VECTOR, IMAGE = (23,), (10, 13, 3)


FIXED = {"sliding", "disjoint", "hierarchical", "hexagonal", "multi_scale", "cross"}


DRAWN = {name for name, scheme in SCHEMES.items() if scheme.usual}


CASES = [(name, grid) for name in SCHEMES for grid in (VECTOR, IMAGE) if name not in IMAGE_SCHEMES or grid == IMAGE]


def asked(name: str, size: int = 3, stride: int = 2, **fields) -> ViewSpec:
    """With a stride where the scheme heeds one."""
    heeds = SCHEMES[name].strides or (SCHEMES[name].usual == "sliding" and not fields.get("count"))
    return ViewSpec(name, size, stride if heeds else 1, **fields)


def places(seen: np.ndarray, grid: tuple[int, ...] = IMAGE) -> np.ndarray:
    """Row and column (L, p, 2) of every pixel of every view."""
    pixels = seen[:, :: grid[2]] // grid[2]
    return np.stack([pixels // grid[1], pixels % grid[1]], axis=-1)


def pattern(seen: np.ndarray, grid: tuple[int, ...] = IMAGE) -> np.ndarray:
    """Every view's pixels as seen from its first."""
    at = places(seen, grid)
    return at - at[:, :1]
