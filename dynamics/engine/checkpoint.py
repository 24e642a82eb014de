"""Checkpoints: a chunk part of the way, kept so that a killed process goes on from there to the very same numbers."""

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
from dynamics.store.files import Damage, write_file

PIECE_SECONDS = 5.0  # how long a signal may have to wait
SAVE_SHARE = 0.02  # most of the time that saving may take


class Checkpoints(SegmentHook):
    """Saves a chunk to `file` at segment boundaries, every so many seconds and when a stop is asked for.

    fingerprint: of all that the numbers depend on; a checkpoint of another is not taken up
    step_seconds: a guess at the time of one step, until it is measured
    earlier: what else there may be to go on from, where there is no checkpoint
    tell: called with a line when a checkpoint could not be used or written
    """

    def __init__(
        self,
        file: Path,
        fingerprint: str,
        seconds: float,
        interrupt: Interrupt,
        step_seconds: float,
        earlier: Callable[[Any], ResumeState | None] = lambda state: None,
        tell: Callable[[str], Any] = lambda line: None,
    ):
        self.earlier = earlier
        self.file, self.fingerprint, self.seconds = file, fingerprint, seconds
        self.interrupt, self.step_seconds, self.tell = interrupt, step_seconds, tell
        self._saved = self._last = time.monotonic()
        self._wait = seconds

    def piece(self, steps: int) -> int:
        return max(1, min(steps, int(PIECE_SECONDS / self.step_seconds)))

    def took(self, steps: int) -> None:
        now = time.monotonic()
        if steps:
            self.step_seconds = max((now - self._last) / steps, 1e-9)
        self._last = now

    def due(self) -> bool:
        return self.interrupt.asked is not None or time.monotonic() - self._saved >= self._wait

    def save(self, resume_state: ResumeState) -> None:
        begun = time.monotonic()
        try:
            write(self.file, self.fingerprint, resume_state)
        except OSError as error:
            self.tell(f"no checkpoint could be written ({error.strerror}); computing goes on")
        self._saved = self._last = time.monotonic()
        self._wait = max(self.seconds, (self._saved - begun) / SAVE_SHARE)
        self.interrupt.check()

    def load(self, state: Any) -> ResumeState | None:
        """What there is to go on from; `state` shows the structure. Raises `Damage` if the checkpoint is torn."""
        return read(self.file, self.fingerprint, state) or self.earlier(state)


def write(file: Path, fingerprint: str, resume_state: ResumeState) -> None:
    """One file: the SHA-256 of what follows, a newline, and an npz of the state's leaves and the records so far."""
    arrays = {f"state/{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(resume_state.state))}
    names = list(resume_state.records[0]) if resume_state.records else []
    arrays |= {f"record/{name}": np.stack([record[name] for record in resume_state.records]) for name in names}
    arrays["steps"] = np.array(resume_state.steps, np.int64)
    arrays["about"] = np.array(json.dumps({"fingerprint": fingerprint, "step": resume_state.step, "names": names}))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    write_file(file, hashlib.sha256(data).hexdigest().encode() + b"\n" + data)


def read(file: Path, fingerprint: str, state: Any) -> ResumeState | None:
    """What `write` wrote, or None if there is nothing or it is of other runs, another program or another version."""
    try:
        digest, _, data = file.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if hashlib.sha256(data).hexdigest().encode() != digest:
        raise Damage(f"{file.name} does not match its checksum")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        about = json.loads(str(arrays["about"]))
        if about["fingerprint"] != fingerprint:
            return None
        leaves, structure = jax.tree.flatten(state)
        state = structure.unflatten([arrays[f"state/{i}"] for i in range(len(leaves))])
        steps = arrays["steps"].tolist()
        columns = {name: arrays[f"record/{name}"] for name in about["names"]}
    return ResumeState(about["step"], state, steps, [{name: c[t] for name, c in columns.items()} for t in range(len(steps))])
