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
from collections.abc import Mapping
from typing import Any

import numpy as np

from dynamics import spec as specs
from dynamics.errors import InputError, require, suggest
from dynamics.spec import RunSpec

Axes = dict[str, list[Any]]  # one entry multiplies; paths joined by a space advance together


def _space(kind: str, path: str, args: Any) -> list[Any]:
    allowed = f"must be {{{kind}: [low, high, num]}} with num at least 1"
    ok = isinstance(args, list | tuple) and len(args) == 3 and all(isinstance(a, int | float) for a in args)
    require(ok and args[2] >= 1 and args[2] == int(args[2]), path, {kind: args}, allowed)
    low, high, num = float(args[0]), float(args[1]), int(args[2])
    if kind == "linspace":
        return np.linspace(low, high, num).tolist()
    require(low > 0 and high > 0, path, {kind: args}, "must run between positive numbers")
    return np.geomspace(low, high, num).tolist()


def _range(path: str, args: Any) -> list[Any]:
    args = [0, args] if isinstance(args, int) else args
    ok = isinstance(args, list | tuple) and len(args) in (2, 3) and all(isinstance(a, int) for a in args)
    require(ok and (len(args) < 3 or args[2] != 0), path, {"range": args}, "must be {range: [start, stop, step?]} of integers")
    return list(range(*args))


EXPRESSIONS = {
    "range": _range,
    "linspace": lambda path, args: _space("linspace", path, args),
    "logspace": lambda path, args: _space("logspace", path, args),
}


def is_leaf(node: Any) -> bool:
    """Whether a node of a sweep is an axis (or a value) and not a further level of the config."""
    return not isinstance(node, Mapping) or (len(node) == 1 and next(iter(node)) in EXPRESSIONS)


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


def lay_over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` laid over `base`, both sweeps: an axis is replaced whole, whatever it was before."""
    merged = dict(base)
    for name, node in top.items():
        below = merged.get(name)
        deeper = isinstance(below, Mapping) and not is_leaf(node) and not is_leaf(below)
        merged[name] = lay_over(below, node) if deeper else node  # type: ignore[arg-type]
    return merged


def _values(path: str, node: Any, spec: RunSpec) -> list[Any]:
    if path not in specs.paths(spec):
        raise InputError(f"sweep.{path}", node, f"no such field{suggest(path, specs.paths(spec))}")
    if isinstance(node, Mapping):
        kind, args = next(iter(node.items()))
        if kind not in EXPRESSIONS:
            raise InputError(f"sweep.{path}", node, f"choose one of {', '.join(EXPRESSIONS)}{suggest(kind, EXPRESSIONS)}")
        values = EXPRESSIONS[kind](f"sweep.{path}", args)
    else:
        values = list(node) if isinstance(node, list | tuple) else [node]
    require(len(values) > 0, f"sweep.{path}", node, "must have at least one value")
    integer = isinstance(specs.get(spec, path), int) and not isinstance(specs.get(spec, path), bool)
    return [round(v) for v in values] if integer and isinstance(node, Mapping) else values


def parse(tree: Mapping[str, Any], spec: RunSpec) -> Axes:
    """The axes of one panel, each checked against the fields of `spec`."""
    axes: Axes = {}
    for path, node in leaves(tree).items():
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


def expand(spec: RunSpec, axes: Axes) -> list[RunSpec]:
    """Every combination as a resolved run, in the order of the axes, the last one fastest; duplicates dropped."""
    together = [[dict(zip(name.split(" "), values, strict=True)) for values in column] for name, column in axes.items()]
    runs: dict[RunSpec, None] = {}
    for combination in itertools.product(*together):
        values = {path: value for part in combination for path, value in part.items()}
        runs[specs.freeze(specs.put(spec, values)).resolve()] = None
    return list(runs)
