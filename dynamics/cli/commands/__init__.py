"""The commands beside running a study: `dynamics list`, `new`, `claims`, `map`, `status`, `export`, `gc`.

A command is a module with two functions: `add_arguments(parser)` declares what it takes and `run(options)` does it. The
module's docstring is the text of its `--help`. A module is imported only when its command is given.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from dynamics.cli.arguments import CommandParser
from dynamics.errors import InputError, suggest


class Command(NamedTuple):
    """A command's module in this package, and the line that `dynamics --help` has for it."""

    module: str
    summary: str


COMMANDS = {
    "list": Command("list_command", "print the names of the experiments"),
    "new": Command("new_command", "write the two files of an experiment of your own into this folder"),
    "claims": Command("claims_command", "gather the claims of every experiment that was run in one table"),
    "map": Command("map_command", "draw where an experiment's claims hold and where not, over a grid of settings"),
    "status": Command("status_command", "show what is done, what is left and who computes, study by study"),
    "export": Command("export_command", "write a study's tables to a CSV, Parquet or netCDF file"),
    "gc": Command("gc_command", "delete stored results that nothing refers to any more"),
}


def run_command(arguments: list[str]) -> bool:
    """Run the command that the first argument names; False if the arguments are those of a study."""
    if not arguments or not arguments[0].isidentifier():
        return False
    name, *rest = arguments
    if name not in COMMANDS:
        allowed = f"choose one of {', '.join(COMMANDS)}, or write field=value{suggest(name, COMMANDS)}"
        raise InputError("command", name, allowed)
    module = load_command(name)
    module.run(build_parser(name).parse(module.modernize(rest) if hasattr(module, "modernize") else rest))
    return True


def load_command(name: str) -> ModuleType:
    """Import the module of a command."""
    return import_module(f"{__name__}.{COMMANDS[name].module}")


def build_parser(name: str) -> CommandParser:
    """Return the argument parser of a command."""
    module = load_command(name)
    parser = CommandParser(f"dynamics {name}", module.__doc__ or "")
    module.add_arguments(parser)
    return parser
