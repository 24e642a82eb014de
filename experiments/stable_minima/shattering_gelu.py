"""Figure 8 of Liang et al. 2025: with a GELU, too, the neurons that are seldom active are the large ones."""

import dynamics.analysis.words as an


def figure(study: an.Study) -> an.Page:
    return an.make_dimension_page(study)


def largest_correlation(study: an.Study) -> an.Estimate:
    """Return the median rank correlation of rate and |w| over the seeds, at the d where it is largest."""
    parts = an.split_by(study, "input_dim").values()
    table = an.stack_seeds(parts, lambda part: an.read_final(part, "rate_weight_norm_correlation"))
    return an.combine_medians(table, lambda medians: medians, over=an.greatest_over_seeds)


def claims(study: an.Study) -> list[an.Claim]:
    beyond = study.select(input_dim=[d for d in study.values("input_dim") if d > 1])
    return [
        an.judge(
            id="shattering_gelu/seldom-active-is-large",
            source="Liang et al. 2025, Figure 8",
            statement=f"Activation rate and weight norm are negatively correlated at every d of {beyond.values('input_dim')}",
            expects=an.at_most(-0.2, of="largest median rank correlation"),
            evidence=an.before_training(largest_correlation, beyond),
            post_hoc="the size of the correlation that is asked for: the paper gives none",
        )
    ]
