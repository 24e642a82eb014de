"""Views that are drawn: their law, their cells, their patterns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from view_grids import IMAGE, VECTOR, asked, pattern, places

from dynamics.data.views import ViewSpec, list_views, view_shape


def test_random_subsets_see_every_coordinate_alike():
    """Of 4000 subsets of 3 of 6 each coordinate is in half, sd 32; so is each pair in a fifth, sd 25."""
    seen = list_views(ViewSpec("random_subsets", 3, count=4000), (6,))
    held = np.zeros((4000, 6), int)
    np.put_along_axis(held, seen, 1, axis=1)
    together = held.T @ held
    assert np.all(np.abs(np.diag(together) - 2000) < 160)
    assert np.all(np.abs(together[~np.eye(6, dtype=bool)] - 800) < 125)


def test_windows_are_placed_everywhere_alike():
    """12 places for a window of 2 x 2 in 4 x 5, 6000 windows: 500 each, sd 21."""
    seen = list_views(ViewSpec("random_placement", 2, count=6000), (4, 5, 1))
    assert np.all(pattern(seen, (4, 5, 1)) == [[0, 0], [0, 1], [1, 0], [1, 1]])
    corner, often = np.unique(seen[:, 0], return_counts=True)
    assert corner.tolist() == [5 * row + column for row in range(3) for column in range(4)]
    assert np.all(np.abs(often - 500) < 110)


@pytest.mark.parametrize("grid", [VECTOR, IMAGE])
def test_shuffling_is_one_permutation_before_the_windows(grid):
    plain, shuffled = list_views(asked("sliding", stride=1), grid), list_views(asked("shuffle", stride=1), grid)
    permutation = np.full(math.prod(grid), -1)
    permutation[plain] = shuffled
    assert np.array_equal(permutation[plain], shuffled) and sorted(permutation) == list(range(math.prod(grid)))


def spans(seen: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """The larger side of the box around each view."""
    at = places(seen, grid) if len(grid) == 3 else seen[..., None]
    return np.max(np.ptp(at, axis=1), axis=1)


@pytest.mark.parametrize("grid", [VECTOR, IMAGE])
def test_shuffled_views_are_not_local_while_windows_are(grid):
    assert np.all(spans(list_views(asked("sliding"), grid), grid) == 2)
    assert np.mean(spans(list_views(asked("shuffle"), grid), grid)) > 6


def test_jittered_windows_stay_within_a_stride_of_the_grid():
    """Of the 3 x 4 windows of IMAGE, those in the last row and column are held back by the border."""
    grid, jittered = (places(list_views(ViewSpec(n, 3, 3), IMAGE)) for n in ("sliding", "jittered_grid"))
    moved = jittered - grid
    assert np.all(moved == moved[:, :1]) and moved.min() == 0 and moved.max() == 2
    everywhere = {tuple(list_views(ViewSpec("jittered_grid", 3, 3, seed=s), IMAGE)[0, :1] // 3) for s in range(100)}
    assert everywhere == {(13 * row + column,) for row in range(3) for column in range(3)}
    assert np.array_equal(list_views(ViewSpec("jittered_grid", 3), IMAGE), list_views(ViewSpec("sliding", 3), IMAGE))


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
    sites = list_views(replace(spec, size=1), grid)[:, 0] // grid[2]
    assert len(set(sites)) == count
    seen = list_views(spec, grid)[:, :: grid[2]] // grid[2]
    assert seen.tolist() == by_cells(sites.tolist(), size, grid)


def test_a_cell_comes_before_what_is_nearer():
    """With cells that hold whole views these share nothing, where disks around the same sites would."""
    spec = ViewSpec("voronoi", 3, count=9)
    cells, sites = list_views(spec, (12, 12, 1)), list_views(replace(spec, size=1), (12, 12, 1))[:, 0]
    disks = np.concatenate([by_cells([site], 3, (12, 12, 1)) for site in sites.tolist()])
    assert len(np.unique(cells)) > len(np.unique(disks))


def test_sites_are_one_in_each_cell_of_a_grid():
    """Seven sites in 9 x 6 pixels: three rows of cells, three pixels high, the last of three cells and not two."""
    for seed in range(30):
        at = places(list_views(ViewSpec("voronoi", 1, count=7, seed=seed), (9, 6, 1)), (9, 6, 1))[:, 0]
        assert (at[:, 0] // 3).tolist() == [0, 0, 1, 1, 2, 2, 2]
        assert (at[:4, 1] // 3).tolist() == [0, 1, 0, 1] and (at[4:, 1] // 2).tolist() == [0, 1, 2]
        column = list_views(ViewSpec("voronoi", 1, count=5, seed=seed), (12, 1, 1))[:, 0]
        assert np.all(column >= [0, 2, 4, 7, 9]) and np.all(column < [2, 4, 7, 9, 12])
    assert np.ravel(list_views(ViewSpec("voronoi", 1, count=12), (3, 4, 1))).tolist() == list(range(12))


def test_radial_views_are_one_pattern_that_is_rings_around_a_centre():
    seen = list_views(ViewSpec("radial", 4, count=50), (20, 20, 1))
    shapes = pattern(seen, (20, 20, 1))
    assert np.all(shapes == shapes[:1]) and len(np.unique(seen, axis=0)) > 30
    at = places(seen, (20, 20, 1))[0]
    inner = at[:4]
    centre = (inner.min(axis=0) + inner.max(axis=0)) // 2
    assert (inner - centre).tolist() == [[0, 1], [1, 0], [0, -1], [-1, 0]]
    assert (at[12:] - centre).tolist() == [[0, 4], [4, 0], [0, -4], [-4, 0]]


def test_the_rings_of_a_radial_view_lie_at_equal_ratios():
    """The outer ones, that is, which have the pixels nearest to their points to themselves."""
    at = places(list_views(ViewSpec("radial", 8, count=1), (17, 17, 1)), (17, 17, 1))[0]
    rings = np.linalg.norm(at - 8, axis=1).reshape(8, 8)
    assert np.all(np.abs(rings - np.geomspace(1, 8, 8)[:, None])[5:] < 0.75)


@pytest.mark.parametrize("name, same", [("large_sparse", True), ("random_local", False)])
def test_sparse_views_are_of_windows_of_twice_the_size_with_or_without_a_pattern_in_common(name, same):
    seen = list_views(ViewSpec(name, 3, 2), (14, 12, 1))
    corner = np.array([[row, column] for row in range(0, 9, 2) for column in range(0, 7, 2)])
    within = places(seen, (14, 12, 1)) - corner[:, None]
    assert within.min() == 0 and within.max() == 5
    assert np.all(within == within[:1]) == same
    assert len(np.unique(within.reshape(-1, 2), axis=0)) == (9 if same else 36)
    assert np.array_equal(list_views(ViewSpec(name, 3), (3, 3, 1)), [range(9)])


def test_appended_schemes_follow_one_another_each_with_random_numbers_of_its_own():
    both = list_views(ViewSpec("disjoint+random_subsets", 3, count=4), VECTOR)
    assert np.array_equal(both[:7], list_views(ViewSpec("disjoint", 3), VECTOR)) and len(both) == 11
    twice = list_views(ViewSpec("random_subsets+random_subsets", 3, count=4), VECTOR)
    assert np.array_equal(twice[:4], list_views(ViewSpec("random_subsets", 3, count=4), VECTOR))
    assert not np.array_equal(twice[4:], twice[:4]) and np.array_equal(both[7:], twice[4:])
    assert view_shape(ViewSpec("sliding+random_disjoint+random_subsets", 3, stride=4), VECTOR) == (6 + 7 + 6, 3)
