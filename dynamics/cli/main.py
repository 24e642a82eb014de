"""The command line: `dynamics experiment=<paper>/<name> [size=...] [mode=...] [any override]`, and the commands."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from dynamics.cli.logs import messages_shown, take_level
from dynamics.cli.messages import explain
from dynamics.cli.streams import closed_pipes_ignored

log = logging.getLogger(__name__)


def main() -> None:
    """Entry point.

    Exit code 0: done; 1: a figure or claims could not be made; 2: bad input, one line says which; 3: some runs failed,
    diverged or recorded what is not finite; 130, 143: stopped.
    """
    arguments, level = take_level(sys.argv[1:])
    with closed_pipes_ignored(), messages_shown(level):
        try:
            _run(arguments)
        except KeyboardInterrupt as stop:
            log.error(f"{stop or 'interrupted'}; results saved; rerun the command to resume")
            sys.exit(getattr(stop, "exit_code", 130))
        except Exception as error:
            line = explain(error, arguments)
            if line is None or "DYNAMICS_DEBUG" in os.environ:
                raise
            log.error(f"error: {line}")
            sys.exit(3 if isinstance(error, OSError) and error.errno is not None else 2)


def _run(arguments: list[str]) -> None:
    """Do what the arguments ask for: help, the versions, a command, a shell's completion, or a study."""
    from dynamics.cli.commands import run_command
    from dynamics.cli.completion import answer_query
    from dynamics.cli.usage_text import usage
    from dynamics.core import devices

    if arguments[:1] == ["help"] and len(arguments) > 1:
        arguments = [*arguments[1:], "--help"]
    if not arguments:
        log.error(usage())
        sys.exit(2)
    if arguments[0] in ("help", "--help", "-h"):
        print(usage())
    elif "--version" in arguments:
        from dynamics.cli.version import describe_versions

        print(describe_versions())
    elif not (run_command(arguments) or answer_query(arguments, run_hydra)):
        devices.prepare()
        run_hydra(arguments)


def run_hydra(arguments: list[str]) -> None:
    """Compose and run one study or a sweep of them; exit with 3 if some did not end well."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's errors come to `main`, which makes a line of them
    import hydra
    from omegaconf import OmegaConf

    from dynamics.cli.hydra_options import read_options, sweep_folder, write_options
    from dynamics.study import trust
    from dynamics.study.config import encode_axis_overrides, refuse_several_values, split_axes
    from dynamics.study.folders import home
    from dynamics.study.own_code import import_own_code, named_experiments
    from dynamics.study.schema import register

    options = read_options(arguments)
    trust.check(options.overrides, added=options.config_dir)
    import_own_code(named_experiments([*options.overrides, *os.environ.get("COMP_LINE", "").split()]))
    if not options.multirun and not any(override.startswith("hydra.mode=") for override in options.overrides):
        refuse_several_values(split_axes(options.overrides)[0])
    register()
    OmegaConf.register_new_resolver("sweep_folder", lambda: sweep_folder(options.overrides), replace=True)
    OmegaConf.register_new_resolver("job_files", lambda mode: ".hydra" if "MULTIRUN" in str(mode) else None, replace=True)
    ERRORS.clear()
    OUTCOMES.clear()
    given, sys.argv[1:] = sys.argv[1:], encode_axis_overrides(write_options(options))
    try:
        hydra.main(version_base="1.3", config_path=str(home() / "configs"), config_name="config")(job)()
    finally:
        sys.argv[1:] = given
    for error in ERRORS[:-1]:
        log.error(f"error: {explain(error, arguments) or repr(error)}")
    if ERRORS:
        raise ERRORS[-1]
    if any(outcome["status"] in ("failed", "diverged", "not_finite") for outcome in OUTCOMES):
        sys.exit(3)
    if any(not outcome.get("drawn", True) for outcome in OUTCOMES):
        sys.exit(1)


OUTCOMES: list[dict[str, Any]] = []  # of the jobs of this command
ERRORS: list[Exception] = []  # of its jobs: Hydra would print more than a line of each
PROCESS = os.getpid()


def job(cfg) -> dict[str, Any]:
    """Run one study for Hydra, on its own or as a job of a sweep launched one by one; return its outcome."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from dynamics.cli.job_runner import run_jobs
    from dynamics.core import devices
    from dynamics.study.config import request
    from dynamics.study.jobs import Job

    devices.prepare()  # a launcher may call this in a process of its own
    chosen = HydraConfig.get()
    overrides: list[str] = []
    with messages_shown():
        try:
            overrides = list(chosen.overrides.task)  # resolves `${...}`, which may fail
            one = Job(request(cfg, chosen.runtime.choices["experiment"], overrides))
            if chosen.mode == RunMode.MULTIRUN:
                folder, sweep = Path(chosen.runtime.output_dir), Path(chosen.sweep.dir)
                one = Job(one.request, True, int(chosen.job.num), tuple(overrides), sweep, folder)
            (outcome,) = run_jobs([one])
        except Exception as error:
            if os.getpid() != PROCESS:
                raise
            if chosen.mode == RunMode.MULTIRUN:
                log.error(f"error: job {chosen.job.num}: {explain(error, overrides) or repr(error)}")
            ERRORS.append(error)
            outcome = {"status": "failed"}
    OUTCOMES.append(outcome)
    return outcome


def fold(compose, batch, first: int) -> list[dict[str, Any]]:
    """Run all jobs of a sweep together, as `hydra/launcher=fold` asks; return their outcomes."""
    from dynamics.cli.job_runner import run_jobs
    from dynamics.study.jobs import compose_jobs

    outcomes = run_jobs(compose_jobs(compose, batch, first))
    OUTCOMES.extend(outcomes)
    return outcomes


def record_outcomes(values: list[dict[str, Any]]) -> None:
    """Take the outcomes of jobs that a launcher other than ours ran, in whatever process."""
    OUTCOMES[:] = values


job.fold, job.record_outcomes = fold, record_outcomes  # type: ignore[attr-defined]
