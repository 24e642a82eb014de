"""Small JSON notes beside a store's parts: what was asked for, what failed and why, which chunks had to be cut."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamics.core.provenance import provenance
from dynamics.store.files import write_file

if TYPE_CHECKING:  # JAX takes half a second to import; reading a store needs none of it
    from dynamics.core.spec import RunSpec


class Notes:
    """The notes of a store. A note is no result: a torn one is as good as none."""

    folder: Path

    def finished(self, *, with_final: bool = False) -> set[str]:
        """Return the identities of the runs that are stored; the store knows."""
        raise NotImplementedError

    def write_failure(self, runs: Iterable[RunSpec], reason: str) -> None:
        """Note that these runs could not be computed; the next time they are tried again."""
        from dynamics.core import spec as specs

        ids = [specs.run_id(run) for run in runs]
        note = {"runs": ids, "reason": reason, "when": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        write_file(self.folder / "failed" / f"{specs.content_hash(sorted(ids))}.json", json.dumps(note))

    def failures(self) -> dict[str, str]:
        """Why a run could not be computed, for each that could not and has not been since."""
        there, found = self.finished(), {}
        for note in self._notes("failed"):
            found |= {run: note["reason"] for run in note["runs"] if run not in there}
        return found

    def write_asked(self, ids: Iterable[str], **about: Any) -> None:
        """Note what a command asks for, once."""
        from dynamics.core import spec as specs

        ids = sorted(set(ids))
        file = self.folder / "asked" / f"{specs.content_hash(ids)}.json"
        if not file.exists():
            when = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            write_file(file, json.dumps({"runs": ids, "command": provenance()["command"], "when": when, **about}))

    def asked(self) -> list[dict]:
        """What commands have asked for: the identities of the runs, the command, when."""
        return self._notes("asked")

    def write_chunk_limit(self, key: str, size: int) -> None:
        """Note into parts of how many runs a chunk was cut that did not fit, so that it is cut so again."""
        write_file(self.folder / "work" / f"{key}.cut.json", json.dumps({"size": size}))

    def read_chunk_limit(self, key: str) -> int | None:
        """What `write_cut` noted, if it did."""
        try:
            size = json.loads((self.folder / "work" / f"{key}.cut.json").read_bytes())["size"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return size if isinstance(size, int) and size >= 1 else None

    def _notes(self, kind: str) -> list[dict]:
        notes = map(self.note, sorted((self.folder / kind).glob("[!.]*.json")))
        return [note for note in notes if note is not None]

    @staticmethod
    def note(file: Path) -> dict | None:
        """What a file in failed/ or asked/ says; None if it is torn: a note is no result, a torn one as good as none."""
        try:
            note = json.loads(file.read_bytes())
            return note if isinstance(note["runs"], list) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
