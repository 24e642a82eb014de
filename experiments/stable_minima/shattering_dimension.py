"""Figure 4 of Liang et al. 2025: the share of neurons that survive a large step grows with the input dimension."""

from __future__ import annotations

import numpy as np

from dynamics.analysis.activation_pages import make_dimension_page
from dynamics.analysis.bootstrap import Estimate
from dynamics.analysis.bounds import Bound, above, ordered, within
from dynamics.analysis.claims import Claim, judge
from dynamics.analysis.figures import Page
from dynamics.analysis.seed_values import (
    before_training,
    combine_medians,
    divide_by_start,
    median_difference,
    median_final,
    read_final,
    split_by,
)
from dynamics.analysis.stability_claims import judge_stability
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2025, Figure 4"


def figure(study: Study) -> Page:
    return make_dimension_page(study)


def least_growth(study: Study) -> Estimate:
    """Return the least increase from one d to the next of the share that is alive at the end per alive at the start."""
    relative = divide_by_start(study, "alive_fraction")
    values = [read_final(part, "alive_fraction") for part in split_by(relative, "input_dim").values()]
    return combine_medians(values, lambda medians: np.diff(medians, axis=0).min(axis=0))


def relative_growth(study: Study, metric: str, *, falls: bool = False) -> Estimate:
    """Return how much larger a metric, relative to its start, is at the largest d than at the smallest (or smaller)."""
    parts = list(split_by(divide_by_start(study, metric), "input_dim").values())
    ends = (parts[0], parts[-1]) if falls else (parts[-1], parts[0])
    return median_difference(*ends, metric)


def alive(study: Study, d: int) -> Estimate:
    """Return the share of neurons that are alive at the end at this d."""
    return median_final(study.select(input_dim=d), "alive_fraction")


def claims(study: Study) -> list[Claim]:
    dims = study.values("input_dim")
    first, last = dims[0], dims[-1]

    def claim(name: str, statement: str, expects: Bound, statistic, **options) -> Claim:
        evidence = before_training(statistic, study, **options)
        return judge(id=f"shattering_dimension/{name}", source=SOURCE, statement=statement, expects=expects, evidence=evidence)

    return [
        claim(
            name="alive-grows-with-d",
            statement=f"More neurons survive with every step in d of {dims}",
            expects=ordered(of="the alive share over d"),
            statistic=least_growth,
        ),
        claim(
            name="none-alive-at-one",
            statement=f"At d = {first} all neurons extrapolate",
            expects=within(0, 0.05, of="alive share"),
            statistic=alive,
            d=first,
        ),
        claim(
            name="alive-at-largest",
            statement=f"At d = {last} about 65 % are alive (d = 6)",
            expects=within(0.5, 0.8, of="alive share"),
            statistic=alive,
            d=last,
        ),
        claim(
            name="error-grows-with-d",
            statement=f"Clean error, relative to the start, is larger at d = {last} than at {first}",
            expects=above(0, of="difference"),
            statistic=relative_growth,
            metric="clean_train_error",
        ),
        claim(
            name="loss-falls-with-d",
            statement=f"Training loss, relative to the start, is smaller at d = {last} than at {first}",
            expects=above(0, of="difference"),
            statistic=relative_growth,
            metric="train_loss",
            falls=True,
        ),
        *judge_stability(study, "shattering_dimension"),
    ]
