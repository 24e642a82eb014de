"""Experiment X2 of Liang et al. 2026b: a convolutional net at the edge of stability memorises patches that lie on spheres."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from dynamics.analysis.activation_pages import EDGE, at_start, final_values, late_values, median, statistics
from dynamics.analysis.claims import Claim, judge, within
from dynamics.analysis.curves import draw_sharpness, draw_training
from dynamics.analysis.figures import COLORS, Page
from dynamics.analysis.neuron_tables import neuron_table, scatter
from dynamics.analysis.slope_groups import ratio_at_common_step
from dynamics.analysis.stability_claims import stability_claims
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2026b, experiment X2"
TITLES = {
    "patch_spheres": "patches on spheres",
    "one_sphere": "patches of one sphere",
    "decay": "decay",
    "large_step": "larger step",
    "small_step": "smaller step",
}
METRICS = ["train_loss", "clean_train_error", "excess_risk", "sharpness", "alive_fraction", "activation_rate_mean"]
PAPER = pl.DataFrame(
    {
        "step": [500, 1000, 5000, 10000, 20000, 50000],
        "train": [0.727, 0.546, 0.269, 0.021, 0.0011, 0.0],
        "clean": [0.191, 0.326, 0.869, 0.933, 1.018, 1.0418],
        "sharpness": [8.83, 9.31, 9.37, 9.88, 9.87, 9.99],
    }
)


def panels(study: Study) -> dict[str, Study]:
    return {panel: study.select(panel=panel) for panel in TITLES if panel in study.values("panel")}


def first_seed(part: Study) -> Study:
    return part.select(seed=part.values("seed")[0])


def figure(study: Study) -> Page:
    """Training curves of the net and its controls, sharpness, and the filters at the end."""
    parts = panels(study)
    main = parts["patch_spheres"]
    fig, axes = plt.subplots(2, 3, figsize=(12, 7))
    for ax, name in zip(axes.flat[:3], ("patch_spheres", "one_sphere", "decay"), strict=True):
        draw_training(ax, parts[name], ("train_loss", "clean_train_error", "excess_risk"))
        ax.axhline(study.values("noise_std")[0] ** 2, color="0.6", lw=0.8, ls="--")
        ax.set_title(f"{TITLES[name]}: $\\eta$ = {parts[name].values('learning_rate')[0]:g}")
    axes[0, 0].plot(PAPER["step"], PAPER["clean"], "k+", label="clean error in the paper")
    axes[0, 0].legend(loc="lower left")
    sharp = axes[1, 0]
    for (name, part), color in zip(
        ((n, parts[n]) for n in ("patch_spheres", "large_step", "small_step")), COLORS, strict=False
    ):
        draw_sharpness(
            sharp, part, label=f"{TITLES[name]}, $2/\\eta$ = {2 / part.values('learning_rate')[0]:g}", color=color, edge=False
        )
        sharp.axhline(2 / part.values("learning_rate")[0], color=color, ls=":", lw=0.9)
    cloud, rates = axes[1, 1], axes[1, 2]
    for name, color in zip(("patch_spheres", "one_sphere", "decay"), COLORS, strict=False):
        table = neuron_table(first_seed(parts[name]))
        scatter(cloud, table.filter(pl.col("path") > 0), "path", color=color)
        cloud.plot([], [], "o", color=color, label=TITLES[name])
        rates.ecdf(100 * table.filter(pl.col("rate") > 0)["rate"].to_numpy(), color=color, label=TITLES[name])
    cloud.set(title="filters at the end", ylabel="$|v_k|\\,\\|w_k\\|$", yscale="log")
    cloud.legend(loc="best")
    rates.axvline(10, color="0.7", lw=0.8, ls=":")
    rates.set(
        title="rates of the alive", xlabel="activation rate (% of all patches)", ylabel="share of filters below", xlim=(-3, 103)
    )
    run = main.runs.row(0, named=True)
    text = (
        f"{run['data.input_dim'] // run['data.patch_dim']} patches of {run['data.patch_dim']} coordinates, n = "
        f"{run['data.num_samples']}, "
        f"{run['model.width']} shared filters, mean pooling, teacher of {run['target.units']} filters, noise "
        f"{run['data.noise_std']:g}; GD, "
        f"{run['loss.normalization']} loss, gradient clipped at {run['optimizer.clip_norm']:g} (50 in the runs with other "
        "steps), "
        f"{run['steps']} steps; seeds {', '.join(map(str, study.values('seed')))}. Curves are medians over seeds, bands least "
        "to greatest; "
        "dashed the noise variance; crosses the paper's record (width 1024, n 512, 50000 steps). `one_sphere` has patches of "
        "points of one "
        "sphere of the same radius in R^d, which lie in a ball's inside; `decay` has weight decay 0.1."
    )
    table = statistics(parts, METRICS)
    return Page(
        fig, text, {"patch_spheres": table}, {"medians over seeds": table.pivot(on="group", index="metric", values="median")}
    )


def claims(study: Study) -> list[Claim]:
    parts = panels(study)
    main, sphere, decay = (parts[name] for name in ("patch_spheres", "one_sphere", "decay"))
    late = f"from step {3 * main.values('steps')[0] // 4} on"
    rows = [
        (
            "late-sharpness",
            f"Late in training ({late}) the sharpness is within 2 % of 2/eta",
            "mean of eta S / 2 in [0.98, 1.02]",
            lambda part: within(median(late_values(part, EDGE)), 0.98, 1.02),
            decay,
            "decay",
        ),
        (
            "clean-error",
            "The noise is memorised: clean error near its variance (1.0418 in the paper)",
            "clean in-sample error in [0.95, 1.1]",
            lambda part: within(median(final_values(part, "clean_train_error")), 0.95, 1.1),
            decay,
            "decay",
        ),
        (
            "activation-rate",
            "Filters are active on less than 10 % of the patches (5.5 % in the paper)",
            "mean activation rate of the alive < 0.1",
            lambda part: within(median(final_values(part, "activation_rate_mean")), 0, 0.1),
            at_start(main),
            "the same nets before training",
        ),
        (
            "alive",
            "Hardly any filter has died (1 of 1024 in the paper)",
            "alive share >= 0.99",
            lambda part: within(median(final_values(part, "alive_fraction")), 0.99, np.inf),
            parts["large_step"],
            "a larger step",
        ),
    ]
    return [
        *[
            judge(f"patch_spheres/{slug}", SOURCE, text, says, check, main, control, name)
            for slug, text, says, check, control, name in rows
        ],
        judge(
            "patch_spheres/one-sphere-resists",
            f"{SOURCE}, abstract",
            "Patches of points of one large sphere are not memorised so: smaller clean error at the same steps",
            "clean error over that of patch-wise spheres < 1",
            lambda pair: within(ratio_at_common_step(*pair), -np.inf, np.nextafter(1, 0)),
            (main, sphere),
            (sphere, main),
            "the two exchanged",
        ),
        *stability_claims(study, "patch_spheres"),
    ]
