"""Figures 9 and 10 of Liang et al. 2025: the rates of stable minima over learning rates, at equal eta * steps."""

import dynamics.analysis.words as an

NAME, SOURCE = "rates_learning_rate", "Liang et al. 2025, Figures 9 and 10"
LARGE = 0.1  # learning rates from here on are claimed to lose their slope
AFTER = "that only learning rates from 0.1 on are claimed"


def figure(study: an.Study) -> an.Page:
    return an.make_rate_page(study, "The low-norm runs are our control, the paper shows none here.")


def claims(study: an.Study) -> list[an.Claim]:
    stable, low = study.select(panel="stable"), study.select(panel="low_norm")
    dims, etas = study.values("input_dim"), stable.values("learning_rate")
    large = [eta for eta in etas if eta >= LARGE]
    first, last = (stable.select(input_dim=d, learning_rate=large) for d in (dims[0], dims[-1]))
    return [
        *(
            an.judge(
                id=f"{NAME}/slope-falls-at-eta-{eta:g}",
                source=SOURCE,
                statement=f"At eta = {eta:g} the slope's magnitude falls with d (d = {dims[0]} to {dims[-1]})",
                expects=an.LOSES_HALF,
                evidence=an.compare(an.kept_share, stable.select(learning_rate=eta), treatment={"low-norm runs": low}),
                post_hoc=AFTER,
            )
            for eta in large
        ),
        an.judge(
            id=f"{NAME}/flat-at-large-d",
            source=SOURCE,
            statement=f"At d = {dims[-1]} stable minima hardly improve with n at any eta >= {LARGE:g}",
            expects=an.at_most(0.2, of="largest |slope| over eta"),
            evidence=an.compare(an.greatest_steepness, last, neighbour={f"d = {dims[0]}": first}),
            post_hoc=AFTER,
        ),
        *an.judge_larger_rate(stable, NAME, SOURCE),
        *(
            claim
            for eta in etas
            for claim in an.judge_edge(
                stable.select(learning_rate=eta), low, f"{NAME}/edge-at-eta-{eta:g}", SOURCE, setting=f" at eta = {eta:g}"
            )
        ),
        *an.judge_stability(study, NAME),
    ]
