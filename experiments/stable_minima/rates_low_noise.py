"""Figures 11 and 12 of Liang et al. 2025: the rates at noise 0.5 and width 2n, without and with weight decay 0.01."""

import dynamics.analysis.words as an

NAME, SOURCE = "rates_low_noise", "Liang et al. 2025, Figures 11 and 12"


def figure(study: an.Study) -> an.Page:
    return an.make_rate_page(study, "The paper says that decay is applied for part of the runs; the learning rates are ours.")


def claims(study: an.Study) -> list[an.Claim]:
    return [*an.judge_stable_against_low_norm(study, NAME, SOURCE), *an.judge_stability(study, NAME)]
