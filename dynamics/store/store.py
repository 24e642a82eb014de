"""Store results as Parquet: one folder per experiment, one part per computed chunk.

    results/<experiment>/store.json                       format number
    results/<experiment>/parts/<chunk>/runs.parquet       one row per run: identity, configuration, status, provenance
                                      /records.parquet    one row per run and recorded step: the metrics
                                      /final/<leaf>.npy   final states if requested, one row per run
                                      /checksums.json     SHA-256 of each of them
    results/<experiment>/work/<chunk>/                    an unfinished chunk: its lock and checkpoint
    results/<experiment>/failed/<chunk>.json              runs that could not be computed, and why
    results/<experiment>/asked/<hash>.json                the runs that a command requested
    results/<experiment>/damaged/                         parts that did not match their checksums

Parts are written atomically, and a part that does not match its checksums is not read. Runs are identified by content
hash, so no run is computed twice and an extended study computes only its new runs. Pickle is never used.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from dynamics.errors import InputError
from dynamics.store.encoding import encode_tables, read_final, write_final
from dynamics.store.files import (
    MANIFEST,
    DamageError,
    check_folder,
    check_inside,
    new_folder,
    read_checked,
    write_file,
    write_manifest,
)
from dynamics.store.locks import ChunkLocks, refuse_link
from dynamics.store.notes import Notes

if TYPE_CHECKING:  # JAX takes half a second to import; reading a store needs none of it
    from dynamics.core.spec import RunSpec
    from dynamics.store.results import ChunkResult

FORMAT = 2  # 1 had no checksums, and a file a final state
NO_RUNS = pl.DataFrame({"run": []}, {"run": pl.String})


def chunk_name(runs: Iterable[RunSpec], *, with_final: bool) -> str:
    """Return the name of a chunk: a hash of the identities of its runs."""
    from dynamics.core import spec as specs

    return specs.content_hash(sorted(specs.run_id(run) for run in runs)) + ("-final" if with_final else "")


class Store(ChunkLocks, Notes):
    """The results of a study on disk. Opening it reads the run tables; no file is created before the first write.

    damaged: parts that do not match their checksums, with the reason; they are not read, and `repair` moves them away
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.parts = self.folder / "parts"
        self.damaged: dict[str, str] = {}
        self._tables: dict[str, pl.DataFrame] = {}
        self._finished: dict[bool, set[str]] = {False: set(), True: set()}  # with_final
        for name in ("store.json", "parts", "work", "failed", "asked", "damaged"):
            refuse_link(self.folder / name)
        self.format = self._read_format()
        self.refresh()

    def _read_format(self) -> int | None:
        """Return the format number of the store, None if there is no store yet or its marker is missing."""
        try:
            text = (self.folder / "store.json").read_text(errors="replace")
        except FileNotFoundError:
            if self.parts.exists() and not any(self.parts.glob(f"[!.]*/{MANIFEST}")) and any(self.parts.glob("[!.]*")):
                raise InputError("output", str(self.folder), "holds parts but no store.json: not a store") from None
            return None
        except OSError as e:
            raise InputError("output", str(self.folder), f"cannot be read: {e.strerror}") from None
        try:
            found = json.loads(text)["format"]
        except (ValueError, KeyError, TypeError):
            # a damaged marker is rewritten with the next part; parts without checksums indicate format 1
            unchecked = self.parts.exists() and not any(self.parts.glob(f"[!.]*/{MANIFEST}"))
            return 1 if unchecked and any(self.parts.glob("[!.]*")) else None
        if found not in range(1, FORMAT + 1):
            allowed = f"was written in store format {found}, this version reads 1 to {FORMAT}"
            raise InputError("output", str(self.folder), f"{allowed}; choose another output folder or a newer version")
        return found

    def refresh(self) -> None:
        """Read the run tables of parts written since by this or another process."""
        names = sorted(p.name for p in self.parts.glob("[!.]*")) if self.parts.exists() else []
        if self._tables.keys() - names:
            self._tables.clear()
            self._finished = {False: set(), True: set()}
        self.damaged = {name: reason for name, reason in self.damaged.items() if name in names}
        for name in names:
            if name not in self._tables and name not in self.damaged:
                try:
                    self._take_in(name)
                except DamageError as reason:
                    if (self.parts / name).exists():  # else another process has just moved it away
                        self.damaged[name] = str(reason)

    def _take_in(self, name: str) -> None:
        self._tables[name] = table = self._table(name, "runs.parquet")
        self._finished[False].update(table["run"])
        self._finished[True].update(table.filter("has_final")["run"])

    @property
    def runs(self) -> pl.DataFrame:
        """Return the run tables of all parts as one table."""
        tables = [self._tables[name] for name in sorted(self._tables)]
        return pl.concat(tables, how="diagonal_relaxed") if tables else NO_RUNS

    def _read(self, part: str, name: str) -> bytes:
        """Return a file of a part, verified by checksum; format 1 has no checksums."""
        folder = self.parts / part
        if folder.is_symlink():
            raise DamageError("is a link")
        try:
            if self.format == 1 and not os.path.lexists(folder / MANIFEST):
                check_inside(folder, name)
                return (folder / name).read_bytes()
            return read_checked(folder, name)
        except OSError as e:
            raise DamageError(f"{name} cannot be read: {e.strerror}") from None

    def _table(self, part: str, name: str) -> pl.DataFrame:
        try:
            table = pl.read_parquet(io.BytesIO(self._read(part, name)))
        except pl.exceptions.PolarsError as e:
            raise DamageError(f"{name} is not a Parquet file ({str(e).splitlines()[0]})") from None
        if "run" not in table.columns:
            raise DamageError(f"{name} has no column `run`")
        return table

    # ---- before computing

    def check_writable(self) -> None:
        """Raise `InputError` if a part could not be written here, leaving nothing behind."""
        base = self.folder
        while not base.exists():
            base = base.parent
        try:
            if not base.is_dir():
                raise NotADirectoryError(20, "not a folder")
            with tempfile.TemporaryFile(dir=base) as probe:
                probe.write(b"\0" * 4096)
        except OSError as e:
            raise InputError("output", str(base), f"cannot be written to: {e.strerror}") from None

    def check(self) -> None:
        """Verify every file of every part and list the damaged parts in `damaged`. Changes nothing on disk."""

        def damage(name: str) -> tuple[str, str | None]:
            try:
                if self.format != 1 or os.path.lexists(self.parts / name / MANIFEST):
                    check_folder(self.parts / name)
            except (DamageError, OSError) as reason:
                return name, str(reason)
            return name, None

        with ThreadPoolExecutor() as pool:
            self.damaged |= {name: reason for name, reason in pool.map(damage, list(self._tables)) if reason}

    def repair(self, tell: Callable[[str], Any] = lambda line: None) -> None:
        """Verify every file of every part and move damaged parts to `damaged/`, so that they are computed again.

        tell: called with one line per damaged part
        """
        if self.format == 1:
            for name in self._tables:
                if not os.path.lexists(self.parts / name / MANIFEST):
                    write_manifest(self.parts / name)
            self._mark()

        self.check()
        for name in list(self.damaged):
            with self.claim(name) as folder:
                if folder is not None:  # else a process is computing it anew
                    self._set_aside(name, tell)
                    shutil.rmtree(folder, ignore_errors=True)
        self.damaged.clear()
        self._tables.clear()
        self._finished = {False: set(), True: set()}
        self.refresh()

    def _set_aside(self, name: str, tell: Callable[[str], Any]) -> None:
        """Move a part to `damaged/` unless another process has repaired it meanwhile."""
        try:
            check_folder(self.parts / name)
            self._table(name, "runs.parquet")
            return
        except (DamageError, OSError) as error:
            reason = error
        aside = self.folder / "damaged" / f"{name}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        aside.parent.mkdir(exist_ok=True)
        try:
            os.rename(self.parts / name, aside)
        except FileNotFoundError:
            return
        lost = len(self._tables[name]) if name in self._tables else None
        what = "its runs" if lost is None else f"its {lost} run{'s' if lost != 1 else ''}"
        tell(f"damaged: {self.parts / name}: {reason}; moved to {aside}, {what} will be computed again")

    def _mark(self) -> None:
        write_file(self.folder / "store.json", json.dumps({"format": FORMAT}))
        self.format = FORMAT

    # ---- after computing

    def contents(self) -> dict[str, pl.DataFrame]:
        """Return the run table of each part by part name."""
        return dict(self._tables)

    def finished(self, *, with_final: bool = False) -> set[str]:
        """Return the identities of the stored runs; with `with_final` only those with a stored final state."""
        return self._finished[with_final]

    def first_ids(self) -> dict[str, str]:
        """Return the identity at first versions of each stored run that has a piece of a later version."""
        table = self.runs
        return dict(table.drop_nulls("first_run").select("run", "first_run").iter_rows()) if "first_run" in table else {}

    def final_steps(self) -> list[int]:
        """Return the step counts of the runs with stored final states, largest first."""
        tables = [table.filter("has_final")["steps"] for table in self._tables.values()]
        return sorted({steps for column in tables for steps in column.unique()}, reverse=True)

    def write(self, result: ChunkResult, *, save_final: bool = False) -> Path:
        """Write a chunk as one part and return its folder; an error such as a full disk leaves no partial part."""
        runs, records = encode_tables(result)
        runs = runs.with_columns(pl.lit(save_final).alias("has_final"))
        target = self.parts / chunk_name(result.runs, with_final=save_final)
        if self.format is None:
            self._mark()
        with new_folder(target) as folder:
            for table, frame in (("runs", runs), ("records", records)):
                buffer = io.BytesIO()
                frame.write_parquet(buffer)
                (folder / f"{table}.parquet").write_bytes(buffer.getbuffer())
            if save_final:
                write_final(folder / "final", result)
        self._take_in(target.name)
        (self.folder / "failed" / f"{target.name}.json").unlink(missing_ok=True)
        return target

    def read(self, ids: Iterable[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the run table and the record table of these runs; raises `InputError` if a part is damaged."""
        wanted = pl.DataFrame({"run": list(dict.fromkeys(ids))}, {"run": pl.String})
        runs = self.runs.join(wanted, on="run", how="semi").unique("run", keep="last", maintain_order=True)
        tables = []
        for name, table in sorted(self._tables.items()):
            if len(table.join(wanted, on="run", how="semi")):
                try:
                    tables.append(self._table(name, "records.parquet").join(wanted, on="run", how="semi"))
                except DamageError as reason:
                    allowed = f"is damaged: {reason}; rerun the study to compute it again"
                    raise InputError("output", str(self.parts / name), allowed) from None
        records = pl.concat(tables, how="diagonal_relaxed") if tables else NO_RUNS
        if len(records):
            records = records.unique(["run", "step"], keep="last", maintain_order=True)
        return runs, records

    def final(self, run: str) -> dict[str, np.ndarray]:
        """Return the final state of a run as arrays by path; raises `InputError` if it was not saved."""
        for name, table in self._tables.items():
            rows = table.with_row_index().filter(pl.col("run") == run, pl.col("has_final"))["index"]
            found = read_final(self.parts / name / "final", run, rows[0]) if len(rows) else None
            if found is not None:
                return found
        raise InputError("run", run, "has no saved final state; run with save_final=true")
