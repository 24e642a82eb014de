"""What filters see: by hand on small grids, by what holds of any views, and every way to ask for them wrongly."""

from __future__ import annotations

import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from dynamics.analysis.figures import COLORS
from dynamics.analysis.view_figures import draw_views
from dynamics.core.spec import RunSpec, latecomers
from dynamics.data.image_views import IMAGE_SCHEMES
from dynamics.data.views import SCHEMES, ViewSpec, shape, views
from dynamics.errors import InputError

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


def test_the_whole_sample_is_one_view():
    assert views(ViewSpec(), (4,)).tolist() == [[0, 1, 2, 3]]
    assert views(ViewSpec(), (1, 2, 2)).tolist() == [[0, 1, 2, 3]]
    assert shape(ViewSpec(), IMAGE) == (1, 390)


@pytest.mark.parametrize("dim, size, stride", [(6, 3, 1), (6, 2, 3), (6, 4, 3), (6, 6, 7), (3, 1, 2), (23, 5, 2)])
def test_sliding_views_of_a_vector_are_the_windows_of_numpy(dim, size, stride):
    windows = np.lib.stride_tricks.sliding_window_view(np.arange(dim), size)[::stride]
    assert views(ViewSpec("sliding", size, stride), (dim,)).tolist() == windows.tolist()


def test_deterministic_views_of_a_vector_by_hand():
    assert views(ViewSpec("disjoint", 3), (8,)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert views(ViewSpec("hierarchical", 2), (9,)).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [0, 2], [4, 6], [0, 4]]
    assert views(ViewSpec("hierarchical", 3), (5,)).tolist() == [[0, 1, 2]]
    assert views(ViewSpec("hierarchical", 1), (2,)).tolist() == [[0], [1], [0]]


def test_deterministic_views_of_an_image_by_hand():
    """Pixels of a 3 x 4 image: 0 1 2 3 / 4 5 6 7 / 8 9 10 11."""
    assert views(ViewSpec("sliding", 2, 2), (3, 4, 1)).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert views(ViewSpec("sliding", 3), (3, 4, 1)).tolist() == [[0, 1, 2, 4, 5, 6, 8, 9, 10], [1, 2, 3, 5, 6, 7, 9, 10, 11]]
    assert views(ViewSpec("sliding", 1, 2), (3, 4, 2)).tolist() == [[0, 1], [4, 5], [16, 17], [20, 21]]
    assert views(ViewSpec("disjoint", 2), (3, 4, 1)).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert views(ViewSpec("hierarchical", 2), (4, 4, 1)).tolist() == [
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [8, 9, 12, 13],
        [10, 11, 14, 15],
        [0, 2, 8, 10],
    ]
    assert views(ViewSpec("multi_scale", 2), (3, 4, 1)).tolist() == [
        [0, 1, 4, 5],
        [1, 2, 5, 6],
        [2, 3, 6, 7],
        [4, 5, 8, 9],
        [5, 6, 9, 10],
        [6, 7, 10, 11],
        [0, 2, 8, 10],
    ]


def test_a_larger_scale_has_a_larger_stride():
    seen = views(ViewSpec("multi_scale", 2, 2), (7, 7, 1))
    assert places(seen, (7, 7, 1))[:, 0].tolist() == [
        *([row, column] for row in (0, 2, 4) for column in (0, 2, 4)),
        *([row, column] for row in (0, 4) for column in (0, 4)),
        [0, 0],
    ]
    assert pattern(seen, (7, 7, 1))[:, 3].tolist() == [[1, 1]] * 9 + [[2, 2]] * 4 + [[4, 4]]
    assert len(views(ViewSpec("multi_scale", 1, 4), (4, 4, 1))) == 3  # a single pixel has no extent: 1, 2, 4 apart


def test_crosses_by_hand():
    odd = views(ViewSpec("cross", 3), (5, 6, 1))
    assert places(odd, (5, 6, 1))[0].tolist() == [[0, 2], [1, 2], [2, 0], [2, 1], [2, 2], [2, 3], [2, 4], [3, 2], [4, 2]]
    assert odd[1].tolist() == (odd[0] + 1).tolist() and len(odd) == 2
    assert places(views(ViewSpec("cross", 2), (2, 3, 1)), (2, 3, 1)).tolist() == [[[0, 0], [0, 1], [0, 2], [1, 1]]]
    even = places(views(ViewSpec("cross", 4, 9), (9, 9, 1)), (9, 9, 1))
    assert [even[0, 0].tolist(), even[0, -1].tolist()] == [[0, 4], [7, 4]]
    assert np.sum(even[0, :, 0] == 3) == 9
    assert views(ViewSpec("cross", 1, 2), (3, 3, 1)).tolist() == [[0], [2], [6], [8]]


def test_hexagonal_windows_are_equally_far_from_their_neighbours_up_to_rounding():
    """Rows of stride 4 lie 3.46 apart: 0, 3, 7, 10; every other one starts at 2."""
    corner = places(views(ViewSpec("hexagonal", 3, 4), (13, 13, 1)), (13, 13, 1))[:, 0]
    columns = {0: (0, 4, 8), 3: (2, 6, 10), 7: (0, 4, 8), 10: (2, 6, 10)}
    assert corner.tolist() == [[row, column] for row in columns for column in columns[row]]
    apart = np.linalg.norm(corner[:, None] - corner, axis=-1) + 9 * np.eye(len(corner))
    assert np.all(np.abs(np.min(apart, axis=1) - 4) < 0.5)
    crowded = views(ViewSpec("hexagonal", 3), IMAGE)
    assert len(np.unique(crowded, axis=0)) == len(crowded)


@pytest.mark.parametrize("name, grid", CASES)
def test_all_views_are_of_distinct_coordinates_within_the_sample_and_of_one_length(name, grid):
    for size in (1, 2, 3):
        for seed in range(3):
            spec = asked(name, size, seed=seed)
            seen = views(spec, grid)
            length = size if grid == VECTOR else size**2 * grid[2]
            assert seen.dtype == np.int32 and seen.ndim == 2 and len(seen) >= 1 and seen.shape[1] == length
            assert seen.min() >= 0 and seen.max() < math.prod(grid)
            assert all(len(set(view)) == length for view in seen.tolist())
            assert shape(spec, grid) == seen.shape


@pytest.mark.parametrize("name", [name for name in SCHEMES if name != "cross"])
def test_a_view_may_be_as_large_as_the_image(name):
    for side in (4, 5):
        seen = views(asked(name, side), (side, side, 1))
        assert np.array_equal(np.sort(seen, axis=1), [range(side**2)])


@pytest.mark.parametrize("name", SCHEMES)
def test_a_view_of_an_image_has_all_channels_of_its_pixels_and_they_choose_nothing(name):
    seen = views(asked(name), IMAGE).reshape(-1, 9, 3)
    assert np.all(seen[..., 0] % 3 == 0) and np.all(seen - seen[..., :1] == np.arange(3))
    assert np.array_equal(seen[..., 0] // 3, views(asked(name), (*IMAGE[:2], 1)))


@pytest.mark.parametrize("name, grid", CASES)
def test_views_are_fixed_by_their_seed(name, grid):
    first, again = views(asked(name, seed=1), grid), views.__wrapped__(asked(name, seed=1), grid)
    assert views(asked(name, seed=1), grid) is first and np.array_equal(first, again) and first is not again
    assert np.array_equal(views(asked(name, seed=2), grid), first) == (name in FIXED)
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1


@pytest.mark.parametrize("name, grid", CASES)
def test_a_count_is_honoured_and_unasked_for_it_is_that_of_the_usual_views(name, grid):
    if name in DRAWN:
        assert shape(asked(name, count=5), grid)[0] == 5
    if SCHEMES[name].usual:
        assert shape(asked(name), grid) == shape(asked(SCHEMES[name].usual), grid)


@pytest.mark.parametrize("name", sorted(DRAWN - {"voronoi"}))
def test_the_first_of_more_views_are_those_of_fewer(name):
    assert np.array_equal(views(asked(name, count=9), IMAGE)[:4], views(asked(name, count=4), IMAGE))


@pytest.mark.parametrize("grid", [VECTOR, IMAGE])
def test_disjoint_views_are_and_random_subsets_are_not(grid):
    for spec in (asked("disjoint"), asked("random_disjoint"), asked("random_disjoint", count=4)):
        seen = views(spec, grid)
        assert len(np.unique(seen)) == seen.size
    overlapping = views(asked("random_subsets"), grid)
    assert len(np.unique(overlapping)) < overlapping.size
    for name in ("random_disjoint", "random_subsets"):
        assert np.all(np.diff(views(asked(name), grid)) > 0)


def test_random_disjoint_views_may_take_everything():
    assert sorted(np.ravel(views(ViewSpec("random_disjoint", 10, count=10), (100,)))) == list(range(100))


def test_random_subsets_see_every_coordinate_alike():
    """Of 4000 subsets of 3 of 6 each coordinate is in half, sd 32; so is each pair in a fifth, sd 25."""
    seen = views(ViewSpec("random_subsets", 3, count=4000), (6,))
    held = np.zeros((4000, 6), int)
    np.put_along_axis(held, seen, 1, axis=1)
    together = held.T @ held
    assert np.all(np.abs(np.diag(together) - 2000) < 160)
    assert np.all(np.abs(together[~np.eye(6, dtype=bool)] - 800) < 125)


def test_windows_are_placed_everywhere_alike():
    """12 places for a window of 2 x 2 in 4 x 5, 6000 windows: 500 each, sd 21."""
    seen = views(ViewSpec("random_placement", 2, count=6000), (4, 5, 1))
    assert np.all(pattern(seen, (4, 5, 1)) == [[0, 0], [0, 1], [1, 0], [1, 1]])
    corner, often = np.unique(seen[:, 0], return_counts=True)
    assert corner.tolist() == [5 * row + column for row in range(3) for column in range(4)]
    assert np.all(np.abs(often - 500) < 110)


@pytest.mark.parametrize("grid", [VECTOR, IMAGE])
def test_shuffling_is_one_permutation_before_the_windows(grid):
    plain, shuffled = views(asked("sliding", stride=1), grid), views(asked("shuffle", stride=1), grid)
    permutation = np.full(math.prod(grid), -1)
    permutation[plain] = shuffled
    assert np.array_equal(permutation[plain], shuffled) and sorted(permutation) == list(range(math.prod(grid)))


def spans(seen: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """The larger side of the box around each view."""
    at = places(seen, grid) if len(grid) == 3 else seen[..., None]
    return np.max(np.ptp(at, axis=1), axis=1)


@pytest.mark.parametrize("grid", [VECTOR, IMAGE])
def test_shuffled_views_are_not_local_while_windows_are(grid):
    assert np.all(spans(views(asked("sliding"), grid), grid) == 2)
    assert np.mean(spans(views(asked("shuffle"), grid), grid)) > 6


def test_jittered_windows_stay_within_a_stride_of_the_grid():
    """Of the 3 x 4 windows of IMAGE, those in the last row and column are held back by the border."""
    grid, jittered = (places(views(ViewSpec(n, 3, 3), IMAGE)) for n in ("sliding", "jittered_grid"))
    moved = jittered - grid
    assert np.all(moved == moved[:, :1]) and moved.min() == 0 and moved.max() == 2
    everywhere = {tuple(views(ViewSpec("jittered_grid", 3, 3, seed=s), IMAGE)[0, :1] // 3) for s in range(100)}
    assert everywhere == {(13 * row + column,) for row in range(3) for column in range(3)}
    assert np.array_equal(views(ViewSpec("jittered_grid", 3), IMAGE), views(ViewSpec("sliding", 3), IMAGE))


def by_cells(sites: list[int], size: int, grid: tuple[int, ...]) -> list[list[int]]:
    """Voronoi views pixel by pixel."""

    def far(pixel: int, site: int) -> int:
        return (pixel // grid[1] - site // grid[1]) ** 2 + (pixel % grid[1] - site % grid[1]) ** 2

    pixels = range(grid[0] * grid[1])
    owner = [min(sites, key=lambda site: far(pixel, site)) for pixel in pixels]
    return [sorted(sorted(pixels, key=lambda p: (owner[p] != site, far(p, site)))[: size**2]) for site in sites]


THIN, SQUARE = (2, 9, 1), (9, 9, 1)


@pytest.mark.parametrize("grid, size, count", [(SQUARE, 3, 6), (SQUARE, 3, 20), (THIN, 2, 3), (THIN, 2, 10), (IMAGE, 4, 130)])
def test_voronoi_views_keep_to_the_cells_of_their_sites(grid, size, count):
    """A view of one pixel is the site itself, and sites do not depend on the size."""
    spec = ViewSpec("voronoi", size, count=count, seed=3)
    sites = views(replace(spec, size=1), grid)[:, 0] // grid[2]
    assert len(set(sites)) == count
    seen = views(spec, grid)[:, :: grid[2]] // grid[2]
    assert seen.tolist() == by_cells(sites.tolist(), size, grid)


def test_a_cell_comes_before_what_is_nearer():
    """With cells that hold whole views these share nothing, where disks around the same sites would."""
    spec = ViewSpec("voronoi", 3, count=9)
    cells, sites = views(spec, (12, 12, 1)), views(replace(spec, size=1), (12, 12, 1))[:, 0]
    disks = np.concatenate([by_cells([site], 3, (12, 12, 1)) for site in sites.tolist()])
    assert len(np.unique(cells)) > len(np.unique(disks))


def test_sites_are_one_in_each_cell_of_a_grid():
    """Seven sites in 9 x 6 pixels: three rows of cells, three pixels high, the last of three cells and not two."""
    for seed in range(30):
        at = places(views(ViewSpec("voronoi", 1, count=7, seed=seed), (9, 6, 1)), (9, 6, 1))[:, 0]
        assert (at[:, 0] // 3).tolist() == [0, 0, 1, 1, 2, 2, 2]
        assert (at[:4, 1] // 3).tolist() == [0, 1, 0, 1] and (at[4:, 1] // 2).tolist() == [0, 1, 2]
        column = views(ViewSpec("voronoi", 1, count=5, seed=seed), (12, 1, 1))[:, 0]
        assert np.all(column >= [0, 2, 4, 7, 9]) and np.all(column < [2, 4, 7, 9, 12])
    assert np.ravel(views(ViewSpec("voronoi", 1, count=12), (3, 4, 1))).tolist() == list(range(12))


def test_radial_views_are_one_pattern_that_is_rings_around_a_centre():
    seen = views(ViewSpec("radial", 4, count=50), (20, 20, 1))
    shapes = pattern(seen, (20, 20, 1))
    assert np.all(shapes == shapes[:1]) and len(np.unique(seen, axis=0)) > 30
    at = places(seen, (20, 20, 1))[0]
    inner = at[:4]
    centre = (inner.min(axis=0) + inner.max(axis=0)) // 2
    assert (inner - centre).tolist() == [[0, 1], [1, 0], [0, -1], [-1, 0]]
    assert (at[12:] - centre).tolist() == [[0, 4], [4, 0], [0, -4], [-4, 0]]


def test_the_rings_of_a_radial_view_lie_at_equal_ratios():
    """The outer ones, that is, which have the pixels nearest to their points to themselves."""
    at = places(views(ViewSpec("radial", 8, count=1), (17, 17, 1)), (17, 17, 1))[0]
    rings = np.linalg.norm(at - 8, axis=1).reshape(8, 8)
    assert np.all(np.abs(rings - np.geomspace(1, 8, 8)[:, None])[5:] < 0.75)


@pytest.mark.parametrize("name, same", [("large_sparse", True), ("random_local", False)])
def test_sparse_views_are_of_windows_of_twice_the_size_with_or_without_a_pattern_in_common(name, same):
    seen = views(ViewSpec(name, 3, 2), (14, 12, 1))
    corner = np.array([[row, column] for row in range(0, 9, 2) for column in range(0, 7, 2)])
    within = places(seen, (14, 12, 1)) - corner[:, None]
    assert within.min() == 0 and within.max() == 5
    assert np.all(within == within[:1]) == same
    assert len(np.unique(within.reshape(-1, 2), axis=0)) == (9 if same else 36)
    assert np.array_equal(views(ViewSpec(name, 3), (3, 3, 1)), [range(9)])


def test_appended_schemes_follow_one_another_each_with_random_numbers_of_its_own():
    both = views(ViewSpec("disjoint+random_subsets", 3, count=4), VECTOR)
    assert np.array_equal(both[:7], views(ViewSpec("disjoint", 3), VECTOR)) and len(both) == 11
    twice = views(ViewSpec("random_subsets+random_subsets", 3, count=4), VECTOR)
    assert np.array_equal(twice[:4], views(ViewSpec("random_subsets", 3, count=4), VECTOR))
    assert not np.array_equal(twice[4:], twice[:4]) and np.array_equal(both[7:], twice[4:])
    assert shape(ViewSpec("sliding+random_disjoint+random_subsets", 3, stride=4), VECTOR) == (6 + 7 + 6, 3)


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
        ({"stride": 0}, VECTOR, "stride", "must be at least 1"),
        ({"scheme": "disjoint", "stride": 2}, VECTOR, "stride", "is not used by disjoint"),
        ({"scheme": "random_subsets", "stride": 2, "count": 3}, VECTOR, "stride", "is not used by random_subsets with a count"),
        ({"count": -1, "scheme": "random_subsets"}, VECTOR, "count", "must be at least 0"),
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
    spec = replace(ViewSpec("sliding", 3), **fields)
    with pytest.raises(InputError) as error:
        spec.check("model.views", grid)
    assert error.value.field == f"model.views.{field}" and told in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(InputError):
        views(spec, grid)


def test_the_largest_that_is_allowed_is():
    for spec, grid in [
        (ViewSpec("sliding", 23), VECTOR),
        (ViewSpec("cross", 4), IMAGE),
        (ViewSpec("random_disjoint", 3, count=7), VECTOR),
        (ViewSpec("voronoi", 3, count=130), IMAGE),
    ]:
        spec.check("model.views", grid)
        assert len(views(spec, grid)) >= 1


def test_a_grid_is_of_a_vector_or_of_an_image():
    with pytest.raises(InputError, match=r"grid = \(4, 4\): must be \(d,\) or \(height, width, channels\)"):
        views(ViewSpec("sliding", 2), (4, 4))


def test_views_came_later_so_that_runs_without_any_keep_their_names():
    assert latecomers(ViewSpec) == {"scheme": "", "size": 0, "stride": 1, "count": 0, "seed": 0}  # type: ignore[arg-type]
    assert not latecomers(RunSpec)


def test_drawn_views_colour_the_pixels_that_they_see():
    """Pixel 1 of a row of four is seen by both views and so parted; pixel 3 by a view that is not shown."""
    _, ax = plt.subplots()
    draw_views(ax, np.array([[0, 1], [1, 2], [2, 3]]), (4,), shown=[0, 1])
    draw_views(ax, views(ViewSpec("disjoint", 2), (3, 4, 2)), (3, 4, 2))
    _, stripes, background, squares = ax.collections
    left = [round(np.min(np.asarray(path.vertices)[:, 0]), 2) for path in stripes.get_paths()]
    first, second = to_rgb(COLORS[0]), to_rgb(COLORS[1])
    shaded = [tuple(color[:3]) for color in np.asarray(stripes.get_facecolor())]
    assert set(zip(left, shaded, strict=True)) == {(-0.5, first), (0.5, first), (1.0, second), (1.5, second)}
    assert np.ravel(np.asarray(background.get_array())).tolist() == [1] * 8 + [0] * 4
    assert len(squares.get_paths()) == 8
    plt.close()
