"""The stability theory's inequalities as claims over every recorded step of every run of a study."""

from __future__ import annotations

import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate
from dynamics.analysis.bounds import UNKNOWN, at_least
from dynamics.analysis.claims import Claim, compare, judge
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


def read_slacks(study: Study, check: str, *, weighted: bool = True) -> np.ndarray:
    """Return the slack over scale of one check at every record where it says something, (N,).

    With weighted=False the path norms are taken without the weight function (g = 1): the negative control.
    Empty where the study did not record `path_norms` and `stability_checks`.
    """
    if not {f"{check}_slack", "path_norm"} <= set(study.records.columns):
        return np.empty(0)
    scale = pl.col("c1_scale" if check == "c1" else "c3_scale")
    slack = pl.col(f"{check}_slack")
    if not weighted:
        excess = {"c1": 2 * (pl.col("path_norm") - pl.col("one_sided_path_norm"))}
        slack = slack - excess.get(check, pl.col("path_norm") - pl.col("weighted_path_norm"))
    seen = study.records.unique(["run", "step"]).select((slack / scale).alias("slack"))["slack"].to_numpy()
    return seen[np.isfinite(seen)]


def least_slack(study: Study, check: str, weighted: bool) -> Estimate | float:
    """Return the smallest relative slack; unknown if there is nothing to check."""
    seen = read_slacks(study, check, weighted=weighted)
    return float(seen.min()) if len(seen) else UNKNOWN


def judge_stability(study: Study, name: str) -> list[Claim]:
    """Return one claim for each of C1, C2, C3 and the corollary, inconclusive without `path_norms` and `stability_checks`.

    Measured is the smallest slack in units of the check's scale. The control is the same inequality with g = 1.
    """
    rounding = max(ROUNDING[precision] for precision in study.values("precision"))
    return [
        judge(
            id=f"{name}/{check}",
            source="Liang et al. 2025, Theorem 3.2 and Corollary 3.3",
            statement=f"{statement}: {len(read_slacks(study, check))} checks",
            expects=at_least(-rounding, of=f"{inequality}; smallest slack / scale"),
            evidence=compare(least_slack, (study, check, True), control={"unweighted path norm": (study, check, False)}),
        )
        for check, (statement, inequality) in CHECKS.items()
    ]
