"""Figure 5 of Liang et al. 2025: over the same distance eta x steps, a larger step leaves rarer and larger neurons."""

import numpy as np

import dynamics.analysis.words as an


def figure(study: an.Study) -> an.Page:
    groups = an.split_by(study, "learning_rate", "$\\eta = {:g}$")
    return an.make_axis_page(study, groups, study.values("learning_rate"), "$\\eta$", scale="log")


def stack_rates(study: an.Study, metric: str) -> np.ndarray:
    """Return a metric at the end, (S, K): a row a seed, a column a learning rate."""
    return an.stack_seeds(an.split_by(study, "learning_rate").values(), lambda part: an.read_final(part, metric))


def growth(table: np.ndarray) -> an.Estimate:
    """Return the median over seeds of the last column less the first."""
    return an.median_over_seeds(table[:, -1] - table[:, 0])


def claims(study: an.Study) -> list[an.Claim]:
    rates = study.values("learning_rate")
    span = f"at eta = {rates[-1]:g} than at {rates[0]:g}, same eta x steps"
    rows = [
        ("rarer", "sparse_fraction", f"A larger share of the alive is active on at most 10 % of the data {span}"),
        ("larger", "alive_weight_norm_median", f"The alive have a larger median weight norm {span}"),
        ("worse", "clean_train_error", f"The clean error is larger {span}"),
    ]
    return [
        *[
            an.judge(
                id=f"shattering_learning_rate/{name}",
                source="Liang et al. 2025, Figure 5",
                statement=statement,
                expects=an.above(0, of="median difference"),
                evidence=an.permute(growth, stack_rates(study, metric), "rates permuted within every seed"),
            )
            for name, metric, statement in rows
        ],
        *an.judge_stability(study, "shattering_learning_rate"),
    ]
