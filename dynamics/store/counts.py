"""How far a study is: what its store holds, what is left, who is computing. Needs no JAX."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import polars as pl

from dynamics.store.layout import folder_bytes
from dynamics.store.store import NO_RUNS, Store


@dataclass(frozen=True)
class RunCounts:
    """Of one study: runs that ended well (`done`), those of them that stopped at their goal (`reached`); runs that
    `diverged`, stayed finite while a measure did not (`not_finite`), or could not be computed (`failed`); runs that
    commands asked for and that are not stored (`left`, the failed ones among them); chunks that a living process has
    (`computing`) and chunks with a checkpoint that none has (`waiting`); parts that are not what was written
    (`damaged`) and those that are (`parts`); bytes of all its files (`disk`).
    """

    done: int = 0
    reached: int = 0
    diverged: int = 0
    not_finite: int = 0
    failed: int = 0
    left: int = 0
    computing: int = 0
    waiting: int = 0
    damaged: int = 0
    parts: int = 0
    disk: int = 0

    def __add__(self, other: RunCounts) -> RunCounts:
        return RunCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def count_runs(store: Store) -> RunCounts:
    """Return the counts of a store: runs done, reached, diverged, failed and left; chunks; parts; bytes on disk."""
    intact = {name: table for name, table in store.contents().items() if name not in store.damaged}
    tables = [table.select("run", "status") for table in intact.values()] or [NO_RUNS.with_columns(status=pl.lit("ok"))]
    runs = pl.concat(tables).unique("run", keep="last", maintain_order=True)
    reached, diverged, not_finite = (int((runs["status"] == s).sum()) for s in ("reached", "diverged", "not_finite"))
    asked = {run for note in store.requests() for run in note["runs"]}
    chunks = store.list_chunks().values()
    return RunCounts(
        done=len(runs) - diverged - not_finite,
        reached=reached,
        diverged=diverged,
        not_finite=not_finite,
        failed=len(store.failures()),
        left=len(asked - set(runs["run"])),
        computing=sum(chunks),
        waiting=len(chunks) - sum(chunks),
        damaged=len(store.damaged),
        parts=len(intact),
        disk=folder_bytes(store.folder),
    )
