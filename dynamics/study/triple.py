"""A plain `Dynamics` as a system: swept without a spec, YAML or registration.

Its code has no content hash, so such a run has no identity that could be known again: its results lie in a temporary
folder that goes with the study.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import jax
import jax.numpy as jnp

from dynamics.core import spec as specs
from dynamics.core.dynamics import Dynamics
from dynamics.core.plain_values import plain_value
from dynamics.core.recording import RecordSpec, check_schedule
from dynamics.core.spec import RunSpec
from dynamics.core.stop_spec import GOAL, StopSpec
from dynamics.core.triple_checks import check_triple, unused_scalars
from dynamics.engine import axes
from dynamics.errors import choose, require
from dynamics.store.store import Store
from dynamics.study.request import Request, StudySpec

COLUMNS = {"panel", "run", "step", "finite", "status", "reason", "stopped_at", "triple"}
RESERVED = COLUMNS | {*dir(RunSpec), *(f.name for f in fields(RunSpec))}
_HELD: WeakValueDictionary[int, HeldDynamics] = WeakValueDictionary()
_numbers = itertools.count(1)


@dataclass(frozen=True, eq=False)
class HeldDynamics:
    """A triple of somebody's while it is swept."""

    dynamics: Dynamics


@dataclass(frozen=True)
class TripleSpec(RunSpec):
    """A run of a plain triple, which is known by a number within this process; subclasses add its swept scalars."""

    triple: int = 0

    system: ClassVar[str] = "triple"

    def dynamics(self) -> Dynamics:
        return _HELD[self.triple].dynamics


class TemporaryStore(Store):
    """A store in a temporary folder, which is deleted when nothing refers to the study any more."""

    place = "temporary, gone with this study: a plain Dynamics has no identity by which to find its results again"

    def __init__(self, held: HeldDynamics):
        self._folder = tempfile.TemporaryDirectory(prefix="dynamics-")
        self._held_dynamics = held
        super().__init__(Path(self._folder.name))


@cache
def triple_spec(names: tuple[str, ...]) -> type[TripleSpec]:
    """Return the spec class whose swept scalars have these names."""
    return make_dataclass("SweptTripleSpec", [(n, float, field(default=0.0)) for n in names], bases=(TripleSpec,), frozen=True)


def triple_request(
    dynamics: Dynamics,
    values: Mapping[str, Any],
    seeds: Any,
    schedule: Sequence[int],
    precision: str,
    settings: StudySpec,
    stop: StopSpec,
) -> tuple[Request, TemporaryStore]:
    """Return the runs of a sweep over the scalars of a triple's `hyper`, and a store for them.

    values: a list, range or array by name is an axis, a number the same for all runs; `zip` advances axes together; the
        goal's `stop.below` and `stop.above` are no scalars of `hyper` but may be axes too
    Raises `InputError` for a name or value that is not allowed, and whatever the triple's own functions raise.
    """
    choose("precision", precision, dict.fromkeys(specs.PRECISIONS))
    require(isinstance(values, Mapping), "axes", values, "must be a mapping from names of hyper to values")
    tree = {str(name): plain_value(str(name), value) for name, value in values.items()}
    axes.check_sweep("axes", tree)
    together = tree.get("zip", [])
    entries = [together] if isinstance(together, Mapping) else together
    names = tuple(dict.fromkeys([*(n for n in tree if n != "zip"), *(n for entry in entries for n in entry)]))
    names = tuple(name for name in names if name not in GOAL)
    for name in names:
        require(name.isidentifier(), "hyper", name, "a scalar of hyper is named as a variable is")
        require(name not in RESERVED, "hyper", name, "is a word of the suite's own; call it something else")
    steps = check_schedule(schedule)
    require(steps[-1] >= 1, "schedule", steps, "must go on to step 1 at least")

    seed_list = seed_values(seeds)
    _check_names(dynamics, names, precision)
    held = HeldDynamics(dynamics)
    number = next(_numbers)
    _HELD[number] = held
    store = TemporaryStore(held)
    record = RecordSpec(num=0, at=list(steps))
    base = triple_spec(names)(triple=number, steps=steps[-1], record=record, precision=precision, stop=stop)
    runs = axes.expand_runs(base, axes.parse_axes({"seed": seed_list, **tree}, base))
    for run in runs:
        run.check()
    return Request("dynamics", settings, {"main": runs}, []), store


def seed_values(seeds: Any) -> list[Any]:
    """Return the seeds that are meant: so many from 0 on, or the ones that are listed."""
    found: Any = plain_value("seeds", seeds)
    allowed = f"must be how many, at least 1 and at most {axes.MAX_RUNS}, or a list of them"
    if isinstance(found, list):
        require(len(found) > 0, "seeds", seeds, allowed)
        return found
    fits = isinstance(found, int) and not isinstance(found, bool) and 1 <= found <= axes.MAX_RUNS
    require(fits, "seeds", seeds, allowed)
    return list(range(found))


def _check_names(dynamics: Dynamics, names: Sequence[str], precision: str) -> None:
    """Raise `InputError` where the functions do not fit together, take a column's name, or leave a scalar unused."""
    with jax.enable_x64(precision == "float64"):
        hyper = {name: jax.ShapeDtypeStruct((), jnp.dtype(precision)) for name in names}
        key = jax.eval_shape(lambda: jax.random.key(0))
        for name in check_triple(dynamics, key, hyper):
            taken = name in names or name in RESERVED
            require(not taken, "observe", name, "is the name of a column that runs have already; call it something else")
        unused = unused_scalars(dynamics, key, hyper)
    require(not unused, "hyper", ", ".join(unused), "is given, but nothing that the dynamics computes depends on it")
