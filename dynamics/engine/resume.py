"""More steps for runs that are there: a longer run goes on from the final state of the shorter one.

Possible where the shorter runs kept their final states (`save_final=true`) and were recorded at every step at which the
longer ones are to be; then nothing is computed twice, and the records are those of a run that was long from the start.
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


def shorter_runs(store: Store, runs: tuple[RunSpec, ...], schedule: tuple[int, ...], state: Any) -> ResumeState | None:
    """The runs part of the way, as far as the store has them; `state` (of an ensemble) shows the structure and shapes."""
    try:
        return _shorter_runs(store, runs, schedule, state)
    except (OSError, ValueError, KeyError):  # gone or torn by now: then they start from the beginning
        return None


def _shorter_runs(store: Store, runs: tuple[RunSpec, ...], schedule: tuple[int, ...], state: Any) -> ResumeState | None:
    for steps in store.final_steps():
        if steps >= schedule[-1]:
            continue
        seen = set(runs[0].record.schedule(steps))
        wanted = [at for at in schedule if at <= steps]
        ids = [specs.run_id(specs.put(run, {"steps": steps})) for run in runs]
        if set(wanted) <= seen and set(ids) <= store.finished(with_final=True):
            begun = _states(store, ids, state)
            if begun is not None:
                return ResumeState(steps, begun, wanted, _records(store, ids, wanted, _size(state)))
    return None


def _size(state: Any) -> int:
    return jax.tree.leaves(state)[0].shape[0]


def _states(store: Store, ids: list[str], state: Any) -> Any | None:
    """The final states on a leading axis, the last one repeated to fill it up; None if a shape is not that of `state`."""
    finals = [store.final(run) for run in ids]
    finals += finals[-1:] * (_size(state) - len(ids))

    def gather(path, leaf):
        found = [final[jax.tree_util.keystr(path, simple=True, separator="/")] for final in finals]
        if any(value.shape != leaf.shape[1:] or value.dtype != leaf.dtype for value in found):
            raise ValueError("padded to another shape")
        return np.stack(found)

    try:
        return jax.tree_util.tree_map_with_path(gather, state)
    except (KeyError, ValueError):
        return None


def _records(store: Store, ids: list[str], wanted: list[int], size: int) -> list[dict[str, np.ndarray]]:
    """Their records as a run would have made them; behind a run's first record that is not finite there is nothing."""
    runs, records = store.read(ids)
    lost = dict(runs.select("run", "diverged_at").iter_rows())
    places = pl.DataFrame({"run": [*ids, *ids[-1:] * (size - len(ids))], "place": range(size)})
    found = []
    for step in wanted:
        rows = places.join(records.filter(step=step), on="run", how="left", maintain_order="left").sort("place")
        finite = np.array([lost[run] is None or step < lost[run] for run in rows["run"]])
        names = [name for name in records.columns if name not in ("run", "step")]
        found.append({**{name: _column(rows[name]) for name in names}, FINITE: finite})
    return found


def _column(values: pl.Series) -> np.ndarray:
    """A column as an array, with the value of some other run where there is none: it is never looked at."""
    return values.fill_null(strategy="forward").fill_null(strategy="backward").to_numpy()
