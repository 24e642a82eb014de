"""SIGINT and SIGTERM: a sweep stops at the next segment with everything saved; a second signal stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """The sweep was asked to stop and has saved what it had."""

    def __init__(self, number: int):
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")

    @property
    def exit_code(self) -> int:
        return 128 + self.number


class Interrupt:
    """While entered, catches the first signal: `asked` tells which. Outside the main thread it catches nothing."""

    asked: int | None = None

    def __enter__(self) -> Interrupt:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._catch) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            raise Stopped(number)
        self.asked = number

    def check(self) -> None:
        """Raise `Stopped` if a signal has come."""
        if self.asked is not None:
            raise Stopped(self.asked)
