"""Pieces of one's own of every kind, used in runs: a swept number of their own, a static choice, bounds, identity,
padding.

Every piece is registered here as a user would. What is asked of each: its number may be an axis, and all values share
one program; its choice changes the numbers; a run in an ensemble is the run alone; where it says that it pads,
padding changes no number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from own_pieces import own_law, own_loss, own_measure, own_model, own_optimizer, own_system, own_target, own_views

from dynamics.core import spec as specs
from dynamics.core.recording import RecordSpec
from dynamics.core.spec import RunSpec
from dynamics.core.usage import describe_fields, ignored_fields
from dynamics.data.law import LAWS
from dynamics.data.problem import DataSpec
from dynamics.data.targets import TARGETS
from dynamics.data.views import SCHEMES, list_views
from dynamics.engine.axes import expand_runs, parse_axes
from dynamics.engine.execute import Executor
from dynamics.engine.plan import Machine, make_plan
from dynamics.errors import InputError
from dynamics.measures.table import MEASURES
from dynamics.models.losses import LOSSES
from dynamics.models.model_spec import MODELS, ModelSpec
from dynamics.optimizers.rules import RULES
from dynamics.systems import SYSTEMS, register
from dynamics.systems.training import TrainingSpec

MACHINE = Machine("cpu", 1, 1e9, 1e-6, 1.0, 1e9, 1e5)
BASE = TrainingSpec(
    steps=5,
    record=RecordSpec(num=0, at=[1]),
    precision="float64",
    data=DataSpec(input_dim=3, num_samples=6, num_test=4),
    model=ModelSpec(width=4),
    measures=["train_loss", "excess_risk"],
)
CLOSE = {"rtol": 1e-10, "atol": 1e-13}
REGISTRIES = (LAWS, TARGETS, MODELS, RULES, LOSSES, MEASURES, SCHEMES, SYSTEMS)


class Case(NamedTuple):
    """A piece: how it is registered, how a run names it, its number and its choice with other values, and a refused
    value.

    padded: larger sizes, in the order of the run's `paddable`
    """

    kind: str
    add: Any
    named: dict[str, Any]
    number: tuple[str, list[float]]
    choice: tuple[str, Any]
    refused: tuple[str, Any, str]
    padded: tuple[int, ...] = ()


PATCHES = {"model.kind": "convolutional", "model.views.size": 2}
CASES = {
    case.kind: case
    for case in (
        Case(
            "law",
            own_law,
            {"data.law": "skewed"},
            ("data.skew", [0.5, 1.5]),
            ("data.corner", "cut"),
            ("data.skew", 0.0, "data.skew = 0.0: must be a number above 0"),
            (5, 8, 6),
        ),
        Case(
            "target",
            own_target,
            {"target.kind": "bent"},
            ("target.bend", [0.0, 2.0]),
            ("target.sign", -1),
            ("target.bend", -1.0, "target.bend = -1.0: must be a number, at least 0"),
            (5, 8, 6),
        ),
        Case(
            "view scheme",
            own_views,
            {**PATCHES, "model.views.scheme": "spread"},
            ("model.views.tilt", [0.0, 1.0]),
            ("model.views.gap", 2),
            ("model.views.gap", 0, "model.views.gap = 0: must be an integer from 1 to 2^31 - 1"),
            (8, 6),
        ),
        Case(
            "model",
            own_model,
            {"model.kind": "powers"},
            ("model.power", [1.0, 2.0]),
            ("model.centred", True),
            ("model.power", 0.0, "model.power = 0.0: must be a number above 0"),
            (8, 5),
        ),
        Case(
            "optimizer",
            own_optimizer,
            {"optimizer.kind": "sluggish"},
            ("optimizer.drag", [0.0, 0.5]),
            ("optimizer.signed", True),
            ("optimizer.drag", 1.0, "optimizer.drag = 1.0: must be a number at least 0 and below 1"),
            (5, 8, 6),
        ),
        Case(
            "loss",
            own_loss,
            {"loss.kind": "power"},
            ("loss.degree", [1.5, 3.0]),
            ("loss.shape", "steep"),
            ("loss.degree", 1.0, "loss.degree = 1.0: must be a number above 1"),
            (5, 8, 6),
        ),
        Case(
            "measure",
            own_measure,
            {"measures": ["shrunken_error"]},
            ("measure_options.level", [0.1, 0.5]),
            ("measure_options.side", "over"),
            ("measure_options.level", -1.0, "measure_options.level = -1.0: must be a number, at least 0"),
            (5, 8, 6),
        ),
        Case(
            "system",
            own_system,
            {},
            ("damping", [0.1, 0.5]),
            ("form", "flat"),
            ("form", "flt", "form = 'flt': choose one of flat, round (did you mean 'flat'?)"),
            (5,),
        ),
    )
}


@pytest.fixture(params=CASES)
def case(request):
    found = CASES[request.param]
    before = specs.run_id(specs.freeze(BASE.resolve()))
    paths, there = specs.leaf_paths(TrainingSpec), [registry.own_pieces() for registry in REGISTRIES]
    found.add()
    assert specs.run_id(specs.freeze(BASE.resolve())) == before  # runs without the piece are the runs that they were
    yield found
    for registry, names in zip(REGISTRIES, there, strict=True):
        for name in set(registry.own_pieces()) - set(names):  # another test may have loaded a page with a piece
            registry.remove(name)
    assert specs.leaf_paths(TrainingSpec) == paths


def run_of(case: Case, **values: Any) -> RunSpec:
    base = BASE if case.kind != "system" else SYSTEMS["pendulum"](steps=5, record=BASE.record, precision="float64")
    return specs.freeze(specs.put(specs.freeze(base), {**case.named, **values}).resolve())


def compute(runs: list[RunSpec], padded: tuple[int, ...] | None = None) -> tuple[int, np.ndarray]:
    """Return the number of programs, and the excess risk (runs, records) in the order of the runs."""
    for run in runs:
        run.check()
    plan, found = make_plan(runs, MACHINE), {}
    executor = Executor()
    for group in plan.groups:
        if padded:
            group = group.__class__(**{**vars(group), "static": specs.static(group.runs[0], padded)})
        risks = executor.compute(group, group.runs).trajectory.records["excess_risk"]
        found |= {specs.run_id(run): risks[i] for i, run in enumerate(group.runs)}
    return len(plan.groups), np.stack([found[specs.run_id(run)] for run in runs])


def test_its_number_is_an_axis_its_choice_is_static_and_company_and_padding_change_nothing(case):
    (path, values), (chosen, other) = case.number, case.choice
    first = specs.get(run_of(case), chosen)
    axes = {"seed": [0, 1], path: values, chosen: [first, other]}
    runs = expand_runs(run_of(case), parse_axes(axes, run_of(case)))
    assert len(runs) == 8 == len({specs.run_id(run) for run in runs})
    programs, risks = compute(runs)
    static = case.kind == "view scheme"  # views decide on shapes
    assert programs == (4 if static else 2)
    seed_zero = [i for i, run in enumerate(runs) if run.seed == 0]
    assert np.all(np.isfinite(risks)) and len(np.unique(risks[seed_zero, -1].round(12))) == 4

    last = next(i for i, run in reversed(list(enumerate(runs))) if specs.get(run, chosen) == first and run.seed == 1)
    assert len(runs[last].paddable) == len(case.padded)
    _, alone_and_padded = compute([runs[last]], case.padded)
    np.testing.assert_allclose(alone_and_padded[0], risks[last], **CLOSE)


def test_what_it_does_not_allow_is_told_in_one_line(case):
    path, value, told = case.refused
    with pytest.raises(InputError) as error:
        run_of(case, **{path: value}).check()
    assert str(error.value) == told


def test_its_fields_count_in_its_own_runs_and_are_known(case):
    path, values = case.number
    run, other = run_of(case), run_of(case, **{path: values[1] if specs.get(run_of(case), path) != values[1] else values[0]})
    assert specs.run_id(run) != specs.run_id(other) and ignored_fields(other) == {}
    known = describe_fields(type(run))[path]
    assert known.swept == (case.kind != "view scheme") and known.default == specs.get(run, path)


def test_the_views_are_those_that_were_asked_for():
    own_views()
    try:
        spec = run_of(CASES["view scheme"], **{"model.views.gap": 2, "model.views.tilt": 0.0, "data.input_dim": 5}).model.views  # type: ignore[attr-defined]
        assert list_views(spec, (5,)).tolist() == [[0, 1], [2, 3]]
    finally:
        SCHEMES.remove("spread")


def test_a_run_of_another_piece_ignores_its_fields():
    own_law()
    try:
        assert ignored_fields(specs.put(BASE, {"data.skew": 0.25})) == {"data.skew": 0.25}
    finally:
        LAWS.remove("skewed")


def test_a_model_of_ones_own_is_not_warned_of_an_output_bias_that_it_may_not_have():
    own_model()
    try:
        known, own = (specs.put(BASE, {"model.kind": kind, "optimizer.learning_rate": 9.0}) for kind in ("two_layer", "powers"))
        assert "the output bias alone" in known.warnings()[0] and own.warnings() == []
    finally:
        MODELS.remove("powers")


def test_a_decorator_without_parentheses_is_told():
    with pytest.raises(InputError, match=r"^register.law = 'bare': write the decorator with parentheses: \(\)$"):

        @register.law  # type: ignore[arg-type]
        def bare(key, data, hyper, dtype):
            return None


@pytest.mark.parametrize("wrong", [int, type("Bare", (), {}), type("Unnamed", (RunSpec,), {})])
def test_what_is_no_system_is_told(wrong):
    with pytest.raises(InputError, match="must be a frozen dataclass derived from RunSpec, with a class variable `system`"):
        register.system(wrong)
