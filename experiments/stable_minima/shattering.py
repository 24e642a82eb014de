"""Figures 1 (left) and 3 of Liang et al. 2025: a large step shatters the network and fits the noise, decay does neither."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from dynamics.analysis.activation_pages import EDGE, describe, final_values, late_values, median, statistics
from dynamics.analysis.claims import Claim, judge, within
from dynamics.analysis.curves import draw_sharpness, draw_training
from dynamics.analysis.figures import COLORS, Page
from dynamics.analysis.neuron_tables import neuron_table, scatter
from dynamics.analysis.stability_claims import stability_claims
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2025, Figures 1 and 3"
TITLES = {"large_step": "large step", "decay": "decay"}
METRICS = [
    "train_loss",
    "clean_train_error",
    "sharpness",
    "alive_fraction",
    "activation_rate_median",
    "activation_rate_p90",
    "sparse_fraction",
    "path_norm",
    "weighted_path_norm",
    "rate_weight_norm_correlation",
    "rate_path_correlation",
]


def panels(study: Study) -> dict[str, Study]:
    return {panel: study.select(panel=panel) for panel in TITLES}


def figure(study: Study) -> Page:
    """Left: neurons of both runs, and how rates are distributed; middle: training curves; right: sharpness."""
    fig, axes = plt.subplots(2, 3, figsize=(11, 6.4))
    (cloud, curves_top, sharp_top), (rates, curves_low, sharp_low) = axes
    for (panel, part), color, marker in zip(panels(study).items(), COLORS, ("o", "s"), strict=False):
        first = neuron_table(part.select(seed=part.values("seed")[0]))
        scatter(cloud, first, color=color)
        label = f"{TITLES[panel]}: clean error {median(final_values(part, 'clean_train_error')).value:.3g}"
        cloud.plot([], [], marker, color=color, label=label)
        alive = first.filter(pl.col("rate") > 0)["rate"].to_numpy()
        rates.ecdf(100 * alive, color=color, label=TITLES[panel])
    cloud.set(title="neurons", ylabel="weight norm $\\|w_k\\|$", yscale="log")
    cloud.legend(loc="upper right")
    rates.axvline(10, color="0.7", lw=0.8, ls=":")
    rates.set(title="rates of the alive", xlabel="activation rate (%)", ylabel="share of neurons below", xlim=(-3, 103))
    rates.legend(loc="lower right")
    for (panel, part), curves, sharp in zip(
        panels(study).items(), (curves_top, curves_low), (sharp_top, sharp_low), strict=True
    ):
        draw_training(curves, part)
        draw_sharpness(sharp, part)
        rate, decay = part.values("learning_rate")[0], part.values("weight_decay")[0]
        curves.set(title=f"{TITLES[panel]}: $\\eta$ = {rate:g}, decay {decay:g}")
    table = statistics(panels(study), METRICS)
    shown = table.pivot(on="group", index="metric", values="median")
    text = describe(study) + (
        f" Weight decay {max(study.values('weight_decay')):g} in the second setting. Curves are medians over seeds, bands "
        "reach from the least to the greatest seed. Sharpness is the Hessian's top eigenvalue, of the loss that is descended."
    )
    return Page(fig, text, {"shattering": table}, {"medians over seeds": shown})


def claims(study: Study) -> list[Claim]:
    large, decay = panels(study).values()
    rows = [
        (
            "late-sharpness",
            "With the large step the late sharpness is within 5 % of 2/eta",
            "mean of eta S / 2 over the last quarter in [0.95, 1.05]",
            lambda part: within(median(late_values(part, EDGE)), 0.95, 1.05),
            (large, decay),
        ),
        (
            "sparse",
            "With the large step at least 95 % of the alive are active on at most 10 % of the data",
            "sparse share of the alive >= 0.95",
            lambda part: within(median(final_values(part, "sparse_fraction")), 0.95, np.inf),
            (large, decay),
        ),
        (
            "fits-the-noise",
            "The large step overfits: clean error near the noise variance (1.105 in the paper)",
            "clean in-sample error in [0.9, 1.35]",
            lambda part: within(median(final_values(part, "clean_train_error")), 0.9, 1.35),
            (large, decay),
        ),
        (
            "decay-clean-error",
            "Decay keeps the clean error small (0.055 in the paper)",
            "clean in-sample error in [0.03, 0.08]",
            lambda part: within(median(final_values(part, "clean_train_error")), 0.03, 0.08),
            (decay, large),
        ),
        (
            "decay-active",
            "With decay neurons are active on most of the data",
            "median activation rate of the alive >= 0.7",
            lambda part: within(median(final_values(part, "activation_rate_median")), 0.7, np.inf),
            (decay, large),
        ),
    ]
    other = {id(large): "the large step", id(decay): "decay"}
    return [
        *[
            judge(f"shattering/{slug}", SOURCE, text, says, check, on, control, other[id(control)])
            for slug, text, says, check, (on, control) in rows
        ],
        *stability_claims(study, "shattering"),
    ]
