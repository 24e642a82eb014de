"""Which fields the pieces of a run use: what is ignored, and what is known of each field."""

from __future__ import annotations

from dataclasses import fields

import pytest
from oracles import change

from dynamics.core.registry import REGISTRIES
from dynamics.core.usage import describe_fields, ignored_fields, pieces_in_use
from dynamics.data.problem import DataSpec, TargetSpec
from dynamics.data.views import ViewSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.systems import SYSTEMS
from dynamics.systems.training import TrainingSpec

RUN = TrainingSpec(model=ModelSpec(width=4))
PATCHES = ModelSpec("convolutional", 4, views=ViewSpec("sliding", 1))
LEAVES = {"data.leaves": 9, "data.texture": 0.5}


def test_the_pieces_of_a_run_are_named_with_their_places():
    run = change(RUN, model=PATCHES, target=TargetSpec("teacher", views=ViewSpec("disjoint+shuffle", 1)))
    found = {piece.where: piece.names for piece in pieces_in_use(run)}
    assert found["data"] == ("uniform_ball",) and found["target"] == ("teacher",) and found["model"] == ("convolutional",)
    assert found["model.views"] == ("sliding",) and found["target.views"] == ("disjoint", "shuffle")


@pytest.mark.parametrize(
    "values, ignored",
    [
        ({}, {}),
        ({"data__alpha": 2.0}, {"data.alpha": 2.0}),
        ({"data__law": "radial", "data__alpha": 2.0}, {}),
        ({"data__law": "radial", "data__offset": 1.0, "data__noise_std": 0.5}, {"data.offset": 1.0}),
        ({"target__degree": 3}, {"target.degree": 3}),
        ({"target__kind": "chebyshev", "target__degree": 3}, {}),
        ({"target__units": 3, "target__views__size": 2}, {"target.units": 3, "target.views.size": 2}),
        ({"model__depth": 3}, {"model.depth": 3}),
        ({"model__kind": "mlp", "model__depth": 3, "model__init": "kaiming_normal"}, {"model.init": "kaiming_normal"}),
        ({"model": PATCHES}, {}),
        ({"model": change(PATCHES, views__count=3, views__seed=1)}, {"model.views.count": 3, "model.views.seed": 1}),
        ({"model": change(PATCHES, views__scheme="random_subsets", views__count=3, views__seed=1)}, {}),
        (
            {"model": change(PATCHES, views__scheme="random_subsets", views__count=3, views__stride=2)},
            {"model.views.stride": 2},
        ),
        ({"model": change(PATCHES, readout="unit")}, {"model.readout": "unit"}),
        ({"data__law": "digits", "data__leaves": 9, "data__texture": 0.5}, LEAVES),
        ({"data__law": "digits", "data__leaves": 9, "data__texture": 0.5, "data__stand_in": "dead_leaves"}, {}),
    ],
)
def test_fields_without_a_use_are_found(values, ignored):
    assert ignored_fields(change(RUN, **values)) == ignored


def test_every_field_of_the_suites_specs_is_of_use_to_some_piece():
    """A field that no piece declares would count as ignored in every run."""
    settings = {
        DataSpec: [DataSpec(), DataSpec(stand_in="dead_leaves")],
        ModelSpec: [ModelSpec(), ModelSpec(parametrization="mup")],
    }
    for registry in REGISTRIES:
        if registry.spec is None or not registry.spec.__module__.startswith("dynamics."):
            continue
        used = set(registry.common)
        for spec in settings.get(registry.spec, [registry.spec()]):
            used = used.union(*(registry.entry(name).used_fields(spec) for name in registry))
        assert {f.name for f in fields(registry.spec)} <= used, registry.kind


def test_what_is_known_of_each_field():
    known = describe_fields(TrainingSpec)
    assert known["data.alpha"].pieces == ("radial",) and known["data.alpha"].swept and known["data.alpha"].allowed.above == 0
    assert known["model.depth"].pieces == ("diagonal_linear", "residual", "mlp") and not known["model.depth"].swept
    assert known["data.law"].pieces == () and "sphere" in (known["data.law"].allowed.choices or ())
    assert known["model.views.stride"].default == 1
    for name, system in SYSTEMS.items():
        assert describe_fields(system), name
    undocumented = [
        path for path, field in known.items() if path.partition(".")[0] in ("data", "target", "model") and not field.allowed.doc
    ]
    assert undocumented == []
