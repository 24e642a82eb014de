"""Figures 6 and 7 of Liang et al. 2025: shattering in networks with fewer parameters than samples."""

from __future__ import annotations

from dynamics.analysis.activation_pages import (
    CORRELATIONS,
    ERRORS,
    SURVIVAL,
    at_start,
    describe,
    final_values,
    negative,
    scatter_grid,
    statistics,
)
from dynamics.analysis.claims import Claim, judge
from dynamics.analysis.figures import Page
from dynamics.analysis.stability_claims import stability_claims
from dynamics.study.tables import Study

SOURCES = {
    "plain": "Liang et al. 2025, Figure 6",
    "decay": "Liang et al. 2025, Figure 6",
    "narrow": "Liang et al. 2025, Figure 7",
}


def settings(study: Study) -> dict[str, Study]:
    """One part for each panel, width and dimension, titled."""
    found = {}
    for panel in SOURCES:
        part = study.select(panel=panel)
        for width in part.values("width"):
            for d in part.select(width=width).values("input_dim"):
                decay = part.values("weight_decay")[0]
                title = f"$K = {width}$, $d = {d}$" + (f", decay {decay:g}" if decay else "")
                found[title] = part.select(width=width, input_dim=d)
    return found


def figure(study: Study) -> Page:
    groups = settings(study)
    fig, _ = scatter_grid(groups, columns=3, share="row")
    table = statistics(groups, [c.metric for c in (*SURVIVAL, *ERRORS, *CORRELATIONS)])
    parameters = {part.runs["model.width"][0] * (part.runs["data.input_dim"][0] + 2) + 1 for part in groups.values()}
    text = describe(study) + f" The networks have from {min(parameters)} to {max(parameters)} parameters."
    shown = table.pivot(on="group", index="metric", values="median")
    return Page(fig, text, {"shattering_width": table}, {"medians over seeds": shown})


def claims(study: Study) -> list[Claim]:
    found = [
        judge(
            f"shattering_width/{part.runs['panel'][0]}-{part.runs['model.width'][0]}-{part.runs['data.input_dim'][0]}",
            SOURCES[part.runs["panel"][0]],
            f"Activation rate and weight norm are negatively correlated ({title.replace('$', '')})",
            "median rank correlation < 0",
            lambda some: negative(final_values(some, "rate_weight_norm_correlation")),
            part,
            at_start(part),
            "the same networks before training",
        )
        for title, part in settings(study).items()
    ]
    return [*found, *stability_claims(study, "shattering_width")]
