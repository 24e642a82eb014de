"""Small JSON files beside a store's parts: requested runs, failures and their reasons, chunk-size limits."""

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
    """The notes of a store. A note is not a result, so a damaged one is ignored."""

    folder: Path

    def finished(self, *, with_final: bool = False) -> set[str]:
        """Return the identities of the stored runs; implemented by `Store`."""
        raise NotImplementedError

    def write_failure(self, runs: Iterable[RunSpec], reason: str) -> None:
        """Record that these runs could not be computed and why; the next command tries them again."""
        from dynamics.core import spec as specs

        ids = [specs.run_id(run) for run in runs]
        note = {"runs": ids, "reason": reason, "when": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        write_file(self.folder / "failed" / f"{specs.content_hash(sorted(ids))}.json", json.dumps(note))

    def failures(self) -> dict[str, str]:
        """Return the reason by run identity for every run that failed and has not been computed since."""
        there, found = self.finished(), {}
        for note in self._notes("failed"):
            found |= {run: note["reason"] for run in note["runs"] if run not in there}
        return found

    def write_request(self, ids: Iterable[str], **about: Any) -> None:
        """Record the runs that this command asks for, unless an equal request is recorded already."""
        from dynamics.core import spec as specs

        ids = sorted(set(ids))
        file = self.folder / "asked" / f"{specs.content_hash(ids)}.json"
        if not file.exists():
            when = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            write_file(file, json.dumps({"runs": ids, "command": provenance()["command"], "when": when, **about}))

    def requests(self) -> list[dict]:
        """Return the recorded requests, each with its run identities, command and time."""
        return self._notes("asked")

    def write_chunk_limit(self, key: str, size: int) -> None:
        """Store the number of runs per part into which a chunk that did not fit was split, for later commands."""
        write_file(self.folder / "work" / f"{key}.cut.json", json.dumps({"size": size}))

    def read_chunk_limit(self, key: str) -> int | None:
        """Return the stored limit on runs per chunk, or None."""
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
        """Return the content of a file in failed/ or asked/, or None if it is damaged."""
        try:
            note = json.loads(file.read_bytes())
            return note if isinstance(note["runs"], list) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
