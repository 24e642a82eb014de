"""Tables of pieces: what may be added, replaced and removed, and by whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from dynamics.core import registry as registries
from dynamics.core.extension import until_registration
from dynamics.core.options import option
from dynamics.core.registry import Origin, Registry, origin_of, registry_of, revision
from dynamics.data.law import LAWS, DataSpec
from dynamics.data.targets import TARGETS
from dynamics.data.views import SCHEMES
from dynamics.errors import InputError, choose
from dynamics.measures.table import MEASURES
from dynamics.models.losses import LOSSES
from dynamics.models.model_spec import MODELS
from dynamics.optimizers.rules import RULES
from dynamics.systems import SYSTEMS

PAGES = Path(__file__).parents[2] / "experiments"
SUITE, CELL, NEXT_CELL = Origin("dynamics.data.law", "law.py"), Origin("__main__", "cell 1"), Origin("__main__", "cell 2")


@dataclass(frozen=True)
class ColourSpec:
    kind: str = "red"
    depth: float = 1.0


@pytest.fixture
def colours(monkeypatch):
    monkeypatch.setattr(registries, "REGISTRIES", list(registries.REGISTRIES))
    made: Registry[str] = Registry("colour", "colour", lambda: ColourSpec)
    made.add("red", "r", uses=("depth",), origin=SUITE)
    yield made
    for name in made.own_pieces():
        made.remove(name)


def test_every_kind_of_piece_is_in_a_registry_that_knows_the_suites():
    for registry in (LAWS, TARGETS, MODELS, RULES, LOSSES, MEASURES, SCHEMES, SYSTEMS):
        assert isinstance(registry, Registry) and len(registry) >= 2
        origins = [registry.entry(name).origin for name in registry.own_pieces()]
        assert [origin for origin in origins if PAGES not in Path(origin.file).parents] == []  # another test may load a page
    assert registry_of(DataSpec) is LAWS and registry_of(int) is None


def test_a_registry_is_a_mapping(colours):
    colours.add("blue", "b", origin=CELL)
    assert dict(colours) == {"red": "r", "blue": "b"} and "green" not in colours
    with pytest.raises(InputError, match=r"^colour.kind = 'bleu': choose one of blue, red \(did you mean 'blue'\?\)$"):
        choose("colour.kind", "bleu", colours)


def test_the_suites_pieces_cannot_be_replaced_nor_removed(colours):
    with pytest.raises(InputError, match=r"^colour = 'red': is registered already, by dynamics.data.law; choose another name$"):
        colours.add("red", "another", origin=CELL)
    with pytest.raises(InputError, match=r"^colour = 'red': is one of the suite's, which stay$"):
        colours.remove("red")
    assert colours["red"] == "r"
    with pytest.raises(InputError, match="is registered already, by dynamics"):
        LAWS.add("sphere", LAWS["sphere"])


def test_a_cell_may_be_run_again_and_another_module_may_not_take_the_name(colours):
    before = revision()
    colours.add("blue", "b", fields={"shade": option(0.5)}, origin=CELL)
    assert revision() == before
    colours.add("blue", "darker", fields={"tint": option(0.25)}, origin=NEXT_CELL)
    assert colours["blue"] == "darker" and revision() == before + 1  # programs of before are out of date
    assert ColourSpec().tint == 0.25 and not hasattr(ColourSpec, "shade")  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="by __main__; choose another name"):
        colours.add("blue", "theirs", origin=Origin("theirs", "theirs.py"))
    colours.add("green", "g", origin=Origin("theirs", "theirs.py"))
    colours.add("green", "g2", origin=Origin("loaded under another name", "theirs.py"))
    assert colours["green"] == "g2" and colours.own_pieces() == ["blue", "green"]


def test_fields_that_a_piece_uses_must_be_there(colours):
    with pytest.raises(InputError, match=r"^uses of colour blue = 'dpth': no such field of colour \(did you mean 'depth'\?\)$"):
        colours.add("blue", "b", uses=("dpth",), origin=CELL)
    assert "blue" not in colours
    colours.add("blue", "b", uses=("depth", "tint"), fields={"tint": option(0.5)}, origin=CELL)
    assert colours.entry("blue").used_fields(ColourSpec()) == {"depth", "tint"}
    colours.add("green", "g", uses=lambda spec: ("depth",) if spec.depth > 1 else (), origin=CELL)
    assert [colours.entry("green").used_fields(ColourSpec(depth=d)) for d in (1.0, 2.0)] == [set(), {"depth"}]


@pytest.mark.parametrize("name", ["", "two words", "a.b", "a+b", "1st", 3, "a=b"])
def test_a_name_can_be_typed_on_a_command_line(colours, name):
    with pytest.raises(InputError, match="must be a name of letters, digits, _ and -"):
        colours.add(name, "x", origin=CELL)


def test_a_piece_of_a_registry_without_a_spec_brings_no_fields(monkeypatch):
    monkeypatch.setattr(registries, "REGISTRIES", [])
    bare: Registry[str] = Registry("thing")
    with pytest.raises(InputError, match="thing = 'a': declares its fields as those of a dataclass"):
        bare.add("a", "A", fields={"tint": option(0.5)}, origin=CELL)


def test_a_piece_knows_where_it_was_written(colours):
    def function():
        pass

    assert origin_of(function) == Origin(__name__, __file__) and origin_of(ColourSpec).module == __name__
    colours.add("blue", "text says nothing of where it was written")
    assert colours.entry("blue").origin == Origin(__name__, __file__)
    assert origin_of(LAWS["sphere"].source).is_suite and not origin_of(function).is_suite
    assert not Origin("dynamics_of_mine", "").is_suite


def test_what_depends_on_pieces_is_worked_out_anew(colours):
    calls = []

    @until_registration
    def count():
        calls.append(None)
        return len(colours)

    assert (count(), count(), len(calls)) == (1, 1, 1)
    colours.add("blue", "b", origin=CELL)
    assert (count(), len(calls)) == (2, 2)
