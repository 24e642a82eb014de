"""Errors in one line: what is wrong, where, and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dynamics.errors import InputError, suggest

MOST_CHARACTERS = 2000  # of a line


def explain(error: BaseException, arguments: Sequence[str] = ()) -> str | None:
    """Return one line for an error that lies in the input, None for one that lies in the suite.

    arguments: the command line, named where an error does not say what it is about
    """
    text = _explain(error, arguments)
    if text is None:
        return None
    line = " ".join(text.splitlines())
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS // 2]} ... {line[-MOST_CHARACTERS // 2 :]}"


def _explain(error: BaseException, arguments: Sequence[str]) -> str | None:
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.filename or 'output'}: {error.strerror}; finished results are stored"

    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError, YAMLError

    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is not an override; write field=value ({_first_line(error)})"
    if isinstance(error, MissingConfigException):
        return _explain_missing_config(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_config(error)
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, YAMLError):
        return f"{getattr(error, 'name', 'a config')}: {_first_line(error)}"
    if _raised_by_hydra(error):
        return f"{_first_line(error)} (in: {' '.join(arguments)})"
    return None


def _explain_missing_config(error) -> str:
    """Return the line for a config that Hydra did not find: an experiment, or a choice of another group."""
    missing = str(error.missing_cfg_file or "")
    group, _, name = missing.rpartition("/")
    if group and not missing.startswith("experiment/"):
        return str(InputError(group, name, f"there is no config {missing}{suggest(name, error.options or [])}"))
    return _unknown_experiment(missing.removeprefix("experiment/"))


def _explain_config(error: Exception) -> str:
    """Return the line for a config that does not fit its schema: the field, the reason, and what was probably meant."""
    from omegaconf.errors import OmegaConfBaseException

    if "You must specify 'experiment'" in str(error):
        return _unknown_experiment("")
    inner = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = str(inner)
    found = re.search(r"full_key: (\S+)", text)
    key = found[1] if found else str(getattr(inner, "full_key", None) or "")
    if not key:
        return _first_line(error) if inner is error else f"{_first_line(error)} {_first_line(inner)}"
    no_schema = "is not in struct" in text or "not in 'StudySpec'" in text
    hint = "; does the experiment's defaults list name its system, such as /system/training?" if no_schema else ""
    schema = re.search(r"object_type=(\w+)", text)
    reason = re.sub(r"^Key '.*' (is )?not in .*", "no such field", _first_line(inner, skip="raised while composing"))
    return f"{key}: {reason}{_suggest_field(key, schema and schema[1])}{hint}"


def _raised_by_hydra(error: BaseException) -> bool:
    """Whether Hydra, or what it reads configs with, could not make sense of its input
    (and not one of our own functions)."""
    import traceback

    packages = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)]
    known = [name for name in packages if name in ("dynamics", "hydra", "omegaconf", "antlr4", "yaml")]
    return bool(known) and known[-1] != "dynamics"


def _first_line(error: BaseException, skip: str = "\0") -> str:
    """Return the first line of an error's text that does not hold `skip`, or the error's type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and skip not in line]
    return lines[0] if lines else type(error).__name__


def _unknown_experiment(name: str) -> str:
    from dynamics.study.experiments import experiment_names

    names = experiment_names()
    return str(InputError("experiment", name, f"choose one of {', '.join(names)}{suggest(name, names)}"))


def _suggest_field(path: str, schema: str | None) -> str:
    """Return the suggestion for an unknown field. schema: the name of the config class that lacks it,
    if it is known."""
    from dataclasses import fields

    from dynamics.core.spec import leaf_paths
    from dynamics.study.request import StudySpec
    from dynamics.systems import SYSTEMS

    systems = [s for s in SYSTEMS.values() if schema == f"{s.__name__}Config"] or list(SYSTEMS.values())
    known = {f.name for f in fields(StudySpec)} | {p for system in systems for p in leaf_paths(system)}
    known |= {p.split(".")[0] for p in known}
    return "" if path in known else suggest(path, known)
