"""The runner of `make smoke`: what it runs, what it holds experiments to, and what it tells of those that fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import smoke

NAME = "atlas/catapult"


def run_smoke(output: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, smoke.__file__, "--workers", "1", "--output", str(output), "--only", NAME, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The output folder of an experiment that has run."""
    folder = tmp_path_factory.mktemp("smoke")
    done = run_smoke(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 experiments" in done.stdout and "0 failed" in done.stdout
    return folder


def test_all_experiments_are_meant():
    from dynamics.study.experiments import experiment_names

    assert set(smoke.experiment_names()) == set(experiment_names())
    assert set(smoke.LONGEST) <= set(experiment_names())


def test_an_experiment_leaves_its_results_and_its_log(finished):
    assert smoke.broken_contract(NAME, finished, (finished / f"{NAME}.log").read_text()) == []
    assert list((finished / "results" / NAME / "parts").iterdir())


def changed_claim(**fields):
    def change(stem: Path, printed: str) -> str:
        file = stem.with_name(stem.name + ".claims.json")
        content = json.loads(file.read_text())
        content["claims"][0].update(fields)
        file.write_text(json.dumps(content))
        return printed

    return change


def without_figure(stem: Path, printed: str) -> str:
    stem.with_suffix(".pdf").write_bytes(b"")
    return printed


BROKEN = {
    "an empty figure": (without_figure, "is missing or empty"),
    "a warning first": (lambda stem, printed: f"warning: hot\n{printed}", "printed first"),
    "no control": (changed_claim(control=""), "has no negative control"),
    "a control of no kind": (changed_claim(control_kind=""), "has no negative control of a stated kind"),
    "an unknown outcome of the control": (changed_claim(control_outcome="perhaps"), "its control is perhaps"),
    "a claim that holds though it should not": (changed_claim(verdict="holds", control_outcome="not rejected"), "holds though"),
    "an unknown verdict": (changed_claim(verdict="perhaps"), "the verdict is perhaps"),
    "a control that is the claim": (
        changed_claim(measured=2.0, low=1.0, high=3.0, control_measured=2.0, control_low=1.0, control_high=3.0),
        "the very numbers",
    ),
    "a claim that nobody printed": (changed_claim(id="another/one"), "not in the table"),
}


def complaints_after(change, finished: Path, folder: Path) -> list[str]:
    """What the contract says of a copy of the finished experiment that has been changed."""
    subprocess.run(["cp", "-r", str(finished / "figures"), str(folder / "figures")], check=True)
    printed = change(folder / "figures" / "smoke" / NAME, (finished / f"{NAME}.log").read_text())
    return smoke.broken_contract(NAME, folder, printed)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_contract_is_told(finished, tmp_path, name):
    change, told = BROKEN[name]
    assert any(told in complaint for complaint in complaints_after(change, finished, tmp_path))


def test_a_claim_that_could_not_be_measured_is_not_taken_for_its_control(finished, tmp_path):
    numbers = ("measured", "low", "high", "control_measured", "control_low", "control_high")
    change = changed_claim(**dict.fromkeys(numbers), verdict="inconclusive", control_outcome="says nothing")
    assert complaints_after(change, finished, tmp_path) == []


def test_a_command_that_fails_is_listed_with_its_error_and_the_exit_code_is_one(tmp_path):
    done = run_smoke(tmp_path, "steps=-1")
    assert done.returncode == 1
    assert f"{NAME}: see {tmp_path / NAME}.log" in done.stdout and "error: steps = -1" in done.stdout


def test_a_worker_that_dies_is_told_and_gone(tmp_path):
    worker = smoke.Worker(tmp_path, [])
    os.kill(worker.process.pid, 9)
    outcome = worker.run(NAME)
    assert outcome.complaints == ["its process ended with -9"] and not worker.may_go_on
