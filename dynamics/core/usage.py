"""Which pieces a run names, which of its fields they use, and what each field means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from dynamics.core import spec as specs
from dynamics.core.extension import own_fields, until_registration
from dynamics.core.options import Option, option_of
from dynamics.core.registry import Registry, names_of, registry_of
from dynamics.core.spec import RunSpec


class PiecesInUse(NamedTuple):
    """The pieces of one kind that a run names: path of the spec with their fields, that spec, the registry, their
    names."""

    where: str
    spec: Any
    registry: Registry[Any]
    names: tuple[str, ...]

    def used_fields(self) -> set[str]:
        """Return the names of the fields of the spec that the run has a use for."""
        known = (name for name in self.names if name in self.registry)
        return set(self.registry.common).union(*(self.registry.entry(name).used_fields(self.spec) for name in known))


def pieces_in_use(run: RunSpec) -> Iterator[PiecesInUse]:
    """Return the pieces that a run names, outer specs before those that lie in them."""
    yield from _walk(run, "", None)


def _walk(spec: Any, where: str, parent: Any) -> Iterator[PiecesInUse]:
    registry = registry_of(type(spec))
    if registry is not None:
        holder = spec if hasattr(spec, registry.selector) else parent
        names = names_of(getattr(holder, registry.selector, ()))
        yield PiecesInUse(where, spec, registry, names)
    for f in fields(spec):
        value = getattr(spec, f.name)
        if is_dataclass(value):
            yield from _walk(value, f"{where}.{f.name}" if where else f.name, spec)


def unused_fields(run: RunSpec) -> dict[str, str]:
    """Return the fields by path that the run has no use for, each with the path of the field that makes it so.

    Such is `optimizer.momentum` where `optimizer.kind` is gd. What pieces declare comes first, then what the run's
    system says of itself (`RunSpec.unused_fields`).
    """
    found: dict[str, str] = {}
    for place, (where, _, selector) in enumerate(_places(type(run))):
        names = specs.names_of(specs.get(run, selector))
        found |= dict.fromkeys(_unused_in_piece(type(run), place, names, specs.get(run, where)), selector)
    for path, selector in run.unused_fields().items():
        below = [leaf for leaf in specs.paths(run) if leaf == path or leaf.startswith(f"{path}.")]
        found |= dict.fromkeys(below, selector)
    return found


def ignored_fields(run: RunSpec) -> dict[str, Any]:
    """Return the fields by path that were set (they differ from the system's defaults) and that the run has no use
    for."""
    defaults, values = default_values(type(run)), specs.flatten(run)
    return {path: values[path] for path in unused_fields(run) if values[path] != defaults[path]}


@until_registration
def default_values(system: type[RunSpec]) -> dict[str, Any]:
    """Return the default of every field of a system by path."""
    return specs.flatten(specs.freeze(system()))


@until_registration
def _places(system: type[RunSpec]) -> tuple[tuple[str, Registry[Any], str], ...]:
    """Return path, registry and path of the selecting field of every spec of pieces in a system."""
    paths = specs.leaf_paths(system)
    found = []
    for piece in pieces_in_use(system()):
        own = f"{piece.where}.{piece.registry.selector}" if piece.where else piece.registry.selector
        outer = piece.where.rpartition(".")[0]
        found.append((piece.where, piece.registry, own if own in paths else f"{outer}.{piece.registry.selector}".lstrip(".")))
    return tuple(found)


@until_registration(maxsize=4096)
def _unused_in_piece(system: type[RunSpec], place: int, names: tuple[str, ...], spec: Any) -> tuple[str, ...]:
    """Return the leaf fields by path of a spec of pieces that those in use make nothing of."""
    where, registry, _ = _places(system)[place]
    used = PiecesInUse(where, spec, registry, names).used_fields()
    unused = [f"{where}.{f.name}" for f in fields(spec) if f.name not in used]
    return tuple(path for path in specs.leaf_paths(system) if any(path == u or path.startswith(f"{u}.") for u in unused))


def users_of(run: RunSpec, path: str) -> tuple[str, ...]:
    """Return the pieces that would use a field that those of the run do not; empty where none is known to."""
    for where, registry, _ in _places(type(run)):
        name = path.removeprefix(f"{where}.").partition(".")[0]
        users = _users(registry, specs.get(run, where)).get(name, ()) if path.startswith(f"{where}.") else ()
        if users:
            return users
    return ()


class FieldDescription(NamedTuple):
    """A field of a system: its default, what it allows, whether it is swept, and which pieces use it (empty: any)."""

    default: Any
    allowed: Option
    swept: bool
    pieces: tuple[str, ...]


def describe_fields(system: type[RunSpec]) -> dict[str, FieldDescription]:
    """A description of every field of a system by path, for completion and documentation."""
    swept, defaults = set(specs.swept(system)), specs.flatten(system())
    pieces = {
        f"{piece.where}.{name}": users
        for piece in pieces_in_use(system())
        for name, users in _users(piece.registry, piece.spec).items()
    }
    return {
        path: FieldDescription(defaults[path], option_of(f), path in swept, pieces.get(path, ()))
        for path, f in specs.leaf_fields(system).items()
    }


def _users(registry: Registry[Any], spec: Any) -> dict[str, tuple[str, ...]]:
    """For every field that only some pieces use: those pieces."""
    found: dict[str, tuple[str, ...]] = {}
    for name in registry:
        for used in registry.entry(name).used_fields(spec) - registry.common:
            found[used] = (*found.get(used, ()), name)
    return found


def fill_in(spec: Any, where: str, hyper: Mapping[str, Any]) -> Any:
    """Return the spec of pieces with the run's scalars in the place of the swept fields that the pieces brought with
    them.

    So a piece finds its own numbers where it finds its names and flags; the spec is not to be hashed any more.
    """
    own = {name: hyper.get(f"{where}.{name}") for name in own_fields(type(spec))}
    values = {name: value for name, value in own.items() if value is not None}
    return specs.copy_spec(spec, values) if values else spec
