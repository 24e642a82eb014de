"""Experiment X1 of Liang et al. 2026b: on spheres a patch network's gap goes by the patch, a full network's by the sphere."""

from __future__ import annotations

from matplotlib.axes import Axes

from dynamics.analysis.bootstrap import Estimate
from dynamics.analysis.bounds import above, at_least, at_most, below
from dynamics.analysis.claims import Claim, compare, exchange, judge
from dynamics.analysis.curves import draw_band, draw_sharpness
from dynamics.analysis.drawing import label_ticks, place_below, share_limits
from dynamics.analysis.figures import COLORS, Page, new_axes
from dynamics.analysis.gaps import (
    GAP,
    draw_candidates,
    draw_over_dims,
    largest_ratio,
    least_median,
    read_gaps,
    tabulate_candidates,
    tabulate_trends,
    take_gaps,
    trend_in_dim,
)
from dynamics.analysis.seed_values import split_by, split_panels
from dynamics.analysis.slope_groups import draw_against, draw_times, fit_slopes
from dynamics.analysis.slopes import num_diverged, stopping_times
from dynamics.analysis.stability_claims import judge_stability
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2026b, experiment X1"
NETS = {"shared": "shared patches", "full": "fully connected"}
LOSSES = (("train_loss", "-", "training loss"), ("clean_train_error", "--", "clean error"), ("excess_risk", ":", "excess risk"))


def split_dims(part: Study) -> dict[str, Study]:
    """Return the gaps of each input dimension."""
    return split_by(take_gaps(part), "input_dim", "$d = {}$")


def draw_run(losses: Axes, sharpness: Axes, parts: dict[str, Study], dim: int, n: int) -> None:
    """Losses and sharpness against the step of both nets at one d and n."""
    for (panel, part), color in zip(parts.items(), COLORS, strict=False):
        own = part.select(input_dim=dim, num_samples=n)
        for metric, line, label in LOSSES:
            if metric in own.records.columns:
                draw_band(losses, own, metric, f"{panel}, {label}", color, ls=line)
        if "sharpness" in own.records.columns:
            draw_sharpness(sharpness, own, label=NETS[panel], color=color, edge=panel == "full")
    losses.set(title=f"losses, $d = {dim}$, $n = {n}$", xlabel="step", ylabel="mean square", xscale="log", yscale="log")
    losses.set_ylim(bottom=max(losses.get_ylim()[0], 1e-3))
    sharpness.set_title(f"sharpness, $d = {dim}$, $n = {n}$")
    place_below(losses)
    place_below(sharpness)


def figure(study: Study) -> Page:
    """Gap against n and against d, losses, sharpness, and the slopes against the stopping time."""
    parts, dims = split_panels(study, NETS), study.values("input_dim")
    m = study.values("target.views.size")[0]
    fig, axes = new_axes(2, 3, (12.5, 8.2))
    for ax, part in zip(axes[0], parts.values(), strict=False):
        draw_against(ax, split_dims(part), GAP, ylabel="gap")
    share_limits(list(axes[0]))
    for ax, panel in zip(axes[0], parts, strict=False):
        draw_candidates(ax, dims[-1], m)
        ax.set_title(NETS[panel])
        place_below(ax, title="slopes: measured, and guides")
    for panel, part in parts.items():
        draw_over_dims(axes[0, 2], part, open_markers=panel == "full", label=f"{panel}, ")
    axes[0, 2].set_title("gap against $d$")
    place_below(axes[0, 2])
    draw_run(axes[1, 0], axes[1, 1], parts, dims[len(dims) // 2], study.values("num_samples")[-1])
    over_time = {panel: fit_slopes(split_dims(part), GAP, stopping_times(part)) for panel, part in parts.items()}
    for panel, table in over_time.items():
        look = {"ls": "-"} if panel == "shared" else {"ls": "--", "mfc": "white"}
        draw_times(axes[1, 2], table, f"{panel}, ${{}}$", **look)
    label_ticks(axes[1, 2], [study.values("steps")[0] // part for part in (10, 5, 2, 1)])
    axes[1, 2].axhline(0, color="0.85", lw=0.8, zorder=0)
    place_below(axes[1, 2])
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
    trends = tabulate_trends(parts)
    last = {panel: table.filter(table["step"] == table["step"].max()) for panel, table in over_time.items()}
    final = {f"slopes of the gap, {NETS[panel]}": table.drop("metric") for panel, table in last.items()}
    shown = {**final, "trend of log gap in log d": trends, "candidate exponents": tabulate_candidates(dims, m)}
    return Page(fig, text, {**tables, "generalization_trends": trends}, shown)


def largest_gap_ratio(own: Study, other: Study) -> Estimate:
    """Return the first's median gap over that of the second, at the d and n where it is largest."""
    return largest_ratio(*read_gaps([other, own]))


def trend_difference(first: Study, second: Study) -> Estimate:
    """Return d log gap / d log d of the first less that of the second."""
    return trend_in_dim(first, against=second)


def least_gap(part: Study) -> Estimate:
    """Return the least median gap over d and n."""
    return least_median(read_gaps([part])[0])


def claims(study: Study) -> list[Claim]:
    parts, n = split_panels(study, NETS), study.values("num_samples")[-1]
    shared, full = parts["shared"], parts["full"]
    against_full, against_shared = {"the fully connected network": full}, {"the patch network": shared}
    return [
        judge(
            id="generalization/shared-below-full",
            source=SOURCE,
            statement="At every d and n the patch network's gap is below the fully connected one's",
            expects=below(1, of="largest ratio of median gaps over d and n"),
            evidence=exchange(largest_gap_ratio, shared, full),
        ),
        judge(
            id="generalization/shared-does-not-grow-with-d",
            source=SOURCE,
            statement=f"At n = {n} the patch network's gap does not grow with d",
            expects=at_most(0, of="d log gap / d log d"),
            evidence=compare(trend_in_dim, shared, control=against_full),
        ),
        judge(
            id="generalization/full-grows-with-d",
            source=SOURCE,
            statement=f"At n = {n} the fully connected network's gap grows with d",
            expects=above(0, of="d log gap / d log d"),
            evidence=compare(trend_in_dim, full, control=against_shared),
        ),
        judge(
            id="generalization/shared-falls-faster-with-d",
            source=SOURCE,
            statement=f"At n = {n} the patch network's gap falls faster with d than the fully connected one's",
            expects=below(0, of="difference of d log gap / d log d"),
            evidence=exchange(trend_difference, shared, full),
        ),
        judge(
            id="generalization/full-memorises",
            source=f"{SOURCE}, abstract",
            statement="At every d and n the fully connected network's gap is at least sigma^2: all of the noise is fitted",
            expects=at_least(full.values("noise_std")[0] ** 2, of="least median gap over d and n"),
            evidence=compare(least_gap, full, control=against_shared),
        ),
        *judge_stability(study, "generalization"),
    ]
