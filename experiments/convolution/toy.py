"""The toy configurations (X6) of Liang et al. 2026b: which laws and views let a patch network memorise noise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import NamedTuple

import numpy as np

from dynamics.analysis.bootstrap import Estimate
from dynamics.analysis.bounds import Bound, at_most, below, within
from dynamics.analysis.claims import EXCHANGED, Claim, compare, judge
from dynamics.analysis.curves import band
from dynamics.analysis.drawing import mark_level
from dynamics.analysis.figures import COLORS, Page, new_axes
from dynamics.analysis.gaps import add_memorised
from dynamics.analysis.seed_values import (
    median_difference,
    median_final,
    tabulate_medians,
)
from dynamics.analysis.slope_groups import ratio_at_common_step
from dynamics.analysis.slopes import at_step, num_diverged
from dynamics.analysis.stability_claims import judge_stability
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
    study = add_memorised(study)
    found = parts(study)
    fig, axes = new_axes(2, 3, (12, 7.2))
    for ax, (metric, title) in zip(axes.flat, CURVES, strict=False):
        for (name, part), color in zip(found.items(), cycle(COLORS), strict=False):
            if metric in part.records.columns:
                seen, label = band(part, metric), f"{name}: {TITLES[name]}" if name in TITLES else name
                ax.plot(seen.step, seen.middle, color=color, ls="--" if name == "one_tile" else "-", label=label)
        ax.set(title=title, xlabel="step", xscale="log", yscale="linear" if metric == "memorised" else "log")
    for ax in axes[0]:
        mark_level(ax, study.values("noise_std")[0] ** 2, ls="--")
    axes[1, 0].set_ylim(-0.15, 1.05)
    axes[1, 1].axhline(2 / study.values("learning_rate")[0], color="0.3", ls=":")
    bars = axes[1, 2]
    for i, ((_, part), color) in enumerate(zip(found.items(), cycle(COLORS), strict=False)):
        value, low, high = median_final(part, "memorised")
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
    table = tabulate_medians(found, METRICS)
    return Page(fig, text, {"toy": table}, {"medians over seeds": table.pivot(on="metric", index="group", values="median")})


def more_memorised(first: Study, second: Study) -> Estimate:
    """Return by how much more the second has memorised, median over seeds."""
    return median_difference(second, first, "memorised")


def ratio_of_risks(first: Study, second: Study) -> Estimate:
    """Return the second's excess risk over the first's, seed by seed."""
    return ratio_at_common_step(first, second, "excess_risk")


def largest_difference(first: Study, second: Study) -> float:
    """Return the greatest relative difference of training errors at the first four steps, seed by seed."""
    found = []
    for step in (1, 2, 3, 4):
        one, other = (at_step(part, step).records.unique("run").select("seed", "train_loss") for part in (first, second))
        both = one.join(other, on="seed", suffix="_second")
        found += (both["train_loss_second"] / both["train_loss"] - 1).abs().to_list()
    return max(found, default=np.nan)


SAME_RUN = (largest_difference, at_most(1e-3, of="relative difference of training errors at steps 1 to 4"))
AS_MUCH = (more_memorised, within(-0.1, 0.1, of="difference of memorised shares"))
LESS = (more_memorised, below(0, of="difference of memorised shares"))
SAME_RISK = (ratio_of_risks, within(0.8, 1.25, of="ratio of excess risks"))


class Comparison(NamedTuple):
    """A statistic of two configurations with its bound, and the pair that is its control."""

    name: str
    statement: str
    check: tuple[Callable[..., Estimate | float], Bound]
    pair: tuple[str, str]
    control_text: str
    control: tuple[str, str]


COMPARISONS = (
    Comparison(
        name="tiled-is-one-patch",
        statement="A patch network on tiles is, step by step, the fully connected network on one tile",
        check=SAME_RUN,
        pair=("one_tile", "tiled"),
        control_text="windows of a sphere of R^d",
        control=("one_tile", "local"),
    ),
    Comparison(
        name="tiled-memorises-as-one-patch",
        statement="At the end the two have memorised as much",
        check=AS_MUCH,
        pair=("one_tile", "tiled"),
        control_text="windows of a sphere of R^d",
        control=("one_tile", "local"),
    ),
    Comparison(
        name="sphere-resists-against-tiled",
        statement="Patches of a sphere of R^d (alpha = (d - m)/2) are memorised less than tiles, which lie on S^(m-1)",
        check=LESS,
        pair=("tiled", "local"),
        control_text=EXCHANGED,
        control=("local", "tiled"),
    ),
    Comparison(
        name="sphere-resists-against-independent",
        statement="Patches of a sphere of R^d are memorised less than patches on spheres of their own",
        check=LESS,
        pair=("independent", "local"),
        control_text=EXCHANGED,
        control=("local", "independent"),
    ),
    Comparison(
        name="geometry-not-scale",
        statement="They still are where the inputs are scaled up so that patches have norm 1 in the mean",
        check=LESS,
        pair=("independent", "rescaled"),
        control_text=EXCHANGED,
        control=("rescaled", "independent"),
    ),
    Comparison(
        name="random-subsets-as-windows",
        statement="On a sphere random m-subsets do as windows do: any m coordinates have one law",
        check=SAME_RISK,
        pair=("local", "random"),
        control_text="patches on spheres of their own",
        control=("local", "independent"),
    ),
    Comparison(
        name="added-views-count",
        statement="What the added views do they do by their number: as many random subsets alone do the same",
        check=AS_MUCH,
        pair=("many", "added"),
        control_text="half as many views",
        control=("local", "added"),
    ),
    Comparison(
        name="added-views-help-memorising",
        statement="Random views beside the windows make noise easier to memorise (a neuron a sample costs y^2 + 2/J^2)",
        check=LESS,
        pair=("added", "local"),
        control_text=EXCHANGED,
        control=("local", "added"),
    ),
)


def claims(study: Study) -> list[Claim]:
    found = parts(add_memorised(study))
    made = []
    for c in COMPARISONS:
        if {*c.pair, *c.control} <= set(found):
            (statistic, bound), pair = c.check, tuple(found[name] for name in c.pair)
            control = tuple(found[name] for name in c.control)
            evidence = compare(statistic, pair, control={c.control_text: control})
            made.append(judge(id=f"toy/{c.name}", source=SOURCE, statement=c.statement, expects=bound, evidence=evidence))
    return [*made, *judge_stability(study, "toy")]
