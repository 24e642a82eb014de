"""Figures 9 and 10 of Liang et al. 2025: the rates of stable minima over learning rates, at equal eta * steps."""

from __future__ import annotations

from dynamics.analysis.claims import Claim, judge
from dynamics.analysis.figures import Page
from dynamics.analysis.rate_claims import at_the_edge, flat, larger_rate_is_worse, loses_half
from dynamics.analysis.rate_pages import over_learning_rates
from dynamics.analysis.stability_claims import stability_claims
from dynamics.study.tables import Study

NAME, SOURCE = "rates_learning_rate", "Liang et al. 2025, Figures 9 and 10"
LARGE = 0.1  # learning rates from here on are claimed to lose their slope


def figure(study: Study) -> Page:
    return over_learning_rates(study, "The low-norm runs are our control, the paper shows none here.")


def claims(study: Study) -> list[Claim]:
    stable, low = study.select(panel="stable"), study.select(panel="low_norm")
    dims, etas = study.values("input_dim"), stable.values("learning_rate")
    large = [eta for eta in etas if eta >= LARGE]
    first, last = (stable.select(input_dim=d) for d in (dims[0], dims[-1]))
    return [
        *(
            judge(
                f"{NAME}/slope-falls-at-eta-{eta:g}",
                SOURCE,
                f"At eta = {eta:g} the slope's magnitude falls with d (d = {dims[0]} to {dims[-1]})",
                "share of |slope| kept < 1/2",
                loses_half,
                stable.select(learning_rate=eta),
                low,
                "low-norm runs",
            )
            for eta in large
        ),
        judge(
            f"{NAME}/flat-at-large-d",
            SOURCE,
            f"At d = {dims[-1]} stable minima hardly improve with n at any eta >= {LARGE:g}",
            "largest |slope| over eta <= 0.2",
            flat,
            last.select(learning_rate=large),
            first.select(learning_rate=large),
            f"d = {dims[0]}",
        ),
        *larger_rate_is_worse(stable, NAME, SOURCE),
        *(
            judge(
                f"{NAME}/edge-at-eta-{eta:g}",
                f"{SOURCE}; Cohen et al. 2021",
                f"Late in training stable minima at eta = {eta:g} have sharpness 2/eta",
                "eta S / 2 in [0.95, 1.05] at the worst d",
                at_the_edge,
                stable.select(learning_rate=eta),
                low,
                "low-norm runs",
            )
            for eta in etas
        ),
        *stability_claims(study, NAME),
    ]
