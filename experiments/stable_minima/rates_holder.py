"""Figures 13 to 15 of Liang et al. 2025: the rates for a Hoelder-1/2 target,
stable minima against low-norm solutions."""

import dynamics.analysis.words as an

NAME, SOURCE = "rates_holder", "Liang et al. 2025, Figures 13 to 15"


def figure(study: an.Study) -> an.Page:
    return an.make_rate_page(study, "Every seed draws a target of its own, the same at every n and learning rate.")


def claims(study: an.Study) -> list[an.Claim]:
    return [*an.judge_stable_against_low_norm(study, NAME, SOURCE), *an.judge_stability(study, NAME)]
