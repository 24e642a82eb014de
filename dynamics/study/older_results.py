"""Stored results that earlier versions of measures, systems or other pieces made of runs that are asked for."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import polars as pl

from dynamics.core import spec as specs
from dynamics.core.spec import RunSpec
from dynamics.core.text import counted
from dynamics.core.versions import later_versions
from dynamics.store.store import Store


class OlderResults(NamedTuple):
    """Runs that are stored only as made by earlier versions.

    stored: for the identity of each the identity of the stored result that is to stand in
    pieces: for each piece in question (`measure sharpness`) the versions that made them, and the version of today
    """

    stored: dict[str, str]
    pieces: dict[str, tuple[set[int], int]]

    def __str__(self) -> str:
        """Say how many runs, and which versions of what made them."""
        made_by = [
            f"version {' and '.join(map(str, sorted(made)))} of {piece} (now {now})"
            for piece, (made, now) in self.pieces.items()
        ]
        return f"{counted(len(self.stored), 'stored run')} made by {', '.join(made_by)}"

    def stand_in(self, run: str) -> str:
        """Return the identity under which a run is found: that of its older result where there is only that."""
        return self.stored.get(run, run)


NO_OLDER_RESULTS = OlderResults({}, {})


def find_older_results(runs: Iterable[RunSpec], store: Store, *, with_final: bool = False) -> OlderResults:
    """Return which of the runs the store has from earlier versions only; the latest of these stands in.

    with_final: count only results with a final state
    """
    there = store.finished(with_final=with_final)
    missing = {specs.first_id(run): run for run in runs if specs.run_id(run) not in there and later_versions(run)}
    stored: dict[str, str] = {}
    pieces: dict[str, tuple[set[int], int]] = defaultdict(lambda: (set(), 0))
    for first, found, made in _candidates(store, missing) if missing else ():
        run = missing[first]
        now = later_versions(run)
        older = (
            found in there and set(made) <= set(now) and all(made.get(piece, 1) <= version for piece, version in now.items())
        )
        if older and specs.run_id(run) not in stored:
            stored[specs.run_id(run)] = found
            for piece, version in now.items():
                if made.get(piece, 1) < version:
                    pieces[piece] = (pieces[piece][0] | {made.get(piece, 1)}, version)
    return OlderResults(stored, dict(pieces))


def _candidates(store: Store, first_ids: Iterable[str]) -> list[tuple[str, str, dict[str, int]]]:
    """Return (identity at first versions, identity, versions) of the stored runs with these first identities.

    Those of the latest versions come first.
    """
    table = store.runs
    for name in ("first_run", "versions"):
        if name not in table.columns:
            table = table.with_columns(pl.lit(None, pl.String).alias(name))
    first = pl.col("first_run").fill_null(pl.col("run")).alias("first_run")
    asked = pl.DataFrame({"first_run": list(first_ids)}, {"first_run": pl.String})
    rows = table.select(first, "run", "versions").join(asked, on="first_run", how="semi", maintain_order="left").iter_rows()
    found = [(first_run, run, json.loads(versions or "{}")) for first_run, run, versions in rows]
    return sorted(found, key=lambda candidate: -sum(candidate[2].values()))
