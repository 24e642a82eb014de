"""A closed pipe is no error: in `dynamics ... | head -1` everything is computed and stored,
and the rest is not printed."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class PipeStream:
    """A text stream that drops what is written once its reader is gone."""

    def __init__(self, stream: Any):
        self.stream = stream

    def write(self, text: str) -> int:
        with self._dropping():
            self.stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._dropping():
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        """On a closed pipe, let the file descriptor lead nowhere: what is still buffered goes there too."""
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def closed_pipes_ignored() -> Iterator[None]:
    """Inside the block, and in the flush at its end, output to a pipe whose reader is gone is dropped."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = PipeStream(sys.stdout), PipeStream(sys.stderr)  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
