"""The toy configurations (X6) of Liang et al. 2026b: which laws and views let a patch network memorise noise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from dynamics.analysis.activation_pages import difference, final_values, median, negative, statistics
from dynamics.analysis.claims import Claim, Finding, exact, judge, within
from dynamics.analysis.curves import band
from dynamics.analysis.figures import COLORS, Page
from dynamics.analysis.gaps import with_memorised
from dynamics.analysis.slope_groups import ratio_at_common_step
from dynamics.analysis.slopes import at_step, num_diverged
from dynamics.analysis.stability_claims import stability_claims
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2026b, experiment X6"
TITLES = {
    "local": "sphere, windows",
    "random": "sphere, random subsets",
    "added": "sphere, windows and random subsets",
    "many": "sphere, as many random subsets",
    "rescaled": "sphere, windows, scaled up",
    "independent": "a sphere for each patch",
    "tiled": "one patch, tiled",
    "one_tile": "one patch, full network",
}
CURVES = (
    ("train_loss", "training error (noisy labels)"),
    ("clean_train_error", "clean in-sample error"),
    ("excess_risk", "excess risk"),
    ("memorised", "memorised share of the noise"),
    ("sharpness", "sharpness"),
)
METRICS = ("train_loss", "clean_train_error", "excess_risk", "memorised", "sharpness", "activation_rate_mean")


def parts(study: Study) -> dict[str, Study]:
    """The configurations by panel, known ones first."""
    there = study.runs["panel"].unique(maintain_order=True).to_list()
    names = [*(name for name in TITLES if name in there), *(name for name in there if name not in TITLES)]
    return {name: study.select(panel=name) for name in names}


def figure(study: Study) -> Page:
    """Errors, the memorised share and sharpness against the step; the share at the end with intervals."""
    study = with_memorised(study)
    found = parts(study)
    fig, axes = plt.subplots(2, 3, figsize=(12, 7.2))
    for ax, (metric, title) in zip(axes.flat, CURVES, strict=False):
        for (name, part), color in zip(found.items(), cycle(COLORS), strict=False):
            if metric in part.records.columns:
                seen, label = band(part, metric), f"{name}: {TITLES[name]}" if name in TITLES else name
                ax.plot(seen.step, seen.middle, color=color, ls="--" if name == "one_tile" else "-", label=label)
        ax.set(title=title, xlabel="step", xscale="log", yscale="linear" if metric == "memorised" else "log")
    for ax in axes[0]:
        ax.axhline(study.values("noise_std")[0] ** 2, color="0.6", lw=0.8, ls="--", zorder=0)
    axes[1, 0].set_ylim(-0.15, 1.05)
    axes[1, 1].axhline(2 / study.values("learning_rate")[0], color="0.3", ls=":")
    bars = axes[1, 2]
    for i, ((_, part), color) in enumerate(zip(found.items(), cycle(COLORS), strict=False)):
        value, low, high = median(final_values(part, "memorised"))
        bars.errorbar(value, -i, xerr=np.nan_to_num([[value - low], [high - value]]), fmt="o", color=color, capsize=3)
    bars.set(title="memorised share at the end", yticks=-np.arange(len(found)), yticklabels=list(found))
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    run = study.runs.row(0, named=True)
    text = (
        f"d = {run['data.input_dim']}, n = {run['data.num_samples']}, views of {run['target.views.size']} coordinates, "
        f"width {run['model.width']}, teacher of {run['target.units']} filters with the student's views, noise "
        f"{run['data.noise_std']:g}; GD, eta = {run['optimizer.learning_rate']:g}, mse loss, gradient clipped at "
        f"{run['optimizer.clip_norm']:g}, {run['steps']} steps; all of it ours, the paper gives no sizes. Medians over "
        f"{len(study.values('seed'))} seeds, at the end with 95 % intervals; dashed the noise variance, dotted 2/eta. "
        "Memorised share: (clean error + sigma^2 - training error) / 2 sigma^2, 1 where the noise is interpolated. Scaled "
        f"up: inputs times sqrt(d/m). {num_diverged(study, 'train_loss', run['steps'])} of {len(study.runs)} runs diverged."
    )
    metrics = [metric for metric in METRICS if metric in study.records.columns]
    table = statistics(found, metrics)
    return Page(fig, text, {"toy": table}, {"medians over seeds": table.pivot(on="metric", index="group", values="median")})


Pair = tuple[Study, Study]


def less(pair: Pair) -> Finding:
    """The second has memorised less than the first: the median over seeds of the difference is below zero."""
    return negative(difference(pair[1], pair[0], "memorised"))


def as_much(pair: Pair) -> Finding:
    """The second has memorised as much as the first: the median difference lies in [-0.1, 0.1]."""
    return within(median(difference(pair[1], pair[0], "memorised")), -0.1, 0.1)


def same_risk(pair: Pair) -> Finding:
    """The second's excess risk is the first's within a quarter, seed by seed."""
    return within(ratio_at_common_step(*pair, "excess_risk"), 0.8, 1.25)


def same_run(pair: Pair) -> Finding:
    """Training errors agree to 1e-3 at the first four steps, seed by seed; measured is the greatest relative difference."""
    found = []
    for step in (1, 2, 3, 4):
        first, second = (at_step(part, step).records.unique("run").select("seed", "train_loss") for part in pair)
        both = first.join(second, on="seed", suffix="_second")
        found += (both["train_loss_second"] / both["train_loss"] - 1).abs().to_list()
    return exact(max(found, default=np.nan), 0, 1e-3)


class Comparison(NamedTuple):
    """A check of two configurations and the pair that is its control."""

    name: str
    statement: str
    prediction: str
    check: Callable[[Pair], Finding]
    pair: tuple[str, str]
    control: tuple[str, str]
    control_text: str


EXCHANGED = "the two exchanged"
LESS, WINDOWS = "difference of memorised shares < 0", "windows of a sphere of R^d"
COMPARISONS = (
    Comparison(
        "tiled-is-one-patch",
        "A patch network on tiles is, step by step, the fully connected network on one tile",
        "relative difference of training errors at steps 1 to 4 <= 1e-3",
        same_run,
        ("one_tile", "tiled"),
        ("one_tile", "local"),
        WINDOWS,
    ),
    Comparison(
        "tiled-memorises-as-one-patch",
        "At the end the two have memorised as much",
        "difference of memorised shares in [-0.1, 0.1]",
        as_much,
        ("one_tile", "tiled"),
        ("one_tile", "local"),
        WINDOWS,
    ),
    Comparison(
        "sphere-resists-against-tiled",
        "Patches of a sphere of R^d (alpha = (d - m)/2) are memorised less than tiles, which lie on S^(m-1)",
        LESS,
        less,
        ("tiled", "local"),
        ("local", "tiled"),
        EXCHANGED,
    ),
    Comparison(
        "sphere-resists-against-independent",
        "Patches of a sphere of R^d are memorised less than patches on spheres of their own",
        LESS,
        less,
        ("independent", "local"),
        ("local", "independent"),
        EXCHANGED,
    ),
    Comparison(
        "geometry-not-scale",
        "They still are where the inputs are scaled up so that patches have norm 1 in the mean",
        LESS,
        less,
        ("independent", "rescaled"),
        ("rescaled", "independent"),
        EXCHANGED,
    ),
    Comparison(
        "random-subsets-as-windows",
        "On a sphere random m-subsets do as windows do: any m coordinates have one law",
        "ratio of excess risks in [0.8, 1.25]",
        same_risk,
        ("local", "random"),
        ("local", "independent"),
        "patches on spheres of their own",
    ),
    Comparison(
        "added-views-count",
        "What the added views do they do by their number: as many random subsets alone do the same",
        "difference of memorised shares in [-0.1, 0.1]",
        as_much,
        ("many", "added"),
        ("local", "added"),
        "half as many views",
    ),
    Comparison(
        "added-views-help-memorising",
        "Random views beside the windows make noise easier to memorise (a neuron a sample costs y^2 + 2/J^2 with J views)",
        "difference of memorised shares, without less with, < 0",
        less,
        ("added", "local"),
        ("local", "added"),
        EXCHANGED,
    ),
)


def claims(study: Study) -> list[Claim]:
    found = parts(with_memorised(study))

    def pair(names: tuple[str, str]) -> Pair:
        return found[names[0]], found[names[1]]

    return [
        *[
            judge(f"toy/{c.name}", SOURCE, c.statement, c.prediction, c.check, pair(c.pair), pair(c.control), c.control_text)
            for c in COMPARISONS
            if {*c.pair, *c.control} <= set(found)
        ],
        *stability_claims(study, "toy"),
    ]
