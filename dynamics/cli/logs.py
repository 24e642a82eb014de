"""Messages on standard error: what the loggers below `dynamics` say, at the level that the command line asks for.

Results (tables, claims, paths) go to standard output by `print`. Everything else goes through `logging`: errors and
runs that failed at level ERROR, warnings at WARNING, notes and progress at INFO, details at DEBUG. As a library the
suite prints nothing: the handler is there only while a command runs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ROOT = logging.getLogger("dynamics")
LEVELS = {"-q": logging.ERROR, "--quiet": logging.ERROR, "-v": logging.DEBUG, "--verbose": logging.DEBUG}


class StandardErrorHandler(logging.Handler):
    """Write each message to what `sys.stderr` is at that moment (a live display of progress replaces it)."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def take_level(arguments: list[str]) -> tuple[list[str], int]:
    """Return the arguments without `--quiet`, `-q`, `--verbose` and `-v`, and the level that the last of them sets."""
    given = [LEVELS[argument] for argument in arguments if argument in LEVELS]
    return [argument for argument in arguments if argument not in LEVELS], given[-1] if given else logging.INFO


@contextmanager
def messages_shown(level: int = logging.INFO) -> Iterator[None]:
    """Show messages from this level up inside the block; where they are shown already, nothing changes."""
    if any(isinstance(handler, StandardErrorHandler) for handler in ROOT.handlers):
        yield
        return
    handler, before = StandardErrorHandler(), ROOT.level
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s" if level < logging.INFO else "%(message)s"))
    ROOT.addHandler(handler)
    ROOT.setLevel(level)
    try:
        yield
    finally:
        ROOT.removeHandler(handler)
        ROOT.setLevel(before)
