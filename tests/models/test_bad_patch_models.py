"""Fields that a patch network does not allow are named in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from oracles import change
from patch_nets import CLASSES, UNIT

from dynamics.errors import InputError
from dynamics.measures.table import MEASURES
from dynamics.models.model_spec import ModelSpec

BAD = {
    "entropy of a scalar": ({"target__kind": "part_index"}, "loss.kind = 'cross_entropy': cross_entropy is for a target.kind"),
    "no such loss": ({"loss__kind": "hinge"}, "loss.kind = 'hinge': choose one of cross_entropy, squared"),
    "classes of a scalar": (
        {"target__kind": "part_index", "loss__kind": "squared", "measures": ["accuracy"]},
        "measures = 'accuracy': needs a target.kind of several outputs",
    ),
    "kernel of an entropy": (
        {"measures": ["gauss_newton_sharpness"]},
        "measures = 'gauss_newton_sharpness': needs loss.kind = squared",
    ),
    "several of a linear net": (
        {"model": ModelSpec("linear", 1)},
        "model.kind = 'linear': has one output, and the target has 10",
    ),
    **{
        f"{name} of several": ({"measures": [name]}, f"measures = '{name}': needs a target.kind of one output")
        for name, measure in MEASURES.items()
        if "single_output" in measure.needs
    },
    "what no filter sees": ({"model": ModelSpec("locally_connected", 3)}, "model.views.scheme = '': says what filters see"),
    "no such readout": ({"model": lambda: replace(UNIT, readout="own")}, "model.readout = 'own': choose one of shared, unit"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_by_field_and_value(case):
    values, message = BAD[case]
    CLASSES.check()
    with pytest.raises(InputError) as error:
        given = {name: value() if callable(value) else value for name, value in values.items()}
        change(CLASSES, **given).check()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
