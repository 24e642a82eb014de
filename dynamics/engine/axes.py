"""Axes: from a `sweep` in a config to the list of runs.

    sweep:
      data: {input_dim: [1, 2, 3], num_samples: {logspace: [32, 512, 5]}}
      seed: {range: [0, 5]}
      zip: [{optimizer.learning_rate: [0.2, 0.01], optimizer.weight_decay: [0.0, 0.1]}]
    panels:
      stable: {optimizer: {learning_rate: 0.2}}

The nesting mirrors the config's. A leaf is a list, `{range: [start, stop, step?]}`, `{linspace: [low, high, num]}`,
`{logspace: [low, high, num]}` (ends included, spaced evenly in the logarithm), or a single value. Axes multiply,
those in a `zip` entry advance together. Every panel is laid over the common axes; the study is the union.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from dynamics.core import spec as specs
from dynamics.core.spec import RunSpec
from dynamics.errors import InputError, require, suggest

Axes = dict[str, list[Any]]  # one entry multiplies; paths joined by a space advance together


MOST_RUNS = 1_000_000  # of a study, or values of an axis


def _number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def _space(kind: str, path: str, args: Any) -> list[Any]:
    allowed = f"must be {{{kind}: [low, high, num]}} with num a whole number from 1 to {MOST_RUNS}"
    ok = isinstance(args, list | tuple) and len(args) == 3 and all(_number(a, int | float) for a in args)
    require(ok and 1 <= args[2] <= MOST_RUNS and args[2] == int(args[2]), path, {kind: args}, allowed)
    low, high, num = float(args[0]), float(args[1]), int(args[2])
    if kind == "linspace":
        return np.linspace(low, high, num).tolist()
    require(low > 0 and high > 0, path, {kind: args}, "must run between positive numbers")
    return np.geomspace(low, high, num).tolist()


def _range(path: str, args: Any) -> list[Any]:
    bounds = [0, args] if _number(args, int) else args
    ok = isinstance(bounds, list | tuple) and len(bounds) in (2, 3) and all(_number(a, int) for a in bounds)
    require(ok and bounds[2:] != [0], path, {"range": args}, "must be {range: [start, stop, step?]} of integers")
    values = range(*bounds)
    require(len(values[: MOST_RUNS + 1]) <= MOST_RUNS, path, {"range": args}, f"must have at most {MOST_RUNS} values")
    return list(values)


EXPRESSIONS = {
    "range": _range,
    "linspace": lambda path, args: _space("linspace", path, args),
    "logspace": lambda path, args: _space("logspace", path, args),
}


def logspace(low: float, high: float, num: int) -> list[float]:
    """Return `num` numbers from `low` to `high`, both included, spaced evenly in the logarithm: as in configs.

    Raises `InputError` unless both ends are positive and num is a whole number of at least 1.

    >>> import dynamics as dyn
    >>> dyn.logspace(0.01, 1.0, 3)
    [0.01, 0.1, 1.0]
    """
    return _space("logspace", "logspace", [low, high, num])


def linspace(low: float, high: float, num: int) -> list[float]:
    """Return `num` numbers from `low` to `high`, both included, spaced evenly: as in configs.

    Raises `InputError` unless the ends are finite and num is a whole number of at least 1.

    >>> import dynamics as dyn
    >>> dyn.linspace(0.0, 1.0, 3)
    [0.0, 0.5, 1.0]
    """
    return _space("linspace", "linspace", [low, high, num])


def check_tree(field: str, tree: Any) -> None:
    """Raise `InputError` unless `tree` has the form of a sweep: a mapping, with mappings in its `zip`."""
    require(isinstance(tree, Mapping), field, tree, "must be a mapping of axes")
    together = tree.get("zip", [])
    entries = [together] if isinstance(together, Mapping) else together
    ok = isinstance(entries, list | tuple) and all(isinstance(entry, Mapping) for entry in entries)
    require(ok, f"{field}.zip", together, "must be a list of mappings of axes")


def is_leaf(node: Any) -> bool:
    """Whether a node of a sweep is an axis (or a value) and not a further level of the config."""
    return not isinstance(node, Mapping) or not node or (len(node) == 1 and next(iter(node)) in EXPRESSIONS)


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The axes of a sweep by dotted path (`zip` entries stay as they are, under `zip`)."""
    found: dict[str, Any] = {}
    for name, node in tree.items():
        path = f"{prefix}{name}"
        if is_leaf(node) or path == "zip":
            found[path] = node
        else:
            found |= leaves(node, f"{path}.")
    return found


def merge_axes(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` laid over `base`, both sweeps: an axis is replaced whole, whatever it was before."""
    merged = dict(base)
    for name, node in top.items():
        below = merged.get(name)
        deeper = isinstance(below, Mapping) and not is_leaf(node) and not is_leaf(below)
        merged[name] = merge_axes(below, node) if deeper else node  # type: ignore[arg-type]
    return merged


def nest(path: str, value: Any) -> dict[str, Any]:
    """Return the mapping of mappings that has `value` at a dotted path."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def remove(tree: dict[str, Any], path: str) -> bool:
    """Take out what is at a dotted path, which may be a key as it stands; returns whether there was anything."""
    if path in tree:
        del tree[path]
        return True
    head, _, rest = path.partition(".")
    return bool(rest) and isinstance(tree.get(head), dict) and remove(tree[head], rest)


def drop_overridden_axes(path: str, trees: dict[str, Any], source: str, *, keep_place: bool = False) -> list[str]:
    """Take the axes of a field that is given otherwise out of `sweep` and `panels`; returns a line for each.

    source: where the value comes from, for these lines; keep_place: leave the axis in `sweep`, which another will replace.
    """
    told = []
    panels = {f"panels.{panel}": tree for panel, tree in trees["panels"].items() if isinstance(tree, Mapping)}
    for where, tree in {"sweep": trees["sweep"], **panels}.items():
        check_tree(where, tree)
        if path in leaves(tree):
            if not (keep_place and where == "sweep"):
                remove(tree, path)
            told.append(f"note: {path} {source} replaces the axis {where}.{path}")
        entries = tree.get("zip", [])
        for entry in [entries] if isinstance(entries, dict) else entries:
            if path in leaves(entry):
                remove(entry, path)
                told.append(f"note: {path} {source} replaces its part of {where}.zip")
    return told


def _values(path: str, node: Any, spec: RunSpec) -> list[Any]:
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
    if isinstance(specs.get(spec, path), tuple):
        require(all(isinstance(v, list | tuple) for v in values), f"sweep.{path}", node, "each of its values must be a list")
    integer = isinstance(specs.get(spec, path), int) and not isinstance(specs.get(spec, path), bool)
    return [round(v) for v in values] if integer and isinstance(node, Mapping) else values


def parse(tree: Mapping[str, Any], spec: RunSpec) -> Axes:
    """The axes of one panel, each checked against the fields of `spec`."""
    axes: Axes = {}
    for path, node in leaves(tree).items():
        if node == {} and any(known.startswith(f"{path}.") for known in specs.paths(spec)):
            continue  # a level of the config without axes: `sweep.data={}` takes those away that were there
        if path != "zip":
            axes[path] = [(v,) for v in _values(path, node, spec)]
            continue
        for together in [node] if isinstance(node, Mapping) else node:
            columns = {p: _values(p, sub, spec) for p, sub in leaves(together).items()}
            if not columns:
                continue
            lengths = {p: len(v) for p, v in columns.items()}
            require(len(set(lengths.values())) == 1, "sweep.zip", lengths, "must be axes of equal length")
            for p in columns:
                axes.pop(p, None)
            axes[" ".join(columns)] = list(zip(*columns.values(), strict=True))
    return axes


@cache
def _unbounded(system: type[RunSpec]) -> set[str]:
    """Fields that may be infinite: those that are if nothing is said."""
    return {path for path, value in specs.flatten(system()).items() if isinstance(value, float) and math.isinf(value)}


def _check_values(spec: RunSpec) -> None:
    """What holds for every field of every system, so that no run's own checks meet with what they cannot compare."""
    for path, value in specs.flatten(spec).items():
        if isinstance(value, float):
            finite = math.isfinite(value) or (value == math.inf and path in _unbounded(type(spec)))
            require(finite, path, value, "must be a finite number")
        elif isinstance(value, int):
            require(-(2**31) <= value < 2**31, path, value, "must be an integer of at most 32 bits")
        elif isinstance(value, tuple):
            ok = all(isinstance(part, str | int | float) for part in value)
            require(ok, path, list(value), "must be a list of plain values")


def expand(spec: RunSpec, axes: Axes) -> list[RunSpec]:
    """Every combination as a resolved run, in the order of the axes, the last one fastest; duplicates dropped."""
    together = [[dict(zip(name.split(" "), values, strict=True)) for values in column] for name, column in axes.items()]
    total = math.prod(len(column) for column in together)
    require(total <= MOST_RUNS, "sweep", total, f"is more runs than the {MOST_RUNS} that a study may have")
    runs: dict[RunSpec, None] = {}
    spec = specs.freeze(spec)
    for combination in itertools.product(*together):
        values = {path: value for part in combination for path, value in part.items()}
        run = specs.put(spec, values)
        _check_values(run)
        runs[run.resolve()] = None
    return list(runs)
