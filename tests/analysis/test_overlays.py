"""Predictions over simulations: deviations by hand, the claim from the very numbers that are drawn,
and what is refused."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from fake_studies import fake_study

import dynamics.analysis.words as an
from dynamics.errors import InputError

X = [1.0, 2.0, 3.0]
SEEN = np.array([[1.0, 2.0, 3.0], [1.0, 2.2, 2.7], [1.4, 2.0, 3.0], [1.0, 2.0, 3.6], [0.9, 2.0, 3.0]])  # five seeds
LAW = np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "residual, size, each",
    [
        ("difference", "largest", [0, 0.3, 0.4, 0.6, 0.1]),
        ("relative", "largest", [0, 0.1, 0.4, 0.2, 0.1]),
        ("range", "largest", [0, 0.15, 0.2, 0.3, 0.05]),
        ("log", "largest", np.log([1, 1 / 0.9, 1.4, 1.2, 1 / 0.9])),
        ("difference", "root mean square", np.sqrt(np.array([0, 0.04 + 0.09, 0.16, 0.36, 0.01]) / 3)),
    ],
)
def test_the_deviation_is_the_median_over_seeds(residual, size, each):
    found = an.Overlay(X, SEEN, LAW, residual=residual, size=size).deviation()
    expected = an.median_over_seeds(np.array(each))
    assert tuple(found) == pytest.approx(tuple(expected)) and found.value == pytest.approx(np.median(each)) and found.seeds == 5
    alone = an.Overlay(X, SEEN[1], LAW, residual=residual, size=size).deviation()
    assert isinstance(alone, float) and alone == pytest.approx(each[1])


def test_a_seed_may_have_a_prediction_of_its_own_and_be_lost():
    own = an.Overlay(X, SEEN, SEEN - [[0.1], [0.2], [0.3], [0.4], [0.5]])
    assert own.deviation().value == pytest.approx(0.3)
    lost = SEEN.copy()
    lost[0, 2], lost[1, 0] = np.inf, np.nan  # diverged: the worst of all; no value: dropped
    found = an.Overlay(X, lost, LAW).deviation()
    assert found.value == pytest.approx((0.4 + 0.6) / 2) and found.left_out == 2 and found.seeds == 4 and found.high == np.inf


def test_the_claim_and_its_control_are_judged_by_what_is_drawn():
    seen = an.Overlay(X, SEEN, LAW, control=2 * LAW, control_text="twice as much", residual="relative")
    words = {"id": "x", "source": "Somebody 2020", "statement": "", "evidence": seen.evidence()}
    wide, claim = (an.judge(expects=an.at_most(bound, of="deviation"), **words) for bound in (0.42, 0.3))
    assert (wide.verdict, claim.verdict) == ("holds", "inconclusive")  # of five seeds the interval goes to the worst, 0.4
    assert claim.measured == pytest.approx(0.1) and claim.control_measured == pytest.approx(0.5)
    above, below = an.add_overlay_axes(an.new_figure(4, 3))
    seen.draw(above, below, label="nets", allowed=0.42)
    drawn = {line.get_label(): line.get_ydata() for line in above.lines}
    assert drawn["nets"].tolist() == np.median(SEEN, axis=0).tolist() and drawn["prediction"].tolist() == LAW.tolist()
    assert drawn["twice as much"].tolist() == (2 * LAW).tolist()
    beneath = below.lines[0].get_ydata()
    assert beneath.tolist() == np.median(seen.residuals, axis=0).tolist()
    band = below.collections[0].get_paths()[0].vertices[:, 1]
    assert max(abs(band)) == pytest.approx(np.abs(seen.residuals).max())
    table = seen.table()
    assert table["residual"].to_list() == beneath.tolist() and table["high"].to_list() == SEEN.max(axis=0).tolist()
    assert below.get_shared_x_axes().joined(above, below) and below.get_ylabel() == "relative difference"


def test_another_simulation_may_be_the_control():
    evidence = an.compare(an.measure_deviation, an.Overlay(X, SEEN, LAW), treatment={"others": an.Overlay(X, SEEN + 1, LAW)})
    assert evidence.control.value == pytest.approx(1.2) and evidence.control_kind == "treatment"


@pytest.mark.parametrize(
    "change, field",
    [
        ({"x": 1.0}, "x"),
        ({"simulated": SEEN[:, :2]}, "simulated"),
        ({"predicted": LAW[:2]}, "predicted"),
        ({"predicted": SEEN[:3]}, "predicted"),
        ({"predicted": [1.0, np.inf, 2.0]}, "predicted"),
        ({"control": LAW}, "control_text"),
        ({"control": [1.0], "control_text": "one"}, "control"),
        ({"control_kind": "other"}, "control_kind"),
        ({"residual": "percent"}, "residual"),
        ({"size": "mean"}, "size"),
    ],
)
def test_bad_input_of_overlays_is_refused(change, field):
    with pytest.raises(InputError) as error:
        an.Overlay(**{"x": X, "simulated": SEEN, "predicted": LAW, **change})
    assert error.value.field == field


def test_a_claim_wants_a_control():
    with pytest.raises(InputError, match="control"):
        an.Overlay(X, SEEN, LAW).evidence()


def test_curves_of_a_study_have_a_row_a_seed():
    study = fake_study("stable_minima/rates", "size=smoke", columns={"train_loss": lambda run, step: run.seed + step / 100})
    part = study.select(panel="stable", input_dim=study.values("input_dim")[0], num_samples=study.values("num_samples")[0])
    steps, curves = an.read_curves(part, "train_loss")
    seeds = part.values("seed")
    expected = np.array(seeds)[:, None] + steps / 100
    assert curves.tolist() == expected.tolist()
    lost = pl.col("seed") == seeds[-1]
    ended = replace(
        part,
        runs=part.runs.with_columns(status=pl.when(lost).then(pl.lit("diverged")).otherwise("status")),
        records=part.records.filter(~lost | (pl.col("step") < steps[-1])),
    )
    expected[-1, -1] = np.inf
    assert an.read_curves(ended, "train_loss")[1].tolist() == expected.tolist()


def test_kernels_of_a_study_are_followed_from_each_runs_first_outputs():
    """By hand: one training point of kernel 2 or 4, one to test on of kernel 1; loss half the square; rate 1/4."""
    kernels, first = np.array([[[2.0], [1.0]], [[4.0], [1.0]]]), np.array([[0.0, 0.0], [3.0, 5.0]])
    found = an.follow_kernels(kernels, np.array([1.0]), first, np.array([0, 1, 2]), 0.25, 0.5)
    assert found[0].tolist() == [[0, 0], [0.5, 0.25], [0.75, 0.375]]
    assert found[1].tolist() == [[3, 5], [1, 4.5], [1, 4.5]]
    assert an.linearize(kernels[1], np.array([1.0]), first[1], 0.5).largest_learning_rate == 0.5
