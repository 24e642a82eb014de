"""Simulation suite for the theory of how networks learn: sweeps as compiled programs, claims as checks.

    import dynamics as dyn

run and read    run, sweep, plan, open, Study, list_experiments, cite
specs           Training, Data, Views, Target, Model, Loss, Optimizer, Schedule, Record, Stop, RunSpec, logspace, linspace
nets            measure: the suite's measures of a network of your own
one's own       register, option, Dynamics, Cost, simulate, prepare, InputError

Importing the package touches no device and takes no time: each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
import logging as _logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynamics.core.devices import prepare
    from dynamics.core.dynamics import Cost, Dynamics
    from dynamics.core.options import option
    from dynamics.core.recording import RecordSpec as Record
    from dynamics.core.simulate import simulate
    from dynamics.core.spec import RunSpec
    from dynamics.core.stop_spec import StopSpec as Stop
    from dynamics.data.problem import DataSpec as Data
    from dynamics.data.problem import TargetSpec as Target
    from dynamics.data.views import ViewSpec as Views
    from dynamics.engine.axes import linspace, logspace
    from dynamics.errors import InputError
    from dynamics.measures.measure import measure
    from dynamics.models.losses import LossSpec as Loss
    from dynamics.models.model_spec import ModelSpec as Model
    from dynamics.optimizers.rules import OptimizerSpec as Optimizer
    from dynamics.optimizers.schedules import ScheduleSpec as Schedule
    from dynamics.study.citations import cite
    from dynamics.study.library import list_experiments, open, plan, run, sweep
    from dynamics.study.tables import Study
    from dynamics.systems import register
    from dynamics.systems.training import TrainingSpec as Training

__all__ = [
    "Cost",
    "Data",
    "Dynamics",
    "InputError",
    "Loss",
    "Model",
    "Optimizer",
    "Record",
    "RunSpec",
    "Schedule",
    "Stop",
    "Study",
    "Target",
    "Training",
    "Views",
    "cite",
    "linspace",
    "list_experiments",
    "logspace",
    "measure",
    "open",
    "option",
    "plan",
    "prepare",
    "register",
    "run",
    "simulate",
    "sweep",
]

_PLACES = {
    "run": ("study.library", "run"),
    "sweep": ("study.library", "sweep"),
    "plan": ("study.library", "plan"),
    "open": ("study.library", "open"),
    "list_experiments": ("study.library", "list_experiments"),
    "Study": ("study.tables", "Study"),
    "cite": ("study.citations", "cite"),
    "Training": ("systems.training", "TrainingSpec"),
    "Data": ("data.problem", "DataSpec"),
    "Views": ("data.views", "ViewSpec"),
    "Target": ("data.problem", "TargetSpec"),
    "Model": ("models.model_spec", "ModelSpec"),
    "Loss": ("models.losses", "LossSpec"),
    "Optimizer": ("optimizers.rules", "OptimizerSpec"),
    "Schedule": ("optimizers.schedules", "ScheduleSpec"),
    "Record": ("core.recording", "RecordSpec"),
    "Stop": ("core.stop_spec", "StopSpec"),
    "RunSpec": ("core.spec", "RunSpec"),
    "logspace": ("engine.axes", "logspace"),
    "linspace": ("engine.axes", "linspace"),
    "measure": ("measures.measure", "measure"),
    "register": ("systems.register", ""),
    "option": ("core.options", "option"),
    "Dynamics": ("core.dynamics", "Dynamics"),
    "Cost": ("core.dynamics", "Cost"),
    "simulate": ("core.simulate", "simulate"),
    "prepare": ("core.devices", "prepare"),
    "InputError": ("errors", "InputError"),
}

_logging.getLogger("dynamics").addHandler(_logging.NullHandler())  # a library says nothing unless it is asked to


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module 'dynamics' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    found = importlib.import_module(f"dynamics.{module}")
    _let_registries_import_own_code()
    value = getattr(found, attribute) if attribute else found
    globals()[name] = value
    return value


def _let_registries_import_own_code() -> None:
    """A name that is not known may be one's own: `dyn.Data(law="mine")` looks where `dyn.sweep` would."""
    registry = sys.modules.get("dynamics.core.registry")
    if registry is not None and _import_own_code not in registry.OWN_CODE:
        registry.OWN_CODE.append(_import_own_code)


def _import_own_code() -> None:
    importlib.import_module("dynamics.study.own_code").import_own_code()


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
