"""Which of the values that a study was given have no effect, and what is said of them.

A value of a field is idle if it is not the field's default and no run that has it has a use for the field, such as
`optimizer.momentum` = 0.5 where all of those runs are of `optimizer.kind` = gd. What one panel has no use for another
may need, so a study is judged as a whole. Runs of a panel that differ in idle fields alone would be one number twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dynamics.core import spec as specs
from dynamics.core.spec import RunSpec
from dynamics.core.usage import default_values, unused_fields, users_of
from dynamics.errors import InputError

Panels = Mapping[str, Sequence[RunSpec]]


class IdleValue(NamedTuple):
    """A value of a field that has no effect in a run: its path, the value, and the run."""

    path: str
    value: Any
    run: RunSpec

    @property
    def selector(self) -> str:
        """Return the path of the field that makes the value idle."""
        return unused_fields(self.run)[self.path]

    def describe(self, hint: str = "leave it out") -> str:
        """Return what is wrong in the words of an error message."""
        users = " or ".join(users_of(self.run, self.path))
        kind = "of the system " + self.run.system
        if self.selector != "system":
            kind = f"with {self.selector} = {specs.get(self.run, self.selector)!r}".replace("'", "")
        only = f" (it is of {self.selector} = {users})" if users and self.selector != "system" else ""
        return f"has no effect in runs {kind}{only}; {hint}"


def find_idle(panels: Panels) -> tuple[list[IdleValue], list[tuple[RunSpec, RunSpec]]]:
    """Return the values that differ from their field's default and that no run which has them uses, once each; and
    pairs of runs of one panel that differ in nothing but fields that neither has a use for."""
    idle: dict[tuple[str, Any], IdleValue] = {}
    used: set[tuple[str, Any]] = set()
    repeated: list[tuple[RunSpec, RunSpec]] = []
    for runs in panels.values():
        seen: dict[tuple[Any, ...], RunSpec] = {}
        for run in runs:
            defaults, unused, values = default_values(type(run)), unused_fields(run), specs.flatten(run)
            for path, value in values.items():
                if value != defaults[path]:
                    if path in unused:
                        idle.setdefault((path, value), IdleValue(path, value, run))
                    else:
                        used.add((path, value))
            key = tuple(defaults[path] if path in unused else value for path, value in values.items())
            first = seen.setdefault(key, run)
            if first != run:
                repeated.append((first, run))
    return [value for key, value in idle.items() if key not in used], repeated


def _refuse_repeated(first: RunSpec, second: RunSpec) -> None:
    """Raise the `InputError` for two runs that would be one number twice."""
    before, after = specs.flatten(first), specs.flatten(second)
    path = next(path for path in unused_fields(second) if before[path] != after[path])
    hint = f"these would be the same run twice: give the values in a panel that uses them, or remove the axis (~sweep.{path})"
    raise InputError(path, [before[path], after[path]], IdleValue(path, after[path], second).describe(hint))


def check_effects(
    panels: Panels, asked: Collection[str] | None = None, elsewhere: Callable[[], Iterable[Panels]] = tuple
) -> list[str]:
    """Raise `InputError` for a value without effect; return warnings of those that an override has made so.

    asked: paths that a user has given beside the config, None if all that there is was given so: a value that stands
    in a config is only told of if what makes it idle was given beside it.
    elsewhere: returns the same study's panels at other sizes, where a value of a config may be of use
    """
    warnings = []
    found, repeated = find_idle(panels)
    for idle in found:
        given = asked is None or is_named(idle.path, asked)
        if not given and asked and (idle.selector == "system" or is_named(idle.selector, asked)):
            warnings.append(f"{idle.path} = {idle.value!r} of the config {idle.describe('its value is kept')}")
        elif given or not _is_used(idle, elsewhere()):
            raise InputError(idle.path, idle.value, idle.describe())
    if repeated:
        _refuse_repeated(*repeated[0])
    return warnings


def is_named(path: str, asked: Collection[str]) -> bool:
    """Return whether a field, or a level that it lies in, is among the paths that were given,
    axes of panels included."""
    for given in asked:
        parts = given.lstrip("+~").split(".")
        own = ".".join(parts[{"sweep": 1, "panels": 2}.get(parts[0], 0) :])
        if path == own or path.startswith(f"{own}."):
            return True
    return False


def _is_used(idle: IdleValue, others: Iterable[Panels]) -> bool:
    """Return whether some run of these has the value and a use for it."""
    return any(
        specs.get(run, idle.path) == idle.value and idle.path not in unused_fields(run)
        for panels in others
        for runs in panels.values()
        for run in runs
    )
