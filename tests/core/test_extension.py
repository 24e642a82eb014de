"""Fields that registered pieces bring: a spec class grows and shrinks in place, and nothing else notices."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import ClassVar

import pytest

from dynamics.core import spec as specs
from dynamics.core.extension import own_fields
from dynamics.core.options import added_field, option, unhashed_field
from dynamics.core.registry import Origin, Registry
from dynamics.core.spec import RunSpec
from dynamics.engine.axes import expand_runs, parse_axes
from dynamics.errors import InputError
from dynamics.study.schema import schema

SUITE, MINE, THEIRS = Origin("dynamics.somewhere", ""), Origin("mine", ""), Origin("theirs", "")
SHAPES: Registry[str] = Registry("shape", "part", lambda: Part, common=("size",))


@dataclass(frozen=True)
class Part:
    kind: str = option("round", choices=SHAPES)
    size: float = option(1.0, above=0)
    roughness: float = added_field(0.0, at_least=0)
    folder: str = unhashed_field("")

    greeting: ClassVar[str] = "a class variable is no field"

    def check(self) -> None:
        specs.check_options(self, "part")

    @property
    def area(self) -> float:
        return self.size**2


@dataclass(frozen=True)
class SmallPart(Part):
    extra: int = 1


@dataclass(frozen=True)
class Machine(RunSpec):
    part: Part = field(default_factory=Part)
    spares: list[int] = field(default_factory=list)

    system: ClassVar[str] = "machine of test_extension"


SHAPES.add("round", "o", uses=("roughness",), origin=SUITE)
SHAPES.add("flat", "_", origin=SUITE)


@pytest.fixture(autouse=True)
def pieces_are_taken_out_again():
    yield
    for name in SHAPES.own_pieces():
        SHAPES.remove(name)
    assert own_fields(Part) == {}


def add(name="bent", origin=MINE, **own):
    SHAPES.add(name, name, fields=own, origin=origin)


def machine(**part) -> Machine:
    return specs.freeze(Machine(part=Part(**part)))


def test_a_field_of_a_pieces_own_is_a_field_like_any_other():
    before = machine(size=2.0)
    add(angle=option(0.5, above=0), joint=option("glued", choices=("glued", "screwed")), turns=option(3), loose=option(False))
    assert [f.name for f in fields(Part)][-4:] == ["angle", "joint", "turns", "loose"]
    assert Part.angle == 0.5 and Part().turns == 3  # type: ignore[attr-defined]
    assert before == machine(size=2.0) and hash(before) == hash(machine(size=2.0)) and before.part.angle == 0.5  # type: ignore[attr-defined]
    other = Part(kind="bent", angle=0.3)  # type: ignore[call-arg]
    assert other != Part(kind="bent") and hash(other) != hash(Part(kind="bent")) and "angle=0.3" in repr(other)
    assert replace(other, size=2.0).angle == 0.3 and pickle.loads(pickle.dumps(other)) == other  # type: ignore[attr-defined]
    assert other.area == 1 and Part.greeting.startswith("a class")
    with pytest.raises(FrozenInstanceError):
        other.angle = 1.0  # type: ignore[misc]


def test_whatever_refers_to_the_class_has_it_too():
    """The run's paths, its swept scalars, axes, values by path, and the schema of configs."""
    assert "part.angle" not in specs.leaf_paths(Machine)
    add(angle=option(0.5, above=0), turns=option(3, at_least=1))
    assert {"part.angle", "part.turns"} <= set(specs.leaf_paths(Machine))
    assert specs.swept(Machine)[2:] == ("part.size", "part.roughness", "part.angle")
    assert specs.hyper(machine())["part.angle"] == 0.5
    runs = expand_runs(machine(kind="bent"), parse_axes({"part": {"angle": [0.1, 0.2], "turns": [1, 2]}}, Machine()))
    assert [(run.part.angle, run.part.turns) for run in runs] == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]  # type: ignore[attr-defined]
    assert len({specs.family(run) for run in runs}) == 2  # angles share a program
    node = schema(Machine)
    assert node.part.angle == 0.5 and node.part.turns == 3
    with pytest.raises(InputError, match=r"^part.angel = 1.0: no such field \(did you mean 'part.angle'\?\)$"):
        specs.put(machine(), {"part.angel": 1.0})
    SHAPES.remove("bent")
    assert specs.swept(Machine)[2:] == ("part.size", "part.roughness")
    assert "angle" not in schema(Machine).part and not hasattr(Part, "angle")


def test_a_subclass_grows_with_it():
    add(angle=option(0.5))
    assert SmallPart(angle=0.3).angle == 0.3 and SmallPart().extra == 1  # type: ignore[call-arg,attr-defined]
    assert [f.name for f in fields(SmallPart)] == [*(f.name for f in fields(Part)), "extra"]


def test_runs_of_other_pieces_keep_their_identities():
    runs = [machine(), machine(kind="flat", size=3.0), machine(roughness=0.5), machine(folder="here")]
    before = [specs.run_id(run) for run in runs]
    add(angle=option(0.5), joint=option("glued"), place=option("", unhashed=True))
    again = [machine(), machine(kind="flat", size=3.0), machine(roughness=0.5), machine(folder="there", place="there")]
    assert [specs.run_id(run) for run in again] == before
    assert specs.run_id(machine(angle=0.25)) not in before  # another piece's field that was set counts


def test_runs_of_the_piece_count_its_fields_whatever_their_values():
    add(angle=option(0.5))
    old, explicit = specs.run_id(machine(kind="bent")), specs.run_id(machine(kind="bent", angle=0.5))
    assert old == explicit != specs.run_id(machine(kind="bent", angle=0.25))
    add(angle=option(0.25))  # the default is changed later
    assert specs.run_id(machine(kind="bent")) != old == specs.run_id(machine(kind="bent", angle=0.5))


def test_pieces_joined_by_plus_or_in_a_list_count_their_fields():
    assert specs.names_of("round+bent") == ("round", "bent") == specs.names_of(["round", "bent"])
    assert specs.names_of("") == ()
    add(angle=option(0.5))
    old = specs.run_id(machine(kind="round+bent"))
    add(angle=option(0.25))
    assert specs.run_id(machine(kind="round+bent")) != old


def test_values_that_are_not_allowed_are_told_in_one_line():
    add(
        angle=option(0.5, above=0, at_most=3),
        turns=option(3, at_least=1),
        joint=option("glued", choices=("glued", "screwed")),
        reach=option(1.0, above=0, infinite=True),
    )
    machine(kind="bent", angle=3.0, turns=1, joint="screwed", reach=float("inf")).part.check()
    for values, told in {
        ("angle", 0.0): "part.angle = 0.0: must be a number above 0 and at most 3",
        ("angle", float("inf")): "part.angle = inf: must be a number above 0 and at most 3",
        ("turns", 0): "part.turns = 0: must be an integer from 1 to 2^31 - 1",
        ("turns", 2**31): "part.turns = 2147483648: must be an integer from 1 to 2^31 - 1",
        ("turns", 1.5): "part.turns = 1.5: must be an integer from 1 to 2^31 - 1",
        ("joint", "glue"): "part.joint = 'glue': choose one of glued, screwed (did you mean 'glued'?)",
        ("reach", 0.0): "part.reach = 0.0: must be a number above 0, or inf",
        ("reach", float("-inf")): "part.reach = -inf: must be a number above 0, or inf",
    }.items():
        with pytest.raises(InputError) as error:
            machine(**dict([values])).check()  # a run checks what lies in it
        assert str(error.value) == told


def test_two_pieces_share_a_field_that_they_declare_alike():
    add(angle=option(0.5, above=0, doc="of the bend"))
    add("broken", THEIRS, angle=option(0.5, above=0, doc="of the bend"))
    (shared,) = own_fields(Part).values()
    assert shared.metadata["pieces"] == ("bent", "broken")
    SHAPES.remove("bent")
    assert own_fields(Part)["angle"].metadata["pieces"] == ("broken",)


@pytest.mark.parametrize(
    "other",
    [option(0.25, above=0), option(0.5, above=1e-9), option(0.5), option(1), option(0.5, above=0, static=True), option("0.5")],
)
def test_a_field_with_another_definition_is_refused_and_nothing_is_changed(other):
    add(angle=option(0.5, above=0))
    known = specs.leaf_paths(Machine)
    with pytest.raises(
        InputError, match=r"^part.angle = .*: is a field of bent too, with another definition; choose another name$"
    ):
        add("broken", THEIRS, length=option(1.0), angle=other)
    assert specs.leaf_paths(Machine) == known and set(SHAPES) == {"round", "flat", "bent"}


@pytest.mark.parametrize(
    "name, wrong, told",
    [
        (
            "size",
            option(1.0),
            "part.size = 1.0: is a field of the suite's; name it in uses=(...) instead, or choose another name",
        ),
        ("area", option(1.0), "part.area = 1.0: cannot be the name of a field"),
        ("greeting", option(1.0), "part.greeting = 1.0: cannot be the name of a field"),
        ("_angle", option(1.0), "part._angle = 1.0: cannot be the name of a field"),
        ("an angle", option(1.0), "part.an angle = 1.0: must have the name of a variable"),
        ("lambda", option(1.0), "part.lambda = 1.0: must have the name of a variable"),
        ("angle", 1.0, "part.angle = 1.0: must be an option such as dyn.option(0.5, above=0)"),
        ("angle", option([1.0]), "part.angle = None: needs a default that is one number, name or flag"),
        ("angle", field(), "part.angle = None: needs a default"),
    ],
)
def test_what_cannot_be_a_field_is_told_when_it_is_registered(name, wrong, told):
    with pytest.raises(InputError) as error:
        add(**{name: wrong})
    assert str(error.value).startswith(told) and "\n" not in str(error.value)
    assert set(SHAPES) == {"round", "flat"} and own_fields(Part) == {}


def test_numbers_that_programs_cannot_have_as_arrays_are_static():
    add(angle=option(0.5, static=True), bend=option(0.5))
    assert "part.angle" not in specs.hyper(machine()) and "part.bend" in specs.hyper(machine())
    assert specs.family(machine(angle=0.25)) != specs.family(machine()) == specs.family(machine(bend=0.25))
    static = specs.static(machine(angle=0.25))
    assert static.part.angle == 0.25 and static.part.bend != static.part.bend  # type: ignore[attr-defined]


def test_a_piece_without_fields_leaves_the_class_alone():
    """The class is made anew only where fields change: registering a piece without any leaves its functions alone."""
    made = Part.__init__
    add()
    assert Part.__init__ is made
    add("broken", THEIRS, angle=option(0.5))
    assert Part.__init__ is not made
