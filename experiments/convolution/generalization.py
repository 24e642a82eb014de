"""Experiment X1 of Liang et al. 2026b: on spheres a patch network's gap goes by the patch,
a full network's by the sphere."""

import numpy as np
from matplotlib.axes import Axes

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2026b, experiment X1"
NETS = {"shared": "shared patches", "full": "fully connected"}
LOSSES = (("train_loss", "-", "training loss"), ("clean_train_error", "--", "clean error"), ("excess_risk", ":", "excess risk"))


def split_dims(part: an.Study) -> dict[str, an.Study]:
    """Return the gaps of each input dimension."""
    return an.split_by(an.take_gaps(part), "input_dim", "$d = {}$")


def draw_run(losses: Axes, sharpness: Axes, parts: dict[str, an.Study], dim: int, n: int) -> None:
    """Losses and sharpness against the step of both nets at one d and n."""
    for (panel, part), color in zip(parts.items(), an.COLORS, strict=False):
        own = part.select(input_dim=dim, num_samples=n)
        for metric, line, label in LOSSES:
            if metric in own.records.columns:
                an.draw_band(losses, own, metric, f"{panel}, {label}", color, ls=line)
        if "sharpness" in own.records.columns:
            an.draw_band(sharpness, own, "sharpness", NETS[panel], color)
    edge = 2 / next(iter(parts.values())).values("learning_rate")[0]
    sharpness.axhline(edge, color="0.3", ls=":", label=f"$2/\\eta = {edge:g}$")
    for ax, title, label in ((losses, "losses", "mean square"), (sharpness, "sharpness", "$\\lambda_{\\max}$")):
        ax.set(title=f"{title}, $d = {dim}$, $n = {n}$", xlabel="step", ylabel=label, xscale="log", yscale="log")
        an.place_below(ax)
    losses.set_ylim(bottom=max(losses.get_ylim()[0], 1e-3))


def figure(study: an.Study) -> an.Page:
    """Gap against n and against d, losses, sharpness, and the slopes against the stopping time."""
    parts, dims = an.split_panels(study, NETS), study.values("input_dim")
    m = study.values("target.views.size")[0]
    fig, axes = an.new_axes(2, 3, (12.5, 8.2))
    for ax, part in zip(axes[0], parts.values(), strict=False):
        an.draw_against(ax, split_dims(part), an.GAP, ylabel="gap")
    an.share_limits(list(axes[0]))
    for ax, panel in zip(axes[0], parts, strict=False):
        an.draw_candidates(ax, dims[-1], m)
        ax.set_title(NETS[panel])
        an.place_below(ax, title="slopes: measured, and guides")
    for panel, part in parts.items():
        an.draw_over_dims(axes[0, 2], part, open_markers=panel == "full", label=f"{panel}, ")
    axes[0, 2].set_title("gap against $d$")
    an.place_below(axes[0, 2])
    draw_run(axes[1, 0], axes[1, 1], parts, dims[len(dims) // 2], study.values("num_samples")[-1])
    over_time = {panel: an.fit_slopes(split_dims(part), an.GAP, an.list_stopping_times(part)) for panel, part in parts.items()}
    for panel, table in over_time.items():
        look = {"ls": "-"} if panel == "shared" else {"ls": "--", "mfc": "white"}
        an.draw_times(axes[1, 2], table, f"{panel}, ${{}}$", **look)
    an.label_ticks(axes[1, 2], [study.values("steps")[0] // part for part in (10, 5, 2, 1)])
    axes[1, 2].axhline(0, color="0.85", lw=0.8, zorder=0)
    an.place_below(axes[1, 2])
    run = an.read_settings(study)
    lost = sum(an.count_diverged(part, an.GAP, run["steps"]) for part in parts.values())
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
    trends = an.tabulate_trends(parts)
    last = {panel: table.filter(table["step"] == table["step"].max()) for panel, table in over_time.items()}
    final = {f"slopes of the gap, {NETS[panel]}": table.drop("metric") for panel, table in last.items()}
    shown = {**final, "trend of log gap in log d": trends, "candidate exponents": an.tabulate_candidates(dims, m)}
    return an.Page(fig, text, {**tables, "generalization_trends": trends}, shown)


def largest_gap_ratio(gaps: np.ndarray) -> an.Estimate:
    """Return the first net's median gap over that of the second, where it is largest; gaps (S, 2, D, N)."""
    return an.largest_ratio(gaps[:, 1], gaps[:, 0])


def least_gap(part: an.Study) -> an.Estimate:
    """Return the least median gap over d and n."""
    return an.least_median(an.read_gaps([part])[0])


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    parts, n = an.split_panels(study, NETS), study.values("num_samples")[-1]
    shared, full = parts["shared"], parts["full"]
    gaps, dims = np.stack(an.read_gaps([shared, full]), axis=1), study.values("input_dim")
    last = gaps[..., -1]
    exchanged, shuffled = "the nets permuted within every seed", "d permuted within every seed"

    x = np.log(dims) - np.mean(np.log(dims))

    def trend(values: np.ndarray) -> an.Estimate:
        """Return d log gap / d log d of gaps (S, D)."""
        return an.trend_of_logs(values, dims)

    def trend_difference(both: np.ndarray) -> an.Estimate:
        """Return that of the first net less that of the second, gaps (S, 2, D)."""
        lever = np.stack([x, -x]).ravel() / np.sum(x**2)
        return an.combine_medians(both.reshape(len(both), -1), lambda medians: lever @ np.log(medians))

    return [
        claim(
            id="generalization/shared-below-full",
            statement="At every d and n the patch network's gap is below the fully connected one's",
            expects=an.below(1, of="largest ratio of median gaps over d and n"),
            evidence=an.permute(largest_gap_ratio, gaps, exchanged),
        ),
        claim(
            id="generalization/shared-does-not-grow-with-d",
            statement=f"At n = {n} the patch network's gap does not grow with d",
            expects=an.at_most(0, of="d log gap / d log d"),
            evidence=an.permute(trend, last[:, 0], shuffled),
        ),
        claim(
            id="generalization/full-grows-with-d",
            statement=f"At n = {n} the fully connected network's gap grows with d",
            expects=an.above(0, of="d log gap / d log d"),
            evidence=an.permute(trend, last[:, 1], shuffled),
        ),
        claim(
            id="generalization/shared-falls-faster-with-d",
            statement=f"At n = {n} the patch network's gap falls faster with d than the fully connected one's",
            expects=an.below(0, of="difference of d log gap / d log d"),
            evidence=an.permute(trend_difference, last, exchanged),
        ),
        an.judge(
            id="generalization/full-memorises",
            source=f"{SOURCE}, abstract",
            statement="At every d and n the fully connected network's gap is at least sigma^2: all of the noise is fitted",
            expects=an.at_least(full.values("noise_std")[0] ** 2, of="least median gap over d and n"),
            evidence=an.compare(least_gap, full, treatment={"the patch network": shared}),
        ),
        *an.judge_stability(study, "generalization"),
    ]
