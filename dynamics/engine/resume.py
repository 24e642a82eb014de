"""Extend stored runs: a longer run resumes from the final state of the same run with fewer steps.

This needs the final states of the shorter runs (`save_final=true`) and records at every step where the longer runs are
to be recorded. Then nothing is computed twice, and the records equal those of a run of full length. Runs that end at a
goal start from the beginning: how often in a row they have passed it is not stored.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import polars as pl

from dynamics.core import spec as specs
from dynamics.core.simulate import FINITE, ResumeState
from dynamics.core.spec import RunSpec
from dynamics.store.store import Store


def resume_from_shorter_runs(
    store: Store, runs: tuple[RunSpec, ...], schedule: tuple[int, ...], state: Any
) -> ResumeState | None:
    """Return the state of `runs` after the longest stored shorter runs; None if the store does not have them.

    schedule: the steps to be recorded; state: an ensemble state of the same structure and shapes
    """
    if runs[0].stop:
        return None
    try:
        return _resume_from_shorter_runs(store, runs, schedule, state)
    except (OSError, ValueError, KeyError):  # removed or damaged meanwhile: start from the beginning
        return None


def _resume_from_shorter_runs(
    store: Store, runs: tuple[RunSpec, ...], schedule: tuple[int, ...], state: Any
) -> ResumeState | None:
    for steps in store.final_steps():
        if steps >= schedule[-1]:
            continue
        seen = set(runs[0].record.schedule(steps))
        wanted = [at for at in schedule if at <= steps]
        ids = [specs.run_id(specs.put(run, {"steps": steps})) for run in runs]
        if set(wanted) <= seen and set(ids) <= store.finished(with_final=True):
            final = _stack_final_states(store, ids, state)
            if final is not None:
                return ResumeState(steps, final, wanted, _stack_records(store, ids, wanted, _ensemble_size(state)))
    return None


def _ensemble_size(state: Any) -> int:
    return jax.tree.leaves(state)[0].shape[0]


def _stack_final_states(store: Store, ids: list[str], state: Any) -> Any | None:
    """Return the final states, stacked and padded with the last one; None if a shape differs from that in `state`."""
    finals = [store.final(run) for run in ids]
    finals += finals[-1:] * (_ensemble_size(state) - len(ids))

    def gather(path, leaf):
        leaves = [final[jax.tree_util.keystr(path, simple=True, separator="/")] for final in finals]
        if any(value.shape != leaf.shape[1:] or value.dtype != leaf.dtype for value in leaves):
            raise ValueError("padded to another shape")
        return np.stack(leaves)

    try:
        return jax.tree_util.tree_map_with_path(gather, state)
    except (KeyError, ValueError):
        return None


def _stack_records(store: Store, ids: list[str], wanted: list[int], size: int) -> list[dict[str, np.ndarray]]:
    """Return one ensemble record per wanted step; after a run has diverged its values are arbitrary,
    marked not finite."""
    runs, records = store.read(ids)
    diverged_at = dict(runs.select("run", "diverged_at").iter_rows())
    places = pl.DataFrame({"run": [*ids, *ids[-1:] * (size - len(ids))], "place": range(size)})
    found = []
    for step in wanted:
        rows = places.join(records.filter(step=step), on="run", how="left", maintain_order="left").sort("place")
        finite = np.array([diverged_at[run] is None or step < diverged_at[run] for run in rows["run"]])
        names = [name for name in records.columns if name not in ("run", "step")]
        found.append({**{name: _filled_column(rows[name]) for name in names}, FINITE: finite})
    return found


def _filled_column(values: pl.Series) -> np.ndarray:
    """Return a column as an array; missing values, which are never read, are filled with those of other runs."""
    return values.fill_null(strategy="forward").fill_null(strategy="backward").to_numpy()
