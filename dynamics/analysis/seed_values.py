"""A metric as one value a seed: at the end, late, at the start; medians and means of such values, and parts of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate, over_seeds
from dynamics.analysis.bounds import UNKNOWN, Measured, require_also
from dynamics.analysis.claims import Evidence, compare
from dynamics.analysis.drawing import make_table
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


def read_final(part: Study, metric: str) -> np.ndarray:
    """Return a metric at the last step, one value a run in the order of the seeds, runs that diverged left out."""
    values = part.final.unique("run").sort("seed")[metric].to_numpy()
    return values[np.isfinite(values)]


def read_late(part: Study, metric: pl.Expr, share: float = 0.25) -> np.ndarray:
    """Return the mean over the records of the last `share` of the steps (the last one at least), one value a run, by seed."""
    is_late = (pl.col("step") > pl.col("steps") * (1 - share)) | (pl.col("step") == pl.col("steps"))
    late = part.records.filter(is_late).unique(["run", "step"])
    means = late.group_by("run").agg(pl.col("seed").first(), metric.mean().alias("value")).sort("seed")["value"].to_numpy()
    return means[np.isfinite(means)]


def cut_to_start(study: Study) -> Study:
    """Return the study as if it had ended at step 0: a control for what training is said to have done."""
    begin = study.records.filter(pl.col("step") == 0)
    return replace(study, records=begin.with_columns(steps=pl.lit(0, begin.schema["steps"])))


def divide_by_start(study: Study, metric: str) -> Study:
    """Return the study with a metric divided by the run's own value at step 0."""
    start = study.records.filter(pl.col("step") == 0).unique("run").select("run", pl.col(metric).alias("_start"))
    records = study.records.join(start, on="run", how="left").with_columns(pl.col(metric) / pl.col("_start"))
    return replace(study, records=records.drop("_start"))


def subtract_paired(larger: Study, smaller: Study, metric: str) -> np.ndarray:
    """Return a final metric of one part minus that of another, over the seeds they share, (S,)."""
    a, b = (part.final.unique("run").select("seed", metric) for part in (larger, smaller))
    both = a.join(b, on="seed", suffix="_other").sort("seed")
    values = (both[metric] - both[f"{metric}_other"]).to_numpy()
    return values[np.isfinite(values)]


def median_over_seeds(values: np.ndarray) -> Estimate:
    """Return the median over seeds (S,) and its interval; unknown if there is none."""
    return over_seeds(lambda index: np.median(values[index], axis=1), len(values)) if len(values) else UNKNOWN


def mean_over_seeds(values: np.ndarray) -> Estimate:
    """Return the mean over seeds (S,) and its interval."""
    values = np.asarray(values, float)
    return over_seeds(lambda index: np.mean(values[index], axis=1), len(values))


def read_by_seed(part: Study, metric: str) -> np.ndarray:
    """Return a metric at the last step, one value a run in the order of the seeds, (S,)."""
    return part.final.sort("seed")[metric].to_numpy()


def pivot_seeds(table: pl.DataFrame, axis: str, value: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (rising positions on the axis (K,), values (S, K) by seed) of a table with a row a seed and position."""
    pivot = table.sort(axis).pivot(on=axis, index="seed", values=value, maintain_order=True).sort("seed")
    return np.array(pivot.columns[1:], float), pivot.drop("seed").to_numpy().astype(float)


def ratio_over_seeds(above: np.ndarray, below: np.ndarray, middle: Callable[..., np.ndarray] = np.median) -> Estimate:
    """Return the ratio of the medians (or means) over the same seeds, (S,) each; unknown where these are not as many."""
    if not len(above) or len(above) != len(below):
        return UNKNOWN
    return over_seeds(lambda index: middle(above[index], axis=1) / middle(below[index], axis=1), len(above))


def trend_of_logs(values: np.ndarray, positions: Sequence[float]) -> Estimate:
    """Return the least-squares trend of log medians over seeds, values (S, K), in the logarithm of positions (K,)."""
    if not len(values) or len(positions) < 2:
        return UNKNOWN
    x = np.log(np.asarray(positions, float))
    lever = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    return over_seeds(lambda index: np.median(np.log(values)[index], axis=1) @ lever, len(values))


def combine_medians(values: list[np.ndarray], combine: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """Return a combination (K, R) -> (R,) of the medians over seeds of K groups (S,), seeds being resampled together.

    Where groups have lost seeds the first of each are taken, as many as the smallest group has; unknown if that is none.
    """
    count = min(map(len, values))
    if not count:
        return UNKNOWN
    table = np.stack([own[:count] for own in values])
    return over_seeds(lambda index: combine(np.median(table[:, index], axis=2)), count)


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
    return compare(statistic, part, control={"the same networks before training": cut_to_start(part)}, **options)


def largest(table: pl.DataFrame, of: pl.Expr | str, *, also: pl.Expr | None = None) -> Measured:
    """Return the largest value over the rows of a table, marked as violated if a condition does not hold in every row."""
    value = float(table.select(pl.col(of) if isinstance(of, str) else of).to_series().to_numpy().max())
    return require_also(value, also is None or bool(table.select(also.all()).item()))


def smallest(table: pl.DataFrame, of: pl.Expr | str) -> float:
    """Return the smallest value over the rows of a table."""
    return float(table.select(pl.col(of) if isinstance(of, str) else of).to_series().to_numpy().min())


def tabulate_medians(groups: Mapping[str, Study], metrics: Iterable[str]) -> pl.DataFrame:
    """Return one row a group and recorded metric: median over seeds at the end of training, interval, number of seeds."""
    rows = []
    for title, part in groups.items():
        for metric in metrics:
            if metric in part.records.columns:
                values = read_final(part, metric)
                rows.append((strip_math(title), metric, *median_over_seeds(values), len(values)))
    return make_table(rows, "group, metric, median, low, high, num_seeds")


def strip_math(title: str) -> str:
    """Return a title without the marks of mathematics, as for a table."""
    return title.replace("$", "").replace("\\", "")


def spread_groups(table: pl.DataFrame) -> pl.DataFrame:
    """Return `tabulate_medians` with a column a group, to be shown."""
    return table.pivot(on="group", index="metric", values="median")
