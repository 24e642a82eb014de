"""Errors in one line: what is wrong, where, and what is allowed."""

from __future__ import annotations

import re
import sys

from dynamics.errors import InputError, suggest


def explain(error: BaseException) -> str | None:
    """One line for an error that is the input's, None for one that is ours."""
    text = _explain(error)
    if text is None:
        return None
    line = " ".join(text.splitlines())
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS // 2]} ... {line[-MOST_CHARACTERS // 2 :]}"


MOST_CHARACTERS = 2000  # of a line that tells an error


def _explain(error: BaseException) -> str | None:
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError, YAMLError

    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is not an override; write field=value ({_first(error)})"
    if isinstance(error, MissingConfigException):
        missing = str(error.missing_cfg_file or "")
        group, _, name = missing.rpartition("/")
        if group and not missing.startswith("experiment/"):
            return str(InputError(group, name, f"there is no config {missing}{suggest(name, error.options or [])}"))
        return _unknown_experiment(missing.removeprefix("experiment/"))
    if isinstance(error, HydraException | OmegaConfBaseException):
        if "You must specify 'experiment'" in str(error):
            return _unknown_experiment("")
        inner = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        text = str(inner)
        found = re.search(r"full_key: (\S+)", text)
        key = found[1] if found else str(getattr(inner, "full_key", None) or "")
        if not key:
            return _first(error) if inner is error else f"{_first(error)} {_first(inner)}"
        no_schema = "is not in struct" in text or "not in 'StudySpec'" in text
        hint = "; does the experiment's defaults list name its system, such as /system/training?" if no_schema else ""
        return f"{key}: {_first(inner, skip='raised while composing')}{_suggest_field(key)}{hint}"
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, YAMLError):
        return f"{getattr(error, 'name', 'a config')}: {_first(error)}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.filename or 'output'}: {error.strerror}; what was finished is stored"
    if _raised_by_hydra(error):
        return f"{_first(error)} (in: {' '.join(sys.argv[1:])})"
    return None


def _raised_by_hydra(error: BaseException) -> bool:
    """Whether Hydra, or what it reads configs with, could not make sense of its input (and not one of our own functions)."""
    import traceback

    packages = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)]
    known = [name for name in packages if name in ("dynamics", "hydra", "omegaconf", "antlr4", "yaml")]
    return bool(known) and known[-1] != "dynamics"


def _first(error: BaseException, skip: str = "\0") -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and skip not in line]
    return lines[0] if lines else type(error).__name__


def _unknown_experiment(name: str) -> str:
    from dynamics.study.experiments import experiment_names

    names = experiment_names()
    return str(InputError("experiment", name, f"choose one of {', '.join(names)}{suggest(name, names)}"))


def _suggest_field(path: str) -> str:
    from dataclasses import fields

    from dynamics.core.spec import leaf_paths
    from dynamics.study.request import StudySpec
    from dynamics.systems import SYSTEMS

    known = {f.name for f in fields(StudySpec)} | {p for system in SYSTEMS.values() for p in leaf_paths(system)}
    known |= {p.split(".")[0] for p in known}
    return "" if path in known else suggest(path, known)
