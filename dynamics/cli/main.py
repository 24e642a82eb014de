"""The command line: `dynamics experiment=<paper>/<name> [size=...] [mode=...] [any override]`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from dynamics.cli.messages import explain

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
    from dynamics.cli.commands import run_command
    from dynamics.cli.completion import answer_query
    from dynamics.core import devices as runtime

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

    from dynamics.study import config, trust
    from dynamics.study.own_code import import_own_code, named_experiments

    trust.check(arguments)
    import_own_code(named_experiments([*arguments, *os.environ.get("COMP_LINE", "").split()]))
    config.register()
    OmegaConf.register_new_resolver("sweep_folder", lambda: _sweep_folder(arguments), replace=True)
    OmegaConf.register_new_resolver("job_files", lambda mode: ".hydra" if "MULTIRUN" in str(mode) else None, replace=True)
    sys.argv[1:] = config.encode_axis_overrides(arguments)
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

    from dynamics.cli.run import run_jobs
    from dynamics.core import devices as runtime
    from dynamics.study import config
    from dynamics.study.jobs import Job

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
    from dynamics.cli.run import run_jobs
    from dynamics.study.jobs import compose_jobs

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

    from dynamics.core.spec import content_hash
    from dynamics.study.request import EXECUTION_FIELDS

    named = [a.lstrip("+") for a in arguments if re.match(r"[+]*(output|experiment)=", a)]
    given = {
        o.key_or_group: str(o.value()) for o in OverridesParser.create().parse_overrides(named) if not o.is_sweep_override()
    }
    left_out = rf"[+~]*hydra[./]|-|[+]*(output|{'|'.join(EXECUTION_FIELDS)})="
    own = sorted(a for a in arguments if not re.match(left_out, a))
    name = re.sub(r"[^A-Za-z0-9]+", "_", given.get("experiment", ""))
    return f"{given.get('output', '.')}/multirun/{name}-{content_hash(own)[:8]}"
