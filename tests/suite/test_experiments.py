"""Every study can be planned at every size; `make smoke` runs them, and `tests/smoke.py` holds them to their contract.

`fixtures/run_identities.json` has, of every study shipped in November 2026 with fewer than 5000 runs, a hash over its
(panel, run identity) pairs in order, at the first version of every piece: later versions are made anew on purpose.
"""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from dynamics.core import spec as specs
from dynamics.core.spec import first_id
from dynamics.engine.plan import Machine
from dynamics.errors import InputError
from dynamics.study.analysis_needs import split_parts
from dynamics.study.config import compose
from dynamics.study.experiments import experiment_module, experiment_names
from dynamics.study.run import open_store, plan_study

IDENTITIES = json.loads((Path(__file__).parents[1] / "fixtures" / "run_identities.json").read_text())
FEWER = {  # of 41000 runs, which would take as long as all others together
    "stable_minima/concentration paper": ("sweep.seed={range: [0, 5]}", "panels.counts.seed={range: [0, 5]}"),
}
NAMES = experiment_names()
MACHINE = Machine("cpu", 2, 2.5e10, 2e-6, 3.5, 8e9, 5e4)


def test_configs_and_experiments_come_in_pairs():
    from dynamics.study.experiments import home

    files = {str(f.relative_to(home() / "experiments").with_suffix("")) for f in (home() / "experiments").rglob("*.py")}
    assert files == set(NAMES)


@pytest.mark.parametrize("size", ["smoke", "laptop", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_every_study_can_be_planned_and_its_runs_keep_their_identities(name, size, tmp_path):
    """If identities change, results that users have stored are no longer found.

    What figure and claims declare to need is checked on the smallest, and the memory that is planned on the largest.
    """
    request = compose(name, f"size={size}", f"output={tmp_path}", *FEWER.get(f"{name} {size}", ()))
    plan = plan_study(request, open_store(request))
    assert sum(len(group.runs) for group in plan.groups) == len({run for _, run in request.members})
    expected = IDENTITIES.get(f"{name} {size}")
    if expected is not None:
        members = [[panel, first_id(run)] for panel, runs in request.panels.items() for run in runs]
        digest = hashlib.sha256(json.dumps(members).encode()).hexdigest()[:16]
        assert {"runs": len(members), "hash": digest} == expected
    if size == "smoke":
        check_needs(name, request)
    if size == "paper":
        check_memory(max(plan.groups, key=lambda group: group.cost.bytes_resident))


def check_needs(name, request):
    """Every need that is declared is checked, and none of the shipped axes is unknown.

    Taken away one by one; that nothing else is needed is for `make smoke`, which has something to draw.
    """
    panels, needs = request.panels, request.needs
    needs.require_met(name, panels)
    assert list(split_parts(name, panels, needs)) == [""], "its own axes are known"
    needs = replace(needs, known=None)  # else its axes are looked at again each time

    def refused(panels: dict) -> str:
        with pytest.raises(InputError) as error:
            needs.require_met(name, panels)
        return error.value.allowed

    def changed(path: str, value) -> dict:
        return {panel: [specs.put(run, {path: value}) for run in runs] for panel, runs in panels.items()}

    for panel in needs.panels:
        assert f"panel {panel}" in refused({other: runs for other, runs in panels.items() if other != panel})
    last, (*others, run) = list(panels.items())[-1]
    for gone in needs.measures:  # from one run alone
        cut = specs.put(run, {"measures": tuple(measure for measure in run.measures if measure != gone)})
        assert f"the measure {gone};" in refused({**panels, last: [*others, cut]})
    for path in needs.axes:
        assert "at least two values" in refused(changed(path, specs.get(run, path)))
    if needs.seeds > 1:
        assert f"at least {needs.seeds} seeds" in refused(changed("seed", 0))


def check_memory(group):
    """What the plan says that a run keeps is half to twice what its shapes take, and one run by itself fits in 8 GB."""
    static, sizes = group.static, group.static.shape_fields
    with jax.enable_x64(static.precision == "float64"):
        hyper = {
            name: jax.ShapeDtypeStruct((), np.int32 if name in sizes else static.precision) for name in specs.hyper(static)
        }
        shared = {name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in static.shared_arrays().items()}
        begun = jax.eval_shape(static.dynamics().init, jax.eval_shape(lambda: jax.random.key(0)), {**hyper, **shared})
    kept = sum(math.prod(leaf.shape) * getattr(leaf.dtype, "itemsize", 8) for leaf in jax.tree.leaves(begun))
    assert 0.5 <= group.cost.bytes_resident / kept <= 2
    assert group.with_chunk_size(1).estimate_memory(MACHINE) < 8e9


@pytest.mark.parametrize("name", NAMES)
def test_experiments_hold_no_training_loop(name):
    source = Path(experiment_module(name).__file__).read_text()
    for word in ("jax.grad", "fori_loop", "lax.scan", "rcParams", "savefig", "pyplot"):
        assert word not in source
