"""Edge of stability: full-batch descent holds the sharpness at its stability threshold,
gradient flow passes through."""

from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import stats

import dynamics.analysis.words as an
from dynamics.theory.edge import stability_threshold

SOURCE = "Cohen et al. 2021"
DERIVED = "linear stability, derived"
LATE = 0.7  # late training begins at this share of the steps
RULES = {"gd": "GD", "momentum": "heavy ball", "nesterov": "Nesterov"}
FORMULA = {"gd": "2", "momentum": "2 + 2b", "nesterov": "(2 + 2b)/(1 + 2b)"}
LINES = {"gd": r"$2/\eta$", "momentum": r"$(2+2b)/\eta$", "nesterov": r"$(2+2b)/((1+2b)\,\eta)$"}
AGAINST = {"gd": "nesterov", "momentum": "nesterov", "nesterov": "gd"}  # another rule, with another threshold
AGAINST |= {"momentum_long": "nesterov_long", "nesterov_long": "momentum_long"}
PANELS = {"gd": "gd", "momentum": "momentum", "nesterov": "nesterov", "momentum_long": "momentum", "nesterov_long": "nesterov"}
DRAWN = ["gd", "momentum_long", "nesterov_long"]


class Late(NamedTuple):
    """Late sharpness: rates eta (K,); median over each run's late records, one row a seed, (S, K),
    inf for a lost run."""

    rates: np.ndarray
    sharpness: np.ndarray


def read_late(part: an.Study) -> Late:
    def read(own: an.Study) -> np.ndarray:
        late = own.records.filter(pl.col("step") >= LATE * pl.col("steps"))
        return an.values_by_seed(own, late.group_by("run").agg(value=pl.col("sharpness").median()))["value"].to_numpy()

    rates = np.array(part.values("learning_rate"))
    return Late(rates, an.stack_seeds(an.split_by(part, "learning_rate").values(), read))


def flow_of(panel: str) -> str:
    """The panel of the gradient flow on the same problem."""
    return "flow_long" if panel.endswith("_long") else "flow"


def scaled(study: an.Study, panel: str) -> float:
    """The threshold of eta * S of a panel's rule at its momentum."""
    return stability_threshold(PANELS[panel], study.select(panel=panel).values("optimizer.momentum")[0])


def fit_late_slope(seen: Late) -> an.Estimate:
    """Return the slope, with an intercept, of the late sharpness (median over seeds) against 1/eta."""
    if len(seen.rates) < 2:
        return an.UNKNOWN
    x = 1 / seen.rates - np.mean(1 / seen.rates)
    return an.over_values(lambda v: np.median(v, axis=1) @ (x / np.sum(x**2)), seen.sharpness, either_way=True)


def tabulate_pairs(part: an.Study, edge: float) -> pl.DataFrame:
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
    return an.make_table(rows, "seed, rate, loss, next, crossing, end")


def share_of_rises(table: pl.DataFrame) -> an.Estimate:
    """Share of steps on which the loss rises, estimated from recorded pairs taken as independent
    (Clopper-Pearson, 95 %)."""
    if not len(table):
        return an.UNKNOWN
    found = stats.binomtest((table["next"] > table["loss"]).sum(), len(table))
    interval = found.proportion_ci(0.95)
    return an.Estimate(found.statistic, float(interval.low), float(interval.high))


def quadratic(study: an.Study, kind: str) -> pl.DataFrame:
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


def bracket(table: pl.DataFrame) -> an.Estimate:
    """The threshold between the greatest eta * S that decays and the least that grows; these two are its interval."""
    grew, edge = table["grew"].to_numpy(), table["edge"].to_numpy()
    if grew.all() or not grew.any():
        return an.UNKNOWN
    decays, grows = float(edge[~grew].max()), float(edge[grew].min())
    return an.Estimate((decays + grows) / 2, min(decays, grows), max(decays, grows))


def figure(study: an.Study) -> an.Page:
    """Loss (top) and sharpness (bottom) against time for three rules; thresholds on a quadratic;
    late against predicted."""
    fig, axes = an.new_axes(2, 4, (13, 6))
    for column, panel in zip(axes.T, DRAWN, strict=False):
        draw_rule(column, study, panel)
    axes[0, 0].set_ylabel("training loss")
    axes[1, 0].set_ylabel("sharpness $S$")
    draw_quadratic(axes[0, 3], study)
    draw_late(axes[1, 3], study)
    slopes, exact = tabulate_slopes(study), tabulate_thresholds(study)
    tables = {"late": tabulate_late(study), "slopes": slopes, "quadratic": exact}
    shown = {"slope of the late sharpness against 1/eta": slopes, "thresholds of eta S on a quadratic": exact}
    return an.Page(fig, caption(study), {f"edge_of_stability_{name}": table for name, table in tables.items()}, shown)


def draw_rule(axes, study: an.Study, panel: str) -> None:
    """Time is that of the flow that a rule follows while it is stable: eta t, and eta t / (1 - b) with momentum."""
    part, kind = study.select(panel=panel), PANELS[panel]
    seed, constant = part.values("seed")[0], scaled(study, panel)
    momentum = part.values("optimizer.momentum")[0] if kind != "gd" else 0.0
    rates = part.values("learning_rate")
    for rate, color in zip(rates, an.COLORS, strict=False):
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


def curves(run: an.Study, unit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time in units of one step, loss, sharpness; without the start, which a logarithmic axis has no place for."""
    table = run.records.filter(pl.col("step") > 0).sort("step")
    return table["step"].to_numpy() * unit, table["train_loss"].to_numpy(), table["sharpness"].to_numpy()


def draw_quadratic(axis, study: an.Study) -> None:
    for i, (kind, name) in enumerate(RULES.items()):
        table = quadratic(study, kind).filter(pl.col("edge").is_between(0.8, 4.6))
        for grew, style in ((False, {"mfc": "none"}), (True, {})):
            edge = table.filter(pl.col("grew") == grew)["edge"]
            axis.plot(edge, np.full(len(edge), -i), "o", color=an.COLORS[i], ms=3.5, mew=0.7, **style)
        at = stability_threshold(kind, study.select(panel="quadratic").values("optimizer.momentum")[0])
        axis.plot([at, at], [-i - 0.3, -i + 0.3], "-", color="k", lw=1)
        axis.text(at, -i + 0.36, f"{name}: {at:.4g}", ha="center")
    axis.set(xlabel=r"$\eta S$ (open: the loss decays, full: it grows)", yticks=[], ylim=(-2.6, 0.7))
    axis.set_title("thresholds on a quadratic")
    axis.spines["left"].set_visible(False)


def draw_late(axis, study: an.Study) -> None:
    """Late sharpness against the predicted threshold; open markers are the runs on T_5."""
    top = 0.0
    for panel, kind in PANELS.items():
        seen, i = read_late(study.select(panel=panel)), list(RULES).index(kind)
        line = scaled(study, panel) / seen.rates
        fill = "none" if panel.endswith("long") else an.COLORS[i]
        degree = study.select(panel=panel).values("degree")[0]
        label = f"{RULES[kind]}, $T_{degree}$"
        whole = seen.sharpness[np.isfinite(seen.sharpness).all(axis=1)]
        if not len(whole):
            continue
        an.draw_quartiles(axis, line, whole, tail=0, fmt=an.MARKERS[i], color=an.COLORS[i], mfc=fill, capsize=2, label=label)
        top = max(top, line.max())
    axis.plot([0, 1.1 * top], [0, 1.1 * top], "-", color="0.6", lw=0.8, zorder=0)
    axis.set(xlim=(0.2 * top, 1.1 * top), ylim=(0, 1.2 * top), xlabel="predicted threshold", ylabel="late sharpness")
    axis.set_title("late sharpness against its threshold")
    axis.legend(loc="upper left")


def tabulate_late(study: an.Study) -> pl.DataFrame:
    """One row a panel, learning rate and seed: the late sharpness over its threshold."""
    rows = []
    for panel in PANELS:
        seen, line = read_late(study.select(panel=panel)), scaled(study, panel)
        for seed, values in zip(study.select(panel=panel).values("seed"), seen.sharpness, strict=True):
            rows += [(panel, seed, r, v, v * r / line) for r, v in zip(seen.rates, values, strict=True)]
    return an.make_table(rows, "panel, seed, learning_rate, sharpness, over_threshold")


def tabulate_slopes(study: an.Study) -> pl.DataFrame:
    rows = []
    for panel in PANELS:
        seen = read_late(study.select(panel=panel))
        rows.append((panel, scaled(study, panel), *fit_late_slope(seen), int((~np.isfinite(seen.sharpness)).sum())))
    return an.make_table(rows, "panel, predicted, slope, low, high, lost_runs")


def tabulate_thresholds(study: an.Study) -> pl.DataFrame:
    momentum = study.select(panel="quadratic").values("optimizer.momentum")[0]
    rows = [(kind, stability_threshold(kind, momentum), *bracket(quadratic(study, kind))) for kind in RULES]
    return an.make_table(rows, "rule, predicted, measured, low, high")


def caption(study: an.Study) -> str:
    gd, flow = study.select(panel="gd"), study.select(panel="flow")
    run = an.read_settings(gd)
    initial = gd.records.filter(step=0)["sharpness"]
    lines = 2 / np.array(gd.values("learning_rate"))
    greatest = flow.records.group_by("seed").agg(pl.col("sharpness").max())["sharpness"].min()
    rises = share_of_rises(tabulate_pairs(gd, 2.0))
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


def share_of_rises_yet_falls(table: pl.DataFrame) -> an.Measured:
    """Return the share of steps on which the loss rises, where every run ends below its loss at the crossing."""
    return an.require_also(share_of_rises(table), bool((table["end"] < table["crossing"]).all()))


def distance_of_threshold(table: pl.DataFrame, predicted: float) -> an.Estimate:
    """Return the relative distance of the measured threshold from a predicted one."""
    return bracket(table) * (1 / predicted) - 1


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    gd, flow = read_late(study.select(panel="gd")), read_late(study.select(panel="flow"))
    rates, momentum = gd.rates, study.select(panel="quadratic").values("optimizer.momentum")[0]
    passed = rates[0] / 2  # of the rates' thresholds that of the least is the highest
    made = [
        an.judge(
            id=f"edge/quadratic-{kind}",
            source=DERIVED,
            statement=f"{name} on a quadratic diverges above eta S = {FORMULA[kind]}",
            expects=an.near(0, 1e-4, of=f"relative distance from {stability_threshold(kind, momentum):.5g}"),
            evidence=an.compare(
                distance_of_threshold,
                quadratic(study, kind),
                treatment={f"{RULES[AGAINST[kind]]} on the same quadratics": quadratic(study, AGAINST[kind])},
                predicted=stability_threshold(kind, momentum),
            ),
        )
        for kind, name in RULES.items()
    ]
    made += [
        claim(
            id=f"edge/gd-hovers-{rate:g}",
            statement=f"GD at eta = {rate:g} ends with sharpness 2/eta",
            expects=an.near(2, 0.05, relative=True, of="late median of eta S"),
            evidence=an.compare(
                an.median_over_seeds,
                rate * gd.sharpness[:, k],
                neighbour={f"GD at eta = {rates[other]:g}, held to this one": rate * gd.sharpness[:, other]},
            ),
        )
        for k, rate in enumerate(rates)
        for other in [k + 1 if k + 1 < len(rates) else k - 1]
    ]
    after_crossing = tabulate_pairs(study.select(panel="flow"), 2.0 * flow.rates[0] / rates[-1])
    made += [
        claim(
            id="edge/gd-loss-is-not-monotone",
            statement="After the crossing GD's loss rises on single steps, yet falls in the long run",
            expects=an.at_least(0.01, of="ends below its value at the crossing, share of rises (estimated from pairs)"),
            evidence=an.compare(
                share_of_rises_yet_falls,
                tabulate_pairs(study.select(panel="gd"), 2.0),
                treatment={"gradient flow": after_crossing},
            ),
        ),
        claim(
            id="edge/flow-passes-through",
            statement="Gradient flow passes 2/eta without levelling off there",
            expects=an.at_least(1.2, of=f"late eta S / 2 at eta = {rates[0]:g}"),
            evidence=an.compare(
                an.median_over_seeds, passed * flow.sharpness[:, 0], treatment={"GD": passed * gd.sharpness[:, 0]}
            ),
        ),
    ]
    for panel, kind in PANELS.items():
        seen, other = (read_late(study.select(panel=name)) for name in (panel, AGAINST[panel]))
        degree = study.select(panel=panel).values("degree")[0]
        made.append(
            claim(
                id=f"edge/slope-{panel.replace('_', '-')}",
                statement=f"{RULES[kind]}'s late sharpness on T_{degree} has slope {FORMULA[kind]} against 1/eta",
                expects=an.near(scaled(study, panel), 0.1, relative=True, of="slope"),
                evidence=an.compare(fit_late_slope, seen, treatment={RULES[PANELS[AGAINST[panel]]]: other}),
                post_hoc="T_5 was added after heavy ball on T_4 had been seen off its line" if panel.endswith("_long") else "",
            )
        )
    return made
