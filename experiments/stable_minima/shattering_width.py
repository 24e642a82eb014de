"""Figures 6 and 7 of Liang et al. 2025: shattering in networks with fewer parameters than samples."""

import dynamics.analysis.words as an

FIGURES = {"plain": "Figure 6", "decay": "Figure 6", "narrow": "Figure 7"}


def split_settings(study: an.Study) -> dict[str, an.Study]:
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


def figure(study: an.Study) -> an.Page:
    groups = split_settings(study)
    fig, _ = an.draw_scatter_grid(groups, columns=3, share="row")
    table = an.tabulate_medians(groups, an.STATISTICS)
    parameters = {part.runs["model.width"][0] * (part.runs["data.input_dim"][0] + 2) + 1 for part in groups.values()}
    text = an.describe_networks(study) + f" The networks have from {min(parameters)} to {max(parameters)} parameters."
    text += f" Norms below {an.SMALLEST_NORM:g} are drawn at it."
    return an.Page(fig, text, {"shattering_width": table}, {"medians over seeds": an.spread_groups(table)})


def claims(study: an.Study) -> list[an.Claim]:
    found = []
    for title, part in split_settings(study).items():
        run = an.read_settings(part)
        found.append(
            an.judge(
                id=f"shattering_width/{run['panel']}-{run['model.width']}-{run['data.input_dim']}",
                source=f"Liang et al. 2025, {FIGURES[run['panel']]}",
                statement=f"Activation rate and weight norm are negatively correlated ({an.strip_math(title)})",
                expects=an.at_most(-0.2, of="median rank correlation"),
                evidence=an.before_training(an.median_final, part, metric="rate_weight_norm_correlation"),
                post_hoc="the size of the correlation that is asked for: the paper gives none",
            )
        )
    return [*found, *an.judge_stability(study, "shattering_width")]
