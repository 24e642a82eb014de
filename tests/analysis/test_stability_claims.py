"""The stability theory's inequalities as claims: slacks by hand, the factor of g that they catch, and the loss term."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from dynamics.analysis.bounds import FAILS, HOLDS, INCONCLUSIVE
from dynamics.analysis.controls import NOT_REJECTED, REJECTED
from dynamics.analysis.stability_claims import ROUNDING, judge_stability, read_slacks
from dynamics.study.tables import Study

ETA, RADIUS = 0.25, 1.0


def record(norm: float, gauss_newton: float, *, hessian: float | None = None, error: float = 0.0, below: bool = True) -> dict:
    """A record of a net with sum |a| g = sum |a| g~ = norm; error is sqrt(2L). Theory units."""
    hessian = gauss_newton if hessian is None else hessian
    flat, far = hessian / 2 - 0.5 - norm, (RADIUS + 1) * error
    return {
        "path_norm": 2 * norm,
        "weighted_path_norm": norm,
        "one_sided_path_norm": norm,
        "c1_slack": gauss_newton - 1 - 2 * norm,
        "c2_slack": flat + np.sqrt(1 + RADIUS**2) / 2 * error,
        "c3_slack": flat + far,
        "corollary_slack": 1 / ETA - 0.5 - norm + far if below else np.nan,
        "stationary_slack": flat,
        "c1_scale": gauss_newton,
        "c3_scale": hessian / 2 + far,
    }


def study_of(*records: dict, precision: str = "float64") -> Study:
    runs = pl.DataFrame({"run": ["a"], "panel": ["p"], "precision": [precision], "seed": [0]})
    rows = pl.DataFrame([{"run": "a", "step": i, **row} for i, row in enumerate(records)])
    return Study("paper/name", "smoke", runs, rows, None, {})  # type: ignore[arg-type]


def judged(*records: dict) -> dict:
    return {claim.id.removeprefix("name/"): claim for claim in judge_stability(study_of(*records), "name")}


def test_nets_near_equality_catch_a_weight_function_that_is_ten_per_cent_too_large():
    """lambda_GN = 1 + 2 * 1.05 * norm: g may be 1.05 times as large, and no more."""
    claims = judged(record(1.0, 3.1), record(0.1, 3.0))
    for check in ("c1", "c2", "c3"):
        claim = claims[check]
        assert (claim.verdict, claim.control_outcome, claim.control) == (HOLDS, REJECTED, "g larger by a factor of 1.1")
        assert claim.margin == pytest.approx(1.05) and claim.catches.startswith("g larger by a factor of 1.05")
    assert claims["c1"].theorem != claims["c2"].theorem


def test_nets_farther_from_equality_catch_a_factor_of_two_or_nothing():
    twice = judged(record(1.0, 4.0))["c3"]  # (4 - 1) / 2 = 1.5
    assert (twice.verdict, twice.control, twice.margin) == (HOLDS, "g larger by a factor of 2", pytest.approx(1.5))
    far = judged(record(1.0, 9.0))["c3"]  # (9 - 1) / 2 = 4
    assert (far.verdict, far.control_outcome, far.margin) == (INCONCLUSIVE, NOT_REJECTED, pytest.approx(4))


@pytest.mark.parametrize("precision", list(ROUNDING))
def test_a_violation_beyond_rounding_fails_and_one_within_it_holds(precision):
    for size, verdict in ((0.9, HOLDS), (1.1, FAILS)):
        slack = -size * ROUNDING[precision]
        (claim, *_) = judge_stability(study_of({**record(1.0, 3.0), "c1_slack": 3.0 * slack}, precision=precision), "name")
        assert claim.verdict == verdict and claim.measured == pytest.approx(slack)


def test_a_record_counts_once_in_however_many_panels_it_is():
    study = study_of(record(1.0, 3.1), record(1.0, 4.0))
    twice = replace(study, records=pl.concat([study.records, study.records]))
    assert len(read_slacks(twice, "c1").slack) == 2 and len(read_slacks(twice, "c3").slack) == 4


def test_nets_without_a_norm_and_a_corollary_that_never_applied_confirm_nothing():
    for claims in (judged(record(0.0, 1.0)), {"corollary": judged(record(1.0, 3.1, below=False))["corollary"]}):
        assert {claim.verdict for claim in claims.values()} == {INCONCLUSIVE}


def test_a_violation_fails_and_a_study_without_the_columns_says_nothing():
    assert judged(record(1.0, 2.9))["c1"].verdict == FAILS
    empty = judge_stability(study_of({"train_loss": 1.0}), "name")
    assert {claim.verdict for claim in empty} == {INCONCLUSIVE} and {claim.catches for claim in empty} == {"nothing"}


def test_labels_that_the_net_fits_take_the_loss_term_away():
    """norm 1, lambda_GN 3.1, and a loss with which the slack of C3 is far from 0; fitted labels bring it to 0.05."""
    study = study_of(record(1.0, 3.1, hessian=2.9, error=5.0))
    slack, weight, needed = read_slacks(study, "c3")
    assert slack == pytest.approx([(1.45 - 1.5 + 10) / 11.45, 0.05 / 1.55]) and weight == pytest.approx([1 / 11.45, 1 / 1.55])
    assert needed == pytest.approx(0.005)  # 2.9 / 2 - 1/2 - 1 = -0.05 of a loss term of 10
    claim = judge_stability(study, "name")[2]
    assert claim.verdict == HOLDS and "a loss term of less than 0.5 %" in claim.catches


def test_the_corollary_is_checked_at_the_runs_own_rate_where_the_fitted_net_is_below_the_edge():
    """eta = 1/4: 1/eta - 1/2 = 3.5. A net with lambda_GN <= 8 counts twice, one beyond with its own labels alone."""
    slack, _, _ = read_slacks(study_of(record(3.0, 7.9, error=0.1)), "corollary")
    assert slack == pytest.approx([(0.5 + 0.2) / (3.95 + 0.2), 0.5 / 3.95])
    slack, _, _ = read_slacks(study_of(record(3.0, 8.1, hessian=7.9, error=0.1)), "corollary")
    assert slack == pytest.approx([(0.5 + 0.2) / (3.95 + 0.2)])
    assert len(read_slacks(study_of(record(3.0, 7.9, below=False)), "corollary").slack) == 0
