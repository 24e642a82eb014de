"""Which runs somebody still refers to: the configs, the sweeps whose folders are there, the commands that asked for
them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Set
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from dynamics.core import spec as specs
from dynamics.core.extension import until_registration
from dynamics.errors import InputError
from dynamics.study.config import compose
from dynamics.study.experiments import experiment_folder, experiment_names


def config_runs(name: str, among: Set[str], first_ids: Mapping[str, str] | None = None) -> set[str] | None:
    """Return those of some runs that an experiment's config asks for, at any size it has; None if there is no such
    config.

    first_ids: of stored runs, the identity at first versions: what an earlier version of a measure or law made of a run
    that is asked for may stand in for it (`reuse=older`), and counts as asked for
    """
    if name not in experiment_names():
        return None
    first_ids = first_ids or {}
    found: set[str] = set()
    for size in sorted(
        _sizes(experiment_folder(name), name), key=lambda size: size == "paper"
    ):  # the paper's runs are many, and seldom needed to know
        asked = _size_runs(experiment_folder(name), name, size)
        found |= {run for run in among if run in asked or first_ids.get(run) in asked}
        if found == among:
            break
    return found


@until_registration
def _sizes(folder: Path, name: str) -> tuple[str, ...]:
    return tuple(compose(name).settings.sizes) or ("laptop",)


@until_registration
def _size_runs(folder: Path, name: str, size: str) -> frozenset[str]:
    """Return the identities of an experiment's runs at a size, those at first versions included."""
    return frozenset(own for run in compose(name, f"size={size}").runs for own in (specs.run_id(run), specs.first_id(run)))


def sweep_runs(output: Path) -> set[str]:
    """Return the runs of the sweeps whose folders are in `multirun/`."""
    runs: set[str] = set()
    for folder in sorted(child for child in (output / "multirun").glob("*") if child.is_dir()):
        for file in sorted(folder.glob("results*.parquet")) or sorted(folder.rglob("result.json")):
            runs |= _runs_in(file)
    return runs


def _runs_in(file: Path) -> set[str]:
    try:
        if file.suffix == ".parquet":
            return set(pl.read_parquet(file, columns=["run"])["run"])
        return {row["run"] for row in json.loads(file.read_bytes())["results"]}
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
        allowed = "cannot be read, so it is not known which runs it refers to; delete it or run that sweep again"
        raise InputError("multirun", str(file), allowed) from None


def is_older_than(note: dict[str, Any], days: float) -> bool:
    """Return whether a command asked so many days ago; no, if that cannot be told."""
    try:
        return datetime.now(UTC) - datetime.fromisoformat(note["when"]) >= timedelta(days=days)
    except (KeyError, ValueError, TypeError):
        return False


def runs_of(notes: Iterable[dict[str, Any]]) -> set[str]:
    """Return all runs that these requests name."""
    return {run for note in notes for run in note["runs"]}


def as_typed(command: str) -> str:
    """Return a command line as it was typed: without the interpreter and the folder of the program."""
    words = shlex.split(command)
    for i, word in enumerate(words):
        if Path(word).name == "dynamics":
            return shlex.join(["dynamics", *words[i + 1 :]])
    return command
