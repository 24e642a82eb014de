"""Axes and panels that are laid over those of a config: what has no effect or no panel is refused,
what gives way is told."""

from __future__ import annotations

import pytest

import dynamics as dyn
from dynamics.study.calls import experiment_request
from dynamics.study.config import compose

RATES, DEPTH = "stable_minima/rates", "data_geometry/depth"
ZIP = "sweep.zip=[{data.num_samples: [16, 32], model.width: [64, 100]}]"
TWICE = "sweep.zip=[{seed: [1, 2], steps: [3, 4]}, {seed: [5, 6], data.num_test: [7, 8]}]"
EVERY = "every panel has its own; give panels.stable.optimizer.learning_rate, panels.low_norm.optimizer.learning_rate"
MEANT = "no such panel (did you mean 'stable'?)"

REFUSED = [  # overrides, values of a call, what is said
    (["sweep.optimizer.learning_rate=[1e-3,1e-2]"], {}, EVERY),
    (["sweep.optimizer={learning_rate: [1e-3,1e-2]}"], {}, EVERY),
    (["sweep.zip=[{optimizer.learning_rate: [1e-3,1e-2], seed: [0,1]}]"], {}, EVERY),
    ([], {"sweep": {"optimizer.learning_rate": [1e-3]}}, EVERY),
    (["panels.stabel.optimizer.learning_rate=0.1"], {}, MEANT),
    (["panels={stabel: {seed: 1}}"], {}, MEANT),
    (["panels.stabel=null"], {}, MEANT),
    (["+panels.stabel=null"], {}, MEANT),
    ([], {"panels": {"stabel": {"seed": 1}}}, MEANT),
    ([], {"panels.stabel.seed": [1]}, MEANT),
    (["panels.mine.seed=1"], {}, "a new one is added with a plus, +panels.mine"),
    (["~panels.stabel"], {}, "no such axis (did you mean 'stable'?)"),
    (["~sweep.data.num_sample"], {}, "no such axis (did you mean 'data.num_samples'?)"),
    (["sweep.seed=[0,1,0]"], {}, "has 0 twice"),
    ([], {"seed": [3, 3]}, "has 3 twice"),
    (["sweep.zip=[{seed: [0, 0], steps: [1, 1]}]"], {}, "has (0, 1) twice"),
    ([TWICE], {}, "sweep.zip = ['seed']: are in two of its entries"),
]


@pytest.mark.parametrize(("overrides", "values", "told"), REFUSED)
def test_what_would_do_nothing_or_something_else_is_refused(overrides, values, told):
    with pytest.raises(dyn.InputError) as error:
        compose(RATES, "size=smoke", *overrides, values=values)
    assert told in str(error.value)


TOLD = [  # experiment, overrides, values, runs by panel (None: those of the config), a line that is told (empty: none is)
    (RATES, ["+panels.mine.optimizer.learning_rate=[0.1]"], {}, {"stable": 12, "low_norm": 12, "mine": 12}, ""),
    (RATES, [], {"+panels.mine": {"seed": 1}}, {"stable": 12, "low_norm": 12, "mine": 6}, ""),
    (RATES, ["~panels.stable"], {}, {"low_norm": 12}, ""),
    (
        RATES,
        ["sweep.optimizer.learning_rate=[1e-3,1e-2]", "~panels.low_norm.optimizer.learning_rate"],
        {},
        {"stable": 12, "low_norm": 24},
        "note: in place of sweep.optimizer.learning_rate stays panels.stable.optimizer.learning_rate",
    ),
    (RATES, [ZIP], {}, {"stable": 8, "low_norm": 8}, "note: sweep.zip as given replaces the axis sweep.data.num_samples"),
    (
        RATES,
        [ZIP, "sweep.data.num_samples=[8]"],
        {},
        {"stable": 8, "low_norm": 8},
        "note: data.num_samples as given replaces its part of sweep.zip",
    ),
    (
        DEPTH,
        ["panels.patch.data.ambient_dim=[30,40,50]"],
        {},
        {"radial": 12, "ball": 4, "gaussian": 2, "sphere": 4, "patch": 6, "guided": 12},
        "note: data.ambient_dim as given replaces its part of panels.patch.zip",
    ),
]


@pytest.mark.parametrize(("name", "overrides", "values", "runs", "line"), TOLD)
def test_what_gives_way_is_told(name, overrides, values, runs, line):
    request = compose(name, "size=smoke", *overrides, values=values)
    assert {panel: len(own) for panel, own in request.panels.items()} == runs
    assert line in request.notices if line else request.notices == []


def test_an_axis_takes_the_place_of_a_zipped_one_whichever_stands_first():
    """It was once the last of the two in the order of the config that won,
    with the zip's other axes still multiplied."""
    for order in ([ZIP, "sweep.data.num_samples=[8,9]"], ["sweep.data.num_samples=[8,9]", ZIP]):
        runs = compose(RATES, "size=smoke", "sweep.data.input_dim=1", "sweep.seed=0", *order).panels["stable"]
        pairs = sorted((run.data.num_samples, run.model.width) for run in runs)
        last = [(8, 64), (8, 100), (9, 64), (9, 100)] if order[0] == ZIP else [(16, 64), (32, 100)]
        assert pairs == last


def test_a_call_is_told_the_same():
    with pytest.raises(dyn.InputError, match="did you mean 'stable'"):
        experiment_request(RATES, {"panels.stabel.seed": 1}, "smoke", ".", {})
