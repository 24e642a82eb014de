"""Figure 8 of Liang et al. 2025: with a GELU, too, the neurons that are seldom active are the large ones."""

from __future__ import annotations

import numpy as np

from dynamics.analysis.activation_pages import at_start, dimension_page, final_values
from dynamics.analysis.bootstrap import over_seeds
from dynamics.analysis.claims import Claim, Finding, judge, within
from dynamics.analysis.figures import Page
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2025, Figure 8"
METRIC = "rate_weight_norm_correlation"


def figure(study: Study) -> Page:
    return dimension_page(study)


def negative_everywhere(study: Study) -> Finding:
    """The median rank correlation of rate and |w| over the seeds, at the d where it is largest, is negative."""
    values = [final_values(study.select(input_dim=d), METRIC) for d in study.values("input_dim")]
    count = min(map(len, values))
    table = np.stack([v[:count] for v in values])
    if not count:
        return within(over_seeds(lambda index: np.full(len(index), np.nan), 1), -np.inf, 0)
    largest = over_seeds(lambda index: np.median(table[:, index], axis=2).max(axis=0), count)
    return within(largest, -np.inf, -np.nextafter(0, 1))


def claims(study: Study) -> list[Claim]:
    beyond = study.select(input_dim=[d for d in study.values("input_dim") if d > 1])
    return [
        judge(
            "shattering_gelu/seldom-active-is-large",
            SOURCE,
            f"Activation rate and weight norm are negatively correlated at every d of {beyond.values('input_dim')}",
            "largest median rank correlation < 0",
            negative_everywhere,
            beyond,
            at_start(beyond),
            "the same networks before training",
        ),
    ]
