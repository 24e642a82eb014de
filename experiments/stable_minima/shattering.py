"""Figures 1 (left) and 3 of Liang et al. 2025: a large step shatters the network and fits the noise, decay does neither."""

from __future__ import annotations

from dynamics.analysis.activation_pages import describe_networks
from dynamics.analysis.bounds import at_least, within
from dynamics.analysis.claims import Claim, compare, judge
from dynamics.analysis.curves import draw_sharpness, draw_training
from dynamics.analysis.figures import Page, new_axes
from dynamics.analysis.neuron_tables import draw_clouds
from dynamics.analysis.seed_values import median_final, median_late, split_panels, spread_groups, tabulate_medians
from dynamics.analysis.stability_claims import judge_stability
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2025, Figures 1 and 3"
TITLES = {"large_step": "large step", "decay": "decay"}
METRICS = (
    "train_loss, clean_train_error, sharpness, alive_fraction, activation_rate_median, activation_rate_p90, sparse_fraction, "
    "path_norm, weighted_path_norm, rate_weight_norm_correlation, rate_path_correlation"
)


def figure(study: Study) -> Page:
    """Left: neurons of both runs, and how rates are distributed; middle: training curves; right: sharpness."""
    parts = {TITLES[panel]: part for panel, part in split_panels(study, TITLES).items()}
    fig, axes = new_axes(2, 3, (11, 6.4))
    (cloud, *_), (rates, *_) = axes
    draw_clouds(cloud, rates, parts)
    errors = [median_final(part, "clean_train_error").value for part in parts.values()]
    handles, labels = cloud.get_legend_handles_labels()
    labels = [f"{label}: clean error {error:.3g}" for label, error in zip(labels, errors, strict=True)]
    cloud.legend(handles, labels, loc="upper right")
    rates.axvline(10, color="0.7", lw=0.8, ls=":")
    for (title, part), (_, curves, sharp) in zip(parts.items(), axes, strict=True):
        draw_training(curves, part)
        draw_sharpness(sharp, part)
        rate, decay = part.values("learning_rate")[0], part.values("weight_decay")[0]
        curves.set(title=f"{title}: $\\eta$ = {rate:g}, decay {decay:g}")
    table = tabulate_medians(parts, METRICS.split(", "))
    text = describe_networks(study) + (
        f" Weight decay {max(study.values('weight_decay')):g} in the second setting. Curves are medians over seeds, bands "
        "reach from the least to the greatest seed. Sharpness is the Hessian's top eigenvalue, of the loss that is descended."
    )
    return Page(fig, text, {"shattering": table}, {"medians over seeds": spread_groups(table)})


def claims(study: Study) -> list[Claim]:
    large, decay = split_panels(study, TITLES).values()
    against_decay, against_large = {"decay": decay}, {"the large step": large}
    return [
        judge(
            id="shattering/late-sharpness",
            source=SOURCE,
            statement="With the large step the late sharpness is 2/eta",
            expects=within(0.95, 1.05, of="mean of eta S / 2 over the last quarter"),
            evidence=compare(median_late, large, control=against_decay),
        ),
        judge(
            id="shattering/sparse",
            source=SOURCE,
            statement="With the large step nearly all of the alive are active on at most 10 % of the data",
            expects=at_least(0.95, of="sparse share of the alive"),
            evidence=compare(median_final, large, control=against_decay, metric="sparse_fraction"),
        ),
        judge(
            id="shattering/fits-the-noise",
            source=SOURCE,
            statement="The large step overfits: clean error near the noise variance (1.105 in the paper)",
            expects=within(0.9, 1.35, of="clean in-sample error"),
            evidence=compare(median_final, large, control=against_decay, metric="clean_train_error"),
        ),
        judge(
            id="shattering/decay-clean-error",
            source=SOURCE,
            statement="Decay keeps the clean error small (0.055 in the paper)",
            expects=within(0.03, 0.08, of="clean in-sample error"),
            evidence=compare(median_final, decay, control=against_large, metric="clean_train_error"),
        ),
        judge(
            id="shattering/decay-active",
            source=SOURCE,
            statement="With decay neurons are active on most of the data",
            expects=at_least(0.7, of="median activation rate of the alive"),
            evidence=compare(median_final, decay, control=against_large, metric="activation_rate_median"),
        ),
        *judge_stability(study, "shattering"),
    ]
