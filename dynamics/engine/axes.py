"""Expand the `sweep` of a config into a list of runs.

    sweep:
      data: {input_dim: [1, 2, 3], num_samples: {logspace: [32, 512, 5]}}
      seed: {range: [0, 5]}
      zip: [{optimizer.learning_rate: [0.2, 0.01], optimizer.weight_decay: [0.0, 0.1]}]
    panels:
      stable: {optimizer: {learning_rate: 0.2}}

The nesting mirrors the config. A leaf is a list, `{range: [start, stop, step?]}`, `{linspace: [low, high, num]}`,
`{logspace: [low, high, num]}` (both ends included, evenly spaced in the logarithm), or a single value. The grid is the
product of all axes, except that the axes of one `zip` entry advance together. Each panel overrides the common axes, and
the study is the union of its panels.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from dynamics.core import spec as specs
from dynamics.core.checked_fields import deferred_checks
from dynamics.core.plain_values import plain_value
from dynamics.core.spec import RunSpec
from dynamics.errors import InputError, require, suggest

Axes = dict[str, list[Any]]  # grid factors by path; the paths of a zipped axis are joined by a space


MAX_RUNS = 1_000_000  # limit on the runs of a study and on the values of one axis


def _is_finite_number(value: Any, kind: Any) -> bool:
    """Return whether `value` is a finite number of type `kind`; booleans do not count as numbers."""
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> Any:
    """Return a float that is whole, such as 1e3, as an integer, and anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _expand_spacing(kind: str, path: str, args: Any) -> list[Any]:
    """Return the values of `{linspace: args}` or `{logspace: args}`; raises `InputError` if `args` is malformed."""
    allowed = f"must be {{{kind}: [low, high, num]}} with num a whole number from 1 to {MAX_RUNS}"
    ok = isinstance(args, list | tuple) and len(args) == 3 and all(_is_finite_number(a, int | float) for a in args)
    require(ok and 1 <= args[2] <= MAX_RUNS and args[2] == int(args[2]), path, {kind: args}, allowed)
    low, high, num = float(args[0]), float(args[1]), int(args[2])
    if kind == "linspace":
        return np.linspace(low, high, num).tolist()
    require(low > 0 and high > 0, path, {kind: args}, "must run between positive numbers")
    return np.geomspace(low, high, num).tolist()


def _expand_range(path: str, args: Any) -> list[Any]:
    """Return the integers of `{range: args}`; raises `InputError` if `args` is malformed."""
    args = [_whole(part) for part in args] if isinstance(args, list | tuple) else _whole(args)
    bounds = [0, args] if _is_finite_number(args, int) else args
    ok = isinstance(bounds, list | tuple) and len(bounds) in (2, 3) and all(_is_finite_number(a, int) for a in bounds)
    require(ok and bounds[2:] != [0], path, {"range": args}, "must be {range: [start, stop, step?]} of integers")
    values = range(*bounds)
    require(len(values[: MAX_RUNS + 1]) <= MAX_RUNS, path, {"range": args}, f"must have at most {MAX_RUNS} values")
    return list(values)


def logspace(low: float, high: float, num: int) -> list[float]:
    """Return `num` numbers from `low` to `high`, both included, spaced evenly in the logarithm, as in configs.

    Raises `InputError` unless both ends are positive and num is a whole number of at least 1.

    >>> import dynamics as dyn
    >>> dyn.logspace(0.01, 1.0, 3)
    [0.01, 0.1, 1.0]
    """
    return _expand_spacing("logspace", "logspace", [plain_value("logspace", part) for part in (low, high, num)])


def linspace(low: float, high: float, num: int) -> list[float]:
    """Return `num` numbers from `low` to `high`, both included, spaced evenly, as in configs.

    Raises `InputError` unless the ends are finite and num is a whole number of at least 1.

    >>> import dynamics as dyn
    >>> dyn.linspace(0.0, 1.0, 3)
    [0.0, 0.5, 1.0]
    """
    return _expand_spacing("linspace", "linspace", [plain_value("linspace", part) for part in (low, high, num)])


EXPRESSIONS = {
    "range": _expand_range,
    "linspace": lambda path, args: _expand_spacing("linspace", path, args),
    "logspace": lambda path, args: _expand_spacing("logspace", path, args),
}


def check_sweep(field: str, tree: Any) -> None:
    """Raise `InputError` unless `tree` is a mapping whose `zip` entry, if any, is a list of mappings.

    field: the name of the config field, for the message
    """
    require(isinstance(tree, Mapping), field, tree, "must be a mapping of axes")
    together = tree.get("zip", [])
    entries = [together] if isinstance(together, Mapping) else together
    ok = isinstance(entries, list | tuple) and all(isinstance(entry, Mapping) for entry in entries)
    require(ok, f"{field}.zip", together, "must be a list of mappings of axes")


def is_axis(node: Any) -> bool:
    """Return whether a node of a sweep is an axis (or a single value) rather than a nested level of the config."""
    return not isinstance(node, Mapping) or not node or (len(node) == 1 and next(iter(node)) in EXPRESSIONS)


def flatten_axes(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the axes of a nested sweep by dotted path; `zip` entries are returned unchanged under the key `zip`."""
    found: dict[str, Any] = {}
    for name, node in tree.items():
        path = f"{prefix}{name}"
        if is_axis(node) or path == "zip":
            found[path] = node
        else:
            found |= flatten_axes(node, f"{path}.")
    return found


def zipped_paths(tree: Mapping[str, Any]) -> set[str]:
    """Return the paths of the axes that advance together with others."""
    together = tree.get("zip", [])
    return {path for entry in ([together] if isinstance(together, Mapping) else together) for path in flatten_axes(entry)}


def axis_paths(tree: Mapping[str, Any]) -> set[str]:
    """Return the paths of all axes of a sweep, zipped ones included."""
    return set(flatten_axes(tree)) - {"zip"} | zipped_paths(tree)


def merge_axes(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sweep `base` overridden by the sweep `top`: an axis in both is replaced as a whole, never merged.

    A plain axis of `top` also takes the place of a zipped one of `base`, and the other way round; `zip` is replaced as
    a whole.
    """
    plain, together = set(flatten_axes(top)) - {"zip"}, base.get("zip", [])
    base = copy.deepcopy(dict(base))
    if zipped_paths(base) & plain:
        entries = [together] if isinstance(together, Mapping) else together
        base["zip"] = [{path: node for path, node in flatten_axes(entry).items() if path not in plain} for entry in entries]
    for path in zipped_paths(top) & set(flatten_axes(base)):
        remove_axis(base, path)
    return _merge(base, top)


def merge_panels(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return the panels `base` with the axes of those in `top` laid over their own;
    what is no mapping replaces a panel."""

    def merged(below: Any, own: Any) -> Any:
        return merge_axes(below, own) if isinstance(below, Mapping) and isinstance(own, Mapping) else own

    return {**base, **{panel: merged(base.get(panel), own) for panel, own in top.items()}}


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, node in top.items():
        below = merged.get(name)
        deeper = isinstance(below, Mapping) and not is_axis(node) and not is_axis(below)
        merged[name] = _merge(below, node) if deeper else node  # type: ignore[arg-type]
    return merged


def nest_path(path: str, value: Any) -> dict[str, Any]:
    """Return nested mappings with `value` at the dotted path and nothing else."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def remove_axis(tree: dict[str, Any], path: str) -> bool:
    """Remove the node at a dotted path, which may itself be a key; return whether there was one."""
    if path in tree:
        del tree[path]
        return True
    head, _, rest = path.partition(".")
    return bool(rest) and isinstance(tree.get(head), dict) and remove_axis(tree[head], rest)


def drop_overridden_axes(path: str, trees: dict[str, Any], source: str, *, keep_place: bool = False) -> list[str]:
    """Remove the axes of a field that has been given a value; return one notice per removed axis.

    trees: the `sweep` and `panels` of a config, changed in place
    source: where the value comes from, for the notices
    keep_place: leave the axis in `sweep`, because another axis is about to replace it
    """
    notices = []
    panels = {f"panels.{panel}": tree for panel, tree in trees["panels"].items() if isinstance(tree, Mapping)}
    for where, tree in {"sweep": trees["sweep"], **panels}.items():
        check_sweep(where, tree)
        if path in flatten_axes(tree):
            if not (keep_place and where == "sweep"):
                remove_axis(tree, path)
            notices.append(f"note: {path} {source} replaces the axis {where}.{path}")
        entries = tree.get("zip", [])
        for entry in [entries] if isinstance(entries, dict) else entries:
            if path in flatten_axes(entry):
                remove_axis(entry, path)
                notices.append(f"note: {path} {source} replaces its part of {where}.zip")
    return notices


def _axis_values(path: str, node: Any, spec: RunSpec, *, repeats: bool = False) -> list[Any]:
    """Return the values of one axis; raises `InputError` for an unknown field or a malformed expression.

    repeats: whether a value may stand in a list twice, as in a zip
    """
    if path not in specs.paths(spec):
        raise InputError(f"sweep.{path}", node, f"no such field{suggest(path, specs.paths(spec))}")
    if isinstance(node, Mapping):
        require(len(node) > 0, f"sweep.{path}", node, "must have at least one value")
        kind, args = next(iter(node.items()))
        if kind not in EXPRESSIONS:
            raise InputError(f"sweep.{path}", node, f"choose one of {', '.join(EXPRESSIONS)}{suggest(kind, EXPRESSIONS)}")
        values = EXPRESSIONS[kind](f"sweep.{path}", args)
    else:
        values = list(node) if isinstance(node, list | tuple) else [node]
    require(len(values) > 0, f"sweep.{path}", node, "must have at least one value")
    if not isinstance(node, Mapping) and not repeats:
        twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
        require(twice is None, f"sweep.{path}", node, f"has {twice!r} twice")
    if isinstance(specs.get(spec, path), tuple):
        require(all(isinstance(v, list | tuple) for v in values), f"sweep.{path}", node, "each of its values must be a list")
    integer = isinstance(specs.get(spec, path), int) and not isinstance(specs.get(spec, path), bool)
    return [round(v) for v in values] if integer and isinstance(node, Mapping) else values


def parse_axes(tree: Mapping[str, Any], spec: RunSpec) -> Axes:
    """Return the axes of one panel; raises `InputError` if a path is not a field of `spec` or an axis has no values."""
    axes: Axes = {}
    for path, node in flatten_axes(tree).items():
        if node == {} and any(known.startswith(f"{path}.") for known in specs.paths(spec)):
            continue  # an empty level, e.g. `sweep.data={}`, removes the axes below it
        if path != "zip":
            axes[path] = [(v,) for v in _axis_values(path, node, spec)]
            continue
        for together in [node] if isinstance(node, Mapping) else node:
            columns = {p: _axis_values(p, sub, spec, repeats=True) for p, sub in flatten_axes(together).items()}
            if not columns:
                continue
            lengths = {p: len(v) for p, v in columns.items()}
            require(len(set(lengths.values())) == 1, "sweep.zip", lengths, "must be axes of equal length")
            rows = list(zip(*columns.values(), strict=True))
            twice = next((row for i, row in enumerate(rows) if row in rows[:i]), None)
            require(twice is None, "sweep.zip", columns, f"has {twice} twice")
            there = {p for name in axes if " " in name for p in name.split(" ")} & set(columns)
            require(not there, "sweep.zip", sorted(there), "are in two of its entries")
            for p in columns:
                axes.pop(p, None)
            axes[" ".join(columns)] = rows
    return axes


@cache
def _infinite_defaults(system: type[RunSpec]) -> set[tuple[str, float]]:
    """Return the paths of the fields of a system whose default is infinite, with it; only these accept infinity."""
    return {item for item in specs.flatten(system()).items() if isinstance(item[1], float) and math.isinf(item[1])}


def _check_values(spec: RunSpec) -> None:
    """Raise `InputError` for values that no system accepts (NaN, overflow), so that a system's own checks need not."""
    for path, value in specs.flatten(spec).items():
        if isinstance(value, float):
            require(
                math.isfinite(value) or (path, value) in _infinite_defaults(type(spec)), path, value, "must be a finite number"
            )
        elif isinstance(value, int):
            require(-(2**31) <= value < 2**31, path, value, "must be an integer of at most 32 bits")
        elif isinstance(value, tuple):
            ok = all(isinstance(part, str | int | float) for part in value)
            require(ok, path, list(value), "must be a list of plain values")


def expand_runs(spec: RunSpec, axes: Axes) -> list[RunSpec]:
    """Return one resolved run for every combination of axis values, without duplicates; see `grid_runs`."""
    with deferred_checks():  # each run is checked as a whole by whoever asked
        return list(dict.fromkeys(run.resolve() for run in grid_runs(spec, axes)))


def grid_runs(spec: RunSpec, axes: Axes) -> list[RunSpec]:
    """Return one run for every combination of axis values, as it was asked for:
    widths that follow n are not worked out.

    The last axis varies fastest, and none is there twice. Raises `InputError` for more than `MAX_RUNS` runs or a value
    out of range.
    """
    together = [[dict(zip(name.split(" "), values, strict=True)) for values in column] for name, column in axes.items()]
    total = math.prod(len(column) for column in together)
    require(total <= MAX_RUNS, "sweep", total, f"is more runs than the {MAX_RUNS} that a study may have")
    runs: dict[RunSpec, None] = {}
    spec = specs.freeze(spec)
    spec = specs.put(spec, specs.flatten(spec))  # an integer that was given as 1e3 becomes one
    for combination in itertools.product(*together):
        values = {path: value for part in combination for path, value in part.items()}
        run = specs.put(spec, values)
        _check_values(run)
        runs[run] = None
    return list(runs)
