"""Versions of the pieces (measures, laws, models, rules, systems ...) that a run's numbers depend on.

Every piece has one, 1 unless its registration says otherwise. Whoever changes what a piece computes raises it; results
that were stored before are then another run's, see `dynamics.core.spec.run_id`.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any, get_type_hints

from dynamics.core.extension import until_registration
from dynamics.core.registry import Registry, names_of, registry_of


def later_versions(run: Any) -> dict[str, int]:
    """Return the version of each piece that a run uses and that is not at its first: `{"measure sharpness": 2}`."""
    found = {f"system {run.system}": run.system_version} if run.system_version > 1 else {}
    for read, kind, versions in _later_pieces(type(run)):
        found |= {f"{kind} {name}": versions[name] for name in names_of(read(run)) if name in versions}
    return found


@until_registration
def _later_pieces(cls: type) -> tuple[tuple[attrgetter, str, dict[str, int]], ...]:
    """For every field that names pieces, if some have later versions: how to read it, their kind, and these by name."""
    found = []
    for path, registry in _selectors(cls):
        versions = {name: registry.entry(name).version for name in registry if registry.entry(name).version > 1}
        if versions:
            found.append((attrgetter(path), registry.kind, versions))
    return tuple(found)


@until_registration
def _selectors(cls: type) -> tuple[tuple[str, Registry[Any]], ...]:
    """Return every field of a spec class that names pieces, by path, with the registry of these."""
    own, hints, found = {f.name for f in fields(cls)}, get_type_hints(cls), []
    for name in (f.name for f in fields(cls) if is_dataclass(hints[f.name])):
        registry = registry_of(hints[name])
        if registry is not None:
            inside = any(f.name == registry.selector for f in fields(hints[name]))
            if inside or registry.selector in own:
                found.append((f"{name}.{registry.selector}" if inside else registry.selector, registry))
        found += [(f"{name}.{path}", below) for path, below in _selectors(hints[name])]
    return tuple(found)
