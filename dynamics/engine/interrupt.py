"""SIGINT and SIGTERM: the first signal stops a sweep at the next segment, saved; a second one stops it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Raised when a signal has stopped the sweep; results so far are saved.

    number: the number of the signal
    """

    def __init__(self, number: int):
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")

    @property
    def exit_code(self) -> int:
        """Return the conventional exit code of a process that a signal has ended."""
        return 128 + self.number


class Interrupt:
    """Context manager that notes the first SIGINT or SIGTERM instead of stopping the process.

    signal_number: the signal received, None so far. Outside the main thread no signal is caught.
    """

    signal_number: int | None = None

    def __enter__(self) -> Interrupt:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._catch) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise Stopped(number)
        self.signal_number = number

    def check(self) -> None:
        """Raise `Stopped` if a signal has been received."""
        if self.signal_number is not None:
            raise Stopped(self.signal_number)
