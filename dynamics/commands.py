"""The commands that are no study: `list`, `claims`, `status`, `export`, `gc`; and how their arguments are read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from dynamics.errors import InputError, require, suggest

STORE_FOLDERS = ("parts", "work", "failed", "asked", "damaged")


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


def studies(folder: Path, *, follow: bool = True) -> Iterator[tuple[str, Path]]:
    """(name, store) of every study in an output folder; through symbolic links only if asked, and no folder twice."""
    results = folder / "results"
    require(results.is_dir(), "folder", str(folder), "holds no results; name the output folder of a study")
    seen: set[Path] = set()

    def look(inside: Path) -> Iterator[tuple[str, Path]]:
        kinds = {child.name for child in inside.iterdir()}
        is_store = "store.json" in kinds or any(kind in kinds for kind in STORE_FOLDERS)
        if is_store and inside != results:
            yield str(inside.relative_to(results)), inside
        for child in sorted(inside.iterdir()):
            own = is_store and child.name in STORE_FOLDERS
            if own or child.name.startswith(".") or not child.is_dir() or (child.is_symlink() and not follow):
                continue
            if child.resolve() not in seen:
                seen.add(child.resolve())
                yield from look(child)

    return look(results)


def folder_bytes(path: Path) -> int:
    """What the files of a folder (or a file) hold; symbolic links are not followed, and what vanishes meanwhile is nothing."""
    try:
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        return sum(folder_bytes(child) for child in path.iterdir())
    except FileNotFoundError:
        return 0


def in_bytes(count: float) -> str:
    """Three digits and a unit: `3.42 MB`."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 999.5 and len(units) > 1:
        count, units = count / 1000, units[1:]
    return f"{count:.3g} {units[0]}"


def counted(count: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _list(arguments: list[str]) -> None:
    from dynamics.config import experiment_names

    read_arguments(arguments, most=0)
    print("\n".join(experiment_names()))


def _claims(arguments: list[str]) -> None:
    """Every claims file under figures/ (or the folder given) in one table, in claims.json there and in the page named."""
    from rich.console import Console

    from dynamics.analysis.claims import by_paper, markdown, read_claims, write_claims
    from dynamics.report import print_claims

    plain, _ = read_arguments(arguments, most=2)
    root = Path(plain[0] if plain else "figures")
    files = [f for f in sorted(root.rglob("*.claims.json")) if "smoke" not in f.relative_to(root).parts]
    if not files:
        raise InputError("claims", str(root), "holds no claims; run an experiment first")
    claims = by_paper([claim for file in files for claim in read_claims(file)])
    print_claims(Console(width=None if sys.stdout.isatty() else 160), claims)
    write_claims(claims, root / "claims.json")
    print(root / "claims.json")
    if len(plain) > 1:
        Path(plain[1]).write_text(markdown(claims))
        print(plain[1])


def _status(arguments: list[str]) -> None:
    from dynamics.status import status

    plain, options = read_arguments(arguments, ("--check",))
    status(Path(plain[0] if plain else "."), check="--check" in options)


def _export(arguments: list[str]) -> None:
    from dynamics import runtime
    from dynamics.export import export

    runtime.prepare()
    plain, options = read_arguments(arguments, ("--overwrite",), most=len(arguments))
    export(plain, overwrite="--overwrite" in options)


def _gc(arguments: list[str]) -> None:
    from dynamics import runtime
    from dynamics.gc import gc

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
