"""Convert a finished chunk to tables and files, and read final states back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from dynamics.core.provenance import provenance

if TYPE_CHECKING:  # JAX takes half a second to import; reading a store needs none of it
    from dynamics.core.spec import RunSpec
    from dynamics.store.results import ChunkResult


def encode_tables(result: ChunkResult) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the run table and the record table of a chunk; a diverged run has no records after it diverged.

    One that stopped at its goal has the records of its whole schedule; from `stopped_at` on they repeat what was seen
    there.
    """
    from dynamics.core import spec as specs

    trajectory, runs = result.trajectory, result.runs
    ids = [specs.run_id(run) for run in runs]
    steps, finite, status, diverged_at = trajectory.steps, trajectory.finite, trajectory.status, trajectory.diverged_at
    not_finite_at, stopped_at = trajectory.not_finite_at, trajectory.stopped_at
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
            **encode_config(run),
            **run.derived_columns(),
            **_encode_versions(run),
            "status": str(status[i]),
            "diverged_at": int(diverged_at[i]) if diverged_at[i] >= 0 else None,
            "not_finite_at": int(not_finite_at[i]) if not_finite_at[i] >= 0 else None,
            **({} if stopped_at is None else {"stopped_at": int(stopped_at[i]) if stopped_at[i] >= 0 else None}),
            "steps_done": int(steps[kept[i] - 1] if stopped_at is None or stopped_at[i] < 0 else stopped_at[i]),
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
    steps_at = {f"{event}_at": pl.Int64 for event in ("diverged", "not_finite", "stopped")}  # also where no run has one
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides=steps_at), pl.DataFrame(columns)


def _encode_versions(run: RunSpec) -> dict[str, str]:
    """Return the versions of the run's pieces and its identity at their first, for runs with a piece that is not at its
    first."""
    from dynamics.core import spec as specs
    from dynamics.core.versions import later_versions

    versions = later_versions(run)
    return {"versions": json.dumps(versions), "first_run": specs.first_id(run)} if versions else {}


def encode_config(run: RunSpec) -> dict[str, Any]:
    """Return every config field by dotted path as run tables have it: lists as JSON."""
    from dynamics.core import spec as specs

    return {path: json.dumps(v) if isinstance(v, tuple) else v for path, v in specs.flatten(run).items()}


def write_final(folder: Path, result: ChunkResult) -> None:
    """Write the final states of a chunk: one .npy file per leaf of the state, with one row per run."""
    import jax

    for path, leaf in jax.tree_util.tree_leaves_with_path(result.trajectory.state):
        file = folder / f"{jax.tree_util.keystr(path, simple=True, separator='/')}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.asarray(leaf), allow_pickle=False)


def read_final(folder: Path, run: str, row: int) -> dict[str, np.ndarray] | None:
    """Return the final state of a run as arrays by path, from a part's folder `final/`; None if there is none.

    row: the run's place in the part's run table. Links are not followed.
    """
    if folder.is_symlink() or (folder / f"{run}.npz").is_symlink():
        return None
    if (folder / f"{run}.npz").exists():  # format 1
        with np.load(folder / f"{run}.npz", allow_pickle=False) as arrays:
            return dict(arrays)
    files = {str(f.relative_to(folder).with_suffix("")): f for f in sorted(folder.rglob("*.npy")) if not f.is_symlink()}
    return {p: np.array(np.load(f, mmap_mode="r", allow_pickle=False)[row]) for p, f in files.items()} or None
