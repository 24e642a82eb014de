"""Figure 5 of Liang et al. 2025: over the same distance eta x steps, a larger step leaves rarer and larger neurons."""

from __future__ import annotations

from dynamics.analysis.activation_pages import make_axis_page
from dynamics.analysis.bootstrap import Estimate
from dynamics.analysis.bounds import above
from dynamics.analysis.claims import Claim, judge
from dynamics.analysis.figures import Page
from dynamics.analysis.seed_values import before_training, median_difference, split_by
from dynamics.analysis.stability_claims import judge_stability
from dynamics.study.tables import Study


def figure(study: Study) -> Page:
    groups = split_by(study, "learning_rate", "$\\eta = {:g}$")
    return make_axis_page(study, groups, study.values("learning_rate"), "$\\eta$", scale="log")


def growth_with_rate(study: Study, metric: str) -> Estimate:
    """Return how much larger a metric is at the largest learning rate than at the smallest, median over seeds."""
    parts = list(split_by(study, "learning_rate").values())
    return median_difference(parts[-1], parts[0], metric)


def claims(study: Study) -> list[Claim]:
    rates = study.values("learning_rate")
    span = f"at eta = {rates[-1]:g} than at {rates[0]:g}, same eta x steps"
    rows = [
        ("rarer", "sparse_fraction", f"A larger share of the alive is active on at most 10 % of the data {span}"),
        ("larger", "alive_weight_norm_median", f"The alive have a larger median weight norm {span}"),
        ("worse", "clean_train_error", f"The clean error is larger {span}"),
    ]
    return [
        *[
            judge(
                id=f"shattering_learning_rate/{name}",
                source="Liang et al. 2025, Figure 5",
                statement=statement,
                expects=above(0, of="median difference"),
                evidence=before_training(growth_with_rate, study, metric=metric),
            )
            for name, metric, statement in rows
        ],
        *judge_stability(study, "shattering_learning_rate"),
    ]
