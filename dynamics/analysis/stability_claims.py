"""The stability theory's inequalities as claims over every recorded step of every run of a study."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from dynamics.analysis.bounds import UNKNOWN, at_least
from dynamics.analysis.claims import Claim, judge
from dynamics.analysis.controls import compare
from dynamics.analysis.intervals import Estimate
from dynamics.study.tables import Study

ROUNDING = {"float32": 1e-5, "float64": 1e-10}  # allowed negative slack, relative to the check's scale

CHECKS = {
    "c1": ("the kernel's top eigenvalue bounds the one-sided path norm", "lambda_GN >= 1 + 2 sum |a| g~"),
    "c2": ("sharpness bounds the weighted path norm, tighter constant", "sum |a| g <= l/2 - 1/2 + sqrt(1+R^2)/2 sqrt(2L)"),
    "c3": ("sharpness bounds the weighted path norm (Theorem 3.2)", "sum |a| g <= l/2 - 1/2 + (R+1) sqrt(2L)"),
    "corollary": (
        "below the edge eta bounds the weighted path norm (Corollary 3.3)",
        "sum |a| g <= 1/eta - 1/2 + (R+1) sqrt(2L)",
    ),
}
OFF_BY = (1.1, 2.0)  # factors by which the weight function is wrong in the controls; the smallest that is caught is shown


class Slacks(NamedTuple):
    """What a study's records say of one check, over the check's scale.

    slack (N,): right side less left; weight (N,): what the weight function adds to the left side, so that with a weight
    function f times as large the slack is `slack - (f - 1) * weight`; needed: the share of the loss term without which
    some record would violate the check (0 where there is no such term).
    """

    slack: np.ndarray
    weight: np.ndarray
    needed: float


def read_slacks(study: Study, check: str) -> Slacks:
    """Return the slacks of one check at every record where it says something: with the labels of the study, and again
    with labels that the net fits exactly.

    The inequalities hold for any labels. With the net's own predictions as labels L = 0 and H = GN: the loss term,
    which keeps trained nets far from equality in C2, C3 and the corollary, is gone. Empty where the study did not
    record `path_norms` and `stability_checks`.
    """
    columns = {f"{check}_slack", "path_norm", "stationary_slack"}
    if not columns <= set(study.records.columns):
        return Slacks(np.empty(0), np.empty(0), 0.0)
    seen = study.records.unique(["run", "step"])
    if check == "c1":
        weight = 2 * pl.col("one_sided_path_norm")
        told = seen.select(slack=pl.col("c1_slack") / pl.col("c1_scale"), weight=weight / pl.col("c1_scale"))
        return Slacks(*_keep_finite(told), 0.0)
    half, weight, scale = pl.col("c1_scale") / 2, pl.col("weighted_path_norm"), pl.col("c3_scale")
    loss_term = pl.col("c3_slack" if check == "corollary" else f"{check}_slack") - pl.col("stationary_slack")
    exact, applies = half - 0.5 - weight, pl.lit(True)
    if check == "corollary":
        exact = pl.col("corollary_slack") - loss_term
        applies = exact + 0.5 + weight >= half  # lambda_GN <= 2 / eta
    without = pl.col(f"{check}_slack") - loss_term
    fitted = seen.select(slack=pl.when(applies).then(exact / half), weight=weight / half)
    given = seen.select(slack=pl.col(f"{check}_slack") / scale, weight=weight / scale, needed=-without / loss_term)
    both = [_keep_finite(table) for table in (given, fitted)]
    needed = given["needed"].to_numpy()
    needed = needed[np.isfinite(needed)]
    slack, weights = (np.concatenate(parts) for parts in zip(*both, strict=True))
    return Slacks(slack, weights, float(max(0.0, needed.max())) if len(needed) else 0.0)


def _keep_finite(table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    told = table.select(pl.col("slack", "weight").cast(pl.Float64).fill_null(np.nan)).to_numpy()
    return tuple(told[np.isfinite(told).all(axis=1)].T)


def least_slack(slack: np.ndarray, weight: np.ndarray, factor: float) -> Estimate | float:
    """Return the smallest slack with the weight function times a factor; unknown if there is nothing to check."""
    return float((slack - (factor - 1) * weight).min()) if len(slack) else UNKNOWN


def judge_slack(
    slack: np.ndarray, weight: np.ndarray, rounding: float, of: str, *, needed: float | None = None, **told: Any
) -> Claim:
    """Return the claim that no slack (N,) is negative beyond rounding, weight (N,) being what g adds to the other side.

    The control is the same inequality with a weight function g that is 10 % too large, or twice as large where the nets
    are too far from equality to catch 10 %; where they do not catch a factor of two either, they cannot confirm the
    constant and the claim is inconclusive. The smallest factor that they catch is told,
    and with `needed` the share of the loss term.
    """
    bears = weight > 0
    caught = float(1 + ((slack + rounding)[bears] / weight[bears]).min()) if bears.any() else np.nan
    off = next((factor for factor in OFF_BY if factor > caught), OFF_BY[-1])
    larger = {f"g larger by a factor of {off:g}": (slack, weight, off)}
    term = f"; a loss term of less than {100 * needed:.2g} %" if needed else "; no smaller loss term"
    return judge(
        expects=at_least(-rounding, of=of),
        evidence=compare(least_slack, (slack, weight, 1.0), neighbour=larger),
        catches="nothing" if np.isnan(caught) else f"g larger by a factor of {caught:.4g}" + ("" if needed is None else term),
        margin=caught,
        **told,
    )


def judge_stability(study: Study, name: str) -> list[Claim]:
    """Return one claim for each of C1, C2, C3 and the corollary,
    inconclusive without `path_norms` and `stability_checks`.

    Measured is the smallest slack in units of the check's scale; see `judge_slack` for the control.
    """
    rounding = max(ROUNDING[precision] for precision in study.values("precision"))
    found = []
    for check, (statement, inequality) in CHECKS.items():
        slack, weight, needed = read_slacks(study, check)
        found.append(
            judge_slack(
                slack,
                weight,
                rounding,
                f"{inequality}; smallest slack / scale",
                needed=None if check == "c1" else needed,
                id=f"{name}/{check}",
                source="Liang et al. 2025, Theorem 3.2 and Corollary 3.3",
                statement=f"{statement}: {len(slack)} checks" + (", half with labels that are fitted" if check != "c1" else ""),
                theorem=f"{check.upper() if check != 'corollary' else 'Corollary'}: {statement}",
            )
        )
    return found
