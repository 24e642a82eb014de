"""The command line: `dynamics experiment=<paper>/<name> [size=...] [mode=...] [any override]`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from dynamics.errors import InputError, suggest

USAGE = """dynamics experiment=<paper>/<name> [size=smoke|laptop|paper] [mode=run|plan|figure] [field=value ...]
dynamics list                        the experiments
dynamics claims [folder] [page.md]   one table of the claims of every experiment that was run
dynamics status [folder] [--check]   what is done, what is left, who is at it, in every study of an output folder
dynamics export experiment=<paper>/<name> [field=value ...] to=<file.csv|.parquet|.nc> [table=records|runs] [--overwrite]
dynamics gc [folder] [--yes] [--unasked] [days=14]   delete what nothing refers to any more
eval "$(dynamics -sc install=bash)"  completion of experiments and fields in this shell
"""


def main() -> None:
    """Entry point. Exit code 0: done; 2: bad input, told in one line; 3: some runs failed or diverged; 130, 143: stopped."""
    from dynamics import runtime
    from dynamics.commands import run_command
    from dynamics.completion import answer_query

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's errors come to us, and we tell them in one line
    debug = "DYNAMICS_DEBUG" in os.environ
    try:
        arguments = sys.argv[1:]
        if not arguments or arguments[0] in ("help", "--help", "-h"):
            print(USAGE, end="", file=sys.stdout if arguments else sys.stderr)
            sys.exit(0 if arguments else 2)
        if run_command(arguments) or answer_query(arguments, _hydra):
            return
        runtime.prepare()
        _hydra(arguments)
    except KeyboardInterrupt as stop:
        print(f"{stop or 'interrupted'}; what was computed is saved, the same command goes on from there", file=sys.stderr)
        sys.exit(getattr(stop, "exit_code", 130))
    except Exception as error:
        line = explain(error)
        if line is None or debug:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(3 if isinstance(error, OSError) and error.errno is not None else 2)


def _hydra(arguments: list[str]) -> None:
    """Compose and run, one study or a sweep of them; exits with 3 if some did not end well."""
    import hydra
    from omegaconf import OmegaConf

    from dynamics import config, trust

    trust.check(arguments, config.home())
    config.register()
    OmegaConf.register_new_resolver("sweep_folder", lambda: _sweep_folder(arguments), replace=True)
    OmegaConf.register_new_resolver("job_files", lambda mode: ".hydra" if "MULTIRUN" in str(mode) else None, replace=True)
    sys.argv[1:] = config.carry_axes(arguments)
    ERRORS.clear()
    OUTCOMES.clear()
    hydra.main(version_base="1.3", config_path=str(config.home() / "configs"), config_name="config")(job)()
    sys.argv[1:] = arguments
    for error in ERRORS[:-1]:
        print(f"error: {explain(error) or repr(error)}", file=sys.stderr)
    if ERRORS:
        raise ERRORS[-1]
    if any(outcome["status"] in ("failed", "diverged") for outcome in OUTCOMES):
        sys.exit(3)


OUTCOMES: list[dict] = []  # what came of the jobs of this command
ERRORS: list[Exception] = []  # those that Hydra would tell of in more than one line
PROCESS = os.getpid()


def job(cfg) -> dict:
    """One study, as Hydra calls for it: on its own, or as a job of a sweep launched one by one."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from dynamics import config, runtime
    from dynamics.app import run_jobs
    from dynamics.jobs import Job

    runtime.prepare()  # a launcher may call this in a process of its own
    chosen = HydraConfig.get()
    try:
        request = config.request(cfg, chosen.runtime.choices["experiment"], list(chosen.overrides.task))
        one = Job(request)
        if chosen.mode == RunMode.MULTIRUN:
            folder, sweep = Path(chosen.runtime.output_dir), Path(chosen.sweep.dir)
            one = Job(request, True, int(chosen.job.num), tuple(chosen.overrides.task), sweep, folder)
        (outcome,) = run_jobs([one])
    except Exception as error:
        if os.getpid() != PROCESS:
            raise
        if chosen.mode == RunMode.MULTIRUN:
            print(f"error: job {chosen.job.num}: {explain(error) or repr(error)}", file=sys.stderr)
        ERRORS.append(error)
        outcome = {"status": "failed"}
    OUTCOMES.append(outcome)
    return outcome


def fold(compose, batch, first: int) -> list[dict]:
    """All jobs of a sweep together, as `hydra/launcher=fold` calls for them."""
    from dynamics.app import run_jobs
    from dynamics.jobs import compose_jobs

    outcomes = run_jobs(compose_jobs(compose, batch, first))
    OUTCOMES.extend(outcomes)
    return outcomes


def finished(values: list[dict]) -> None:
    """What the jobs of a launcher other than ours came to, in whatever process they ran."""
    OUTCOMES[:] = values


job.fold, job.finished = fold, finished  # type: ignore[attr-defined]


def _sweep_folder(arguments: list[str]) -> str:
    """Where a sweep's jobs go: the same command comes back to the same folder, and finds there what it left."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from dynamics.config import HOW
    from dynamics.spec import content_hash

    named = [a.lstrip("+") for a in arguments if re.match(r"[+]*(output|experiment)=", a)]
    given = {
        o.key_or_group: str(o.value()) for o in OverridesParser.create().parse_overrides(named) if not o.is_sweep_override()
    }
    left_out = rf"[+~]*hydra[./]|-|[+]*(output|{'|'.join(HOW)})="
    own = sorted(a for a in arguments if not re.match(left_out, a))
    name = re.sub(r"[^A-Za-z0-9]+", "_", given.get("experiment", ""))
    return f"{given.get('output', '.')}/multirun/{name}-{content_hash(own)[:8]}"


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
    from dynamics.config import experiment_names

    names = experiment_names()
    return str(InputError("experiment", name, f"choose one of {', '.join(names)}{suggest(name, names)}"))


def _suggest_field(path: str) -> str:
    from dataclasses import fields

    from dynamics.config import StudySpec
    from dynamics.spec import leaf_paths
    from dynamics.systems import SYSTEMS

    known = {f.name for f in fields(StudySpec)} | {p for system in SYSTEMS.values() for p in leaf_paths(system)}
    known |= {p.split(".")[0] for p in known}
    return "" if path in known else suggest(path, known)


if __name__ == "__main__":
    main()
