"""Edge of stability: full-batch descent holds the sharpness at its stability threshold, gradient flow passes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from scipy import stats

from dynamics.analysis.bootstrap import Estimate, over_seeds
from dynamics.analysis.claims import FAILS, Claim, Finding, judge, within
from dynamics.analysis.figures import COLORS, MARKERS, Page
from dynamics.analysis.slopes import trend
from dynamics.study.tables import Study
from dynamics.theory.edge import threshold

SOURCE = "Cohen et al. 2021"
DERIVED = "linear stability, derived"
LATE = 0.7  # late training begins at this share of the steps
RULES = {"gd": "GD", "momentum": "heavy ball", "nesterov": "Nesterov"}
FORMULA = {"gd": "2", "momentum": "2 + 2b", "nesterov": "(2 + 2b)/(1 + 2b)"}
LINES = {"gd": r"$2/\eta$", "momentum": r"$(2+2b)/\eta$", "nesterov": r"$(2+2b)/((1+2b)\,\eta)$"}
PANELS = {"gd": "gd", "momentum": "momentum", "nesterov": "nesterov", "momentum_long": "momentum", "nesterov_long": "nesterov"}
DRAWN = ["gd", "momentum_long", "nesterov_long"]


class Late(NamedTuple):
    """Late sharpness: rates eta (K,); median over each run's late records, one row a seed, (S, K), NaN for a lost run."""

    rates: np.ndarray
    sharpness: np.ndarray


def late(part: Study) -> Late:
    rates, seeds = part.values("learning_rate"), part.values("seed")
    table = part.records.filter(pl.col("step") >= LATE * pl.col("steps"))
    table = table.group_by("seed", "optimizer.learning_rate").agg(pl.col("sharpness").median())
    found = {(seed, rate): value for seed, rate, value in table.iter_rows()}
    return Late(np.array(rates), np.array([[found.get((s, r), np.nan) for r in rates] for s in seeds], float))


def flow_of(panel: str) -> str:
    """The panel of the gradient flow on the same problem."""
    return "flow_long" if panel.endswith("_long") else "flow"


def as_if(flow: Late, rates: np.ndarray) -> Late:
    """The flow's sharpness set against other learning rates: what a rule without a threshold of its own would show."""
    return Late(rates, np.repeat(flow.sharpness[:, :1], len(rates), axis=1))


def scaled(study: Study, panel: str) -> float:
    """The threshold of eta * S of a panel's rule at its momentum."""
    return threshold(PANELS[panel], study.select(panel=panel).values("optimizer.momentum")[0])


def slope(seen: Late) -> Estimate:
    """Slope, with an intercept, of the late sharpness (median over seeds) against 1/eta; seeds that lost a run are left out."""
    whole = seen.sharpness[np.isfinite(seen.sharpness).all(axis=1)]
    columns = [lambda index, k=k: np.median(whole[index, k], axis=1) for k in range(len(seen.rates))]
    if len(columns) < 2 or not len(whole):
        return Estimate(np.nan, np.nan, np.nan)
    return trend(1 / seen.rates, columns, len(whole))


def pairs(part: Study, edge: float) -> pl.DataFrame:
    """The recorded pairs (t, t + 1) after a run's sharpness first reached edge / eta, with the loss before and after.

    Columns: seed, rate, loss, next, crossing (the loss at the crossing), end (at the last step).
    """
    rows = []
    for rate in part.values("learning_rate"):
        for seed in part.values("seed"):
            table = part.select(learning_rate=rate, seed=seed).records.sort("step")
            step, loss = table["step"].to_numpy(), table["train_loss"].to_numpy()
            above = np.flatnonzero(table["sharpness"].to_numpy() >= edge / rate)
            if len(above):
                at = np.flatnonzero((np.diff(step) == 1) & (step[:-1] >= step[above[0]]))
                rows += [(seed, rate, loss[i], loss[i + 1], loss[above[0]], loss[-1]) for i in at]
    return pl.DataFrame(rows, schema=["seed", "rate", "loss", "next", "crossing", "end"], orient="row")


def share_of_rises(table: pl.DataFrame) -> Estimate:
    """Share of steps on which the loss rises, estimated from recorded pairs taken as independent (Clopper-Pearson, 95 %)."""
    if not len(table):
        return Estimate(np.nan, np.nan, np.nan)
    found = stats.binomtest((table["next"] > table["loss"]).sum(), len(table))
    interval = found.proportion_ci(0.95)
    return Estimate(found.statistic, float(interval.low), float(interval.high))


def quadratic(study: Study, kind: str) -> pl.DataFrame:
    """Runs of one rule on the quadratic: eta * S, and whether the loss grew from the first record to the last.

    The sign is exact for GD. With momentum, beginning at rest excites the unstable mode up to 19-fold, which a decay
    that is slower than 1e-4 a step cannot undo in 20000 steps; that moves the apparent threshold by less than 4e-6.
    """
    panels = [panel for panel in study.values("panel") if panel.startswith("quadratic")]
    part = study.select(panel=panels, **{"optimizer.kind": kind})
    loss = pl.col("train_loss").sort_by("step")
    seen = part.records.group_by("run").agg(
        edge=(pl.col("sharpness") * pl.col("optimizer.learning_rate")).sort_by("step").first(),
        grew=(loss.last() > loss.first()) | ~loss.is_finite().all(),
    )
    return seen.join(part.runs.select("run", "status").unique("run"), on="run").select(
        "edge", grew=pl.col("grew") | (pl.col("status") == "diverged")
    )


def bracket(table: pl.DataFrame) -> Estimate:
    """The threshold between the greatest eta * S that decays and the least that grows; these two are its interval."""
    grew, edge = table["grew"].to_numpy(), table["edge"].to_numpy()
    if grew.all() or not grew.any():
        return Estimate(np.nan, np.nan, np.nan)
    decays, grows = float(edge[~grew].max()), float(edge[grew].min())
    return Estimate((decays + grows) / 2, min(decays, grows), max(decays, grows))


def figure(study: Study) -> Page:
    """Loss (top) and sharpness (bottom) against time for three rules; thresholds on a quadratic; late against predicted."""
    fig, axes = plt.subplots(2, 4, figsize=(13, 6))
    for column, panel in zip(axes.T, DRAWN, strict=False):
        draw_rule(column, study, panel)
    axes[0, 0].set_ylabel("training loss")
    axes[1, 0].set_ylabel("sharpness $S$")
    draw_quadratic(axes[0, 3], study)
    draw_late(axes[1, 3], study)
    slopes, exact = slope_table(study), quadratic_table(study)
    tables = {"late": late_table(study), "slopes": slopes, "quadratic": exact}
    shown = {"slope of the late sharpness against 1/eta": slopes, "thresholds of eta S on a quadratic": exact}
    return Page(fig, caption(study), {f"edge_of_stability_{name}": table for name, table in tables.items()}, shown)


def draw_rule(axes, study: Study, panel: str) -> None:
    """Time is that of the flow that a rule follows while it is stable: eta t, and eta t / (1 - b) with momentum."""
    part, kind = study.select(panel=panel), PANELS[panel]
    seed, constant = part.values("seed")[0], scaled(study, panel)
    momentum = part.values("optimizer.momentum")[0] if kind != "gd" else 0.0
    rates = part.values("learning_rate")
    for rate, color in zip(rates, COLORS, strict=False):
        time, loss, sharpness = curves(part.select(learning_rate=rate, seed=seed), rate / (1 - momentum))
        axes[0].loglog(time, loss, "-", color=color, lw=1, label=rf"$\eta={rate:g}$")
        axes[1].semilogx(time, sharpness, "o", color=color, ms=2.5)
        axes[1].axhline(constant / rate, color=color, lw=1, ls="--")
    flow = study.select(panel=flow_of(panel), seed=seed)
    time, loss, sharpness = curves(flow, flow.values("learning_rate")[0])
    axes[0].loglog(time, loss, "-", color="k", lw=0.8, label="gradient flow")
    axes[1].semilogx(time, sharpness, "-", color="k", lw=0.8)
    axes[0].set_title(f"{RULES[kind]}{f', $b={momentum:g}$' if momentum else ''}, $T_{part.values('degree')[0]}$")
    axes[1].set(title=f"dashed: {LINES[kind]}", ylim=(0, 1.5 * constant / rates[0]))
    axes[1].set_xlabel(r"time $\eta t/(1-b)$" if momentum else r"time $\eta t$")
    for axis in axes:
        axis.set_xlim(left=1)
    axes[0].legend(loc="lower left")


def curves(run: Study, unit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time in units of one step, loss, sharpness; without the start, which a logarithmic axis has no place for."""
    table = run.records.filter(pl.col("step") > 0).sort("step")
    return table["step"].to_numpy() * unit, table["train_loss"].to_numpy(), table["sharpness"].to_numpy()


def draw_quadratic(axis, study: Study) -> None:
    for i, (kind, name) in enumerate(RULES.items()):
        table = quadratic(study, kind).filter(pl.col("edge").is_between(0.8, 4.6))
        for grew, style in ((False, {"mfc": "none"}), (True, {})):
            edge = table.filter(pl.col("grew") == grew)["edge"]
            axis.plot(edge, np.full(len(edge), -i), "o", color=COLORS[i], ms=3.5, mew=0.7, **style)
        at = threshold(kind, study.select(panel="quadratic").values("optimizer.momentum")[0])
        axis.plot([at, at], [-i - 0.3, -i + 0.3], "-", color="k", lw=1)
        axis.text(at, -i + 0.36, f"{name}: {at:.4g}", ha="center")
    axis.set(xlabel=r"$\eta S$ (open: the loss decays, full: it grows)", yticks=[], ylim=(-2.6, 0.7))
    axis.set_title("thresholds on a quadratic")
    axis.spines["left"].set_visible(False)


def draw_late(axis, study: Study) -> None:
    """Late sharpness against the predicted threshold; open markers are the runs on T_5."""
    top = 0.0
    for panel, kind in PANELS.items():
        seen, i = late(study.select(panel=panel)), list(RULES).index(kind)
        line = scaled(study, panel) / seen.rates
        fill = "none" if panel.endswith("long") else COLORS[i]
        degree = study.select(panel=panel).values("degree")[0]
        label = f"{RULES[kind]}, $T_{degree}$"
        whole = seen.sharpness[np.isfinite(seen.sharpness).all(axis=1)]
        if not len(whole):
            continue
        middle = np.median(whole, axis=0)
        bars = np.abs(np.stack([whole.min(0), whole.max(0)]) - middle)
        axis.errorbar(line, middle, yerr=bars, fmt=MARKERS[i], color=COLORS[i], mfc=fill, capsize=2, lw=1, label=label)
        top = max(top, line.max())
    axis.plot([0, 1.1 * top], [0, 1.1 * top], "-", color="0.6", lw=0.8, zorder=0)
    axis.set(xlim=(0.2 * top, 1.1 * top), ylim=(0, 1.2 * top), xlabel="predicted threshold", ylabel="late sharpness")
    axis.set_title("late sharpness against its threshold")
    axis.legend(loc="upper left")


def late_table(study: Study) -> pl.DataFrame:
    """One row a panel, learning rate and seed: the late sharpness over its threshold."""
    rows = []
    for panel in PANELS:
        seen, line = late(study.select(panel=panel)), scaled(study, panel)
        for seed, values in zip(study.select(panel=panel).values("seed"), seen.sharpness, strict=True):
            rows += [(panel, seed, r, v, v * r / line) for r, v in zip(seen.rates, values, strict=True)]
    return pl.DataFrame(rows, schema=["panel", "seed", "learning_rate", "sharpness", "over_threshold"], orient="row")


def slope_table(study: Study) -> pl.DataFrame:
    rows = []
    for panel in PANELS:
        seen = late(study.select(panel=panel))
        rows.append((panel, scaled(study, panel), *slope(seen), int(np.isnan(seen.sharpness).sum())))
    return pl.DataFrame(rows, schema=["panel", "predicted", "slope", "low", "high", "lost_runs"], orient="row")


def quadratic_table(study: Study) -> pl.DataFrame:
    momentum = study.select(panel="quadratic").values("optimizer.momentum")[0]
    rows = [(kind, threshold(kind, momentum), *bracket(quadratic(study, kind))) for kind in RULES]
    return pl.DataFrame(rows, schema=["rule", "predicted", "measured", "low", "high"], orient="row")


def caption(study: Study) -> str:
    gd, flow = study.select(panel="gd"), study.select(panel="flow")
    run = gd.runs.row(0, named=True)
    initial = gd.records.filter(step=0)["sharpness"]
    lines = 2 / np.array(gd.values("learning_rate"))
    greatest = flow.records.group_by("seed").agg(pl.col("sharpness").max())["sharpness"].min()
    rises = share_of_rises(pairs(gd, 2.0))
    return (
        f"T_{run['target.degree']} on {run['data.num_samples']} points of [-1, 1], {run['model.activation']} MLP with "
        f"{run['model.depth']} hidden layers of {run['model.width']}, loss {run['loss_factor']:g} * mean square, full batch; "
        f"sharpness by Lanczos on the Hessian of this loss. Initial sharpness {initial.min():.3g} to {initial.max():.3g}; "
        f"GD's thresholds {lines.min():.3g} to {lines.max():.3g}; the flow reaches at least {greatest:.3g}. The middle "
        f"columns show T_{study.select(panel='flow_long').values('degree')[0]}, which takes longer to learn. Curves: seed "
        f"{gd.values('seed')[0]}. Late is the last {100 * (1 - LATE):.0f} % of the steps; bars from least to greatest of "
        f"{len(gd.values('seed'))} seeds. After the crossing GD's loss rises on {100 * rises.value:.0f} % "
        f"[{100 * rises.low:.0f}, {100 * rises.high:.0f}] of the steps, estimated from recorded pairs (t, t + 1)."
    )


def hovers(seen: tuple[float, np.ndarray]) -> Finding:
    """eta * S over late training lies in [1.9, 2.2]: median over records, then over seeds."""
    rate, sharpness = seen
    return within(over_seeds(lambda index: rate * np.median(sharpness[index], axis=1), len(sharpness)), 1.9, 2.2)


def rises_yet_falls(table: pl.DataFrame) -> Finding:
    """After the crossing the loss rises on at least 1 % of the steps, and every run ends below its loss at the crossing."""
    finding = within(share_of_rises(table), 0.01, 1)
    return finding if (table["end"] < table["crossing"]).all() else Finding(FAILS, finding.estimate)


def slope_is(predicted: float) -> Callable[[Late], Finding]:
    return lambda seen: within(slope(seen), 0.9 * predicted, 1.1 * predicted)


def passes(seen: tuple[float, np.ndarray]) -> Finding:
    """Late sharpness is at least 1.2 times 2/eta."""
    rate, sharpness = seen
    return within(over_seeds(lambda index: rate / 2 * np.median(sharpness[index], axis=1), len(sharpness)), 1.2, np.inf)


def diverges_at(predicted: float) -> Callable[[pl.DataFrame], Finding]:
    def check(table: pl.DataFrame) -> Finding:
        return within(Estimate(*(v / predicted - 1 for v in bracket(table))), -1e-4, 1e-4)

    return check


def claims(study: Study) -> list[Claim]:
    gd, flow = late(study.select(panel="gd")), late(study.select(panel="flow"))
    rates, momentum = gd.rates, study.select(panel="quadratic").values("optimizer.momentum")[0]
    least = rates[0]  # its threshold is the highest
    against = {"gd": "momentum", "momentum": "nesterov", "nesterov": "momentum"}
    made = [
        judge(
            f"edge/quadratic-{kind}",
            DERIVED,
            f"{name} on a quadratic diverges above eta S = {FORMULA[kind]}",
            f"relative distance from {threshold(kind, momentum):.5g} at most 1e-4",
            diverges_at(threshold(kind, momentum)),
            quadratic(study, kind),
            quadratic(study, against[kind]),
            f"{RULES[against[kind]]} on the same quadratics",
        )
        for kind, name in RULES.items()
    ]
    made += [
        judge(
            f"edge/gd-hovers-{rate:g}",
            SOURCE,
            f"GD at eta = {rate:g} ends with sharpness 2/eta",
            "late median of eta S in [1.9, 2.2]",
            hovers,
            (rate, gd.sharpness[:, k]),
            (rate, flow.sharpness[:, 0]),
            "gradient flow",
        )
        for k, rate in enumerate(rates)
    ]
    made += [
        judge(
            "edge/gd-loss-is-not-monotone",
            SOURCE,
            "After the crossing GD's loss rises on single steps, yet falls in the long run",
            "rises on >= 1 % of steps (estimated from pairs), ends below its value at the crossing",
            rises_yet_falls,
            pairs(study.select(panel="gd"), 2.0),
            pairs(study.select(panel="flow"), 2.0 * flow.rates[0] / rates[-1]),
            "gradient flow",
        ),
        judge(
            "edge/flow-passes-through",
            SOURCE,
            "Gradient flow passes 2/eta without levelling off there",
            f"late S >= 1.2 * 2/eta at eta = {least:g}",
            passes,
            (least, flow.sharpness[:, 0]),
            (least, gd.sharpness[:, 0]),
            "GD",
        ),
    ]
    for panel, kind in PANELS.items():
        seen, predicted = late(study.select(panel=panel)), scaled(study, panel)
        degree, flow_too = study.select(panel=panel).values("degree")[0], late(study.select(panel=flow_of(panel)))
        made.append(
            judge(
                f"edge/slope-{panel.replace('_', '-')}",
                SOURCE,
                f"{RULES[kind]}'s late sharpness on T_{degree} has slope {FORMULA[kind]} against 1/eta",
                f"{predicted:.4g} within 10 %",
                slope_is(predicted),
                seen,
                as_if(flow_too, seen.rates),
                "gradient flow",
            )
        )
    return made
