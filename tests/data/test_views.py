"""What filters see: by hand on small grids, and by what holds of any views."""

from __future__ import annotations

import math

import numpy as np
import pytest
from view_grids import CASES, DRAWN, FIXED, IMAGE, VECTOR, asked, pattern, places

from dynamics.data.views import SCHEMES, ViewSpec, list_views, view_shape


def test_the_whole_sample_is_one_view():
    assert list_views(ViewSpec(), (4,)).tolist() == [[0, 1, 2, 3]]
    assert list_views(ViewSpec(), (1, 2, 2)).tolist() == [[0, 1, 2, 3]]
    assert view_shape(ViewSpec(), IMAGE) == (1, 390)


@pytest.mark.parametrize("dim, size, stride", [(6, 3, 1), (6, 2, 3), (6, 4, 3), (6, 6, 7), (3, 1, 2), (23, 5, 2)])
def test_sliding_views_of_a_vector_are_the_windows_of_numpy(dim, size, stride):
    windows = np.lib.stride_tricks.sliding_window_view(np.arange(dim), size)[::stride]
    assert list_views(ViewSpec("sliding", size, stride), (dim,)).tolist() == windows.tolist()


def test_deterministic_views_of_a_vector_by_hand():
    assert list_views(ViewSpec("disjoint", 3), (8,)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert list_views(ViewSpec("hierarchical", 2), (9,)).tolist() == [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
        [0, 2],
        [4, 6],
        [0, 4],
    ]
    assert list_views(ViewSpec("hierarchical", 3), (5,)).tolist() == [[0, 1, 2]]
    assert list_views(ViewSpec("hierarchical", 1), (2,)).tolist() == [[0], [1], [0]]


def test_deterministic_views_of_an_image_by_hand():
    """Pixels of a 3 x 4 image: 0 1 2 3 / 4 5 6 7 / 8 9 10 11."""
    assert list_views(ViewSpec("sliding", 2, 2), (3, 4, 1)).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert list_views(ViewSpec("sliding", 3), (3, 4, 1)).tolist() == [
        [0, 1, 2, 4, 5, 6, 8, 9, 10],
        [1, 2, 3, 5, 6, 7, 9, 10, 11],
    ]
    assert list_views(ViewSpec("sliding", 1, 2), (3, 4, 2)).tolist() == [[0, 1], [4, 5], [16, 17], [20, 21]]
    assert list_views(ViewSpec("disjoint", 2), (3, 4, 1)).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert list_views(ViewSpec("hierarchical", 2), (4, 4, 1)).tolist() == [
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [8, 9, 12, 13],
        [10, 11, 14, 15],
        [0, 2, 8, 10],
    ]
    assert list_views(ViewSpec("multi_scale", 2), (3, 4, 1)).tolist() == [
        [0, 1, 4, 5],
        [1, 2, 5, 6],
        [2, 3, 6, 7],
        [4, 5, 8, 9],
        [5, 6, 9, 10],
        [6, 7, 10, 11],
        [0, 2, 8, 10],
    ]


def test_a_larger_scale_has_a_larger_stride():
    seen = list_views(ViewSpec("multi_scale", 2, 2), (7, 7, 1))
    assert places(seen, (7, 7, 1))[:, 0].tolist() == [
        *([row, column] for row in (0, 2, 4) for column in (0, 2, 4)),
        *([row, column] for row in (0, 4) for column in (0, 4)),
        [0, 0],
    ]
    assert pattern(seen, (7, 7, 1))[:, 3].tolist() == [[1, 1]] * 9 + [[2, 2]] * 4 + [[4, 4]]
    assert len(list_views(ViewSpec("multi_scale", 1, 4), (4, 4, 1))) == 3  # a single pixel has no extent: 1, 2, 4 apart


def test_crosses_by_hand():
    odd = list_views(ViewSpec("cross", 3), (5, 6, 1))
    assert places(odd, (5, 6, 1))[0].tolist() == [[0, 2], [1, 2], [2, 0], [2, 1], [2, 2], [2, 3], [2, 4], [3, 2], [4, 2]]
    assert odd[1].tolist() == (odd[0] + 1).tolist() and len(odd) == 2
    assert places(list_views(ViewSpec("cross", 2), (2, 3, 1)), (2, 3, 1)).tolist() == [[[0, 0], [0, 1], [0, 2], [1, 1]]]
    even = places(list_views(ViewSpec("cross", 4, 9), (9, 9, 1)), (9, 9, 1))
    assert [even[0, 0].tolist(), even[0, -1].tolist()] == [[0, 4], [7, 4]]
    assert np.sum(even[0, :, 0] == 3) == 9
    assert list_views(ViewSpec("cross", 1, 2), (3, 3, 1)).tolist() == [[0], [2], [6], [8]]


def test_hexagonal_windows_are_equally_far_from_their_neighbours_up_to_rounding():
    """Rows of stride 4 lie 3.46 apart: 0, 3, 7, 10; every other one starts at 2."""
    corner = places(list_views(ViewSpec("hexagonal", 3, 4), (13, 13, 1)), (13, 13, 1))[:, 0]
    columns = {0: (0, 4, 8), 3: (2, 6, 10), 7: (0, 4, 8), 10: (2, 6, 10)}
    assert corner.tolist() == [[row, column] for row in columns for column in columns[row]]
    apart = np.linalg.norm(corner[:, None] - corner, axis=-1) + 9 * np.eye(len(corner))
    assert np.all(np.abs(np.min(apart, axis=1) - 4) < 0.5)
    crowded = list_views(ViewSpec("hexagonal", 3), IMAGE)
    assert len(np.unique(crowded, axis=0)) == len(crowded)


@pytest.mark.parametrize("name, grid", CASES)
def test_all_views_are_of_distinct_coordinates_within_the_sample_and_of_one_length(name, grid):
    for size in (1, 2, 3):
        for seed in range(3):
            spec = asked(name, size, seed=seed)
            seen = list_views(spec, grid)
            length = size if grid == VECTOR else size**2 * grid[2]
            assert seen.dtype == np.int32 and seen.ndim == 2 and len(seen) >= 1 and seen.shape[1] == length
            assert seen.min() >= 0 and seen.max() < math.prod(grid)
            assert all(len(set(view)) == length for view in seen.tolist())
            assert view_shape(spec, grid) == seen.shape


@pytest.mark.parametrize("name", [name for name in SCHEMES if name != "cross"])
def test_a_view_may_be_as_large_as_the_image(name):
    for side in (4, 5):
        seen = list_views(asked(name, side), (side, side, 1))
        assert np.array_equal(np.sort(seen, axis=1), [range(side**2)])


@pytest.mark.parametrize("name", SCHEMES)
def test_a_view_of_an_image_has_all_channels_of_its_pixels_and_they_choose_nothing(name):
    seen = list_views(asked(name), IMAGE).reshape(-1, 9, 3)
    assert np.all(seen[..., 0] % 3 == 0) and np.all(seen - seen[..., :1] == np.arange(3))
    assert np.array_equal(seen[..., 0] // 3, list_views(asked(name), (*IMAGE[:2], 1)))


@pytest.mark.parametrize("name, grid", CASES)
def test_views_are_fixed_by_their_seed(name, grid):
    first, again = list_views(asked(name, seed=1), grid), list_views.__wrapped__(asked(name, seed=1), grid)
    assert list_views(asked(name, seed=1), grid) is first and np.array_equal(first, again) and first is not again
    assert np.array_equal(list_views(asked(name, seed=2), grid), first) == (name in FIXED)
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1


@pytest.mark.parametrize("name, grid", CASES)
def test_a_count_is_honoured_and_unasked_for_it_is_that_of_the_usual_views(name, grid):
    if name in DRAWN:
        assert view_shape(asked(name, count=5), grid)[0] == 5
    if SCHEMES[name].usual:
        assert view_shape(asked(name), grid) == view_shape(asked(SCHEMES[name].usual), grid)


@pytest.mark.parametrize("name", sorted(DRAWN - {"voronoi"}))
def test_the_first_of_more_views_are_those_of_fewer(name):
    assert np.array_equal(list_views(asked(name, count=9), IMAGE)[:4], list_views(asked(name, count=4), IMAGE))


@pytest.mark.parametrize("grid", [VECTOR, IMAGE])
def test_disjoint_views_are_and_random_subsets_are_not(grid):
    for spec in (asked("disjoint"), asked("random_disjoint"), asked("random_disjoint", count=4)):
        seen = list_views(spec, grid)
        assert len(np.unique(seen)) == seen.size
    overlapping = list_views(asked("random_subsets"), grid)
    assert len(np.unique(overlapping)) < overlapping.size
    for name in ("random_disjoint", "random_subsets"):
        assert np.all(np.diff(list_views(asked(name), grid)) > 0)


def test_random_disjoint_views_may_take_everything():
    assert sorted(np.ravel(list_views(ViewSpec("random_disjoint", 10, count=10), (100,)))) == list(range(100))
