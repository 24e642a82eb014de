"""The stability theory's inequalities as claims over every recorded step of every run of a study."""

from __future__ import annotations

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


def read_slacks(study: Study, check: str) -> tuple[np.ndarray, np.ndarray]:
    """Return slack over scale of one check at every record where it says something, (N,), and what the weight function
    adds to the left side there, over the same scale.

    With a weight function that is f times as large the slack is `slack - (f - 1) * weight`. Empty where the study did not
    record `path_norms` and `stability_checks`.
    """
    if not {f"{check}_slack", "path_norm"} <= set(study.records.columns):
        return np.empty(0), np.empty(0)
    scale = pl.col("c1_scale" if check == "c1" else "c3_scale")
    weight = 2 * pl.col("one_sided_path_norm") if check == "c1" else pl.col("weighted_path_norm")
    seen = study.records.unique(["run", "step"]).select(slack=pl.col(f"{check}_slack") / scale, weight=weight / scale)
    slack, weight = seen["slack"].to_numpy(), seen["weight"].to_numpy()
    told = np.isfinite(slack)
    return slack[told], weight[told]


def least_slack(study: Study, check: str, factor: float) -> Estimate | float:
    """Return the smallest relative slack with the weight function times a factor; unknown if there is nothing to check."""
    slack, weight = read_slacks(study, check)
    return float((slack - (factor - 1) * weight).min()) if len(slack) else UNKNOWN


def smallest_caught_factor(study: Study, check: str, rounding: float) -> float:
    """Return the factor beyond which a weight function that is too large by it would violate the check at some record."""
    slack, weight = read_slacks(study, check)
    bears = weight > 0
    return float(1 + ((slack + rounding)[bears] / weight[bears]).min()) if bears.any() else np.inf


def judge_stability(study: Study, name: str) -> list[Claim]:
    """Return one claim for each of C1, C2, C3 and the corollary, inconclusive without `path_norms` and `stability_checks`.

    Measured is the smallest slack in units of the check's scale. The control is the same inequality with a weight function
    that is 10 % too large, or twice as large where the nets of the study are too far from equality to catch 10 %; where
    they do not catch a factor of two either, the study cannot confirm the constant and the claim is inconclusive.
    """
    rounding = max(ROUNDING[precision] for precision in study.values("precision"))
    found = []
    for check, (statement, inequality) in CHECKS.items():
        caught = smallest_caught_factor(study, check, rounding)
        off = next((factor for factor in OFF_BY if factor > caught), OFF_BY[-1])
        evidence = compare(
            least_slack, (study, check, 1.0), neighbour={f"g larger by a factor of {off:g}": (study, check, off)}
        )
        found.append(
            judge(
                id=f"{name}/{check}",
                source="Liang et al. 2025, Theorem 3.2 and Corollary 3.3",
                statement=f"{statement}: {len(read_slacks(study, check)[0])} checks",
                expects=at_least(-rounding, of=f"{inequality}; smallest slack / scale"),
                evidence=evidence,
                catches=f"g larger by a factor of {caught:.4g}" if np.isfinite(caught) else "",
                margin=caught,
                theorem=f"{check.upper() if check != 'corollary' else 'Corollary'}: {statement}",
            )
        )
    return found
