"""Experiment X1 of Liang et al. 2026b: on spheres a patch network's gap goes by the patch, a full network's by the sphere."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from dynamics.analysis.claims import Claim, Finding, judge, within
from dynamics.analysis.curves import draw_band
from dynamics.analysis.figures import COLORS, Page
from dynamics.analysis.gaps import (
    GAP,
    by_dim,
    candidate_table,
    cells,
    draw_candidates,
    draw_over_dims,
    gaps,
    largest_ratio,
    least,
    trend_in_dim,
    trend_table,
)
from dynamics.analysis.rate_figures import label_only, share_limits
from dynamics.analysis.slope_groups import draw_against, slopes
from dynamics.analysis.slopes import num_diverged, stopping_times
from dynamics.analysis.stability_claims import stability_claims
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2026b, experiment X1"
BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "columnspacing": 1}
NETS = {"shared": "shared patches", "full": "fully connected"}
LOSSES = (("train_loss", "-", "training loss"), ("clean_train_error", "--", "clean error"), ("excess_risk", ":", "excess risk"))


def nets(study: Study) -> dict[str, Study]:
    return {panel: study.select(panel=panel) for panel in NETS if panel in study.values("panel")}


def patch_dim(study: Study) -> int:
    return study.values("target.views.size")[0]


def draw_run(losses: Axes, sharpness: Axes, parts: dict[str, Study], dim: int, n: int) -> None:
    """Losses and sharpness against the step of both nets at one d and n."""
    for (panel, part), color in zip(parts.items(), COLORS, strict=False):
        own = part.select(input_dim=dim, num_samples=n)
        for metric, line, label in LOSSES:
            if metric in own.records.columns:
                draw_band(losses, own, metric, f"{panel}, {label}", color, ls=line)
        if "sharpness" in own.records.columns:
            draw_band(sharpness, own, "sharpness", NETS[panel], color)
    edge = 2 / next(iter(parts.values())).values("learning_rate")[0]
    sharpness.axhline(edge, color="0.3", ls=":", label=f"$2/\\eta = {edge:g}$")
    losses.set(title=f"losses, $d = {dim}$, $n = {n}$", xlabel="step", ylabel="mean square", xscale="log", yscale="log")
    losses.set_ylim(bottom=max(losses.get_ylim()[0], 1e-3))
    sharpness.set(
        title=f"sharpness, $d = {dim}$, $n = {n}$", xlabel="step", ylabel="$\\lambda_{\\max}$", xscale="log", yscale="log"
    )
    losses.legend(**BELOW, ncols=2)
    sharpness.legend(**BELOW, ncols=2)


def figure(study: Study) -> Page:
    """Gap against n and against d, losses, sharpness, and the slopes against the stopping time."""
    parts, m, dims = nets(study), patch_dim(study), study.values("input_dim")
    fig, axes = plt.subplots(2, 3, figsize=(12.5, 8.2))
    for ax, part in zip(axes[0], parts.values(), strict=False):
        draw_against(ax, by_dim(gaps(part)), GAP, ylabel="gap")
    share_limits(list(axes[0]))
    for ax, panel in zip(axes[0], parts, strict=False):
        draw_candidates(ax, dims[-1], m)
        ax.set_title(NETS[panel])
        ax.legend(title="slopes: measured, and guides", **BELOW, ncols=2)
    for panel, part in parts.items():
        draw_over_dims(axes[0, 2], part, open_markers=panel == "full", label=f"{panel}, ")
    axes[0, 2].set_title("gap against $d$")
    axes[0, 2].legend(**BELOW, ncols=2)
    draw_run(axes[1, 0], axes[1, 1], parts, dims[len(dims) // 2], study.values("num_samples")[-1])
    over_time = {panel: slopes(by_dim(gaps(part)), GAP, stopping_times(part)) for panel, part in parts.items()}
    for panel, table in over_time.items():
        look: dict[str, Any] = {"ls": "-"} if panel == "shared" else {"ls": "--", "mfc": "white"}
        for name, color in zip(table["group"].unique(maintain_order=True), COLORS, strict=False):
            own = table.filter(group=name)
            axes[1, 2].plot(own["step"], own["slope"], marker="o", color=color, label=f"{panel}, ${name}$", **look)
    axes[1, 2].set(title="slope against stopping time", xlabel="step", ylabel="slope", xscale="log")
    label_only(axes[1, 2], [study.values("steps")[0] // part for part in (10, 5, 2, 1)])
    axes[1, 2].axhline(0, color="0.85", lw=0.8, zorder=0)
    axes[1, 2].legend(**BELOW, ncols=2)
    run = study.runs.row(0, named=True)
    lost = sum(num_diverged(part, GAP, run["steps"]) for part in parts.values())
    text = (
        f"Gap = |excess risk + sigma^2 - training error|, median over {len(study.values('seed'))} seeds, bars from quartile "
        f"to quartile. x on the unit sphere of R^d, windows of {m} coordinates {study.values('target.views.stride')[0]} "
        f"apart, teacher of {run['target.units']} shared filters over the same windows for both students, noise "
        f"{run['data.noise_std']:g}; both of width {run['model.width']}; GD, eta = {run['optimizer.learning_rate']:g}, mse "
        f"loss, gradient clipped at {run['optimizer.clip_norm']:g}, {run['steps']} steps. eta, clip, widths, windows and "
        "steps are ours: the paper's are not known, but for 500k steps. Guides: the four candidate exponents at the "
        f"largest d, which disagree among themselves; none is asserted. {lost} of {len(study.runs)} runs diverged."
    )
    tables = {f"generalization_slopes_{panel}": table for panel, table in over_time.items()}
    trends = trend_table(parts)
    final = {
        f"slopes of the gap, {NETS[p]}": t.filter(t["step"] == t["step"].max()).drop("metric") for p, t in over_time.items()
    }
    shown = {**final, "trend of log gap in log d": trends, "candidate exponents": candidate_table(dims, m)}
    return Page(fig, text, {**tables, "generalization_trends": trends}, shown)


def below(pair: tuple[Study, Study]) -> Finding:
    """The first has the smaller gap at every d and n."""
    own, other = cells(pair)
    return within(largest_ratio(other, own), -np.inf, np.nextafter(1, 0))


def does_not_grow(part: Study) -> Finding:
    return within(trend_in_dim(part), -np.inf, 0)


def grows(part: Study) -> Finding:
    return within(trend_in_dim(part), np.nextafter(0, 1), np.inf)


def falls_faster(pair: tuple[Study, Study]) -> Finding:
    """The first's gap falls faster with d than the second's."""
    return within(trend_in_dim(pair[0], against=pair[1]), -np.inf, -np.nextafter(0, 1))


def memorises(part: Study) -> Finding:
    """The gap is at least sigma^2 at every d and n."""
    return within(least(cells([part])[0]), part.values("noise_std")[0] ** 2, np.inf)


def claims(study: Study) -> list[Claim]:
    parts, n = nets(study), study.values("num_samples")[-1]
    shared, full = parts["shared"], parts["full"]
    return [
        judge(
            "generalization/shared-below-full",
            SOURCE,
            "At every d and n the patch network's gap is below the fully connected one's",
            "largest ratio of median gaps over d and n < 1",
            below,
            (shared, full),
            (full, shared),
            "the two exchanged",
        ),
        judge(
            "generalization/shared-does-not-grow-with-d",
            SOURCE,
            f"At n = {n} the patch network's gap does not grow with d",
            "d log gap / d log d <= 0",
            does_not_grow,
            shared,
            full,
            "the fully connected network",
        ),
        judge(
            "generalization/full-grows-with-d",
            SOURCE,
            f"At n = {n} the fully connected network's gap grows with d",
            "d log gap / d log d > 0",
            grows,
            full,
            shared,
            "the patch network",
        ),
        judge(
            "generalization/shared-falls-faster-with-d",
            SOURCE,
            f"At n = {n} the patch network's gap falls faster with d than the fully connected one's",
            "difference of d log gap / d log d < 0",
            falls_faster,
            (shared, full),
            (full, shared),
            "the two exchanged",
        ),
        judge(
            "generalization/full-memorises",
            f"{SOURCE}, abstract",
            "At every d and n the fully connected network's gap is at least the noise variance: all of the noise is fitted",
            "least median gap over d and n >= sigma^2",
            memorises,
            full,
            shared,
            "the patch network",
        ),
        *stability_claims(study, "generalization"),
    ]
