"""Experiments by name: their configs, their files, and these as modules with `figure` and `claims`."""

from __future__ import annotations

from types import ModuleType

from dynamics.errors import require
from dynamics.study.folders import (
    experiment_file,
    experiment_folder,
    experiment_names,
    home,
    own_experiment_names,
    own_folder,
    search_folders,
    shadow_notices,
)
from dynamics.study.own_code import import_experiment

__all__ = [
    "experiment_file",
    "experiment_folder",
    "experiment_module",
    "experiment_names",
    "home",
    "own_experiment_names",
    "own_folder",
    "search_folders",
    "shadow_notices",
]


def experiment_module(name: str) -> ModuleType:
    """Return the experiment's `figure` and `claims`; what draws takes a second to import, so ask for it only to draw.

    A file that has changed since it was imported is imported again.
    """
    file = experiment_file(name)
    module = import_experiment(name, file)
    for function in ("figure", "claims"):
        require(hasattr(module, function), "experiment", name, f"{file} must define {function}(study)")
    return module
