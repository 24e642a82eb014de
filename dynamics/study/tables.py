"""A study: what was asked and what the store holds of it, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from dynamics.core import spec as specs
from dynamics.errors import InputError, choose, require, suggest
from dynamics.study import overview
from dynamics.study.analysis_parts import make_claims, make_page
from dynamics.study.claim_list import ClaimList
from dynamics.study.contents import StudyContents, levels_of
from dynamics.study.selection import find_levels, show_levels

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

TABLES = ("records", "runs")


@dataclass(frozen=True, repr=False)
class Study(StudyContents):
    """Runs and records of a study, as polars tables; shows itself in a notebook.

    runs: one row a run and panel: `panel`, `run`, every config field by dotted path, `status`, provenance. `status` is
        `ok`, `diverged` (the state was not finite at some record), `not_finite` (only a measure was not, first at
        `not_finite_at`), `reached` (it stopped at its goal, at `stopped_at`) or `failed` (could not be computed:
        see `reason`)
    records: one row a run, panel and recorded step: the metrics, with `panel` and the config fields joined; after
        `stopped_at` they repeat what was seen there, as the state does not move any more
    specs: every requested run by its identity
    store: the folder that the tables come from
    is_experiment: whether the study is one of the experiments, which have a figure and claims

    >>> import dynamics as dyn
    >>> halve = dyn.Dynamics(lambda key, h: (h, h["x0"]), lambda x, h, key: h["rate"] * x, lambda x, h: {"x": x})
    >>> study = dyn.sweep(halve, {"rate": [0.5, 0.25], "x0": 8.0}, schedule=(0, 1, 2))
    >>> study.select(rate=0.5).records["x"].to_list()
    [8.0, 4.0, 2.0]
    >>> study.grid("x", "rate", "step")[0].tolist()
    [[8.0, 2.0, 0.5], [8.0, 4.0, 2.0]]
    """

    def __repr__(self) -> str:
        return overview.as_text(self)

    def _repr_html_(self) -> str:
        return overview.as_html(self)

    # ---- parts of it

    def select(self, **values: Any) -> Study:
        """Return the part of the study where columns have these values: `select(panel="stable", input_dim=3)`.

        A column may be named by the last part of its path where that is unambiguous. A value is a number or name, or a
        collection of them (list, tuple, set, range, array), of which any is meant, or a slice with both ends included.
        Numbers match to a relative tolerance of 1e-6 (of 1e-3 and 1e-2 in half precision). `step` selects records.
        Raises `InputError`: no such column; no such value, which there are, and where.
        """
        runs, records = self.runs, self.records
        steps = [values.pop("step")] if "step" in values else []
        for name, value in values.items():
            column = self.column(name)
            runs = runs.filter(_is_one_of(column, find_levels(name, value, levels_of(runs[column]), self.place)))
        if values:
            records = records.join(runs.select("panel", "run").unique(), on=["panel", "run"], how="semi", maintain_order="left")
        for step in steps:
            found = find_levels("step", step, levels_of(records["step"].drop_nulls()), self.place)
            records = records.filter(_is_one_of("step", found))
        return replace(self, runs=runs, records=records)

    @cached_property
    def final(self) -> pl.DataFrame:
        """Every run's record at its last step; a run that diverged before has none."""
        return self.records.filter(pl.col("step") == pl.col("steps"))

    def grid(self, metric: str, *axes: str) -> tuple[np.ndarray, list[list[Any]]]:
        """Return a metric of `records` as an array over the named columns, and the values along each; NaN where absent.

        Every run has its place, also one without a record there (because it had diverged). A metric that is an array
        itself has its own axes last. Raises `InputError` if two records would share a cell: name their difference as
        an axis, or select one of them first.
        """
        known = self.records.columns
        require(isinstance(metric, str) and metric in known, "metric", metric, f"no such record{suggest(str(metric), known)}")
        names = ["step" if isinstance(a, str) and a == "step" else self.column(a) for a in axes]
        require(len(set(names)) == len(names), "axes", names, "must name each axis once")
        plain = self.records[metric].dtype.is_numeric() or self.records[metric].dtype in (pl.Boolean, pl.Null)
        require(plain or self.records[metric].dtype.is_nested(), "metric", metric, "must be of numbers")
        levels = [levels_of(self.records[n].drop_nulls() if n == "step" else self.runs[n]) for n in names]
        self._require_one_a_cell(metric, names)
        values = self.records[metric].to_list()
        shape = np.shape(next((value for value in values if value is not None), 0.0))
        array = np.full([*(len(level) for level in levels), *shape], np.nan)
        index = [{v: i for i, v in enumerate(level)} for level in levels]
        places = self.records.select(names).iter_rows() if names else ((),) * len(values)
        for where, value in zip(places, values, strict=True):
            if value is not None:
                array[tuple(ix[w] for ix, w in zip(index, where, strict=True))] = value
        return array, levels

    def _require_one_a_cell(self, metric: str, names: list[str]) -> None:
        """Raise `InputError` if two records have the same values of these columns,
        naming the columns in which they differ."""
        there = self.records.filter(pl.col(metric).is_not_null())
        crowded = there.filter(there.select(names).is_duplicated()) if names else there
        if len(crowded) < 2:
            return
        cell = crowded.join(crowded.head(1).select(names), on=names, how="semi") if names else crowded
        fields = ["panel", "step", *specs.paths(next(iter(self.specs.values())))]
        differing = [c for c in fields if c in cell.columns and c not in names and cell[c].n_unique() > 1]
        missing = [f"{c} ({show_levels(levels_of(cell[c]))})" for c in differing]
        asked = ", ".join(names) or "none"
        allowed = f"{len(cell)} records fall into one cell; name as an axis or select one value of: {'; '.join(missing)}"
        raise InputError("axes", asked, allowed)

    # ---- for other programs

    def to_pandas(self, table: str = "records") -> pd.DataFrame:
        """Return `records` or `runs` as a pandas table, vectors as objects.
        Raises `InputError` where pandas is missing."""
        choose("table", table, dict.fromkeys(TABLES))
        try:
            import pandas as pd
        except ImportError:
            raise InputError("table", table, "needs pandas: pip install 'learning-dynamics[xarray]'") from None
        frame: pl.DataFrame = getattr(self, table)
        columns: Mapping[str, Any] = {
            c: frame[c].to_list() if frame[c].dtype.is_nested() else frame[c].to_numpy() for c in frame.columns
        }
        return pd.DataFrame({name: pd.Series(column) for name, column in columns.items()})

    def to_xarray(self) -> xr.Dataset:
        """Return the study as a Dataset: metrics over (run, step), the config along `run`.

        Raises `InputError` where xarray is missing.
        """
        try:
            from dynamics.study.labelled import to_dataset
        except ImportError:
            raise InputError("xarray", "missing", "needs xarray: pip install 'learning-dynamics[xarray]'") from None
        return to_dataset(self)

    # ---- as an experiment

    def figure(self) -> Any:
        """Return the experiment's page: its figure, caption and tables, shown inline in a notebook.

        No matplotlib backend is chosen here. An axis that the experiment does not know makes a page for each of its
        values, below one another. Raises `InputError` for a sweep, which has no figure of its own, while runs are
        missing, and for a study without the measures, panels or axes that the figure needs.
        """
        from dynamics.study.experiments import experiment_module
        from dynamics.study.style import style

        self._require_whole("figure")
        module = experiment_module(self.name)
        with style():
            return make_page(self, module)

    def claims(self) -> Sequence[Any]:
        """Return the experiment's claims, each with its measurement, interval, verdict and negative control.

        Raises `InputError` as `figure` does.
        """
        from dynamics.study.experiments import experiment_module

        self._require_whole("claims")
        return ClaimList(make_claims(self, experiment_module(self.name)))

    def _require_whole(self, what: str) -> None:
        require(self.is_experiment, what, self.name, "a sweep has none; plot study.records, or write an experiment")
        failed = self.runs.filter(pl.col("status") == "failed")["run"].n_unique()
        require(failed == 0, what, self.name, f"{failed} of its runs could not be computed; see study.runs['reason']")


def _is_one_of(column: str, levels: list[Any]) -> pl.Expr:
    among = pl.col(column).is_in([level for level in levels if level is not None])
    return among | pl.col(column).is_null() if None in levels else among
