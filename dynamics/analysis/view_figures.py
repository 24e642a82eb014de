"""Views drawn on what they are views of: an image's pixels, or a vector's coordinates side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from dynamics.analysis.figures import COLORS

MANY = 4
UNSEEN, SEEN, LINES = "white", "0.9", "0.6"


def draw_views(ax: Axes, views: np.ndarray, grid: tuple[int, ...], shown: Sequence[int] | None = None) -> None:
    """Draw the views (L, m) that `shown` numbers, a colour each, on a sample of `grid` (d,) or (height, width,
    channels).

    A pixel that several of them see is parted into upright stripes. Pixels that only other views see are grey, those
    that none
    sees white. shown: without it, four views spread evenly over the L.
    """
    height, width, channels = grid if len(grid) == 3 else (1, *grid, 1)
    pixels = [np.unique(view // channels) for view in np.asarray(views)]
    spread = np.unique(np.linspace(0, len(pixels) - 1, MANY).round().astype(int)).tolist()
    seen = np.zeros(height * width)
    seen[np.concatenate(pixels)] = 1
    ax.pcolormesh(
        np.arange(width + 1) - 0.5,
        np.arange(height + 1) - 0.5,
        seen.reshape(height, width),
        cmap=ListedColormap([UNSEEN, SEEN]),
        vmin=0,
        vmax=1,
        edgecolors=LINES,
        linewidth=0.4,
    )
    there: dict[int, list[str]] = {}
    for place, number in enumerate(spread if shown is None else shown):
        for pixel in pixels[number].tolist():
            there.setdefault(pixel, []).append(COLORS[place % len(COLORS)])
    stripes, colors = [], []
    for pixel, within in there.items():
        for place, color in enumerate(within):
            left = pixel % width - 0.5 + place / len(within)
            stripes.append(Rectangle((left, pixel // width - 0.5), 1 / len(within), 1))
            colors.append(color)
    ax.add_collection(PatchCollection(stripes, facecolors=colors, edgecolors="white", linewidths=0.4))
    ax.set(xlim=(-0.6, width - 0.4), ylim=(height - 0.4, -0.6), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
