"""The command line: `dynamics experiment=<paper>/<name> [size=...] [mode=...] [any override]`."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

from dynamics.errors import InputError, suggest

USAGE = """dynamics experiment=<paper>/<name> [size=smoke|laptop|paper] [mode=run|plan|figure] [field=value ...]
dynamics list      the experiments
dynamics claims [folder] [page.md]   one table of the claims of every experiment that was run
"""


def main() -> None:
    """Entry point. Exit code 0: done; 2: bad input, told in one line; 130: interrupted."""
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
    except KeyboardInterrupt:
        print("interrupted; what was finished is stored, the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        line = explain(error)
        if line is None or debug:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)


def _hydra(arguments: list[str]) -> None:
    """Compose and run; a job's error waits until Hydra is done, which would print more than one line about it."""
    import hydra
    from hydra.core.hydra_config import HydraConfig

    from dynamics import config

    sys.argv[1:], axes = config.split_axes(arguments)
    failures: list[Exception] = []
    config.register()

    @hydra.main(version_base="1.3", config_path=str(config.home() / "configs"), config_name="config")
    def job(cfg) -> None:
        chosen = HydraConfig.get()
        try:
            run(config.request(cfg, chosen.runtime.choices["experiment"], [*chosen.overrides.task, *axes]))
        except Exception as error:
            failures.append(error)

    job()
    sys.argv[1:] = arguments
    for error in failures[:-1]:
        print(f"error: {explain(error) or repr(error)}", file=sys.stderr)
    if failures:
        raise failures[-1]


def run(request) -> None:
    """Plan, compute what is missing, store, draw, judge, print."""
    from rich.console import Console

    from dynamics.analysis.claims import write_claims
    from dynamics.analysis.figures import style, write_page
    from dynamics.config import experiment_module
    from dynamics.progress import Live
    from dynamics.report import print_claims, print_frame, print_plan, summary
    from dynamics.study import load_study, open_store, plan_study, run_study

    out = Console(width=None if sys.stdout.isatty() else 160)
    err = Console(stderr=True)
    for notice in request.notices:
        print(notice, file=sys.stderr)
    module = experiment_module(request.name)
    store = open_store(request)
    plan = plan_study(request, store)
    if request.settings.mode == "plan":
        return print_plan(out, plan)
    if request.settings.mode == "run" and plan.groups:
        store.check_writable()
        _check_writable(request.figures_folder)
        with Live(plan, err) as live:
            run_study(plan, store, request.settings.save_final, live.watch)
    study = load_study(request, store)
    print(f"{request.name} ({request.settings.size}): {summary(study.runs)}; {plan.finished} were already in the store")

    with style():
        page = module.figure(study)
    name = Path(request.name).name
    written = write_page(page, request.figures_folder, name)
    claims = [replace(claim, seconds=study.seconds) for claim in module.claims(study)]
    write_claims(claims, request.figures_folder / f"{name}.claims.json")
    for title, frame in page.shown.items():
        print_frame(out, title, frame)
    print_claims(out, claims)
    for path in written:
        print(path)


def _check_writable(folder: Path) -> None:
    """Raise before any compute if the figures could not be written afterwards."""
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise InputError("output", str(folder), "cannot be written to")


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
