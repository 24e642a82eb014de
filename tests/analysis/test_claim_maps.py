"""Maps of claims: what their files may say, and that each cell is the study at its setting."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.colors as colors
import polars as pl
import pytest
import yaml
from test_claims import INSIDE, OUTSIDE, judged

from dynamics.analysis.claim_map_pages import SHADES, draw_map, format_page
from dynamics.analysis.claim_maps import JudgedMap, judge_map, parse_map, read_map
from dynamics.errors import InputError
from dynamics.study.config import compose
from dynamics.study.folders import home, map_names

MAP = """
experiment: atlas/catapult
size: smoke
claims: [lazy-kernel-stays]
overrides: ["panels.growth.width={logspace: [100, 100000, 4]}"]
axes:
  output:
    small: [initial_output=0.01]
    shipped: []
  panels.phases.width: [20, 200]
found: A sentence.
"""


@pytest.fixture(scope="module")
def small():
    return parse_map("small", yaml.safe_load(MAP))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("map")


@pytest.fixture(scope="module")
def found(small, folder):
    told: list[str] = []
    return judge_map(small, folder, told.append), told


def test_every_cell_has_the_overrides_of_the_map_and_of_its_labels(small):
    assert list(small.cells) == [("small", "20"), ("small", "200"), ("shipped", "20"), ("shipped", "200")]
    assert small.cells["small", "20"] == (*small.overrides, "initial_output=0.01", "panels.phases.width=20")


def test_a_cell_is_judged_by_the_study_at_its_setting(found):
    """The kernel's change is f_0^2 / width times a number: it grows along both axes, and the shipped cell is known."""
    judged, told = found
    change = {cell: own["lazy-kernel-stays"].measured for cell, own in judged.claims.items()}
    assert judged.shipped == ("shipped", "200")
    assert change["small", "20"] == pytest.approx(10 * change["small", "200"], rel=0.1)
    assert change["shipped", "20"] > change["shipped", "200"] > 100 * change["small", "200"]
    assert len(told) == 4 and told[0].startswith("small small, 20: ") and "lazy-kernel-stays: " in told[0]


def test_a_map_is_drawn_from_verdicts_and_numbers(found):
    judged, _ = found
    page = draw_map(judged)
    (axes,) = page.figure.axes
    verdicts = [own["lazy-kernel-stays"].verdict for own in judged.claims.values()]
    image = axes.images[0]
    shades = [colors.to_hex(image.cmap(image.norm(value))) for value in image.get_array().ravel()]
    assert shades == [SHADES[verdict] for verdict in verdicts] and len(set(shades)) > 1
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("output", "panels.phases.width")
    assert [patch.get_xy() for patch in axes.patches] == [(0.5, 0.5)]
    assert page.caption == "atlas/catapult (smoke): A sentence." and page.tables["small"]["verdict"].to_list() == verdicts
    text = format_page([judged], open_path := home().relative_to(home()) / "pictures")
    cells = {
        cell: {name: replace(claim, statement=" ".join(cell)) for name, claim in own.items()}
        for cell, own in judged.claims.items()
    }
    assert judged.shipped is not None and judged.shipped != next(iter(cells))
    assert f": {' '.join(judged.shipped)}\n" in format_page([replace(judged, claims=cells)], open_path)  # as it is shipped
    assert f"![small]({open_path}/small.png)" in text and "A sentence." in text and "`lazy-kernel-stays` (Lewkowycz" in text


def test_a_cell_that_the_experiment_cannot_judge_is_told_and_stays_empty(found, folder):
    """`initial_output` leaves the kernel's panels as they are; without the widths of `growth` the claims cannot be
    made. Every run is there already."""
    content = yaml.safe_load(MAP) | {"axes": {"widths": {"all": [], "one": ["panels.growth.width=100"]}}}
    told: list[str] = []
    judged = judge_map(parse_map("holes", content), folder, told.append)
    assert list(judged.claims) == [("all",)] and judged.shipped == ("all",)
    assert told[1].startswith("holes one: cannot be judged: ValueError")
    (axes,) = draw_map(judged).figure.axes
    assert [text.get_text() for text in axes.texts][1] == "-"


def test_nothing_is_computed_for_a_map_with_a_setting_that_is_not_allowed(tmp_path):
    content = yaml.safe_load(MAP) | {"axes": {"panels.phases.width": [20, -1]}}
    with pytest.raises(InputError, match="width = -1"):
        judge_map(parse_map("bad", content), tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


WRONG = {
    "experiment": ({"experiment": "atlas/catapul"}, "experiment = 'atlas/catapul': choose one of"),
    "no axes": ({"axes": {}}, "axes = []: must be one or two"),
    "three axes": ({"axes": {name: [1, 2] for name in "abc"}}, "must be one or two"),
    "one value": ({"axes": {"width": [1]}}, "axes.width = ['1']: must have at least two settings"),
    "a value twice": ({"axes": {"width": [1, 1]}}, "bad.axes.width = [1, 1]: has a value twice"),
    "a plain value": ({"axes": {"width": 5}}, "bad.axes.width = 5: must be a list of values"),
    "many cells": ({"axes": {"a": list(range(9)), "b": list(range(9))}}, "axes = '81 cells': must make at most 64"),
    "no claims": ({"claims": []}, "claims = []: must name at least one"),
    "claims": ({"claims": "all"}, "bad.claims = 'all': must be a list of texts"),
    "a word": ({"sizes": "laptop"}, "bad.sizes = 'laptop': choose among experiment, claims, axes, size"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_file_may_not_say_is_told(name):
    change, told = WRONG[name]
    with pytest.raises(InputError) as error:
        parse_map("bad", yaml.safe_load(MAP) | change)
    assert told in str(error.value)


def test_an_unknown_map_and_an_unknown_claim_are_told(tmp_path):
    with pytest.raises(InputError, match=r"map = 'lazy_kernal': choose one of .*lazy_kernel\b.*did you mean 'lazy_kernel'"):
        read_map("lazy_kernal")
    with pytest.raises(InputError, match="is missing"):
        parse_map("bad", {"claims": ["a"]})
    content = yaml.safe_load(MAP) | {"claims": ["lazy-kernel-stay"], "axes": {"panels.phases.width": [20, 200]}}
    with pytest.raises(InputError, match=r"bad\.claims = 'lazy-kernel-stay': choose one of"):
        judge_map(parse_map("bad", content), tmp_path)


@pytest.mark.parametrize("name", map_names())
def test_a_shipped_map_has_settings_that_are_allowed_the_shipped_one_on_each_axis_and_a_sentence(name):
    asked = read_map(name)
    assert asked.found
    plain = compose(asked.experiment, f"size={asked.size}", *asked.overrides)
    for settings in asked.axes.values():
        requests = [compose(asked.experiment, f"size={asked.size}", *asked.overrides, *own) for own in settings.values()]
        assert [set(request.members) == set(plain.members) for request in requests].count(True) == 1


def test_holding_and_failing_are_told_apart(small):
    """A picture of made-up claims: two verdicts, two shades, and the table says the same."""
    cells = list(small.cells)
    claims = {
        cell: {"lazy-kernel-stays": judged(*parts)}
        for cell, parts in zip(cells[::2], [(INSIDE, OUTSIDE), (OUTSIDE, INSIDE)], strict=True)
    }
    table = draw_map(JudgedMap(small, claims, None)).tables["small"]
    assert table.select(pl.col("output"), pl.col("verdict")).rows() == [("small", "holds"), ("shipped", "fails")]
