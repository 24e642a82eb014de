"""The toy configurations (X6) of Liang et al. 2026b: which laws and views let a patch network memorise noise."""

from collections.abc import Callable
from itertools import cycle

import numpy as np

import dynamics.analysis.words as an

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


def parts(study: an.Study) -> dict[str, an.Study]:
    """The configurations by panel, known ones first."""
    there = study.runs["panel"].unique(maintain_order=True).to_list()
    names = [*(name for name in TITLES if name in there), *(name for name in there if name not in TITLES)]
    return {name: study.select(panel=name) for name in names}


def figure(study: an.Study) -> an.Page:
    """Errors, the memorised share and sharpness against the step; the share at the end with intervals."""
    study = an.add_memorised(study)
    found = parts(study)
    fig, axes = an.new_axes(2, 3, (12, 7.2))
    for ax, (metric, title) in zip(axes.flat, CURVES, strict=False):
        for (name, part), color in zip(found.items(), cycle(an.COLORS), strict=False):
            if metric in part.records.columns:
                seen, label = an.measure_band(part, metric), f"{name}: {TITLES[name]}" if name in TITLES else name
                ax.plot(seen.step, seen.middle, color=color, ls="--" if name == "one_tile" else "-", label=label)
        ax.set(title=title, xlabel="step", xscale="log", yscale="linear" if metric == "memorised" else "log")
    for ax in axes[0]:
        an.mark_level(ax, study.values("noise_std")[0] ** 2, ls="--")
    axes[1, 0].set_ylim(-0.15, 1.05)
    axes[1, 1].axhline(2 / study.values("learning_rate")[0], color="0.3", ls=":")
    bars = axes[1, 2]
    for i, ((_, part), color) in enumerate(zip(found.items(), cycle(an.COLORS), strict=False)):
        value, low, high = an.median_final(part, "memorised")
        bars.errorbar(value, -i, xerr=np.nan_to_num([[value - low], [high - value]]), fmt="o", color=color, capsize=3)
    bars.set(title="memorised share at the end", yticks=-np.arange(len(found)), yticklabels=list(found))
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    run, one = an.read_settings(study), an.read_settings(next(iter(found.values())))
    lost = an.count_diverged(study, "train_loss", run["steps"])
    text = (
        f"d = {one['data.input_dim']}, n = {run['data.num_samples']}, views of {one['target.views.size']} coordinates, "
        f"width {run['model.width']}, teacher of {run['target.units']} filters with the student's views, noise "
        f"{run['data.noise_std']:g}; GD, eta = {run['optimizer.learning_rate']:g}, mse loss, gradient clipped at "
        f"{run['optimizer.clip_norm']:g}, {run['steps']} steps; all of it ours, the paper gives no sizes. Medians over "
        f"{len(study.values('seed'))} seeds, at the end with 95 % intervals; dashed the noise variance, dotted 2/eta. "
        "Memorised share: (clean error + sigma^2 - training error) / 2 sigma^2, 1 where the noise is interpolated. Scaled "
        f"up: inputs times sqrt(d/m). {lost} of {len(study.runs)} runs diverged."
    )
    table = an.tabulate_medians(found, METRICS)
    return an.Page(fig, text, {"toy": table}, {"medians over seeds": table.pivot(on="metric", index="group", values="median")})


def more_memorised(shares: np.ndarray) -> an.Estimate:
    """Return by how much more the second has memorised, shares (S, 2), median over seeds."""
    return an.over_values(lambda v: np.median(v[..., 1] - v[..., 0], axis=1), shares, either_way=True)


def ratio_of_risks(risks: np.ndarray) -> an.Estimate:
    """Return the second's excess risk over the first's, (S, 2), median over seeds."""
    return an.over_values(lambda v: np.median(v[..., 1] / v[..., 0], axis=1), risks, either_way=True)


def largest_difference(first: an.Study, second: an.Study) -> float:
    """Return the greatest relative difference of training errors at the first four steps, seed by seed."""
    found = []
    for step in (1, 2, 3, 4):
        one, other = (an.at_step(part, step).records.unique("run").select("seed", "train_loss") for part in (first, second))
        both = one.join(other, on="seed", suffix="_second")
        found += (both["train_loss_second"] / both["train_loss"] - 1).abs().to_list()
    return max(found, default=np.nan)


def read_seeds_of(metric: str) -> Callable[[list[an.Study]], np.ndarray]:
    """Return the function that reads a metric at the end of several parts, a row a seed."""
    return lambda pair: an.stack_seeds(pair, lambda part: an.read_final(part, metric))


SAME_RUN = (tuple, largest_difference, an.at_most(1e-5, of="relative difference of training errors at steps 1 to 4"))
SHARES = (read_seeds_of("memorised"), more_memorised)
AS_MUCH = (*SHARES, an.within(-0.1, 0.1, of="difference of memorised shares"))
LESS = (*SHARES, an.below(0, of="difference of memorised shares"))
SAME_RISK = (read_seeds_of("excess_risk"), ratio_of_risks, an.within(0.8, 1.25, of="ratio of excess risks"))
AFTERWARDS = "not in the paper; the panel was added when results of the others had been seen"


def claims(study: an.Study) -> list[an.Claim]:
    found = parts(an.add_memorised(study))
    windows, made = {"windows of a sphere of R^d": ("one_tile", "local")}, []

    def claim(*, name: str, statement: str, check: tuple, pair: tuple, other: dict | None = None, post_hoc: str = "") -> None:
        """Judge a statistic of two configurations, if the study has them; the control is another pair,
        or the two permuted."""
        (read, statistic, bound), ((text, against),) = check, (other or {"": pair}).items()
        if not {*pair, *against} <= set(found):
            return
        two, control = (read([found[panel] for panel in names]) for names in (pair, against))
        if other:
            evidence = an.compare(statistic, two, treatment={text: control})
        else:
            evidence = an.permute(statistic, two, "the two permuted within every seed")
        about = an.judge_from(SOURCE)
        made.append(about(id=f"toy/{name}", statement=statement, expects=bound, evidence=evidence, post_hoc=post_hoc))

    claim(
        name="tiled-is-one-patch",
        statement="A patch network on tiles is, step by step, the fully connected network on one tile",
        check=SAME_RUN,
        pair=("one_tile", "tiled"),
        other=windows,
    )
    claim(
        name="tiled-memorises-as-one-patch",
        statement="At the end the two have memorised as much",
        check=AS_MUCH,
        pair=("one_tile", "tiled"),
        other=windows,
    )
    claim(
        name="sphere-resists-against-tiled",
        statement="Patches of a sphere of R^d (alpha = (d - m)/2) are memorised less than tiles, which lie on S^(m-1)",
        check=LESS,
        pair=("tiled", "local"),
    )
    claim(
        name="sphere-resists-against-independent",
        statement="Patches of a sphere of R^d are memorised less than patches on spheres of their own",
        check=LESS,
        pair=("independent", "local"),
    )
    claim(
        name="geometry-not-scale",
        statement="They still are where the inputs are scaled up so that patches have norm 1 in the mean",
        check=LESS,
        pair=("independent", "rescaled"),
        post_hoc=AFTERWARDS,
    )
    claim(
        name="random-subsets-as-windows",
        statement="On a sphere random m-subsets do as windows do: any m coordinates have one law",
        check=SAME_RISK,
        pair=("local", "random"),
        other={"one patch, tiled": ("local", "tiled")},
    )
    claim(
        name="added-views-count",
        statement="What the added views do they do by their number: as many random subsets alone do the same",
        check=AS_MUCH,
        pair=("many", "added"),
        other={"half as many views": ("local", "added")},
        post_hoc=AFTERWARDS,
    )
    claim(
        name="added-views-help-memorising",
        statement="Random views beside the windows make noise easier to memorise (a neuron a sample costs y^2 + 2/J^2)",
        check=LESS,
        pair=("added", "local"),
    )
    return [*made, *an.judge_stability(study, "toy")]
