"""The store: what was computed, as Parquet. A folder per experiment, a part per computed chunk.

    results/<experiment>/store.json                       format number
    results/<experiment>/parts/<id>/runs.parquet          one row a run: identity, configuration, status, provenance
                                   /records.parquet       one row a run and recorded step: the metrics
                                   /final/<run>.npz       final state, where asked for

A part is written under a temporary name, flushed, and renamed: it is there whole or not at all. Runs are known by
content hash, so a run is never computed twice and a grown study computes only what is new. No pickle anywhere.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl

from dynamics import spec as specs
from dynamics.errors import InputError
from dynamics.runtime import provenance
from dynamics.sweep.execute import Result

FORMAT = 1


class Store:
    """A study's results on disk. Opening it reads the run table; nothing is created before the first write."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.parts = self.folder / "parts"
        self._check_format()
        self.runs = self._read("runs.parquet")

    def _check_format(self) -> None:
        try:
            text = (self.folder / "store.json").read_text()
        except FileNotFoundError:
            if self.parts.exists():
                raise InputError("output", str(self.folder), "holds parts but no store.json: not a store") from None
            return
        except OSError as e:
            raise InputError("output", str(self.folder), f"cannot be read: {e.strerror}") from None
        try:
            found = json.loads(text)["format"]
        except (ValueError, KeyError, TypeError):
            found = None
        if found != FORMAT:
            allowed = f"was written in store format {found}, this version reads format {FORMAT}; choose another output folder"
            raise InputError("output", str(self.folder), allowed)

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

    def _read(self, name: str) -> pl.DataFrame:
        files = sorted(self.parts.glob(f"[!.]*/{name}")) if self.parts.exists() else []
        frames = []
        for file in files:
            try:
                frames.append(pl.read_parquet(file))
            except (pl.exceptions.PolarsError, OSError) as e:
                first = str(e).splitlines()[0]
                raise InputError("output", str(file), f"is not a readable Parquet file ({first}); move it away") from None
        return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame({"run": []}, {"run": pl.String})

    def finished(self, *, with_final: bool = False) -> set[str]:
        """Identities of the runs that are there (with their final state, if asked)."""
        table = self.runs.filter("has_final") if with_final and len(self.runs) else self.runs
        return set(table["run"])

    def write(self, result: Result, *, save_final: bool = False) -> Path:
        """Write one part, atomically. On failure (a full disk, say) nothing partial stays and finished parts are whole."""
        runs, records = tables(result)
        runs = runs.with_columns(pl.lit(save_final).alias("has_final"))
        name = specs.content_hash(sorted(runs["run"])) + ("-final" if save_final else "")
        self.parts.mkdir(parents=True, exist_ok=True)
        marker = self.folder / "store.json"
        if not marker.exists():
            _write_text(marker, json.dumps({"format": FORMAT}))
        temporary = Path(tempfile.mkdtemp(prefix=".", dir=self.parts))
        try:
            for table, frame in (("runs", runs), ("records", records)):
                buffer = io.BytesIO()
                frame.write_parquet(buffer)
                (temporary / f"{table}.parquet").write_bytes(buffer.getbuffer())
            if save_final:
                _write_final(temporary / "final", result, list(runs["run"]))
            for file in (f for f in temporary.rglob("*") if f.is_file()):
                _flush(file)
            target = self.parts / name
            if target.exists():  # the same runs, computed again on purpose
                shutil.rmtree(target)
            os.chmod(temporary, 0o755)
            os.rename(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _flush(self.parts)
        self.runs = pl.concat([self.runs, runs], how="diagonal_relaxed")
        return target

    def read(self, ids: Iterable[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Run table and record table of these runs; a run stored twice is read once."""
        wanted = list(dict.fromkeys(ids))
        runs = self.runs.filter(pl.col("run").is_in(wanted)).unique("run", keep="last", maintain_order=True)
        records = self._read("records.parquet")
        if len(records):
            records = records.filter(pl.col("run").is_in(wanted)).unique(["run", "step"], keep="last", maintain_order=True)
        return runs, records

    def final(self, run: str) -> dict[str, np.ndarray]:
        """The final state of a run as arrays by path, if it was saved."""
        for file in self.parts.glob(f"[!.]*/final/{run}.npz"):
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        raise InputError("run", run, "has no saved final state; run with save_final=true")


def tables(result: Result) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The run table and the record table of a chunk. A diverged run's records end with the first non-finite one."""
    trajectory, runs = result.trajectory, result.runs
    ids = [specs.run_id(run) for run in runs]
    steps, finite = trajectory.steps, trajectory.finite
    kept = np.where(finite.all(1), len(steps), np.argmin(finite, axis=1) + 1)
    shared = {
        "group": result.group.program,
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
            **run.facts(),
            "status": str(trajectory.status[i]),
            "diverged_at": int(trajectory.diverged_at[i]) if not finite[i].all() else None,
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


def _write_final(folder: Path, result: Result, ids: list[str]) -> None:
    folder.mkdir()
    leaves = jax.tree_util.tree_leaves_with_path(result.trajectory.state)
    host = {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}
    for i, run in enumerate(ids):
        np.savez(folder / f"{run}.npz", **{path: leaf[i] for path, leaf in host.items()})


def _write_text(path: Path, text: str) -> None:
    """Write a whole file or none of it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False) as f:
        f.write(text)
    os.chmod(f.name, 0o644)
    os.replace(f.name, path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
