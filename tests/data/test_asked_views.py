"""Every way to ask for views wrongly, views in run identities, and how they are drawn in figures."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from view_grids import IMAGE, VECTOR

from dynamics.analysis.figures import COLORS
from dynamics.analysis.view_figures import draw_views
from dynamics.core.checked_fields import deferred_checks
from dynamics.core.spec import RunSpec, latecomers
from dynamics.data.views import ViewSpec, list_views
from dynamics.errors import InputError


@pytest.mark.parametrize(
    "fields, grid, field, told",
    [
        ({"scheme": "slidng"}, VECTOR, "scheme", "did you mean 'sliding'?"),
        ({"scheme": "disjoint+random_subset"}, VECTOR, "scheme", "did you mean 'random_subsets'?"),
        ({"scheme": "sliding+"}, VECTOR, "scheme", "the whole sample is longer than a view"),
        ({"scheme": "sliding + disjoint"}, VECTOR, "scheme", "choose one of cross, disjoint"),
        (
            {"scheme": "voronoi"},
            VECTOR,
            "scheme",
            "voronoi needs a law of images (height x width x channels), not of vectors of 23",
        ),
        ({"scheme": "sliding+cross"}, VECTOR, "scheme", "cross needs a law of images"),
        ({"size": 0}, VECTOR, "size", "must be from 1 to 23 for sliding views of 23"),
        ({"size": 24}, VECTOR, "size", "from 1 to 23"),
        ({"size": 11}, IMAGE, "size", "from 1 to 10 for sliding views of 10 x 13 x 3"),
        ({"scheme": "cross", "size": 5}, IMAGE, "size", "from 1 to 4 for cross views"),
        ({"scheme": "sliding+cross", "size": 4}, (7, 9, 1), "size", "from 1 to 3 for cross views"),
        ({"stride": 0}, VECTOR, "stride", "must be an integer from 1"),
        ({"scheme": "disjoint", "stride": 2}, VECTOR, "stride", "is not used by disjoint"),
        ({"scheme": "random_subsets", "stride": 2, "count": 3}, VECTOR, "stride", "is not used by random_subsets with a count"),
        ({"count": -1, "scheme": "random_subsets"}, VECTOR, "count", "must be an integer from 0"),
        ({"count": 3}, VECTOR, "count", "random_subsets, random_disjoint, random_placement, voronoi, radial"),
        ({"scheme": "random_disjoint", "count": 8}, VECTOR, "count", "random_disjoint has at most 7 views"),
        ({"scheme": "random_disjoint", "count": 15}, IMAGE, "count", "at most 14 views"),
        ({"scheme": "voronoi", "count": 131}, IMAGE, "count", "at most 130 views"),
        ({"seed": -1}, VECTOR, "seed", "from 0 to 2^31 - 1"),
        ({"scheme": "", "size": 3}, VECTOR, "size", "set model.views.scheme too"),
        ({"scheme": "", "size": 0, "stride": 2}, VECTOR, "stride", "set model.views.scheme too"),
        ({"scheme": "", "size": 0, "count": 2}, VECTOR, "count", "set model.views.scheme too"),
    ],
)
def test_what_cannot_be_seen_is_told_in_one_line(fields, grid, field, told):
    with deferred_checks():  # as a config's is made
        spec = replace(ViewSpec("sliding", 3), **fields)
    with pytest.raises(InputError) as error:
        spec.check("model.views", grid)
    assert error.value.field == f"model.views.{field}" and told in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(InputError):
        list_views(spec, grid)


def test_the_largest_that_is_allowed_is():
    for spec, grid in [
        (ViewSpec("sliding", 23), VECTOR),
        (ViewSpec("cross", 4), IMAGE),
        (ViewSpec("random_disjoint", 3, count=7), VECTOR),
        (ViewSpec("voronoi", 3, count=130), IMAGE),
    ]:
        spec.check("model.views", grid)
        assert len(list_views(spec, grid)) >= 1


def test_a_grid_is_of_a_vector_or_of_an_image():
    with pytest.raises(InputError, match=r"grid = \(4, 4\): must be \(d,\) or \(height, width, channels\)"):
        list_views(ViewSpec("sliding", 2), (4, 4))


def test_views_came_later_so_that_runs_without_any_keep_their_names():
    assert latecomers(ViewSpec) == {"scheme": "", "size": 0, "stride": 1, "count": 0, "seed": 0}  # type: ignore[arg-type]
    assert {path.split(".")[0] for path in latecomers(RunSpec)} == {"stop"}


def test_drawn_views_colour_the_pixels_that_they_see():
    """Pixel 1 of a row of four is seen by both views and so parted; pixel 3 by a view that is not shown."""
    _, ax = plt.subplots()
    draw_views(ax, np.array([[0, 1], [1, 2], [2, 3]]), (4,), shown=[0, 1])
    draw_views(ax, list_views(ViewSpec("disjoint", 2), (3, 4, 2)), (3, 4, 2))
    _, stripes, background, squares = ax.collections
    left = [round(np.min(np.asarray(path.vertices)[:, 0]), 2) for path in stripes.get_paths()]
    first, second = to_rgb(COLORS[0]), to_rgb(COLORS[1])
    shaded = [tuple(color[:3]) for color in np.asarray(stripes.get_facecolor())]
    assert set(zip(left, shaded, strict=True)) == {(-0.5, first), (0.5, first), (1.0, second), (1.5, second)}
    assert np.ravel(np.asarray(background.get_array())).tolist() == [1] * 8 + [0] * 4
    assert len(squares.get_paths()) == 8
    plt.close()
