"""Figures 11 and 12 of Liang et al. 2025: the rates at noise 0.5 and width 2n, without and with weight decay 0.01."""

from __future__ import annotations

from dynamics.analysis.claims import Claim
from dynamics.analysis.figures import Page
from dynamics.analysis.rate_claims import judge_stable_against_low_norm
from dynamics.analysis.rate_pages import over_learning_rates
from dynamics.analysis.stability_claims import judge_stability
from dynamics.study.tables import Study

NAME, SOURCE = "rates_low_noise", "Liang et al. 2025, Figures 11 and 12"


def figure(study: Study) -> Page:
    return over_learning_rates(study, "The paper says that decay is applied for part of the runs; the learning rates are ours.")


def claims(study: Study) -> list[Claim]:
    return [*judge_stable_against_low_norm(study, NAME, SOURCE), *judge_stability(study, NAME)]
