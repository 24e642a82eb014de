"""The store: what was computed, as Parquet. A folder per experiment, a part per computed chunk.

    results/<experiment>/store.json                       format number
    results/<experiment>/parts/<chunk>/runs.parquet       one row a run: identity, configuration, status, provenance
                                      /records.parquet    one row a run and recorded step: the metrics
                                      /final/<leaf>.npy   final states where asked for, one row a run
                                      /checksums.json     SHA-256 of each of them
    results/<experiment>/work/<chunk>/                    a chunk under way: its lock, its checkpoint
    results/<experiment>/failed/<chunk>.json              runs that could not be computed, and why
    results/<experiment>/asked/<hash>.json                what a command asked for, so that what is left is known
    results/<experiment>/damaged/                         parts that were not what was written

A part is there whole or not at all, and what does not match its checksum is not read. Runs are known by content
hash, so a run is never computed twice and a grown study computes only what is new. No pickle anywhere.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from filelock import FileLock, Timeout

from dynamics.core.provenance import provenance
from dynamics.errors import InputError
from dynamics.store.files import (
    MANIFEST,
    Damage,
    check_folder,
    check_inside,
    new_folder,
    read_checked,
    remove_leftovers,
    write_file,
    write_manifest,
)

if TYPE_CHECKING:  # JAX takes half a second to import; reading a store needs none of it
    from dynamics.core.spec import RunSpec
    from dynamics.store.results import ChunkResult

FORMAT = 2  # 1 had no checksums, and a file a final state
NO_RUNS = pl.DataFrame({"run": []}, {"run": pl.String})


def chunk_name(runs: Iterable[RunSpec], *, with_final: bool) -> str:
    """What a chunk of runs is called: a hash of which runs they are."""
    from dynamics.core import spec as specs

    return specs.content_hash(sorted(specs.run_id(run) for run in runs)) + ("-final" if with_final else "")


class Store:
    """A study's results on disk. Opening it reads the run tables; nothing is created before the first write.

    damaged: parts that are not what was written, and why; they are not read. `mend` sets them aside.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.parts = self.folder / "parts"
        self.damaged: dict[str, str] = {}
        self._tables: dict[str, pl.DataFrame] = {}
        self._finished: dict[bool, set[str]] = {False: set(), True: set()}  # with_final
        for name in ("store.json", "parts", "work", "failed", "asked", "damaged"):
            self._check_own(self.folder / name)
        self.format = self._read_format()
        self.refresh()

    def _check_own(self, path: Path) -> None:
        """Raise `InputError` if this is a link: a store from elsewhere must not lead us to write or delete beside it."""
        if path.is_symlink():
            raise InputError("output", str(path), "is a link; a store keeps its files itself")

    def _read_format(self) -> int | None:
        """The store's format, None if there is no store yet (or its marker is lost)."""
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
            # a torn marker, written anew with the next part; where no part has checksums it was one of format 1
            unchecked = self.parts.exists() and not any(self.parts.glob(f"[!.]*/{MANIFEST}"))
            return 1 if unchecked and any(self.parts.glob("[!.]*")) else None
        if found not in range(1, FORMAT + 1):
            allowed = f"was written in store format {found}, this version reads 1 to {FORMAT}"
            raise InputError("output", str(self.folder), f"{allowed}; choose another output folder or a newer version")
        return found

    def refresh(self) -> None:
        """Take in the parts that have come since, from this process or another."""
        names = sorted(p.name for p in self.parts.glob("[!.]*")) if self.parts.exists() else []
        if self._tables.keys() - names:
            self._tables.clear()
            self._finished = {False: set(), True: set()}
        self.damaged = {name: reason for name, reason in self.damaged.items() if name in names}
        for name in names:
            if name not in self._tables and name not in self.damaged:
                try:
                    self._take_in(name)
                except Damage as reason:
                    if (self.parts / name).exists():  # else it was set aside just now
                        self.damaged[name] = str(reason)

    def _take_in(self, name: str) -> None:
        self._tables[name] = table = self._table(name, "runs.parquet")
        self._finished[False].update(table["run"])
        self._finished[True].update(table.filter("has_final")["run"])

    @property
    def runs(self) -> pl.DataFrame:
        """The run tables of all parts."""
        tables = [self._tables[name] for name in sorted(self._tables)]
        return pl.concat(tables, how="diagonal_relaxed") if tables else NO_RUNS

    def _read(self, part: str, name: str) -> bytes:
        """A file of a part, checked; in a store of format 1 there is nothing to check it by."""
        folder = self.parts / part
        if folder.is_symlink():
            raise Damage("is a link")
        try:
            if self.format == 1 and not os.path.lexists(folder / MANIFEST):
                check_inside(folder, name)
                return (folder / name).read_bytes()
            return read_checked(folder, name)
        except OSError as e:
            raise Damage(f"{name} cannot be read: {e.strerror}") from None

    def _table(self, part: str, name: str) -> pl.DataFrame:
        try:
            table = pl.read_parquet(io.BytesIO(self._read(part, name)))
        except pl.exceptions.PolarsError as e:
            raise Damage(f"{name} is not a Parquet file ({str(e).splitlines()[0]})") from None
        if "run" not in table.columns:
            raise Damage(f"{name} has no column `run`")
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
        """Check every file of every part; `damaged` then names all that are not what was written. Changes nothing on disk."""

        def damage(name: str) -> tuple[str, str | None]:
            try:
                if self.format != 1 or os.path.lexists(self.parts / name / MANIFEST):
                    check_folder(self.parts / name)
            except (Damage, OSError) as reason:
                return name, str(reason)
            return name, None

        with ThreadPoolExecutor() as pool:
            self.damaged |= {name: reason for name, reason in pool.map(damage, list(self._tables)) if reason}

    def mend(self, tell: Callable[[str], Any] = lambda line: None) -> None:
        """Check every file of every part and set aside the parts that are damaged, so that they are computed again."""
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
        """Move a part to `damaged/`, if it is still there and still damaged: another process may have mended it since."""
        try:
            check_folder(self.parts / name)
            self._table(name, "runs.parquet")
            return
        except (Damage, OSError) as error:
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

    @contextmanager
    def claim(self, chunk: str) -> Iterator[Path | None]:
        """The folder where a chunk's work is kept, or None while another process has it; a process that dies lets go."""
        folder = self.folder / "work" / chunk
        self._check_own(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield None
            return
        try:
            remove_leftovers(self.parts / chunk)
            remove_leftovers(folder / "checkpoint")
            yield folder
        finally:
            lock.release()

    def under_way(self) -> dict[str, bool]:
        """The chunks that a living process has (True) or that have a checkpoint and wait to be gone on with (False)."""
        found = {}
        for folder in sorted((self.folder / "work").glob("[!.]*")):
            held = self.held(folder.name)
            if held or (folder / "checkpoint").exists():
                found[folder.name] = held
        return found

    def held(self, chunk: str) -> bool:
        """Whether a living process has a chunk; only looks, and creates no file."""
        try:
            descriptor = os.open(self.folder / "work" / chunk / "lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    # ---- after computing

    def contents(self) -> dict[str, pl.DataFrame]:
        """The run table of each part, by the part's name."""
        return dict(self._tables)

    def finished(self, *, with_final: bool = False) -> set[str]:
        """Identities of the runs that are there (with their final state, if asked)."""
        return self._finished[with_final]

    def final_steps(self) -> list[int]:
        """How long the runs are whose final states are there, the longest first."""
        tables = [table.filter("has_final")["steps"] for table in self._tables.values()]
        return sorted({steps for column in tables for steps in column.unique()}, reverse=True)

    def write(self, result: ChunkResult, *, save_final: bool = False) -> Path:
        """Write one part, whole or not at all: on failure (a full disk, say) nothing partial stays."""
        runs, records = tables(result)
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
                _write_final(folder / "final", result)
        self._take_in(target.name)
        (self.folder / "failed" / f"{target.name}.json").unlink(missing_ok=True)
        return target

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

    def write_cut(self, key: str, size: int) -> None:
        """Note into parts of how many runs a chunk was cut that did not fit, so that it is cut so again."""
        write_file(self.folder / "work" / f"{key}.cut.json", json.dumps({"size": size}))

    def cut(self, key: str) -> int | None:
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

    def read(self, ids: Iterable[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Run table and record table of these runs; a run stored twice is read once."""
        wanted = pl.DataFrame({"run": list(dict.fromkeys(ids))}, {"run": pl.String})
        runs = self.runs.join(wanted, on="run", how="semi").unique("run", keep="last", maintain_order=True)
        tables = []
        for name, table in sorted(self._tables.items()):
            if len(table.join(wanted, on="run", how="semi")):
                try:
                    tables.append(self._table(name, "records.parquet").join(wanted, on="run", how="semi"))
                except Damage as reason:
                    allowed = f"is damaged: {reason}; run the study again and it will be set aside and computed anew"
                    raise InputError("output", str(self.parts / name), allowed) from None
        records = pl.concat(tables, how="diagonal_relaxed") if tables else NO_RUNS
        if len(records):
            records = records.unique(["run", "step"], keep="last", maintain_order=True)
        return runs, records

    def final(self, run: str) -> dict[str, np.ndarray]:
        """The final state of a run as arrays by path, if it was saved."""
        for name, table in self._tables.items():
            rows = table.with_row_index().filter(pl.col("run") == run, pl.col("has_final"))["index"]
            folder = self.parts / name / "final"
            if folder.is_symlink() or (folder / f"{run}.npz").is_symlink():
                continue
            if len(rows) and (folder / f"{run}.npz").exists():  # format 1
                with np.load(folder / f"{run}.npz", allow_pickle=False) as arrays:
                    return dict(arrays)
            if len(rows):
                files = {
                    str(f.relative_to(folder).with_suffix("")): f for f in sorted(folder.rglob("*.npy")) if not f.is_symlink()
                }
                if not files:
                    continue
                return {p: np.array(np.load(f, mmap_mode="r", allow_pickle=False)[rows[0]]) for p, f in files.items()}
        raise InputError("run", run, "has no saved final state; run with save_final=true")


def tables(result: ChunkResult) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The run table and the record table of a chunk. A diverged run's records end with the first non-finite one."""
    from dynamics.core import spec as specs

    trajectory, runs = result.trajectory, result.runs
    ids = [specs.run_id(run) for run in runs]
    steps, finite, status, lost = trajectory.steps, trajectory.finite, trajectory.status, trajectory.diverged_at
    kept = np.where(finite.all(1), len(steps), np.argmin(finite, axis=1) + 1)
    shared = {
        "group": result.program,
        "seconds": result.seconds / len(runs),
        "compile_seconds": result.compile_seconds,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance(),
    }
    rows = [
        {
            "run": ids[i],
            "system": run.system,
            **{path: _cell(value) for path, value in specs.flatten(run).items()},
            **run.derived_columns(),
            "status": str(status[i]),
            "diverged_at": int(lost[i]) if lost[i] >= 0 else None,
            "steps_done": int(steps[kept[i] - 1]),
            **shared,
        }
        for i, run in enumerate(runs)
    ]
    mask = np.arange(len(steps)) < kept[:, None]
    columns: dict[str, Any] = {
        "run": np.repeat(np.array(ids), len(steps)).reshape(mask.shape)[mask],
        "step": np.broadcast_to(steps, mask.shape)[mask],
    }
    columns |= {name: value[mask] for name, value in trajectory.records.items()}
    return pl.DataFrame(rows, infer_schema_length=None), pl.DataFrame(columns)


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, tuple) else value


def _write_final(folder: Path, result: ChunkResult) -> None:
    import jax

    for path, leaf in jax.tree_util.tree_leaves_with_path(result.trajectory.state):
        file = folder / f"{jax.tree_util.keystr(path, simple=True, separator='/')}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.asarray(leaf), allow_pickle=False)
