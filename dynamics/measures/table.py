"""What a measure is: its function, what it needs of a run, what it costs, and the padding that it bears."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax

from dynamics.core.checked_fields import CheckedFields
from dynamics.core.registry import Registry
from dynamics.errors import InputError, choose, require
from dynamics.measures.needs import NEEDS, MeasuredRun
from dynamics.measures.view import View

PADDINGS = ("none", "homogeneous", "exact")  # from the narrowest to the widest


class Work(NamedTuple):
    """A computation behind one measure or several, done once a record.

    name: equal names are one computation
    passes: its products, in those of one full-batch gradient
    holds_products: whether it keeps arrays of the linearised gradient, as products with the Hessian do
    vectors: how many arrays like the parameters it keeps then, the basis of its Krylov space
    numbers: how many numbers it holds beside arrays over samples, units or parameters
    """

    name: str
    passes: float
    holds_products: bool = False
    vectors: int = 65
    numbers: float = 0


GAUSS_NEWTON = Work("Lanczos on the Gauss-Newton kernel", 15)
HESSIAN = Work("Lanczos on the Hessian", 20, holds_products=True)
HALF_SPACES = Work("sums over the half-spaces of every unit", 3)


@dataclass(frozen=True)
class MeasureSpec(CheckedFields):
    """Fields that registered measures bring with them, the suite's as a user's: how many eigenvalues, say."""


@dataclass(frozen=True)
class Measure:
    """A measure that configs may name; called with a `View` it returns named scalars, the columns of the records.

    function: View -> {column: scalar}
    needs: names of `NEEDS`; a run that lacks one is refused before anything is computed
    cost: what it computes beyond a prediction on the training and the test samples; a function of the run where that
        depends on its sizes or on the measure's options
    padding: under which padding its numbers stay. `exact`: any, by samples without weight, zero coordinates and zero
        neurons. `homogeneous`: so if zero neurons have no slope, which holds for the ReLU. `none`: runs that are
        measured by it are never padded, which is always right and the default.
    undefined: columns that are NaN where they have no value (no neuron is alive, say); NaN elsewhere is told in the
        run's status
    """

    function: Callable[[View], dict[str, jax.Array]]
    needs: tuple[str, ...] = ()
    cost: tuple[Work, ...] | Callable[[MeasuredRun], tuple[Work, ...]] = ()
    padding: str = "none"
    undefined: tuple[str, ...] = ()

    def __post_init__(self):
        for need in self.needs:
            choose("needs", need, NEEDS)
        choose("padding", self.padding, dict.fromkeys(PADDINGS))

    def __call__(self, view: View) -> dict[str, jax.Array]:
        if view.options is None:
            view.options = MeasureSpec()
        return self.function(view)


MEASURES: Registry[Measure] = Registry("measure", "measure_options", lambda: MeasureSpec, selector="measures")
# filled by the topics (`dynamics.measures`)


DEFAULT = "default"  # among a run's measures: those that go with its loss


class MeasureNames(Collection[str]):
    """The names that a run's `measures` may hold: those registered by the time that they are asked for,
    and `default`."""

    def __contains__(self, name: object) -> bool:
        return name == DEFAULT or name in MEASURES

    def __iter__(self) -> Iterator[str]:
        yield from (*MEASURES, DEFAULT)

    def __len__(self) -> int:
        return len(MEASURES) + 1


def check_measures(names: Iterable[str], run: MeasuredRun) -> None:
    """Raise `InputError` unless there are measures of these names and the run has what each of them needs."""
    names = list(names)
    require(len(names) > 0, "measures", names, "must name at least one measure")
    twice = [name for name in names if names.count(name) > 1]
    require(not twice, "measures", names, f"must name each measure once, not {', '.join(dict.fromkeys(twice))} again")
    for name in names:
        for need in choose("measures", name, MEASURES).needs:
            if not NEEDS[need].is_met(run):
                raise InputError("measures", name, f"needs {NEEDS[need].message}")


def distinct_work(names: Iterable[str], run: MeasuredRun) -> tuple[Work, ...]:
    """Return the distinct computations that recording these measures takes in a run, each counted once."""
    costs = (MEASURES[name].cost for name in names)
    return tuple(dict.fromkeys(work for cost in costs for work in (cost(run) if callable(cost) else cost)))


def keeps_start(names: Iterable[str]) -> bool:
    """Return whether one of these measures compares with the parameters that a run began with."""
    return any("start" in MEASURES[name].needs for name in names)


def common_padding(names: Iterable[str]) -> str:
    """Return the widest padding that all of these measures allow."""
    return min((MEASURES[name].padding for name in names), key=PADDINGS.index, default="exact")
