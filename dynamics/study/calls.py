"""What a call of `dyn.run` or `dyn.sweep` asks for: its arguments made a request, every one checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from dynamics.core import spec as specs
from dynamics.core.dynamics import Dynamics
from dynamics.core.spec import RunSpec
from dynamics.core.stop_spec import StopSpec
from dynamics.errors import InputError, choose, require, suggest
from dynamics.store.store import Store
from dynamics.study.experiments import experiment_names
from dynamics.study.own_code import import_own_code
from dynamics.study.request import Request, StudySpec
from dynamics.study.selection import show_levels
from dynamics.study.values import NOT_FOR_CALLS

Subject = str | RunSpec | Dynamics
Axes = Mapping[str, Any]


def experiment_request(
    name: str, axes: Axes | None, size: str | None, output: str | os.PathLike[str], values: Mapping[str, Any]
) -> Request:
    """Return the runs of an experiment with these values; an `InputError` says what is not allowed."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from dynamics.study.config import compose

    choose("experiment", name, dict.fromkeys(experiment_names()))
    given = _joined(axes, values) | {"output": _folder(output)} | ({"size": size} if size is not None else {})
    try:
        return compose(name, values=given)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:  # its YAML is broken
        line = next((text.strip() for text in str(error).splitlines() if text.strip()), type(error).__name__)
        raise InputError("experiment", name, f"its config cannot be read: {line}") from error


def sweep_request(
    subject: RunSpec | Dynamics,
    axes: Axes | None,
    seeds: Any,
    schedule: Sequence[int] | None,
    precision: str | None,
    name: str | None,
    output: str | os.PathLike[str],
    settings: Mapping[str, Any],
    stop: StopSpec | None = None,
) -> tuple[Request, Store | None]:
    """Return the runs of a sweep, and its store where that is not a folder of `output`."""
    from dynamics.study.sweeps import spec_request
    from dynamics.study.triple import triple_request

    import_own_code()
    frame, given = study_settings(settings, output), _joined(axes, {})
    require(name is None or isinstance(name, str), "name", name, "must be a text")
    if precision is not None:
        choose("precision", precision, dict.fromkeys(specs.PRECISIONS))
    require(stop is None or isinstance(stop, StopSpec), "stop", stop, "must be a dyn.Stop")
    if isinstance(subject, Dynamics):
        require(schedule is not None, "schedule", schedule, "give the steps to record, such as (0, 10, 100)")
        assert schedule is not None
        require(name is None, "name", name, "is for sweeps of a spec; a plain Dynamics is not stored")
        return triple_request(
            subject, given, seeds, schedule, precision or "float32", frame, StopSpec() if stop is None else stop
        )
    allowed = "must be a spec such as dyn.Training(...), or a dyn.Dynamics"
    require(isinstance(subject, RunSpec), "subject", type(subject).__name__, allowed)
    if precision is not None:
        require("precision" not in given, "precision", precision, "is an axis already")
        given["precision"] = precision
    if stop is not None:
        subject = replace(subject, stop=stop)
    return spec_request(subject, given, seeds, schedule, name, frame), None


def study_settings(values: Mapping[str, Any], output: str | os.PathLike[str]) -> StudySpec:
    """Return the execution settings of a call; an `InputError` for one that does not exist or is of another type."""
    kinds = {
        k: v for k, v in get_type_hints(StudySpec).items() if k not in (*NOT_FOR_CALLS, "sweep", "panels", "size", "output")
    }
    for name, value in values.items():
        require(name in kinds, name, value, f"no such setting; choose one of {', '.join(kinds)}{suggest(name, kinds)}")
    plain = {name: specs.coerce(name, value, kinds[name]) for name, value in values.items()}
    settings = StudySpec(size="", output=_folder(output), **plain)
    settings.check()
    return settings


def any_request(subject: Subject, axes: Axes | None, options: Mapping[str, Any]) -> tuple[Request, Store | None]:
    """Return the request that `run` or `sweep` would make of these arguments."""
    own = dict(options)
    check_progress(own.pop("progress", False))
    output = own.pop("output", ".")
    if isinstance(subject, str):
        return experiment_request(subject, axes, own.pop("size", None), output, own), None
    seeds, schedule = own.pop("seeds", 1), own.pop("schedule", None)
    precision, name = own.pop("precision", None), own.pop("name", None)
    stop = own.pop("stop", None)
    return sweep_request(subject, axes, seeds, schedule, precision, name, output, own, stop)


def _joined(axes: Axes | None, values: Mapping[str, Any]) -> dict[str, Any]:
    named = axes is None or (isinstance(axes, Mapping) and all(isinstance(name, str) for name in axes))
    require(named, "axes", axes, "must be a mapping from names of fields to values")
    both = set(axes or {}) & set(values)
    require(not both, "axes", sorted(both), "are given twice")
    return {**(axes or {}), **values}


def _folder(output: str | os.PathLike[str]) -> str:
    """Return the output folder as it is meant now, whatever folder the program works in later."""
    require(isinstance(output, str | os.PathLike), "output", output, "must be the path of a folder")
    return os.path.abspath(Path(output).expanduser())


def check_progress(progress: Any) -> None:
    """Raise `InputError` unless the choice to show a bar is true or false."""
    require(isinstance(progress, bool), "progress", progress, "must be True or False")


def name_missing(request: Request, missing: set[str]) -> str:
    """Return in words which values of which fields all the missing runs share and the others do not have."""
    absent = [specs.flatten(run) for run in request.runs if specs.run_id(run) in missing]
    there = [specs.flatten(run) for run in request.runs if specs.run_id(run) not in missing]
    for path in specs.paths(request.runs[0]):
        lacking = {run[path] for run in absent}
        if not lacking & {run[path] for run in there}:
            return f", those with {path} = {show_levels(sorted(lacking))}"
    return ""
