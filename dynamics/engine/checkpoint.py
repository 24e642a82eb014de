"""Checkpoints of unfinished chunks; a chunk resumed from one gives exactly the numbers of an uninterrupted run."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dynamics.core.simulate import ResumeState, SegmentHook
from dynamics.engine.interrupt import Interrupt
from dynamics.store.files import DamageError, write_file

MAX_SIGNAL_DELAY = 5.0  # seconds of stepping between two checks for a signal
MAX_SAVE_SHARE = 0.02  # largest share of the run time spent on saving


class CheckpointHook(SegmentHook):
    """Saves an unfinished chunk at segment boundaries: every `seconds` seconds and when a stop is requested.

    file: where the checkpoint is written
    fingerprint: hash of everything the numbers depend on; a checkpoint with another fingerprint is ignored
    step_seconds: estimated time of one step, replaced by measurements as the chunk runs
    find_earlier: called with the initial state if there is no checkpoint; returns a state to resume from, or None
    report: called with one line when a checkpoint could not be written
    """

    def __init__(
        self,
        file: Path,
        fingerprint: str,
        seconds: float,
        interrupt: Interrupt,
        step_seconds: float,
        find_earlier: Callable[[Any], ResumeState | None] = lambda state: None,
        report: Callable[[str], Any] = lambda line: None,
    ):
        self.find_earlier = find_earlier
        self.file, self.fingerprint, self.seconds = file, fingerprint, seconds
        self.interrupt, self.step_seconds, self.report = interrupt, step_seconds, report
        self._saved = self._last = time.monotonic()
        self._wait = seconds

    def limit_steps(self, steps: int) -> int:
        """Return how many steps to take before checking for a signal, from the measured time per step."""
        return max(1, min(steps, int(MAX_SIGNAL_DELAY / self.step_seconds)))

    def after_steps(self, steps: int) -> None:
        """Update the measured time per step."""
        now = time.monotonic()
        if steps:
            self.step_seconds = max((now - self._last) / steps, 1e-9)
        self._last = now

    def should_save(self) -> bool:
        """Return whether a signal was received or the time between checkpoints has passed."""
        return self.interrupt.signal_number is not None or time.monotonic() - self._saved >= self._wait

    def save(self, resume_state: ResumeState) -> None:
        """Write a checkpoint; raises `Stopped` after a signal."""
        begun = time.monotonic()
        try:
            write_checkpoint(self.file, self.fingerprint, resume_state)
        except OSError as error:
            self.report(f"checkpoint not written ({error.strerror}); the computation continues without it")
        self._saved = self._last = time.monotonic()
        self._wait = max(self.seconds, (self._saved - begun) / MAX_SAVE_SHARE)
        self.interrupt.check()

    def load(self, state: Any) -> ResumeState | None:
        """Return the state to resume from, or None to start from the beginning.

        state: a state of the same structure and shapes. Raises `Damage` if the checkpoint is corrupt.
        """
        return read_checkpoint(self.file, self.fingerprint, state) or self.find_earlier(state)


def write_checkpoint(file: Path, fingerprint: str, resume_state: ResumeState) -> None:
    """Write a checkpoint file: the SHA-256 of the rest, a newline, and an npz of the state's leaves and the records."""
    arrays = {f"state/{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(resume_state.state))}
    names = list(resume_state.records[0]) if resume_state.records else []
    arrays |= {f"record/{name}": np.stack([record[name] for record in resume_state.records]) for name in names}
    arrays["steps"] = np.array(resume_state.steps, np.int64)
    arrays["about"] = np.array(json.dumps({"fingerprint": fingerprint, "step": resume_state.step, "names": names}))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    write_file(file, hashlib.sha256(data).hexdigest().encode() + b"\n" + data)


def read_checkpoint(file: Path, fingerprint: str, state: Any) -> ResumeState | None:
    """Return the checkpoint in `file`; None if there is none or if its fingerprint differs.

    state: a state of the same structure. Raises `Damage` if the file does not match its checksum.
    """
    try:
        digest, _, data = file.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if hashlib.sha256(data).hexdigest().encode() != digest:
        raise DamageError(f"{file.name} does not match its checksum")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        about = json.loads(str(arrays["about"]))
        if about["fingerprint"] != fingerprint:
            return None
        leaves, structure = jax.tree.flatten(state)
        state = structure.unflatten([arrays[f"state/{i}"] for i in range(len(leaves))])
        steps = arrays["steps"].tolist()
        columns = {name: arrays[f"record/{name}"] for name in about["names"]}
    return ResumeState(about["step"], state, steps, [{name: c[t] for name, c in columns.items()} for t in range(len(steps))])
