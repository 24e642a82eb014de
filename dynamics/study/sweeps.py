"""A sweep of a spec: axes over any of its fields, stored by identity."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dynamics.core import spec as specs
from dynamics.core.plain_values import plain_value
from dynamics.core.recording import check_schedule
from dynamics.core.spec import RunSpec
from dynamics.engine import axes
from dynamics.errors import require
from dynamics.study.config import checked_request
from dynamics.study.request import AXIS_FIELDS, Request, StudySpec
from dynamics.study.triple import seed_values
from dynamics.study.values import by_path, is_axis


def spec_request(
    spec: RunSpec,
    values: Mapping[str, Any],
    seeds: int | Sequence[int],
    schedule: Sequence[int] | None,
    name: str | None,
    settings: StudySpec,
) -> Request:
    """Return the runs of a sweep over a spec's fields, each of them checked.

    values: as `dyn.sweep` takes them; `zip` holds axes that advance together. Raises `InputError`.
    """
    require(isinstance(values, Mapping), "axes", values, "must be a mapping from fields to values")
    given = dict(values)
    together = given.pop("zip", None)
    plain = by_path(given, type(spec))
    kinds = dict(specs.layout(type(spec)))
    for path in plain:
        require(path in kinds and path not in AXIS_FIELDS, path, plain[path], "is no field of a run")
    fixed = {path: value for path, value in plain.items() if not is_axis(value, kinds[path])}
    tree = {path: value for path, value in plain.items() if path not in fixed}
    if together is not None:
        tree["zip"] = plain_value("zip", together)
        axes.check_sweep("axes", tree)
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds != 1:
        require("seed" not in plain, "seeds", seeds, "seed is an axis already")
        tree = {"seed": seed_values(seeds), **tree}
    if schedule is not None:
        steps = check_schedule(schedule)
        for path in [*fixed, *" ".join(axes.parse_axes(tree, spec)).split()]:
            is_kept = path != "steps" and not path.startswith("record.")
            require(is_kept, path, plain.get(path, together), "has no effect beside schedule=, which gives the steps")
        fixed |= {"steps": steps[-1]}
        spec = replace(spec, record=replace(spec.record, num=0, at=list(steps), dense=0, pairs=False))
    base = specs.freeze(specs.put(specs.freeze(spec), fixed))
    panels = {"main": axes.grid_runs(base, axes.parse_axes(tree, base))}
    label = name if name is not None else spec.system or type(spec).__name__
    fits = re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", label) is not None
    require(fits, "name", label, "a sweep's name has letters, digits, and _ . - after the first; / between folders")
    return checked_request(f"sweeps/{label}", settings, panels)
