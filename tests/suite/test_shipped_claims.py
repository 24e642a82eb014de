"""The claims of all shipped experiments: every one has a control of a stated kind,
and none is the claim read backwards.

That `holds` needs a control that is rejected is a matter of `judge` (`tests/analysis/test_claims.py`), the one place
where claims are made; `make smoke` looks at the claims that come out.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from dynamics.study.experiments import experiment_module, experiment_names

ANALYSIS = Path(__file__).resolve().parents[2] / "dynamics" / "analysis"
KINDS = {"null", "neighbour", "treatment"}


def find_complaints(source: str) -> list[str]:
    """Return what is wrong with the controls in a module's source: a kind that is not stated, a claim made by hand."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {keyword.arg for keyword in node.keywords}
        if name == "compare" and len(given & KINDS) != 1 and None not in given:
            found.append(f"line {node.lineno}: compare() with the kinds {sorted(given & KINDS)} and not one of {sorted(KINDS)}")
        if name in ("Claim", "Evidence"):
            found.append(f"line {node.lineno}: {name}()")
    return found


@pytest.mark.parametrize("name", experiment_names())
def test_every_control_of_an_experiment_has_a_kind_and_none_is_the_claim_read_backwards(name):
    complaints = find_complaints(Path(str(experiment_module(name).__file__)).read_text())
    assert complaints == []


def test_every_control_of_the_words_has_a_kind():
    own = {"claims.py", "controls.py", "overlays.py", "claim_files.py"}  # where claims and evidence are made and read
    found = {file.name: find_complaints(file.read_text()) for file in ANALYSIS.glob("*.py") if file.name not in own}
    assert {name: complaints for name, complaints in found.items() if complaints} == {}


@pytest.mark.parametrize(
    "source, complaints",
    [
        ("an.compare(f, x, null={'n': y})", 0),
        ("compare(f, x, treatment=other, metric='m')", 0),
        ("an.compare(f, x, control={'n': y})", 1),
        ("an.compare(f, x, null=a, neighbour=b)", 1),
        ("an.Claim(id='a')", 1),
    ],
)
def test_what_is_complained_of(source, complaints):
    assert len(find_complaints(source)) == complaints
