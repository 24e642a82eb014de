"""Figure 5 of Liang et al. 2025: over the same distance eta x steps, a larger step leaves rarer and larger neurons."""

from __future__ import annotations

from dynamics.analysis.activation_pages import at_start, axis_page, difference, positive
from dynamics.analysis.claims import Claim, Finding, judge
from dynamics.analysis.figures import Page
from dynamics.analysis.stability_claims import stability_claims
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2025, Figure 5"


def figure(study: Study) -> Page:
    rates = study.values("learning_rate")
    groups = {f"$\\eta = {rate:g}$": study.select(learning_rate=rate) for rate in rates}
    return axis_page(study, groups, rates, "$\\eta$", scale="log")


def larger_at_the_largest_rate(metric: str):
    """Check that a metric is larger at the largest learning rate than at the smallest, seed by seed."""

    def check(study: Study) -> Finding:
        rates = study.values("learning_rate")
        return positive(difference(study.select(learning_rate=rates[-1]), study.select(learning_rate=rates[0]), metric))

    return check


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
                f"shattering_learning_rate/{slug}",
                SOURCE,
                statement,
                "median difference > 0",
                larger_at_the_largest_rate(metric),
                study,
                at_start(study),
                "the same networks before training",
            )
            for slug, metric, statement in rows
        ],
        *stability_claims(study, "shattering_learning_rate"),
    ]
