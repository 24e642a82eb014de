"""Figure 8 of Liang et al. 2025: with a GELU, too, the neurons that are seldom active are the large ones."""

from __future__ import annotations

from dynamics.analysis.activation_pages import make_dimension_page
from dynamics.analysis.bootstrap import Estimate
from dynamics.analysis.bounds import below
from dynamics.analysis.claims import Claim, judge
from dynamics.analysis.figures import Page
from dynamics.analysis.seed_values import before_training, combine_medians, read_final, split_by
from dynamics.study.tables import Study


def figure(study: Study) -> Page:
    return make_dimension_page(study)


def largest_correlation(study: Study) -> Estimate:
    """Return the median rank correlation of rate and |w| over the seeds, at the d where it is largest."""
    values = [read_final(part, "rate_weight_norm_correlation") for part in split_by(study, "input_dim").values()]
    return combine_medians(values, lambda medians: medians.max(axis=0))


def claims(study: Study) -> list[Claim]:
    beyond = study.select(input_dim=[d for d in study.values("input_dim") if d > 1])
    return [
        judge(
            id="shattering_gelu/seldom-active-is-large",
            source="Liang et al. 2025, Figure 8",
            statement=f"Activation rate and weight norm are negatively correlated at every d of {beyond.values('input_dim')}",
            expects=below(0, of="largest median rank correlation"),
            evidence=before_training(largest_correlation, beyond),
        ),
    ]
