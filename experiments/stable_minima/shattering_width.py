"""Figures 6 and 7 of Liang et al. 2025: shattering in networks with fewer parameters than samples."""

from __future__ import annotations

from dynamics.analysis.activation_pages import STATISTICS, describe_networks, draw_scatter_grid
from dynamics.analysis.bounds import below
from dynamics.analysis.claims import Claim, judge
from dynamics.analysis.figures import Page
from dynamics.analysis.seed_values import before_training, median_final, spread_groups, strip_math, tabulate_medians
from dynamics.analysis.stability_claims import judge_stability
from dynamics.study.tables import Study

FIGURES = {"plain": "Figure 6", "decay": "Figure 6", "narrow": "Figure 7"}


def split_settings(study: Study) -> dict[str, Study]:
    """Return one part for each panel, width and dimension, titled."""
    found = {}
    for panel in FIGURES:
        part = study.select(panel=panel)
        decay = part.values("weight_decay")[0]
        for width in part.values("width"):
            for d in part.select(width=width).values("input_dim"):
                title = f"$K = {width}$, $d = {d}$" + (f", decay {decay:g}" if decay else "")
                found[title] = part.select(width=width, input_dim=d)
    return found


def figure(study: Study) -> Page:
    groups = split_settings(study)
    fig, _ = draw_scatter_grid(groups, columns=3, share="row")
    table = tabulate_medians(groups, STATISTICS)
    parameters = {part.runs["model.width"][0] * (part.runs["data.input_dim"][0] + 2) + 1 for part in groups.values()}
    text = describe_networks(study) + f" The networks have from {min(parameters)} to {max(parameters)} parameters."
    return Page(fig, text, {"shattering_width": table}, {"medians over seeds": spread_groups(table)})


def claims(study: Study) -> list[Claim]:
    found = []
    for title, part in split_settings(study).items():
        run = part.runs.row(0, named=True)
        found.append(
            judge(
                id=f"shattering_width/{run['panel']}-{run['model.width']}-{run['data.input_dim']}",
                source=f"Liang et al. 2025, {FIGURES[run['panel']]}",
                statement=f"Activation rate and weight norm are negatively correlated ({strip_math(title)})",
                expects=below(0, of="median rank correlation"),
                evidence=before_training(median_final, part, metric="rate_weight_norm_correlation"),
            )
        )
    return [*found, *judge_stability(study, "shattering_width")]
