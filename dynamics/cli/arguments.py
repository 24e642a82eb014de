"""Arguments of commands: argparse, with every complaint an `InputError` of one line."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from dynamics.errors import InputError, require, suggest


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. Options and plain arguments may stand in any order; options are not abbreviated."""

    def __init__(self, prog: str, description: str, **settings: Any):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, description=description, formatter_class=formatter, allow_abbrev=False, **settings)
        self.given: Sequence[str] = ()

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the options; raise `InputError` for what the command does not know."""
        self.given = arguments
        options, unknown = self.parse_known_intermixed_args(list(arguments))
        if unknown:
            self._refuse(next((argument for argument in unknown if argument.startswith("-")), unknown[-1]))
        return options

    def option_names(self) -> list[str]:
        """Return the long form of every option that the help page shows, `--help` last."""
        shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
        names = [name for action in shown for name in action.option_strings if name.startswith("--")]
        return [*(name for name in names if name != "--help"), "--help"]

    def error(self, message: str) -> NoReturn:
        raise InputError(self.prog, shlex.join(self.given), message)

    def _refuse(self, argument: str) -> NoReturn:
        if argument.startswith("-"):
            name, known = argument.partition("=")[0], self.option_names()
            raise InputError("option", name, f"choose one of {', '.join(known)}{suggest(name, known)}")
        most = sum(not action.option_strings for action in self._actions)
        allowed = f"{self.prog} takes at most {most} beside options" if most else f"{self.prog} takes options only"
        raise InputError("argument", argument, f"{allowed} (see {self.prog} --help)")


class WholeNumber(argparse.Action):
    """An option whose value is an integer that is not negative."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None) -> None:
        require(values.isascii() and values.isdigit(), str(option_string), values, "must be a whole number, such as 14")
        setattr(namespace, self.dest, int(values))


def modernize_fields(arguments: Sequence[str], *fields: str) -> list[str]:
    """Return the arguments with `field=value`, the older way to write an option, as `--field=value`."""
    return [f"--{a}" if a.partition("=")[0] in fields and "=" in a else a for a in arguments]
