"""Figure 4 of Liang et al. 2025: the share of neurons that survive a large step grows with the input dimension."""

import numpy as np

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2025, Figure 4"


def figure(study: an.Study) -> an.Page:
    return an.make_dimension_page(study)


def least_growth(study: an.Study) -> an.Estimate:
    """Return the least increase from one d to the next of the share that is alive at the end per alive at the start."""
    relative = an.divide_by_start(study, "alive_fraction")
    values = [an.read_final(part, "alive_fraction") for part in an.split_by(relative, "input_dim").values()]
    return an.combine_medians(values, lambda medians: np.diff(medians, axis=0).min(axis=0))


def relative_growth(study: an.Study, metric: str, *, falls: bool = False) -> an.Estimate:
    """Return how much larger a metric, relative to its start, is at the largest d than at the smallest (or smaller)."""
    parts = list(an.split_by(an.divide_by_start(study, metric), "input_dim").values())
    ends = (parts[0], parts[-1]) if falls else (parts[-1], parts[0])
    return an.median_difference(*ends, metric)


def alive(study: an.Study, d: int) -> an.Estimate:
    """Return the share of neurons that are alive at the end at this d."""
    return an.median_final(study.select(input_dim=d), "alive_fraction")


def claims(study: an.Study) -> list[an.Claim]:
    dims = study.values("input_dim")
    first, last = dims[0], dims[-1]

    claim = an.judge_from(SOURCE)
    growth, ends = an.above(0, of="difference"), f"at d = {last} than at {first}"
    return [
        claim(
            id="shattering_dimension/alive-grows-with-d",
            statement=f"More neurons survive with every step in d of {dims}",
            expects=an.ordered(of="the alive share over d"),
            evidence=an.before_training(least_growth, study),
        ),
        claim(
            id="shattering_dimension/none-alive-at-one",
            statement=f"At d = {first} all neurons extrapolate",
            expects=an.within(0, 0.05, of="alive share"),
            evidence=an.before_training(alive, study, d=first),
        ),
        claim(
            id="shattering_dimension/alive-at-largest",
            statement=f"At d = {last} about 65 % are alive (d = 6)",
            expects=an.within(0.5, 0.8, of="alive share"),
            evidence=an.before_training(alive, study, d=last),
        ),
        claim(
            id="shattering_dimension/error-grows-with-d",
            statement=f"Clean error, relative to the start, is larger {ends}",
            expects=growth,
            evidence=an.before_training(relative_growth, study, metric="clean_train_error"),
        ),
        claim(
            id="shattering_dimension/loss-falls-with-d",
            statement=f"Training loss, relative to the start, is smaller {ends}",
            expects=growth,
            evidence=an.before_training(relative_growth, study, metric="train_loss", falls=True),
        ),
        *an.judge_stability(study, "shattering_dimension"),
    ]
