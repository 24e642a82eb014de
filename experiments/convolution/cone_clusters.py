"""Experiment X8 of Liang et al. 2026b: shared filters find the patch that tells the class, if there is one."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from dynamics.analysis.activation_pages import at_start, final_values, median, statistics
from dynamics.analysis.claims import Claim, Finding, judge, within
from dynamics.analysis.curves import draw_band
from dynamics.analysis.figures import COLORS, Page
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2026b, experiment X8"
TITLES = {"signal": "labels of the signal", "random": "random labels"}
METRICS = ["train_accuracy", "test_accuracy", "train_loss", "test_loss"]
GENERALISES, MEMORISED, CHANCE = 0.95, 0.99, 0.05  # ours: the paper's numbers are not known


def panels(study: Study) -> dict[str, Study]:
    return {panel: study.select(panel=panel) for panel in TITLES}


def figure(study: Study) -> Page:
    """Accuracies and losses against the step, training dashed, for both kinds of labels."""
    run, parts = study.runs.row(0, named=True), panels(study)
    classes = run["data.components"]
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    for ax, what, level in zip(axes, ("accuracy", "loss"), (1 / classes, np.log(classes)), strict=True):
        for (name, part), color in zip(parts.items(), COLORS, strict=False):
            draw_band(ax, part, f"test_{what}", f"{TITLES[name]}: test", color)
            draw_band(ax, part, f"train_{what}", f"{TITLES[name]}: training", color, ls="--")
        ax.axhline(level, color="0.6", lw=0.8, ls=":", label="chance")
        ax.set(title=what, xlabel="step", xscale="log")
    axes[0].set(ylim=(-0.03, 1.03))
    axes[1].set(ylabel="cross-entropy", yscale="log")
    axes[0].legend(loc="best")
    table = statistics(parts, METRICS)
    patches, m = run["data.input_dim"] // run["data.patch_dim"], run["data.patch_dim"]
    text = (
        f"Cone clusters: one of {patches} patches of {m} coordinates is from the cone of its class (of {classes}), the others "
        f"from a noise cone, sigma {run['data.cone_std']:g} about unit vectors; n = {run['data.num_samples']}, "
        f"{run['data.num_test']} test samples. Shared filters, width {run['model.width']}, global average pooling, "
        f"cross-entropy; GD with eta = {run['optimizer.learning_rate']:g}, clip {run['optimizer.clip_norm']:g}, {run['steps']} "
        f"steps (100000 in the paper). Curves are medians over {len(study.values('seed'))} seeds, bands least to greatest. "
        f"d = {run['data.input_dim']} = J m, the init (N(0, 2/m), readout N(0, 1/K)) and seeds are ours, the paper's not known."
    )
    shown = table.pivot(on="group", index="metric", values="median")
    return Page(fig, text, {"cone_clusters": table}, {"medians over seeds at the end": shown})


def at_chance(part: Study) -> Finding:
    """Test accuracy as good as guessing: 1 / classes."""
    chance = 1 / part.values("components")[0]
    return within(median(final_values(part, "test_accuracy")), chance - CHANCE, chance + CHANCE)


def at_least(part: Study, metric: str, level: float) -> Finding:
    return within(median(final_values(part, metric)), level, np.inf)


def claims(study: Study) -> list[Claim]:
    signal, random = panels(study).values()
    steps = study.values("steps")[0]
    return [
        judge(
            "cone_clusters/signal-generalises",
            SOURCE,
            "With labels of the signal the net generalises",
            f"test accuracy >= {GENERALISES}",
            lambda part: at_least(part, "test_accuracy", GENERALISES),
            signal,
            random,
            "random labels",
        ),
        judge(
            "cone_clusters/random-at-chance",
            SOURCE,
            "With random labels its test accuracy is that of guessing",
            f"test accuracy within {CHANCE} of 1 / classes",
            at_chance,
            random,
            signal,
            "labels of the signal",
        ),
        judge(
            "cone_clusters/random-memorised",
            SOURCE,
            f"Random labels are memorised within {steps} steps (100000 in the paper)",
            f"training accuracy >= {MEMORISED}",
            lambda part: at_least(part, "train_accuracy", MEMORISED),
            random,
            at_start(random),
            "the same nets before training",
        ),
    ]
