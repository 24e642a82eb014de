"""The command line: `dynamics experiment=<paper>/<name> [size=...] [mode=...] [any override]`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from dynamics.errors import InputError, suggest

USAGE = """dynamics experiment=<paper>/<name> [size=smoke|laptop|paper] [mode=run|plan|figure] [field=value ...]
dynamics list      the experiments
dynamics claims [folder] [page.md]   one table of the claims of every experiment that was run
"""


def main() -> None:
    """Entry point. Exit code 0: done; 2: bad input, told in one line; 3: some runs failed or diverged; 130, 143: stopped."""
    from dynamics import runtime

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's errors come to us, and we tell them in one line
    debug = "DYNAMICS_DEBUG" in os.environ
    try:
        arguments = sys.argv[1:]
        if arguments[:1] == ["list"]:
            return _list()
        runtime.prepare()
        if arguments[:1] == ["claims"]:
            return _all_claims(arguments[1:])
        if not arguments or arguments[0] in ("help", "--help", "-h"):
            print(USAGE, end="", file=sys.stdout if arguments else sys.stderr)
            sys.exit(0 if arguments else 2)
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

    from dynamics import config

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


job.fold = fold  # type: ignore[attr-defined]


def _sweep_folder(arguments: list[str]) -> str:
    """Where a sweep's jobs go: the same command comes back to the same folder, and finds there what it left."""
    from dynamics.spec import content_hash

    given = {path: value for path, found, value in (a.partition("=") for a in arguments) if found}
    own = sorted(a for a in arguments if not re.match(r"[+~]*hydra[./]|-|output=|mode=|worker", a))
    return f"{given.get('output', '.')}/multirun/{re.sub(r'[^A-Za-z0-9]+', '_', given.get('experiment', ''))}-{content_hash(own)[:8]}"


def _list() -> None:
    from dynamics.config import experiment_names

    print("\n".join(experiment_names()))


def _all_claims(arguments: list[str]) -> None:
    """Every claims file under figures/ (or the folder given) in one table, in claims.json there and in the page named."""
    from rich.console import Console

    from dynamics.analysis.claims import by_paper, markdown, read_claims, write_claims
    from dynamics.report import print_claims

    root = Path(arguments[0] if arguments else "figures")
    files = [f for f in sorted(root.rglob("*.claims.json")) if "smoke" not in f.relative_to(root).parts]
    if not files:
        raise InputError("claims", str(root), "holds no claims; run an experiment first")
    claims = by_paper([claim for file in files for claim in read_claims(file)])
    print_claims(Console(width=None if sys.stdout.isatty() else 160), claims)
    write_claims(claims, root / "claims.json")
    print(root / "claims.json")
    if len(arguments) > 1:
        Path(arguments[1]).write_text(markdown(claims))
        print(arguments[1])


def explain(error: BaseException) -> str | None:
    """One line for an error that is the input's, None for one that is ours."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError

    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is not an override; write field=value ({_first(error)})"
    if isinstance(error, MissingConfigException):
        return _unknown_experiment(str(error.missing_cfg_file or "").removeprefix("experiment/"))
    if isinstance(error, HydraException | OmegaConfBaseException):
        if "You must specify 'experiment'" in str(error):
            return _unknown_experiment("")
        inner = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        text = str(inner)
        key = re.search(r"full_key: (\S+)", text)
        if key is None:
            return _first(error)
        return f"{key[1]}: {_first(inner, skip='raised while composing')}{_suggest_field(key[1])}"
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.filename or 'output'}: {error.strerror}; what was finished is stored"
    return None


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
