"""What was asked: frozen dataclasses, content-hashed, split into static choices and swept scalars.

The split is by type, so that it needs no list to keep up to date:

* a `float` field is a swept scalar: an array leaf of the compiled program, one program for all values, unless it is
  declared static;
* the integers named in `shape_fields` are array leaves too, beside the shape that the program has, which may be larger
  (padded) for those that `paddable` names;
* `seed` becomes the run's key;
* every other field is a static choice, and runs that differ in one need programs of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from operator import attrgetter
from typing import Any, ClassVar, get_type_hints

import numpy as np

from dynamics.core.checked_fields import TRACED, CheckedFields, deferred_checks
from dynamics.core.cost_estimate import describe_records, estimate_cost
from dynamics.core.dynamics import Cost, Dynamics
from dynamics.core.extension import until_registration
from dynamics.core.options import Option, added_field, check_value, option, option_of, unhashed_field
from dynamics.core.plain_values import coerce
from dynamics.core.recording import RecordSpec
from dynamics.core.registry import names_of
from dynamics.core.stop_spec import GOAL, StopSpec
from dynamics.core.versions import later_versions
from dynamics.errors import InputError, suggest

__all__ = ["added_field", "coerce", "option", "unhashed_field"]  # where specs are declared

PRECISIONS = ("float32", "float64")


@dataclass(frozen=True)
class RunSpec(CheckedFields):
    """A run of some dynamics. Subclasses add the fields of their dynamics and say how to build it.

    A frozen dataclass: a `float` field is a swept scalar, an array leaf of the compiled program; every other field is a
    static choice. `system` names it, `dynamics()` returns the triple closed over static fields.

    >>> import dynamics as dyn, dataclasses
    >>> @dataclasses.dataclass(frozen=True)
    ... class Decay(dyn.RunSpec):
    ...     rate: float = 0.5
    ...     system = "decay"
    ...     def dynamics(self):
    ...         return dyn.Dynamics(lambda key, h: (h, h["rate"]), lambda x, h, key: x * h["rate"], lambda x, h: {"x": x})
    >>> dyn.plan(Decay(steps=10), {"rate": [0.1, 0.2]}, seeds=3).num_runs
    6
    """

    seed: int = option(0, at_least=0, doc="what the run's random numbers are drawn from")
    steps: int = option(1000, at_least=1, doc="how many steps the run takes")
    record: RecordSpec = field(default_factory=RecordSpec)
    precision: str = option("float32", choices=PRECISIONS, doc="floating-point numbers of 32 or 64 bits")
    stop: StopSpec = field(default_factory=StopSpec)

    system: ClassVar[str] = ""
    system_version: ClassVar[int] = 1  # to be raised when the system is changed so that it computes other numbers
    shape_fields: ClassVar[tuple[str, ...]] = ()

    @property
    def paddable(self) -> tuple[str, ...]:
        """Those of `shape_fields` that this run may be padded in without changing any of its numbers;
        none unless said."""
        return ()

    def resolve(self) -> RunSpec:
        """Return the same run with every derived value (a width that follows n, say) worked out."""
        return self

    def check(self) -> None:
        """Raise `InputError` for a value that is not allowed, before any compute starts."""
        check_options(self)
        self.record.check(self.steps)
        self.stop.check(self.steps)
        if self.stop:
            self.stop.check_measure(describe_records(freeze(static(self)), tuple(hyper(self))))

    def warnings(self) -> list[str]:
        """Return one line for each thing that is allowed but hardly meant."""
        return []

    def unused_fields(self) -> dict[str, str]:
        """Return the fields that this run has no use for, each with the path of the field whose value makes it so.

        To set one of them is refused. What registered pieces do not use need not be said; a subclass adds what is its
        own to `super().unused_fields()`.
        """
        return {} if self.record.num else {"record.spacing": "record.num"}

    def dynamics(self) -> Dynamics:
        """Return the triple, closed over static fields only (float fields are NaN when the engine calls this)."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Estimated cost of one run at this spec's shapes;
        counted from the traced program where a system states none."""
        return estimate_cost(freeze(static(self)), hyper(self))

    def flops_per_check(self) -> float:
        """Return the estimated operations of a check whether the run's goal is reached;
        as those of a record unless said."""
        return self.cost().flops_per_record

    def shared_arrays(self) -> dict[str, np.ndarray]:
        """Arrays that all runs of a program share, read and not drawn (images); `init` finds them among its scalars."""
        return {}

    def derived_columns(self) -> dict[str, Any]:
        """Derived numbers to keep beside the configuration in the run table."""
        return {}


@until_registration
def layout(cls: type) -> tuple[tuple[str, Any], ...]:
    """Return dotted path and type of every leaf field of a spec class."""
    hints = get_type_hints(cls)
    leaves: list[tuple[str, Any]] = []
    for f in fields(cls):
        kind = hints[f.name]
        if is_dataclass(kind):
            leaves += [(f"{f.name}.{path}", sub) for path, sub in layout(kind)]  # type: ignore[arg-type]
        else:
            leaves.append((f.name, kind))
    return tuple(leaves)


@until_registration
def leaf_fields(cls: type) -> dict[str, Field[Any]]:
    """Return the declaration of every leaf field by dotted path."""
    hints, found = get_type_hints(cls), {}
    for f in fields(cls):
        if is_dataclass(hints[f.name]):
            found |= {f"{f.name}.{path}": leaf for path, leaf in leaf_fields(hints[f.name]).items()}  # type: ignore[arg-type]
        else:
            found[f.name] = f
    return found


@until_registration
def _bounded(cls: type) -> tuple[tuple[str, Option], ...]:
    """(dotted path, what is allowed) for every field that does not allow everything."""
    return tuple((path, option_of(f)) for path, f in leaf_fields(cls).items() if option_of(f).bounded)


def check_options(spec: Any, where: str = "") -> None:
    """Raise an `InputError` for the first field, at whatever level, whose value its declaration does not allow."""
    prefix = f"{where}." if where else ""
    for path, allowed in _bounded(type(spec)):
        check_value(f"{prefix}{path}", get(spec, path), allowed)


@until_registration
def marked(cls: type, mark: str) -> dict[str, Any]:
    """Return the default by path of every field that was declared with this mark: `added`, `unhashed`, `static`."""
    return {path: f.default for path, f in leaf_fields(cls).items() if f.metadata.get(mark)}


def latecomers(cls: type) -> dict[str, Any]:
    """Return the default by path of every field that runs stored earlier may lack."""
    return marked(cls, "added") | marked(cls, "unhashed")


@until_registration
def leaf_paths(cls: type[RunSpec]) -> tuple[str, ...]:
    """Return the dotted path of every field, in order."""
    return tuple(path for path, _ in layout(cls))


def paths(spec: RunSpec) -> tuple[str, ...]:
    """Return the dotted path of every field of the run, in order."""
    return leaf_paths(type(spec))


def get(spec: Any, path: str) -> Any:
    """Return the value at a dotted path."""
    for name in path.split("."):
        spec = getattr(spec, name)
    return spec


@until_registration
def _getter(cls: type[RunSpec]) -> attrgetter:
    return attrgetter(*leaf_paths(cls))


def flatten(spec: RunSpec) -> dict[str, Any]:
    """Return every field by dotted path."""
    return dict(zip(paths(spec), _getter(type(spec))(spec), strict=True))


def put(spec: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy with the values at these dotted paths; types are checked and an unknown path is named."""
    kinds = dict(layout(type(spec)))
    for path in values:
        if path not in kinds:
            raise InputError(path, values[path], f"no such field{suggest(path, kinds)}")
    return _put(spec, {path: coerce(path, value, kinds[path]) for path, value in values.items()})


def _put(spec: Any, values: Mapping[str, Any]) -> Any:
    own: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        head, _, rest = path.partition(".")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            own[head] = value
    for head, sub in nested.items():
        own[head] = _put(getattr(spec, head), sub)
    return copy_spec(spec, own)


def copy_spec(spec: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy of a spec with other values of some fields, unchecked:
    it may be of padded sizes and traced scalars."""
    plain = CheckedFields.__post_init__
    if getattr(type(spec), "__post_init__", plain) is not plain:  # a spec that does something of its own there
        with deferred_checks():
            return replace(spec, **values)
    copy = object.__new__(type(spec))
    copy.__dict__.update({f.name: values[f.name] if f.name in values else getattr(spec, f.name) for f in fields(spec)})
    return copy


def freeze(spec: Any) -> Any:
    """Return the spec with lists turned into tuples at every level, so that it is immutable and hashable."""
    own: dict[str, Any] = {}
    for f in fields(spec):
        value = getattr(spec, f.name)
        if is_dataclass(value):
            own[f.name] = freeze(value)
        elif isinstance(value, list):
            own[f.name] = tuple(value)
    return copy_spec(spec, own)


def content_hash(payload: Any) -> str:
    """Return sixteen hexadecimal digits of the SHA-256 of canonical JSON."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_id(spec: RunSpec) -> str:
    """Return the identity of a run: a hash of everything that determines its numbers, and of nothing else.

    See `added_field` and `unhashed_field` for the fields that do not count. A field that a registered piece brought
    with it counts as an added one in runs of other pieces, and always in those of the piece itself: if its default is
    changed later, the runs that had the old one stay what they were. The version of a piece that the run uses counts
    unless it is the first.
    """
    if "_id" not in spec.__dict__:  # asked for many times in a sweep, so kept with the spec
        spec.__dict__["_id"] = _hash_run(spec, later_versions(spec))
    return spec.__dict__["_id"]


def first_id(spec: RunSpec) -> str:
    """Return the identity that the run had when every piece of it was at its first version."""
    return _hash_run(spec, {}) if later_versions(spec) else run_id(spec)


def _hash_run(spec: RunSpec, versions: Mapping[str, int]) -> str:
    late, left_out, values = marked(type(spec), "added"), marked(type(spec), "unhashed"), flatten(spec)
    own = {path for path, (selector, pieces) in _brought(type(spec)).items() if pieces & set(names_of(values[selector]))}
    counted = {
        path: value
        for path, value in values.items()
        if path not in left_out and (path not in late or value != late[path] or path in own)
    }
    made_by = {"versions of pieces": dict(versions)} if versions else {}  # no field has spaces in its name
    return content_hash({"system": spec.system, **counted, **made_by})


@until_registration
def _brought(cls: type) -> dict[str, tuple[str, frozenset[str]]]:
    """For every field that registered pieces brought, by path: the path that names the pieces in use,
    and those pieces."""
    found, known = {}, set(leaf_paths(cls))
    for path, f in leaf_fields(cls).items():
        if "pieces" not in f.metadata:
            continue
        level = path.rpartition(".")[0]
        selector = f"{level}.{f.metadata['selector']}" if level else f.metadata["selector"]
        while selector not in known and level:  # named in the spec itself, or in one that it lies in
            level = level.rpartition(".")[0]
            selector = f"{level}.{f.metadata['selector']}" if level else f.metadata["selector"]
        if selector in known:
            found[path] = selector, frozenset(f.metadata["pieces"])
    return found


@until_registration
def swept(cls: type[RunSpec]) -> tuple[str, ...]:
    """Paths of the swept scalars: the float fields that are not declared static."""
    held = marked(cls, "static")
    return tuple(path for path, kind in layout(cls) if kind is float and path not in held)


def hyper(spec: RunSpec) -> dict[str, float | int]:
    """Return the array leaves of the run's dynamics: its swept scalars, but for those of its goal,
    and its true sizes."""
    return {path: get(spec, path) for path in (*swept(type(spec)), *spec.shape_fields) if path not in GOAL}


def goal(spec: RunSpec) -> dict[str, float]:
    """Return the swept scalars of the run's goal; none without one."""
    return {path: get(spec, path) for path in GOAL} if spec.stop else {}


def shape(spec: RunSpec) -> tuple[int, ...]:
    """Return the run's true sizes, in the order of `paddable`."""
    return tuple(get(spec, path) for path in spec.paddable)


def family(spec: RunSpec) -> str:
    """Return a hash of all static choices but the paddable sizes: runs of one family may share a program by padding."""
    left_out = {"seed", *swept(type(spec)), *spec.paddable}
    return content_hash({"system": spec.system, **{p: v for p, v in flatten(spec).items() if p not in left_out}})


def static(spec: RunSpec, padded: tuple[int, ...] | None = None) -> RunSpec:
    """Return the spec a program is built from: padded sizes, and NaN wherever a traced value will stand.

    A builder that closes over a swept scalar by mistake then yields NaN, not a silently wrong number.
    """
    values: dict[str, Any] = dict.fromkeys(swept(type(spec)), TRACED)
    values |= dict(zip(spec.paddable, padded or shape(spec), strict=True))
    return _put(spec, {"seed": 0, **values})
