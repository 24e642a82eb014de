"""Figure 4 of Liang et al. 2025: the share of neurons that survive a large step grows with the input dimension."""

from __future__ import annotations

import numpy as np

from dynamics.analysis.activation_pages import (
    at_start,
    difference,
    dimension_page,
    final_values,
    median,
    positive,
    relative_to_start,
)
from dynamics.analysis.bootstrap import over_seeds
from dynamics.analysis.claims import Claim, Finding, judge, within
from dynamics.analysis.figures import Page
from dynamics.analysis.stability_claims import stability_claims
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2025, Figure 4"


def figure(study: Study) -> Page:
    return dimension_page(study)


def survival_grows(study: Study) -> Finding:
    """Alive at the end per alive at the start: the least increase from one d to the next, jointly over seeds, is positive."""
    relative = relative_to_start(study, "alive_fraction")
    values = [final_values(relative.select(input_dim=d), "alive_fraction") for d in study.values("input_dim")]
    table = np.stack([v[: min(map(len, values))] for v in values])

    def least(index: np.ndarray) -> np.ndarray:
        return np.diff(np.median(table[:, index], axis=2), axis=0).min(axis=0)

    return within(over_seeds(least, table.shape[1]), np.nextafter(0, 1), np.inf)


def alive_within(low: float, high: float, d: int):
    """Check that the alive fraction at this d lies between two values."""
    return lambda study: within(median(final_values(study.select(input_dim=d), "alive_fraction")), low, high)


def grows(metric: str, sign: int):
    """Check that a metric, relative to its start, is larger (sign 1) or smaller (-1) at the largest d than at the smallest."""

    def check(study: Study) -> Finding:
        relative, dims = relative_to_start(study, metric), study.values("input_dim")
        return positive(sign * difference(relative.select(input_dim=dims[-1]), relative.select(input_dim=dims[0]), metric))

    return check


def claims(study: Study) -> list[Claim]:
    dims = study.values("input_dim")
    first, last = dims[0], dims[-1]
    begin, before = at_start(study), "the same networks before training"
    rows = [
        ("alive-grows-with-d", f"More neurons survive with every step in d of {dims}", "least increase > 0", survival_grows),
        ("none-alive-at-one", f"At d = {first} all neurons extrapolate", "alive in [0, 0.05]", alive_within(0, 0.05, first)),
        (
            "alive-at-largest",
            f"At d = {last} about 65 % are alive (d = 6)",
            "alive in [0.5, 0.8]",
            alive_within(0.5, 0.8, last),
        ),
        (
            "error-grows-with-d",
            f"Clean error, relative to the start, is larger at d = {last} than at {first}",
            "difference > 0",
            grows("clean_train_error", 1),
        ),
        (
            "loss-falls-with-d",
            f"Training loss, relative to the start, is smaller at d = {last} than at {first}",
            "difference > 0",
            grows("train_loss", -1),
        ),
    ]
    return [
        *[judge(f"shattering_dimension/{i}", SOURCE, text, says, check, study, begin, before) for i, text, says, check in rows],
        *stability_claims(study, "shattering_dimension"),
    ]
