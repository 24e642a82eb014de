"""Finished runs looked at again: their parameters, their data, their neurons; and the stability claims over a study."""

from __future__ import annotations

import shutil

import jax
import numpy as np
import polars as pl
import pytest
from oracles import path_norms, two_sided_weight

from dynamics.analysis.bounds import FAILS, HOLDS, INCONCLUSIVE
from dynamics.analysis.claims import REJECTED
from dynamics.analysis.neuron_tables import tabulate_neurons
from dynamics.analysis.stability_claims import CHECKS, ROUNDING, judge_stability, read_slacks
from dynamics.errors import InputError
from dynamics.measures.table import MEASURES
from dynamics.measures.view import View
from dynamics.study.config import compose
from dynamics.study.reload import final_state, restart, views
from dynamics.study.run import load_study, open_store, open_study, plan_study, run_study
from dynamics.study.tables import Study

MEASURED = ["train_loss", "excess_risk", "activation_statistics", "path_norms", "stability_checks"]
OVERRIDES = [
    "size=smoke",
    "steps=40",
    "record.at=[10]",
    "precision=float64",
    "sweep.seed=[3]",
    "sweep.data={}",
    "sweep.zip=[{data.num_samples: [10, 13], data.input_dim: [3, 1]}]",
    f"measures=[{','.join(MEASURED)}]",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("revisit")


@pytest.fixture(scope="module")
def found(folder):
    request = compose("stable_minima/rates", *OVERRIDES, f"output={folder}", "save_final=true")
    store = open_store(request)
    plan = plan_study(request, store)
    run_study(plan, store, request.settings)
    return load_study(request, store), plan


@pytest.fixture(scope="module")
def study(found):
    return found[0]


@pytest.fixture(scope="module")
def seen(study):
    """Of every run its final parameters, its inputs and its labels."""
    return {run: (view.params, *map(np.asarray, view.problem.train[:2])) for run, view in views(study)}


def test_runs_of_several_sizes_were_padded_into_one_program(found):
    """Else the cutting off of padding would go untested below."""
    study, plan = found
    assert len(study.runs) == 4 and len(plan.groups) == 1


def test_parameters_and_data_are_those_of_the_run_at_its_true_size(study, seen):
    assert set(seen) == set(study.runs["run"])
    for run, (params, x, y) in seen.items():
        spec = study.specs[run]
        n, d = spec.data.num_samples, spec.data.input_dim
        assert (params.hidden.shape, params.readout.shape) == ((d + 1, 4 * n), (4 * n,))
        assert (x.shape, y.shape) == ((n, d), (n,))
        assert all(np.all(np.asarray(leaf) != 0) for leaf in params)


def test_what_is_computed_again_is_what_was_recorded(study, seen, x64):
    """Plain numpy for the loss and the path norms, the measures themselves for one run."""
    final = {row["run"]: row for row in study.final.iter_rows(named=True)}
    for run, (params, x, y) in seen.items():
        hidden, readout = np.asarray(params.hidden), np.asarray(params.readout)
        f = np.maximum(x @ hidden[1:] + hidden[0], 0) @ readout + float(params.offset)
        assert np.mean((f - y) ** 2) == pytest.approx(final[run]["train_loss"], rel=1e-10)
        for name, value in zip(("path_norm", "weighted_path_norm", "one_sided_path_norm"), path_norms(params, x), strict=True):
            assert value == pytest.approx(final[run][name], rel=1e-9)
    run, view = next(iter(views(study)))
    fixed, state = final_state(study, run)

    @jax.jit
    def measured(params):
        looking = View(view.model, params, fixed, view.factor)
        return {name: value for measure in MEASURED for name, value in MEASURES[measure](looking).items()}

    for name, value in measured(state.params).items():
        np.testing.assert_allclose(float(value), final[run][name], rtol=1e-7, atol=1e-9, err_msg=name)


def test_the_start_is_drawn_again_as_it_was(study, seen, x64):
    """The recorded step 0 is that of the restarted state; another seed starts elsewhere."""
    run = study.runs["run"][0]
    fixed, state = restart(study.specs[run])
    x, y = np.asarray(fixed.problem.train.inputs), np.asarray(fixed.problem.train.labels)
    hidden, readout = np.asarray(state.params.hidden), np.asarray(state.params.readout)
    f = np.maximum(x @ hidden[1:] + hidden[0], 0) @ readout + float(state.params.offset)
    start = study.records.filter(run=run, step=0)["train_loss"].item()
    assert np.mean((f - y) ** 2) == pytest.approx(start, rel=1e-10)
    assert start != pytest.approx(study.records.filter(run=run, step=40)["train_loss"].item(), rel=1e-3)


def test_without_saved_parameters_it_says_what_to_do(study, folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for finals in tmp_path.rglob("final"):
        shutil.rmtree(finals)
    bare = open_study("stable_minima/rates", *OVERRIDES, f"output={tmp_path}")
    with pytest.raises(InputError, match="save_final=true"):
        next(views(bare))


def test_neuron_table_has_every_neuron_as_numpy_finds_it(study, seen):
    table = tabulate_neurons(study)
    assert len(table) == sum(len(params.readout) for params, *_ in seen.values())
    for run, (params, x, _) in seen.items():
        hidden, readout = np.asarray(params.hidden), np.asarray(params.readout)
        own = table.filter(run=run)
        assert own["neuron"].to_list() == list(range(len(readout)))
        norm = np.linalg.norm(hidden[1:], axis=0)
        weights = [two_sided_weight(x, hidden[1:, k] / norm[k], -hidden[0, k] / norm[k]) for k in range(len(norm))]
        expected = {
            "rate": np.mean(x @ hidden[1:] + hidden[0] > 0, axis=0),
            "weight_norm": norm,
            "readout": readout,
            "path": np.abs(readout) * norm,
            "weight": weights,
            "offset": -hidden[0] / norm,
            "radius": np.full(len(norm), np.linalg.norm(x, axis=1).max()),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(own[name], value, rtol=1e-9, atol=1e-14, err_msg=name)


# Claims


def test_stability_claims_of_a_study_that_was_run_hold_and_their_controls_do_not(study):
    claims = {claim.id: claim for claim in judge_stability(study, "rates")}
    assert set(claims) == {f"rates/{check}" for check in CHECKS}
    for check in ("c1", "c2", "c3"):
        claim = claims[f"rates/{check}"]
        assert claim.verdict == HOLDS and claim.control_outcome == REJECTED
        assert "12 checks" in claim.statement  # 4 runs at steps 0, 10 and 40


def by_hand(precision="float64", **columns):
    """A study of one run with three records; `columns` replaces what was recorded. A panel more repeats the rows."""
    values = {
        "c1_slack": [1.0, 2.0, 4.0],
        "c2_slack": [0.5, 0.5, 0.5],
        "c3_slack": [3.0, 2.0, 1.0],
        "corollary_slack": [np.nan, 0.2, 0.4],
        "c1_scale": [2.0, 2.0, 2.0],
        "c3_scale": [4.0, 4.0, 4.0],
        "path_norm": [10.0, 10.0, 10.0],
        "weighted_path_norm": [1.0, 2.0, 1.0],
        "one_sided_path_norm": [2.0, 3.0, 2.0],
    } | columns
    records = pl.DataFrame({"panel": ["p"] * 3, "run": ["a"] * 3, "step": [0, 1, 2], **values})
    twice = pl.concat([records, records.with_columns(panel=pl.lit("q"))])
    runs = pl.DataFrame({"panel": ["p", "q"], "run": ["a", "a"], "precision": [precision] * 2})
    return Study("by hand", "smoke", runs, twice, None, {})  # type: ignore[arg-type]


def test_slacks_by_hand():
    """Each record once, however many panels it is in; over the check's own scale; g = 1 adds back what g took off."""
    study = by_hand()
    assert sorted(read_slacks(study, "c1")) == [0.5, 1.0, 2.0]
    assert sorted(read_slacks(study, "c2")) == [0.125] * 3
    assert sorted(read_slacks(study, "c3")) == [0.25, 0.5, 0.75]
    assert sorted(read_slacks(study, "corollary")) == pytest.approx([0.05, 0.1])
    assert sorted(read_slacks(study, "c1", weighted=False)) == [-7.5, -6.0, -6.0]
    assert sorted(read_slacks(study, "c3", weighted=False)) == [-2.0, -1.5, -1.5]


def test_a_violation_beyond_rounding_fails_and_one_within_it_holds():
    for precision, rounding in ROUNDING.items():
        for size, verdict in ((0.9, HOLDS), (1.1, FAILS)):
            slack = [1.0, -size * rounding * 4.0, 2.0]
            claims = {c.id: c for c in judge_stability(by_hand(precision, c3_slack=slack), "x")}
            assert claims["x/c3"].verdict == verdict
            assert claims["x/c3"].measured == pytest.approx(-size * rounding)


def test_a_check_that_holds_without_the_weight_too_is_not_believed():
    """All path norms 0: the control cannot fail, so the claim says nothing."""
    nothing = dict.fromkeys(("path_norm", "weighted_path_norm", "one_sided_path_norm"), [0.0] * 3)
    assert {c.verdict for c in judge_stability(by_hand(**nothing), "x")} == {INCONCLUSIVE}


def test_a_corollary_that_never_applied_and_measures_that_were_not_taken_are_inconclusive():
    above = {c.id: c for c in judge_stability(by_hand(corollary_slack=[np.nan] * 3), "x")}
    assert above["x/corollary"].verdict == INCONCLUSIVE and "0 checks" in above["x/corollary"].statement
    study = by_hand()
    bare = Study("bare", "smoke", study.runs, study.records.select("panel", "run", "step"), None, {})  # type: ignore[arg-type]
    assert {c.verdict for c in judge_stability(bare, "x")} == {INCONCLUSIVE}
