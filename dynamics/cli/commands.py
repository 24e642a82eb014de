"""The commands that are no study: `list`, `claims`, `status`, `export`, `gc`; and how their arguments are read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from pathlib import Path

from dynamics.errors import InputError, require, suggest


def run_command(arguments: list[str]) -> bool:
    """Do what the first argument names; False if it names no command."""
    if not arguments or not arguments[0].isidentifier():
        return False
    name, *rest = arguments
    if name not in COMMANDS:
        raise InputError("command", name, f"choose one of {', '.join(COMMANDS)}, or write field=value{suggest(name, COMMANDS)}")
    COMMANDS[name](rest)
    return True


def read_arguments(arguments: list[str], options: Collection[str] = (), most: int = 1) -> tuple[list[str], set[str]]:
    """(the plain arguments, the options given); an `InputError` for what the command does not know."""
    given = {a for a in arguments if a.startswith("-")}
    for option in sorted(given):
        allowed = f"choose one of {', '.join(options)}" if options else "there are no options"
        require(option in options, "option", option, f"{allowed}{suggest(option, options)}")
    plain = [a for a in arguments if a not in given]
    require(len(plain) <= most, "argument", plain[-1] if plain else "", f"there may be {most} at most, beside options")
    return plain, given


def _list(arguments: list[str]) -> None:
    from dynamics.study.experiments import experiment_names

    read_arguments(arguments, most=0)
    print("\n".join(experiment_names()))


def _claims(arguments: list[str]) -> None:
    """Every claims file under figures/ (or the folder given) in one table, in claims.json there and in the page named."""
    from rich.console import Console

    from dynamics.analysis.claim_pages import format_markdown
    from dynamics.analysis.claims import read_claims, sort_by_paper, write_claims
    from dynamics.cli.report import print_claims

    plain, _ = read_arguments(arguments, most=2)
    root = Path(plain[0] if plain else "figures")
    files = [f for f in sorted(root.rglob("*.claims.json")) if "smoke" not in f.relative_to(root).parts]
    if not files:
        raise InputError("claims", str(root), "holds no claims; run an experiment first")
    claims = sort_by_paper([claim for file in files for claim in read_claims(file)])
    print_claims(Console(width=None if sys.stdout.isatty() else 160), claims)
    write_claims(claims, root / "claims.json")
    print(root / "claims.json")
    if len(plain) > 1:
        Path(plain[1]).write_text(format_markdown(claims))
        print(plain[1])


def _status(arguments: list[str]) -> None:
    from dynamics.cli.status import status

    plain, options = read_arguments(arguments, ("--check",))
    status(Path(plain[0] if plain else "."), check="--check" in options)


def _export(arguments: list[str]) -> None:
    from dynamics.core import devices as runtime
    from dynamics.study.export import export

    runtime.prepare()
    plain, options = read_arguments(arguments, ("--overwrite",), most=len(arguments))
    export(plain, overwrite="--overwrite" in options)


def _gc(arguments: list[str]) -> None:
    from dynamics.cli.cleanup import gc
    from dynamics.core import devices as runtime

    runtime.prepare()
    plain, options = read_arguments([a for a in arguments if not a.startswith("days=")], ("--yes", "--unasked"))
    days = [a.removeprefix("days=") for a in arguments if a.startswith("days=")] or ["14"]
    require(days[-1].isdigit(), "days", days[-1], "must be a whole number of days")
    folder = Path(plain[0] if plain else ".")
    gc(folder, days=int(days[-1]), yes="--yes" in options, unasked="--unasked" in options)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "list": _list,
    "claims": _claims,
    "status": _status,
    "export": _export,
    "gc": _gc,
}
