"""The stability theory's inequalities as claims over every recorded step of every run of a study."""

from __future__ import annotations

import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate
from dynamics.analysis.claims import INCONCLUSIVE, Claim, Finding, exact, judge
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


def slacks(study: Study, check: str, *, weighted: bool = True) -> np.ndarray:
    """Slack over scale of one check at every record where it says something, (N,).

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


def never_violated(part: tuple[Study, str, bool]) -> Finding:
    """The smallest relative slack is not negative beyond rounding; nothing to check is inconclusive."""
    study, check, weighted = part
    seen = slacks(study, check, weighted=weighted)
    if not len(seen):
        return Finding(INCONCLUSIVE, Estimate(np.nan, np.nan, np.nan))
    return exact(float(seen.min()), -max(ROUNDING[p] for p in study.values("precision")), np.inf)


def stability_claims(study: Study, name: str) -> list[Claim]:
    """One claim for each of C1, C2, C3 and the corollary, inconclusive without `path_norms` and `stability_checks`.

    Measured is the smallest slack in units of the check's scale. The control is the same inequality with g = 1.
    """
    return [
        judge(
            f"{name}/{check}",
            "Liang et al. 2025, Theorem 3.2 and Corollary 3.3",
            f"{statement}: {len(slacks(study, check))} checks",
            f"{inequality}; smallest slack / scale >= -rounding",
            never_violated,
            (study, check, True),
            (study, check, False),
            "unweighted path norm",
        )
        for check, (statement, inequality) in CHECKS.items()
    ]
