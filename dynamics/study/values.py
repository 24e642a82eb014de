"""Python values in the place of overrides: what a call of `dyn.run` or `dyn.sweep` gives, made plain and laid over a
config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from dynamics.core import spec as specs
from dynamics.core.plain_values import check_type, plain_value
from dynamics.core.spec import RunSpec
from dynamics.engine import axes
from dynamics.errors import InputError, require, suggest
from dynamics.study.axis_layers import lay_axes
from dynamics.study.request import AXIS_FIELDS, StudySpec

NOT_FOR_CALLS = {
    "mode": "call dyn.run, dyn.plan or dyn.open instead",
    "distributed": "is for the command line",
    "coordinator": "is for the command line",
    "axis_overrides": "is for the command line; give lists",
    "sizes": "is for a config to say",
    "needs": "is for a config to say",
}


def field_path(name: str, system: type[RunSpec]) -> str:
    """Return the dotted path of a field of the study or of its runs, which may be named by the last part of its path.

    Raises `InputError` if there is none, with the closest name, or if several end so.
    """
    known = [*get_type_hints(StudySpec), *specs.leaf_paths(system)]
    if name in known or name.lstrip("+").partition(".")[0] in AXIS_FIELDS:
        return name
    found = [path for path in known if path.split(".")[-1] == name]
    if len(found) == 1:
        return found[0]
    require(not found, "field", name, f"is one of {', '.join(found)}")
    raise InputError("field", name, f"no such field{suggest(name, [*known, *(p.split('.')[-1] for p in known)])}")


def by_path(values: Mapping[str, Any], system: type[RunSpec]) -> dict[str, Any]:
    """Return the values, made plain, by full dotted path; mappings may be nested as configs are."""
    levels = {path.rpartition(".")[0] for path in specs.leaf_paths(system)} - {""}
    levels |= {level.partition(".")[0] for level in levels}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in levels:
            require(isinstance(value, Mapping), name, value, f"has fields: give {name!r}: {{field: value}}")
            found |= by_path({f"{name}.{part}": sub for part, sub in value.items()}, system)
        else:
            path = field_path(name, system)
            require(path not in found, path, value, "is given twice")
            found[path] = plain_value(path, value)
    return found


def is_axis(value: Any, kind: Any) -> bool:
    """Return whether a plain value is a list of values for a field of this type: for a field that is a list, a list of
    lists."""
    if isinstance(value, Mapping):
        return axes.is_axis(value) and bool(value)
    if get_origin(kind) in (list, tuple) or kind in (list, tuple):
        return isinstance(value, list) and bool(value) and all(isinstance(part, list) for part in value)
    return isinstance(value, list)


def lay_values(cfg: DictConfig, trees: dict[str, Any], system: type[RunSpec], values: Mapping[str, Any]) -> list[str]:
    """Lay values over a config and its axes; returns lines that say which axes were replaced.

    A list (range, array, `{"logspace": [...]}`) is an axis of its field and replaces those that the config has for it,
    in every panel; a single value fixes the field. `sweep` and `panels` may be given as configs write them; a panel
    that the config does not have is added with a plus, `{"+panels.mine": {...}}`.
    """
    notices: list[str] = []
    kinds = dict(specs.layout(system)) | get_type_hints(StudySpec)
    plain = by_path(values, system)
    for path in sorted(plain, key=lambda p: p.lstrip("+").partition(".")[0] not in AXIS_FIELDS):
        value, top = plain[path], path.lstrip("+").partition(".")[0]
        require(path not in NOT_FOR_CALLS, path, value, NOT_FOR_CALLS.get(path, ""))
        if top in AXIS_FIELDS:
            whole = "." not in path
            require(not whole or isinstance(value, Mapping), path, value, "must be a mapping of axes, as configs have it")
            notices += lay_axes(trees, path.lstrip("+"), value, add=path.startswith("+"))
        elif is_axis(value, kinds[path]):
            require(path in specs.leaf_paths(system), path, value, "is one value for all runs")
            notices += axes.drop_overridden_axes(path, trees, "as given", keep_place=True)
            trees["sweep"] = axes.merge_axes(trees["sweep"], axes.nest_path(path, value))
        else:
            notices += axes.drop_overridden_axes(path, trees, "as given")
            OmegaConf.update(cfg, path, check_type(path, value, kinds[path]), merge=True)
    return notices
