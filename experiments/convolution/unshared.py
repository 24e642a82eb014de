"""Experiment X4 of Liang et al. 2026b: filters of their own at each patch;
the gap over n and d at several stopping times."""

import numpy as np

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2026b, experiment X4"
LEFT_OUT = 16384  # of the fits, as in the paper
STOPS = {"a fifth of the steps": 5, "half of the steps": 2, "all steps": 1}


def fitted(study: an.Study) -> an.Study:
    """The study at the values of n that are fitted."""
    return study.select(num_samples=[n for n in study.values("num_samples") if n < LEFT_OUT])


def figure(study: an.Study) -> an.Page:
    """Gap against n and d, slopes against the stopping time; gap,
    losses and sharpness against the step at the largest n."""
    own, dims, m = fitted(an.take_gaps(study)), study.values("input_dim"), study.values("model.views.size")[0]
    groups = an.split_by(own, "input_dim", "$d = {}$")
    over_time = an.fit_slopes(groups, an.GAP, an.list_stopping_times(own))
    fig, axes = an.new_axes(2, 3, (12.5, 7.8))
    an.draw_against(axes[0, 0], groups, an.GAP, ylabel="gap")
    for d, color, marker in zip(dims, an.COLORS, an.MARKERS, strict=False):
        if LEFT_OUT in study.values("num_samples"):
            rest = study.select(input_dim=d, num_samples=LEFT_OUT)
            axes[0, 0].plot(LEFT_OUT, np.median(an.read_gaps([rest])[0]), marker, color=color, mfc="white")
    an.draw_candidates(axes[0, 0], dims[-1], m)
    an.draw_over_dims(axes[0, 1], own)
    an.draw_times(axes[0, 2], over_time)
    axes[0, 0].set_title("gap against $n$")
    axes[0, 1].set_title("gap against $d$")
    an.label_ticks(axes[0, 2], an.list_stopping_times(own))
    n = own.values("num_samples")[-1]
    for d, color in zip(dims, an.COLORS, strict=False):
        part = own.select(input_dim=d, num_samples=n)
        an.draw_band(axes[1, 0], part, an.GAP, f"$d = {d}$", color)
        for metric, line in (("train_loss", "-"), ("excess_risk", ":")):
            an.draw_band(axes[1, 1], part, metric, f"$d = {d}$, {metric.replace('_', ' ')}", color, ls=line)
        if "sharpness" in part.records.columns:
            an.draw_band(axes[1, 2], part, "sharpness", f"$d = {d}$", color)
    for ax in axes[1]:
        ax.set(xlabel="step", xscale="log", yscale="log")
    axes[1, 0].set(title=f"gap, $n = {n}$", ylabel="gap")
    axes[1, 1].set(title=f"training loss and excess risk, $n = {n}$", ylabel="mean square")
    axes[1, 2].set(title=f"sharpness, $n = {n}$", ylabel="$\\lambda_{\\max}$")
    axes[1, 2].axhline(2 / study.values("learning_rate")[0], color="0.3", ls=":", label="$2/\\eta$")
    for ax, columns in zip(axes.flat, (2, 4, 3, 3, 2, 4), strict=True):
        an.place_below(ax, columns)
    run, count = an.read_settings(study), study.values("model.views.count")[0]
    text = (
        f"Gap = |excess risk + sigma^2 - training error|, median over seeds {', '.join(map(str, study.values('seed')))}, "
        f"bars from quartile to quartile; {run['data.num_test']} test samples. x on the unit sphere of R^d; "
        f"{run['model.width']} filters of its own at each of {count} random disjoint sets of {m} coordinates, which are "
        f"{count * m} of the d; teacher of {run['target.units']} shared filters over disjoint blocks of all coordinates, "
        f"which the student cannot represent where d > {count * m}; noise {run['data.noise_std']:g}; GD, eta = "
        f"{run['optimizer.learning_rate']:g}, mse loss, gradient clipped at {run['optimizer.clip_norm']:g}, {run['steps']} "
        f"steps. Fits leave out n = {LEFT_OUT} (open where it was run). Guides: the four candidate exponents at the largest "
        "d, which disagree among themselves and are of shared filters; none is asserted. "
        f"{an.count_diverged(study, an.GAP, run['steps'])} of {len(study.runs)} runs diverged."
    )
    wide = over_time.pivot(on="group", index="step", values="slope")
    shown = {"slopes of the gap by stopping time": wide, "candidate exponents": an.tabulate_candidates(dims, m)}
    return an.Page(fig, text, {"unshared_slopes": over_time}, shown)


def largest_step(values: np.ndarray) -> an.Estimate:
    """Return the largest ratio of a gap to that at the d before, of gaps (S, D, N)."""
    return an.largest_ratio(values[:, :-1], values[:, 1:])


def claims(study: an.Study) -> list[an.Claim]:
    own, steps, found = fitted(study), study.values("steps")[0], []
    for text, part in STOPS.items():
        gaps = an.read_gaps([own], steps // part)[0]
        found.append(
            an.judge(
                id=f"unshared/gap-falls-with-d-after-{text.replace(' ', '-')}",
                source=SOURCE,
                statement=f"After {text} ({steps // part}) the gap falls with d at every n of the fits",
                expects=an.below(1, of="largest ratio of a gap to that at the d before"),
                evidence=an.permute(largest_step, gaps, "d permuted within every seed"),
            )
        )
    return [*found, *an.judge_stability(study, "unshared")]
