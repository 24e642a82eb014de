"""Every scheme of views in one picture."""

from __future__ import annotations

from matplotlib.figure import Figure

from dynamics.analysis.figures import new_axes
from dynamics.analysis.view_figures import draw_views
from dynamics.data.views import SCHEMES, ViewSpec, list_views

GRID, SIZE = (12, 12, 1), 3
APART = ("jittered_grid", "hexagonal")  # drawn at a stride of the size, to see what they do to a grid
DRAWN = ("random_placement", "voronoi", "radial")  # as many views as the picture can tell apart, 16
SHOWN = {  # views that show a scheme better than four evenly spread ones: of each scale, of neighbours
    "hierarchical": [0, 7, 17, 20],
    "multi_scale": [0, 107, 65, 116],
    "voronoi": range(0, 16, 2),
    "jittered_grid": range(0, 16, 3),
    "hexagonal": range(0, 12, 4),
}


def gallery_view_spec(scheme: str) -> ViewSpec:
    """Return the spec of the views that the gallery draws of a scheme."""
    return ViewSpec(scheme, SIZE, stride=SIZE if scheme in APART else 1, count=16 if scheme in DRAWN else 0)


def gallery() -> Figure:
    """Return a few views of each scheme on an image of 12 x 12, a colour each, grey what others see; joined schemes on
    a vector."""
    fig, axes = new_axes(4, 4, (8, 8.6))
    for ax, scheme in zip(axes.flat, SCHEMES, strict=False):
        seen = list_views(gallery_view_spec(scheme), GRID)
        draw_views(ax, seen, GRID, SHOWN.get(scheme))
        ax.set_title(f"{scheme}, $L = {len(seen)}$")
    for ax in axes.flat[len(SCHEMES) + 1 :]:
        ax.set_visible(False)
    vector, joined = axes.flat[len(SCHEMES)], "disjoint+random_subsets"
    seen = list_views(ViewSpec(joined, SIZE, count=2), (12,))
    draw_views(vector, seen, (12,), shown=[0, 1, len(seen) - 2, len(seen) - 1])
    vector.set_title(f"a vector, {joined}", fontsize=8)
    return fig
