"""Finished runs looked at again: their parameters, their data, their neurons; and the stability claims over a study."""

from __future__ import annotations

import shutil

import jax
import numpy as np
import pytest
from oracles import path_norms, two_sided_weight

from dynamics.analysis.bounds import HOLDS
from dynamics.analysis.claims import REJECTED
from dynamics.analysis.neuron_tables import tabulate_neurons
from dynamics.analysis.stability_claims import CHECKS, ROUNDING, judge_stability
from dynamics.errors import InputError
from dynamics.measures.table import MEASURES
from dynamics.measures.view import View
from dynamics.study.config import compose
from dynamics.study.reload import final_state, restart, views
from dynamics.study.run import load_study, open_store, open_study, plan_study, run_study

MEASURED = ["train_loss", "excess_risk", "activation_statistics", "path_norms", "stability_checks"]
OVERRIDES = [
    "size=smoke",
    "steps=40",
    "record.at=[10]",
    "precision=float64",
    "~panels.low_norm",
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
    assert len(study.runs) == 2 and len(plan.groups) == 1


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


def test_stability_claims_of_a_study_that_was_run_do_not_fail_and_say_what_they_catch(study):
    """2 runs at steps 0, 10 and 40; all but C1 once more with the labels that the nets fit."""
    claims = {claim.id.removeprefix("rates/"): claim for claim in judge_stability(study, "rates")}
    assert set(claims) == set(CHECKS)
    for check, count in {"c1": 6, "c2": 12, "c3": 12}.items():
        claim = claims[check]
        assert claim.measured >= -ROUNDING["float32"] and f"{count} checks" in claim.statement
        assert (claim.verdict == HOLDS) == (claim.control_outcome == REJECTED) == (claim.margin < 2)
        assert claim.catches.startswith(f"g larger by a factor of {claim.margin:.4g}")
