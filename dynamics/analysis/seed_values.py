"""A metric as one value a seed: at the end, late, at the start; medians and means of such values,
and parts of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from dynamics.analysis.bounds import UNKNOWN, Measured, require_also
from dynamics.analysis.controls import Evidence, compare
from dynamics.analysis.drawing import make_table
from dynamics.analysis.intervals import Estimate, over_seeds, over_values
from dynamics.core import spec as specs
from dynamics.errors import InputError, require
from dynamics.study.selection import show_levels
from dynamics.study.tables import Study

EDGE = pl.col("sharpness") * pl.col("optimizer.learning_rate") / 2  # eta lambda_max / 2: 1 at the edge of stability


def split_by(study: Study, axis: str, label: str = "{}") -> dict[str, Study]:
    """Return the part of the study at every value of an axis, by the label that the value is put into."""
    return {label.format(value): study.select(**{axis: value}) for value in study.values(axis)}


def split_panels(study: Study, names: Iterable[str]) -> dict[str, Study]:
    """Return the part of the study in each of these panels that it has, in this order."""
    return {name: study.select(panel=name) for name in names if name in study.values("panel")}


def first_seed(part: Study) -> Study:
    """Return the runs of the first seed."""
    return part.select(seed=part.values("seed")[0])


def one_run_a_seed(part: Study) -> pl.DataFrame:
    """Return the run table of a part, each run once; raises `InputError` if two runs have one seed,
    as they would be pooled."""
    runs = part.runs.unique("run")
    crowded = runs.filter(runs["seed"].is_duplicated())
    if len(crowded):
        crowded = crowded.filter(pl.col("seed") == crowded["seed"].min())
        fields = specs.paths(next(iter(part.specs.values()))) if part.specs else crowded.columns
        differing = [
            f"{c} ({show_levels(part.values(c))})"
            for c in fields
            if c in crowded.columns and c not in ("run", "seed", "panel") and crowded[c].n_unique() > 1
        ]
        raise InputError("seed", crowded["seed"][0], f"has {len(crowded)} runs; select one value of: {'; '.join(differing)}")
    return runs


def values_by_seed(part: Study, values: pl.DataFrame) -> pl.DataFrame:
    """Return columns seed and value, a row a run of the part by rising seed; values: columns run and value.

    A run that diverged has inf, and so has one without a record there; NaN stays where the metric has no value. Raises
    `InputError` if two runs have one seed, as they would be pooled.
    """
    runs = one_run_a_seed(part)
    lost = pl.col("status") == "diverged" if "status" in runs.columns else pl.lit(False)
    found = runs.select("run", "seed", lost.alias("lost")).join(values, on="run", how="left").sort("seed")
    bad = pl.col("value").is_null() | (pl.col("lost") & ~pl.col("value").is_finite())
    return found.select("seed", value=pl.when(bad).then(np.inf).otherwise(pl.col("value").cast(pl.Float64)))


def read_final(part: Study, metric: str) -> np.ndarray:
    """Return a metric at the last step, (S,) in the order of the seeds: inf for a run that diverged,
    NaN for no value."""
    final = part.final.unique("run").select("run", value=pl.col(metric).fill_null(np.nan))
    return values_by_seed(part, final)["value"].to_numpy()


def read_late(part: Study, metric: pl.Expr, share: float = 0.25) -> np.ndarray:
    """Return the mean over the records of the last `share` of the steps (the last one at least),
    as `read_final` does."""
    is_late = (pl.col("step") > pl.col("steps") * (1 - share)) | (pl.col("step") == pl.col("steps"))
    late = part.records.filter(is_late).unique(["run", "step"])
    means = late.group_by("run").agg(metric.mean().fill_null(np.nan).alias("value"))
    return values_by_seed(part, means)["value"].to_numpy()


def stack_seeds(parts: Iterable[Study], read: Callable[[Study], np.ndarray]) -> np.ndarray:
    """Return one value a seed and part, (S, P): `read(part)` of every part, over the seeds that all of them have.

    read: a function such as `read_final` that returns a value a run in the order of the seeds.
    """
    parts = list(parts)
    shared = set.intersection(*(set(part.runs["seed"]) for part in parts))
    return np.stack([read(part.select(seed=sorted(shared))) for part in parts], axis=1) if shared else np.empty((0, len(parts)))


def cut_at(study: Study, step: int) -> Study:
    """Return the study as if it had ended at a recorded step:
    a control for what the rest of training is said to have done."""
    seen = study.records.filter(pl.col("step") <= step)
    return replace(study, records=seen.with_columns(steps=pl.lit(step, seen.schema["steps"])))


def cut_to_start(study: Study) -> Study:
    """Return the study as if it had ended at step 0."""
    return cut_at(study, 0)


def divide_by_start(study: Study, metric: str) -> Study:
    """Return the study with a metric divided by the run's own value at step 0."""
    start = study.records.filter(pl.col("step") == 0).unique("run").select("run", pl.col(metric).alias("_start"))
    records = study.records.join(start, on="run", how="left").with_columns(pl.col(metric) / pl.col("_start"))
    return replace(study, records=records.drop("_start"))


def subtract_paired(larger: Study, smaller: Study, metric: str) -> np.ndarray:
    """Return a final metric of one part minus that of another, over the seeds they share, (S,).

    inf where a run of either diverged: the difference may be anything.
    """
    first, second = stack_seeds((larger, smaller), lambda part: read_final(part, metric)).T
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(first) | np.isinf(second), np.inf, first - second)


def median_over_seeds(values: np.ndarray) -> Estimate:
    """Return the median over seeds (S,) and its interval; unknown if there is none. inf: a run that diverged."""
    return over_values(lambda v: np.median(v, axis=1), values, either_way=True)


def mean_over_seeds(values: np.ndarray) -> Estimate:
    """Return the mean over seeds (S,) and its interval. inf: a run that diverged."""
    return over_values(lambda v: np.mean(v, axis=1), values, either_way=True)


def pivot_seeds(table: pl.DataFrame, axis: str, value: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (rising positions on the axis (K,), values (S, K) by seed) of a table with a row a seed and position."""
    pivot = table.sort(axis).pivot(on=axis, index="seed", values=value, maintain_order=True).sort("seed")
    return np.array(pivot.columns[1:], float), pivot.drop("seed").to_numpy().astype(float)


def ratio_over_seeds(above: np.ndarray, below: np.ndarray, middle: Callable[..., np.ndarray] = np.median) -> Estimate:
    """Return the ratio of the medians (or means) over the same seeds, (S,) each;
    unknown where these are not as many."""
    if not len(above) or len(above) != len(below):
        return UNKNOWN
    both = np.stack([np.asarray(above, float), np.asarray(below, float)], axis=1)
    return over_values(lambda v: middle(v[..., 0], axis=1) / middle(v[..., 1], axis=1), both, either_way=True)


def trend_of_logs(values: np.ndarray, positions: Sequence[float]) -> Estimate:
    """Return the least-squares trend of log medians over seeds, values (S, K), in the logarithm of positions (K,)."""
    if not len(values) or len(positions) < 2:
        return UNKNOWN
    x = np.log(np.asarray(positions, float))
    lever = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    return over_values(lambda v: np.median(v, axis=1) @ lever, np.log(values))


def combine_medians(
    values: np.ndarray | Sequence[np.ndarray],
    combine: Callable[[np.ndarray], np.ndarray],
    over: Callable[..., Estimate] = over_seeds,
) -> Estimate:
    """Return a combination (K, R) -> (R,) of the medians over seeds of K groups, seeds being taken together.

    values: (S, K), or a value a seed for each group, of the same seeds in the same order (`stack_seeds`). With
    over=`greatest_over_seeds` or `least_over_seeds` the combination is (K, R) -> (J, R), and its extreme is taken.
    Raises `InputError` where groups differ in their number of seeds: they cannot be paired by position.
    """
    if not isinstance(values, np.ndarray):
        counts = [len(own) for own in values]
        require(len(set(counts)) == 1, "values", counts, "groups differ in their number of seeds and cannot be paired")
        values = np.stack(list(values), axis=1)
    medians = lambda v: np.moveaxis(np.median(v, axis=1), -1, 0)  # noqa: E731
    return over_values(lambda v: np.moveaxis(combine(medians(v)), 0, -1), values, either_way=True, over=over)


def median_final(part: Study, metric: str) -> Estimate:
    """Return the median over seeds of a metric at the last step."""
    return median_over_seeds(read_final(part, metric))


def median_late(part: Study, metric: pl.Expr = EDGE) -> Estimate:
    """Return the median over seeds of the mean over the last quarter of the steps; by default of eta sharpness / 2."""
    return median_over_seeds(read_late(part, metric))


def median_difference(larger: Study, smaller: Study, metric: str) -> Estimate:
    """Return the median over seeds of `subtract_paired`."""
    return median_over_seeds(subtract_paired(larger, smaller, metric))


def before_training(statistic: Callable[..., Measured], part: Study, **options: Any) -> Evidence:
    """Compare a part of a study with itself before training."""
    return compare(statistic, part, treatment={"the same networks before training": cut_to_start(part)}, **options)


def largest(table: pl.DataFrame, of: pl.Expr | str, *, also: pl.Expr | None = None) -> Measured:
    """Return the largest value over the rows of a table,
    marked as violated if a condition does not hold in every row."""
    value = float(table.select(pl.col(of) if isinstance(of, str) else of).to_series().to_numpy().max())
    return require_also(value, also is None or bool(table.select(also.all()).item()))


def smallest(table: pl.DataFrame, of: pl.Expr | str) -> float:
    """Return the smallest value over the rows of a table."""
    return float(table.select(pl.col(of) if isinstance(of, str) else of).to_series().to_numpy().min())


def tabulate_medians(groups: Mapping[str, Study], metrics: Iterable[str]) -> pl.DataFrame:
    """Return one row a group and recorded metric: median over seeds at the end of training, interval, number of seeds.

    num_left_out: runs that diverged (ranked as worst) or had no value (dropped).
    """
    rows = []
    for title, part in groups.items():
        for metric in metrics:
            if metric in part.records.columns:
                values = read_final(part, metric)
                found = median_over_seeds(values)
                rows.append((strip_math(title), metric, *found, found.seeds, found.left_out))
    return make_table(rows, "group, metric, median, low, high, num_seeds, num_left_out")


def strip_math(title: str) -> str:
    """Return a title without the marks of mathematics, as for a table."""
    return title.replace("$", "").replace("\\", "")


def spread_groups(table: pl.DataFrame) -> pl.DataFrame:
    """Return `tabulate_medians` with a column a group, to be shown."""
    return table.pivot(on="group", index="metric", values="median")
