"""Figure 4 of Liang et al. 2025: the share of neurons that survive a large step grows with the input dimension."""

import numpy as np

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2025, Figure 4"


def figure(study: an.Study) -> an.Page:
    return an.make_dimension_page(study)


def stack_relative(study: an.Study, metric: str) -> np.ndarray:
    """Return a metric at the end over its start, (S, D): a row a seed, a column a dimension."""
    parts = an.split_by(an.divide_by_start(study, metric), "input_dim").values()
    return an.stack_seeds(parts, lambda part: an.read_final(part, metric))


def least_growth(table: np.ndarray) -> an.Estimate:
    """Return the least increase of the median over seeds from one column to the next."""
    return an.combine_medians(table, lambda medians: np.diff(medians, axis=0), over=an.least_over_seeds)


def growth(table: np.ndarray) -> an.Estimate:
    """Return the median over seeds of the last column less the first."""
    return an.median_over_seeds(table[:, -1] - table[:, 0])


def alive(study: an.Study, d: int) -> an.Estimate:
    """Return the share of neurons that are alive at the end at this d."""
    return an.median_final(study.select(input_dim=d), "alive_fraction")


def claims(study: an.Study) -> list[an.Claim]:
    dims = study.values("input_dim")
    first, last = dims[0], dims[-1]

    claim = an.judge_from(SOURCE)
    ends, permuted = f"at d = {last} than at {first}", "dimensions permuted within every seed"
    return [
        claim(
            id="shattering_dimension/alive-grows-with-d",
            statement=f"More neurons survive with every step in d of {dims}",
            expects=an.ordered(of="the alive share over d"),
            evidence=an.permute(least_growth, stack_relative(study, "alive_fraction"), permuted),
        ),
        claim(
            id="shattering_dimension/none-alive-at-one",
            statement=f"At d = {first} all neurons extrapolate",
            expects=an.within(0, 0.05, of="alive share"),
            evidence=an.compare(alive, (study, first), neighbour={f"d = {dims[1]}": (study, dims[1])}),
        ),
        claim(
            id="shattering_dimension/alive-at-largest",
            statement=f"At d = {last} about 65 % are alive (d = 6)",
            expects=an.near(0.65, 0.1, of="alive share"),
            evidence=an.compare(alive, (study, last), neighbour={f"d = {first}": (study, first)}),
        ),
        claim(
            id="shattering_dimension/error-grows-with-d",
            statement=f"Clean error, relative to the start, is larger {ends}",
            expects=an.above(0, of="median difference"),
            evidence=an.permute(growth, stack_relative(study, "clean_train_error"), permuted),
        ),
        claim(
            id="shattering_dimension/loss-falls-with-d",
            statement=f"Training loss, relative to the start, is smaller {ends}",
            expects=an.below(0, of="median difference"),
            evidence=an.permute(growth, stack_relative(study, "train_loss"), permuted),
        ),
        *an.judge_stability(study, "shattering_dimension"),
    ]
