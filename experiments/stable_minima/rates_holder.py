"""Figures 13 to 15 of Liang et al. 2025: the rates for a Hoelder-1/2 target, stable minima against low-norm solutions."""

from __future__ import annotations

from dynamics.analysis.claims import Claim
from dynamics.analysis.figures import Page
from dynamics.analysis.rate_claims import judge_stable_against_low_norm
from dynamics.analysis.rate_pages import over_learning_rates
from dynamics.analysis.stability_claims import judge_stability
from dynamics.study.tables import Study

NAME, SOURCE = "rates_holder", "Liang et al. 2025, Figures 13 to 15"


def figure(study: Study) -> Page:
    return over_learning_rates(study, "Every seed draws a target of its own, the same at every n and learning rate.")


def claims(study: Study) -> list[Claim]:
    return [*judge_stable_against_low_norm(study, NAME, SOURCE), *judge_stability(study, NAME)]
