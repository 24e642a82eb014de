"""What a loss of classes asks of labels and measures, label noise for classes,
and the squared loss's mean over outputs."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change
from patch_nets import CLASSES

import dynamics as dyn
from dynamics.core import spec as specs
from dynamics.data.problem import DataSpec, TargetSpec
from dynamics.errors import InputError
from dynamics.measures.measure import measure
from dynamics.measures.table import MEASURES
from dynamics.models.losses import LossSpec
from dynamics.systems.flat_search import FlatSearchSpec
from dynamics.systems.training import DEFAULT_MEASURES, DEFAULT_OF_CLASSES, TrainingSpec

OF_VALUES = [name for name, each in MEASURES.items() if "values" in each.needs]
CLEAN = change(CLASSES, data__flip_probability=0.0)
REGRESSION = TrainingSpec(data=DataSpec(num_samples=8))
REFUSED = {
    "noise that is added": (
        CLASSES,
        {"data__noise_std": 1.0},
        "data.noise_std = 1.0: loss.kind = cross_entropy has no minimum",
    ),
    "labels that are vectors": (
        CLEAN,
        {
            "data": DataSpec("vocabulary", 20, patch_dim=5, components=2, noise_std=0.0),
            "target": TargetSpec("parts"),
            "model": dyn.Model(width=3),
        },
        "target.kind = 'parts': loss.kind = cross_entropy wants labels that are shares of classes",
    ),
    **{
        f"{name} of classes": (CLASSES, {"measures": [name]}, f"measures = '{name}': needs a loss of values")
        for name in OF_VALUES
    },
    "flips of values": (REGRESSION, {"data__flip_probability": 0.1}, "data.flip_probability = 0.1: needs a target.kind"),
    "flips of one class": (
        REGRESSION,
        {"data__flip_probability": 0.1, "target": TargetSpec("part_index")},
        "data.flip_probability = 0.1: needs a target.kind that goes by the class",
    ),
    "flips in another system": (FlatSearchSpec(), {"data__flip_probability": 0.1}, "data.flip_probability = 0.1: needs"),
    "more flips than labels": (CLASSES, {"data__flip_probability": 1.5}, "data.flip_probability = 1.5: must be a number"),
    "a gap of flipped labels": (
        CLASSES,
        {"loss": LossSpec(), "measures": ["generalization_gap"]},
        "measures = 'generalization_gap': needs label noise that is added",
    ),
    "a mean over one output": (REGRESSION, {"loss": LossSpec("mean")}, "loss.normalization = 'mean': is the mean over several"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_a_loss_is_refused_in_one_line(case):
    run, values, message = REFUSED[case]
    run.resolve().check()
    with pytest.raises(InputError) as error:
        change(run, **values).resolve().check()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_every_measure_that_compares_predictions_with_values_needs_such_a_loss():
    assert set(OF_VALUES) == {"clean_train_error", "excess_risk", "generalization_gap"}


def test_default_measures_go_with_the_loss_and_count_by_their_names():
    usual, classes = TrainingSpec(), change(CLASSES, measures=["default"])
    assert tuple(usual.resolve().measures) == DEFAULT_MEASURES
    assert tuple(classes.resolve().measures) == DEFAULT_OF_CLASSES and not set(DEFAULT_OF_CLASSES) & set(OF_VALUES)
    classes.resolve().check()
    more = change(usual, measures=["sharpness", "default", "train_loss"]).resolve()
    assert tuple(more.measures) == ("sharpness", *DEFAULT_MEASURES)
    named = change(usual, measures=list(DEFAULT_MEASURES))
    assert specs.run_id(specs.freeze(usual.resolve())) == specs.run_id(specs.freeze(named.resolve()))


@pytest.fixture
def linear(rng):
    """(net, inputs, labels (n, C) that are shares of three classes), of a linear map in double precision."""
    labels = np.eye(3)[rng.integers(3, size=7)]
    return (rng.normal(size=(2, 3)), _apply), rng.normal(size=(7, 2)), labels


def _apply(weights, x):
    return jnp.asarray(x) @ weights


def test_the_mean_over_outputs_is_pytorchs_mean_squared_error(linear):
    """torch.nn.MSELoss averages over all entries; `mse` sums over outputs and is C times that."""
    (weights, _), x, y = linear
    seen = {how: measure(linear[0], x, y, ["train_loss", "gradient_norm"], normalization=how) for how in ("mean", "mse")}
    error = x @ weights - y
    assert seen["mean"]["train_loss"] == pytest.approx(np.mean(error**2), rel=1e-12)
    assert seen["mean"]["gradient_norm"] == pytest.approx(np.linalg.norm(2 * x.T @ error / error.size), rel=1e-12)
    assert seen["mse"]["train_loss"] == pytest.approx(3 * seen["mean"]["train_loss"], rel=1e-12)
    outputs = change(CLASSES, loss=LossSpec("mean"))
    assert (outputs.loss_factor, outputs.derived_columns()) == (0.1, {"loss_factor": 0.1})
    assert [LossSpec(how).factor(5) for how in ("mse", "half", "mean")] == [1, 0.5, 0.2]
    assert LossSpec("mean", "cross_entropy").factor(5) == 1


WRONG_LABELS = {
    "scalars": ({"labels": np.ones(7)}, "loss = 'cross_entropy of labels (7,)'"),
    "no shares": ({"labels": 2 * np.eye(3)[[0] * 7]}, "labels = [[2.0, 0.0, 0.0]]: must be"),
    "negative": ({"clean": np.tile([1.5, -0.5, 0.0], (7, 1))}, "clean = [[1.5, -0.5, 0.0]]: must be"),
    "noise": ({"noise_std": 0.5}, "noise_std = 0.5: is of labels that are values"),
    "squares": ({"measures": "generalization_gap"}, "measures = 'generalization_gap': needs a loss of values"),
}


@pytest.mark.parametrize("case", WRONG_LABELS)
def test_labels_of_ones_own_are_classes_where_the_loss_is_of_classes(linear, case):
    net, x, y = linear
    values, message = WRONG_LABELS[case]
    given = {"labels": y, "measures": "train_loss", **({} if case == "scalars" else {"test": (x, y)}), **values}
    with pytest.raises(InputError) as error:
        measure((net[0][:, 0] if case == "scalars" else net[0], _apply), x, loss="cross_entropy", **given)
    assert str(error.value).startswith(message)
