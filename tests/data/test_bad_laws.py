"""Fields that a law or a target does not allow are named in one line."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from law_draws import DATA, ISOTROPIC

from dynamics.data import closed_forms
from dynamics.data.law import LAWS
from dynamics.data.problem import TargetSpec
from dynamics.data.views import ViewSpec
from dynamics.errors import InputError

BAD = {
    "alpha": ("radial", {"alpha": 0.0}, "data.alpha = 0.0: must be a number above 0"),
    "infinite alpha": ("radial", {"alpha": math.inf}, "data.alpha = inf: must be a number above 0"),
    "whole sphere": ("sphere_patch", {"ambient_dim": 3}, "data.ambient_dim = 3: must be above data.input_dim = 3"),
    "no sphere": ("sphere_patch", {"ambient_dim": 0}, "data.ambient_dim = 0: must be above data.input_dim = 3"),
    "whole space": (
        "subspace_balls",
        {"intrinsic_dim": 6},
        "data.intrinsic_dim = 6: must be at least 1 and below data.input_dim = 6",
    ),
    "no dimension": ("subspace_balls", {"intrinsic_dim": 0}, "data.intrinsic_dim = 0: must be an integer from 1"),
    "no ball": ("subspace_balls", {"components": 0}, "data.components = 0: must be an integer from 1"),
    "inward": ("subspace_balls", {"offset": -0.1}, "data.offset = -0.1: must be a number, at least 0"),
    **{
        f"{how} {name}": (
            name,
            {"patch_dim": size},
            f"data.patch_dim = {size}: must divide data.input_dim = {DATA[name].input_dim}",
        )
        for name in ("patch_spheres", "tiled", "vocabulary", "cone_clusters")
        for how, size in {"uneven": 7, "no patch": 0, "larger patch": 100}.items()
    },
    "no word": ("vocabulary", {"components": 0}, "data.components = 0: must be an integer from 1"),
    "no cluster": ("cone_clusters", {"components": -1}, "data.components = -1: must be an integer from 1"),
    "narrow": ("cone_clusters", {"cone_std": -0.1}, "data.cone_std = -0.1: must be a number, at least 0"),
    "other image": ("digits", {"input_dim": 63}, "data.input_dim = 63: must be 64 for data.law = digits"),
    "too many digits": (
        "digits",
        {"num_samples": 1000, "num_test": 798},
        "data.num_samples = 1000: with data.num_test = 798 must be at most 1797",
    ),
    "colours of grey": ("digits", {"normalization": "cifar10"}, "data.normalization = 'cifar10': is for images of 3 channels"),
    "no such normalization": ("uniform_ball", {"normalization": "mine"}, "data.normalization = 'mine': choose one of"),
    "no files": (
        "digits",
        {"law": "mnist", "input_dim": 784, "root": "/no/such/folder"},
        "data.root = '/no/such/folder': is no folder",
    ),
    "no square": (
        "dead_leaves",
        {"input_dim": 30},
        "data.input_dim = 30: must be side^2 * data.channels, with data.channels = 2",
    ),
    "no channel": ("dead_leaves", {"channels": 0}, "data.channels = 0: must be an integer from 1"),
    "no leaf": ("dead_leaves", {"leaves": 0}, "data.leaves = 0: must be an integer from 1"),
    "leaf as large": ("dead_leaves", {"smallest_leaf": 4.0}, "data.smallest_leaf = 4.0: must be above 0 and below the side, 4"),
    "leaf of no size": ("dead_leaves", {"smallest_leaf": 0.0}, "data.smallest_leaf = 0.0: must be a number above 0"),
    "flat exponent": ("dead_leaves", {"leaf_exponent": 1.0}, "data.leaf_exponent = 1.0: must be a number above 1"),
    "less texture": ("dead_leaves", {"texture": -1.0}, "data.texture = -1.0: must be a number, at least 0"),
    "endless noise": ("uniform_ball", {"noise_std": math.inf}, "data.noise_std = inf: must be a number, at least 0"),
    "endless scale": ("uniform_ball", {"scale": math.inf}, "data.scale = inf: must be a number above 0"),
    "another's field": (
        "uniform_ball",
        {"components": 2**31},
        "data.components = 2147483648: must be an integer from 1 to 2^31 - 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_field_that_a_law_does_not_allow_is_told_by_name(case):
    name, values, message = BAD[case]
    DATA[name].check()
    with pytest.raises(InputError) as error:
        replace(DATA[name], **values).check()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


BAD_TARGETS = {
    "nothing stands": ("uniform_ball", {"kind": "parts"}, "target.kind = 'parts': needs a data.law among"),
    "images stand for nothing": ("digits", {"kind": "parts"}, "target.kind = 'parts': needs a data.law among"),
    "one class": ("uniform_ball", {"kind": "one_hot"}, "target.kind = 'one_hot': needs a data.law of several parts"),
    "no unit": ("gaussian", {"kind": "teacher", "units": 0}, "target.units = 0: must be an integer from 1"),
    "large view": (
        "gaussian",
        {"kind": "teacher", "views": ViewSpec("sliding", 4)},
        "target.views.size = 4: must be from 1 to 3",
    ),
    "no such": ("gaussian", {"kind": "teachr"}, "target.kind = 'teachr': choose one of"),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_a_target_that_does_not_go_with_the_law_is_told_by_name(case):
    name, values, message = BAD_TARGETS[case]
    with pytest.raises(InputError) as error:
        TargetSpec(**values).check(DATA[name])
    assert str(error.value).startswith(message)


def test_closed_forms_are_known_by_the_laws_name():
    """Of a law with parameters by its spec; of one that is not isotropic there are none."""
    for name, law in LAWS.items():
        assert (law.closed_forms is not None) == (name in ISOTROPIC), name
    for name, expected in ISOTROPIC.items():
        forms = LAWS[name].closed_forms(DATA[name])
        assert forms.half_space_probability(0.3, 3) == expected.half_space_probability(0.3, 3)
        assert forms.rim(3) == expected.rim(3)
    assert closed_forms.radial_forms(0.3).rim(3) == 0.3
