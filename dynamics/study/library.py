"""The library's verbs: `dyn.run`, `dyn.sweep`, `dyn.plan`, `dyn.open`, `dyn.list_experiments`.

They do what the command line does, in the same stores and with the same identities,
but return tables and print nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dynamics.core.devices import prepare
from dynamics.core.dynamics import Dynamics
from dynamics.core.recording import check_schedule
from dynamics.core.spec import RunSpec
from dynamics.core.stop_spec import StopSpec
from dynamics.engine.plan import Plan
from dynamics.errors import InputError, require
from dynamics.study.calls import (
    Axes,
    Subject,
    any_request,
    check_progress,
    experiment_request,
    name_missing,
    sweep_request,
)
from dynamics.study.compute import compute
from dynamics.study.experiments import experiment_names
from dynamics.study.run import find_missing, load_what_is_there, open_store, plan_study
from dynamics.study.tables import Study


def run(
    name: str,
    axes: Axes | None = None,
    /,
    *,
    size: str | None = None,
    output: str | os.PathLike[str] = ".",
    progress: bool = False,
    **values: Any,
) -> Study:
    """Compute what is missing of an experiment and return it as a `Study`; what is stored is not computed again.

    name: one of `list_experiments()`
    axes, values: fields by dotted path (in `axes`) or by the last part of it, where that is unambiguous. A list, tuple,
        range, set or array is an axis and replaces the axes that the experiment has for that field; a single value
        holds for all runs. `sweep` and `panels` may be given as configs write them. Execution settings (`save_final`,
        `memory` in GB, `checkpoint_seconds`, `worker` and `workers` for processes that share a study) go the same way
    size: `smoke`, `laptop` or `paper`; the experiment's own default (laptop) if left out
    output: the folder with `results/`, as for the command line
    progress: show a bar on stderr

    Diverged and failed runs raise nothing: see `study.runs["status"]`; a warning tells of those that could not be
    computed. Raises `InputError` for a name or value that is not allowed, before anything is computed.

    >>> import dynamics as dyn, tempfile
    >>> study = dyn.run("atlas/catapult", size="smoke", output=tempfile.mkdtemp(), steps=20, record={"dense": 0, "num": 3},
    ...                 panels={"line": None, "growth": None}, form="map", edge_ratio=[1.5, 3.0])
    >>> study.values("edge_ratio"), study.values("step")
    ([1.5, 3.0], [0, 1, 4, 20])
    """
    prepare()
    check_progress(progress)
    request = experiment_request(name, axes, size, output, values)
    return compute(request, progress=progress)


def sweep(
    subject: RunSpec | Dynamics,
    axes: Axes | None = None,
    /,
    *,
    seeds: int | Sequence[int] = 1,
    schedule: Sequence[int] | None = None,
    precision: str | None = None,
    stop: StopSpec | None = None,
    name: str | None = None,
    output: str | os.PathLike[str] = ".",
    progress: bool = False,
    **settings: Any,
) -> Study:
    """Run a spec, or a plain `Dynamics`, over a grid and return it as a `Study`. Axes multiply;
    `zip` advances some together.

    subject: a spec such as `Training(...)`, whose every field may be an axis by its dotted path; or a triple of your
        own, whose axes are the floats of its `hyper`. Give hyper-parameters that do not vary as plain numbers
    axes: a list, tuple, range or array by name is an axis; a single value holds for all runs
    seeds: how many, or which; of a spec, `seed` may be an axis as well
    schedule: the steps to record, increasing (a triple needs it; a spec has `steps` and `record`, which it overrides)
    precision: `float32` or `float64`; if left out that of the spec, and `float32` for a triple
    stop: a `dyn.Stop`, the goal at which a run ends; `stop.below` or `stop.above` may be an axis
    name, output: a spec's runs are stored in `output`/results/sweeps/`name` (by default its system's name) and known
        by their identity, so that a repetition computes nothing and a larger grid only what is new. A triple has no
        identity, for its code can change: its results lie in a temporary folder that goes with the study
    settings: `save_final`, `memory`, `checkpoint_seconds`, `worker`, `workers`, as for `run`

    Raises `InputError` for a name or value that is not allowed, before anything is computed.

    >>> import dynamics as dyn
    >>> halve = dyn.Dynamics(lambda key, h: (h, h["x0"]), lambda x, h, key: h["rate"] * x, lambda x, h: {"x": x})
    >>> study = dyn.sweep(halve, {"rate": [0.5, 0.25], "x0": 8.0}, seeds=2, schedule=(0, 1, 3))
    >>> study.grid("x", "rate", "seed", "step")[0][:, 0].tolist()
    [[8.0, 2.0, 0.125], [8.0, 4.0, 1.0]]
    """
    prepare()
    check_progress(progress)
    steps = None if schedule is None else check_schedule(schedule)
    request, store = sweep_request(subject, axes, seeds, steps, precision, name, output, settings, stop)
    study = compute(request, store, progress=progress, is_experiment=False)
    if steps is not None and 0 not in steps:
        study = replace(study, records=study.records.filter(study.records["step"] > 0))
    return study


def plan(subject: Subject, axes: Axes | None = None, /, **options: Any) -> Plan:
    """Return what `run` or `sweep` with these arguments would compute, and compute nothing.

    The plan shows itself as a table: groups of runs that share a program, their shapes, memory and estimated seconds on
    the devices of this machine. Raises `InputError` as they do.

    >>> import dynamics as dyn, tempfile
    >>> dyn.plan("stable_minima/rates", size="smoke", output=tempfile.mkdtemp()).num_runs
    24
    """
    prepare()
    request, store = any_request(subject, axes, options)
    return plan_study(request, store or open_store(request))


def open(subject: str | RunSpec, axes: Axes | None = None, /, **options: Any) -> Study:
    """Return a study that was run, from its store, and compute nothing; arguments are those of `run` or `sweep`.

    Raises `InputError`, which names the folder and the runs that are missing there.

    >>> import dynamics as dyn, tempfile
    >>> dyn.open("atlas/catapult", size="smoke", output="/no")
    Traceback (most recent call last):
    dynamics.errors.InputError: output = '/no/results/atlas/catapult': holds none of the runs; dyn.run computes them
    """
    require(
        not isinstance(subject, Dynamics), "dynamics", "a plain triple", "is not stored; keep the study that dyn.sweep gave"
    )
    request, _ = any_request(subject, axes, options)
    store = open_store(request)
    missing = find_missing(request, store)
    verb = "dyn.run" if isinstance(subject, str) else "dyn.sweep"
    if len(missing) == len(request.runs):
        raise InputError("output", str(store.folder), f"holds none of the runs; {verb} computes them")
    if missing:
        lacks = f"lacks {len(missing)} of the {len(request.runs)} runs{name_missing(request, missing)}"
        raise InputError("output", str(store.folder), f"{lacks}; {verb} computes them")
    return load_what_is_there(request, store, is_experiment=isinstance(subject, str), older=True)


def list_experiments() -> list[str]:
    """Return the names of all experiments, the suite's and those of the working folder.

    >>> import dynamics as dyn
    >>> "stable_minima/rates" in dyn.list_experiments()
    True
    """
    return experiment_names()
