"""Axes: from a sweep in a config to runs."""

import numpy as np
import pytest

from dynamics.core import spec as specs
from dynamics.engine.axes import expand_runs, merge_axes, parse_axes
from dynamics.errors import InputError
from dynamics.systems.training import TrainingSpec

BASE = specs.freeze(TrainingSpec())


def values(tree, path):
    return [specs.get(run, path) for run in expand_runs(BASE, parse_axes(tree, BASE))]


def test_a_list_a_range_and_a_single_value():
    assert values({"seed": [3, 1]}, "seed") == [3, 1]
    assert values({"seed": {"range": [0, 3]}}, "seed") == [0, 1, 2]
    assert values({"seed": {"range": 2}}, "seed") == [0, 1]
    assert values({"seed": 7}, "seed") == [7]


def test_linspace_and_logspace_include_both_ends():
    assert values({"optimizer": {"learning_rate": {"linspace": [0.1, 0.3, 3]}}}, "optimizer.learning_rate") == pytest.approx(
        [0.1, 0.2, 0.3]
    )
    rates = values({"optimizer": {"learning_rate": {"logspace": [0.01, 1, 3]}}}, "optimizer.learning_rate")
    assert rates == pytest.approx([0.01, 0.1, 1.0])


def test_a_logspace_of_an_integer_field_is_rounded_to_integers():
    found = values({"data": {"num_samples": {"logspace": [32, 512, 5]}}}, "data.num_samples")
    assert found == [32, 64, 128, 256, 512]
    assert all(isinstance(n, int) for n in found)


def test_axes_multiply_and_the_last_is_fastest():
    runs = expand_runs(BASE, parse_axes({"data": {"input_dim": [1, 2]}, "seed": [0, 1, 2]}, BASE))
    assert [(r.data.input_dim, r.seed) for r in runs] == [(d, s) for d in (1, 2) for s in (0, 1, 2)]


def test_zipped_axes_advance_together_and_replace_the_plain_ones():
    tree = {
        "optimizer": {"learning_rate": [0.5]},
        "zip": [{"optimizer.learning_rate": [0.2, 0.01], "optimizer": {"weight_decay": [0.0, 0.1]}}],
        "seed": [0, 1],
    }
    runs = expand_runs(BASE, parse_axes(tree, BASE))
    pairs = [(r.optimizer.learning_rate, r.optimizer.weight_decay) for r in runs]
    assert sorted(set(pairs)) == [(0.01, 0.1), (0.2, 0.0)]
    assert len(runs) == 4


def test_width_follows_n():
    tree = {"data": {"num_samples": [8, 16]}, "model": {"width": "4n"}}
    assert values(tree, "model.width") == [32, 64]
    assert values({"data": {"num_samples": [8]}, "model": {"width": ["n", "0.5n", 3]}}, "model.width") == [8, 4, 3]


def test_runs_that_come_out_alike_are_one():
    assert values({"model": {"width": ["2n", 256, 7]}}, "model.width") == [256, 7]


@pytest.mark.parametrize(
    ("tree", "field"),
    [
        ({"optimizer": {"learnin_rate": [1.0]}}, "sweep.optimizer.learnin_rate"),
        ({"seed": []}, "sweep.seed"),
        ({"seed": {"range": [3, 3]}}, "sweep.seed"),
        ({"seed": [1, 1, 2]}, "sweep.seed"),
        ({"seed": {"logspace": [1, 2]}}, "sweep.seed"),
        ({"optimizer": {"learning_rate": {"logspace": [0, 1, 3]}}}, "sweep.optimizer.learning_rate"),
        ({"zip": [{"seed": [0, 1], "steps": [1]}]}, "sweep.zip"),
        ({"seed": ["a"]}, "seed"),
        ({"optimizer": {"learning_rate": [True]}}, "optimizer.learning_rate"),
        ({"model": {"width": ["4m"]}}, "model.width"),
        ({"model": {"width": [-4]}}, "model.width"),
        ({"data": {"num_samples": [0]}}, "data.num_samples"),
    ],
)
def test_a_bad_axis_names_its_field(tree, field):
    with pytest.raises(InputError) as error:
        for run in expand_runs(BASE, parse_axes(tree, BASE)):
            run.check()
    assert error.value.field == field


def test_a_misspelt_axis_is_answered_with_the_nearest_field():
    with pytest.raises(InputError, match=r"did you mean 'optimizer\.learning_rate'"):
        parse_axes({"optimizer": {"learnin_rate": [1.0]}}, BASE)


def test_an_axis_laid_over_another_replaces_it_whole():
    base = {"seed": {"range": [0, 5]}, "data": {"input_dim": [1], "num_samples": [2]}}
    assert merge_axes(base, {"seed": [9], "data": {"input_dim": {"range": 3}}}) == {
        "seed": [9],
        "data": {"input_dim": {"range": 3}, "num_samples": [2]},
    }
    assert merge_axes({"seed": {"range": [0, 5]}}, {"seed": {"linspace": [0, 1, 2]}}) == {"seed": {"linspace": [0, 1, 2]}}


def test_identity_is_a_hash_of_the_content_and_of_nothing_else():
    a, b = expand_runs(BASE, parse_axes({"seed": [0, 1]}, BASE))
    assert specs.run_id(a) != specs.run_id(b)
    again = expand_runs(BASE, parse_axes({"zip": [{"seed": [1, 0]}]}, BASE))
    assert {specs.run_id(r) for r in again} == {specs.run_id(a), specs.run_id(b)}
    whole = specs.put(BASE, {"optimizer.learning_rate": 1})
    assert specs.run_id(whole) == specs.run_id(specs.put(BASE, {"optimizer.learning_rate": 1.0}))


def test_runs_that_differ_in_swept_scalars_share_a_family_and_others_do_not():
    first = BASE.resolve()
    same = specs.put(first, {"optimizer.learning_rate": 0.7, "data.noise_std": 0.1, "seed": 3})
    assert specs.family(first) == specs.family(same)
    assert specs.family(first) == specs.family(specs.put(first, {"data.num_samples": 7}))  # a size: another shape
    assert specs.family(first) != specs.family(specs.put(first, {"model.activation": "gelu"}))
    assert specs.family(first) != specs.family(specs.put(first, {"steps": 7}))


def test_the_static_part_of_a_spec_has_no_scalar_left_to_close_over():
    static = specs.static(BASE.resolve())
    assert all(np.isnan(specs.get(static, path)) for path in specs.swept(TrainingSpec))
