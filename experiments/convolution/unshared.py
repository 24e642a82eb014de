"""Experiment X4 of Liang et al. 2026b: filters of their own at each patch; the gap over n and d at several stopping times."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from dynamics.analysis.claims import Claim, Finding, judge, within
from dynamics.analysis.curves import draw_band
from dynamics.analysis.figures import COLORS, MARKERS, Page
from dynamics.analysis.gaps import GAP, by_dim, candidate_table, cells, draw_candidates, draw_over_dims, gaps, largest_ratio
from dynamics.analysis.rate_figures import label_only
from dynamics.analysis.slope_groups import draw_against, slopes
from dynamics.analysis.slopes import num_diverged, stopping_times
from dynamics.analysis.stability_claims import stability_claims
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2026b, experiment X4"
LEFT_OUT = 16384  # of the fits, as in the paper
STOPS = {"a fifth of the steps": 5, "half of the steps": 2, "all steps": 1}


def fitted(study: Study) -> Study:
    """The study at the values of n that are fitted."""
    return study.select(num_samples=[n for n in study.values("num_samples") if n < LEFT_OUT])


def figure(study: Study) -> Page:
    """Gap against n and d, slopes against the stopping time; gap, losses and sharpness against the step at the largest n."""
    own, dims, m = fitted(gaps(study)), study.values("input_dim"), study.values("model.views.size")[0]
    over_time = slopes(by_dim(own), GAP, stopping_times(own))
    fig, axes = plt.subplots(2, 3, figsize=(12.5, 7.8))
    draw_against(axes[0, 0], by_dim(own), GAP, ylabel="gap")
    for d, color, marker in zip(dims, COLORS, MARKERS, strict=False):
        if LEFT_OUT in study.values("num_samples"):
            rest = study.select(input_dim=d, num_samples=LEFT_OUT)
            axes[0, 0].plot(LEFT_OUT, np.median(cells([rest])[0]), marker, color=color, mfc="white")
    draw_candidates(axes[0, 0], dims[-1], m)
    draw_over_dims(axes[0, 1], own)
    for name, color in zip(over_time["group"].unique(maintain_order=True), COLORS, strict=False):
        at = over_time.filter(group=name)
        axes[0, 2].plot(at["step"], at["slope"], "o-", color=color, label=f"${name}$")
    axes[0, 0].set_title("gap against $n$")
    axes[0, 1].set_title("gap against $d$")
    axes[0, 2].set(title="slope against stopping time", xlabel="step", ylabel="slope", xscale="log")
    label_only(axes[0, 2], stopping_times(own))
    n = own.values("num_samples")[-1]
    for d, color in zip(dims, COLORS, strict=False):
        part = own.select(input_dim=d, num_samples=n)
        draw_band(axes[1, 0], part, GAP, f"$d = {d}$", color)
        for metric, line in (("train_loss", "-"), ("excess_risk", ":")):
            draw_band(axes[1, 1], part, metric, f"$d = {d}$, {metric.replace('_', ' ')}", color, ls=line)
        if "sharpness" in part.records.columns:
            draw_band(axes[1, 2], part, "sharpness", f"$d = {d}$", color)
    axes[1, 0].set(title=f"gap, $n = {n}$", xlabel="step", ylabel="gap", xscale="log", yscale="log")
    axes[1, 1].set(
        title=f"training loss and excess risk, $n = {n}$", xlabel="step", ylabel="mean square", xscale="log", yscale="log"
    )
    axes[1, 2].set(title=f"sharpness, $n = {n}$", xlabel="step", ylabel="$\\lambda_{\\max}$", xscale="log", yscale="log")
    axes[1, 2].axhline(2 / study.values("learning_rate")[0], color="0.3", ls=":", label="$2/\\eta$")
    for ax, columns in zip(axes.flat, (2, 4, 3, 3, 2, 4), strict=True):
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=columns, columnspacing=1)
    run, count = study.runs.row(0, named=True), study.values("model.views.count")[0]
    text = (
        f"Gap = |excess risk + sigma^2 - training error|, median over seeds {', '.join(map(str, study.values('seed')))}, "
        f"bars from quartile to quartile; {run['data.num_test']} test samples. x on the unit sphere of R^d; "
        f"{run['model.width']} filters of its own at each of {count} random disjoint sets of {m} coordinates, which are "
        f"{count * m} of the d; teacher of {run['target.units']} shared filters over disjoint blocks of all coordinates, "
        f"which the student cannot represent where d > {count * m}; noise {run['data.noise_std']:g}; GD, eta = "
        f"{run['optimizer.learning_rate']:g}, mse loss, gradient clipped at {run['optimizer.clip_norm']:g}, {run['steps']} "
        f"steps. Fits leave out n = {LEFT_OUT} (open where it was run). Guides: the four candidate exponents at the largest "
        "d, which disagree among themselves and are of shared filters; none is asserted. "
        f"{num_diverged(study, GAP, run['steps'])} of {len(study.runs)} runs diverged."
    )
    wide = over_time.pivot(on="group", index="step", values="slope")
    shown = {"slopes of the gap by stopping time": wide, "candidate exponents": candidate_table(dims, m)}
    return Page(fig, text, {"unshared_slopes": over_time}, shown)


def falls(values: np.ndarray) -> Finding:
    """The gaps (S, D, N) are smaller at every d than at the one before, at every n."""
    return within(largest_ratio(values[:, :-1], values[:, 1:]), -np.inf, np.nextafter(1, 0))


def claims(study: Study) -> list[Claim]:
    own, steps = fitted(study), study.values("steps")[0]
    stops = {text: cells([own], steps // part)[0] for text, part in STOPS.items()}
    return [
        *[
            judge(
                f"unshared/gap-falls-with-d-after-{text.replace(' ', '-')}",
                SOURCE,
                f"After {text} ({steps // STOPS[text]}) the gap falls with d at every n of the fits",
                "largest ratio of a gap to that at the d before < 1",
                falls,
                values,
                values[:, ::-1],
                "d in reverse order",
            )
            for text, values in stops.items()
        ],
        *stability_claims(study, "unshared"),
    ]
