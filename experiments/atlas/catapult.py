"""Catapult: a two-layer linear net on one sample, its exact two-variable map, and the linearised map as control."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

import dynamics.analysis.words as an

SOURCE = "Lewkowycz et al. 2020"
DERIVED = "derived from the map of Lewkowycz et al. 2020"
PHASES = {"lazy": (0.0, 2.0), "catapult": (2.0, 4.0), "divergent": (4.0, np.inf)}
SHADES = {"lazy": an.COLORS[5], "catapult": an.COLORS[4], "divergent": "0.5"}
COMPARED_STEPS = 50
GROWN = 1e6  # a loss this many times its first value counts as diverged even if it has not overflowed yet
CHANGE = (pl.col("last_kernel") / pl.col("first_kernel") - 1).abs()  # of lambda, relative
OFF = 0.85  # the share of a threshold at which its neighbour lies
FITTED = 3.0  # the eta lambda_0 at which the steps to the loss maximum are judged


def select_phase(part: an.Study, name: str) -> an.Study:
    """The runs whose eta lambda_0 lies strictly inside a phase."""
    return select_between(part, *PHASES[name])


def select_between(part: an.Study, low: float, high: float) -> an.Study:
    """Return the runs whose eta lambda_0 lies strictly inside an interval."""
    inside = pl.col("edge_ratio").is_between(low, high, closed="none")
    return replace(part, runs=part.runs.filter(inside), records=part.records.filter(inside))


def tabulate_ends(part: an.Study) -> pl.DataFrame:
    """One row a run: its fields, first and last edge = eta lambda, and whether it diverged."""
    finite = pl.col("loss").is_finite() & pl.col("edge").is_finite()
    kept = [pl.col(c).sort_by("step") for c in ("edge", "kernel", "loss")]
    seen = part.records.group_by("run").agg(
        *(c.first().name.prefix("first_") for c in kept),
        *(c.last().name.prefix("last_") for c in kept),
        overflowed=~finite.all(),
    )
    diverged = pl.col("overflowed") | (pl.col("last_loss") > GROWN * pl.col("first_loss"))
    fields = part.runs.select("run", "form", "edge_ratio", "width", "initial_output", "initial_kernel").unique("run")
    return fields.join(seen, on="run").with_columns(diverged=diverged).sort("form", "edge_ratio", "width")


def read_curve(part: an.Study, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the one run that is selected, as far as they are finite."""
    table = part.records.sort("step").filter(pl.col(column).is_finite())
    return table["step"].to_numpy(), table[column].to_numpy()


def peaks(part: an.Study) -> tuple[np.ndarray, np.ndarray]:
    """(widths, the step at which the loss is largest)."""
    top = part.records.group_by("width").agg(step=pl.col("step").sort_by("loss").last()).sort("width")
    return top["width"].to_numpy(), top["step"].to_numpy()


def fit_line(part: an.Study) -> tuple[float, float, float]:
    """Slope, intercept and R^2 of the steps to the loss maximum against log n; R^2 = 0 where they do not vary."""
    n, steps = peaks(part)
    slope, intercept = np.polyfit(np.log(n), steps, 1)
    varies = steps.max() > steps.min()
    return float(slope), float(intercept), float(np.corrcoef(np.log(n), steps)[0, 1] ** 2) if varies else 0.0


def growth_slope(edge_ratio: float) -> float:
    """|f| grows from order 1 by the factor eta lambda_0 - 1 a step until f^2 is of order n:
    steps = log n / (2 log(...))."""
    return 1 / (2 * np.log(edge_ratio - 1))


def growth_table(study: an.Study) -> pl.DataFrame:
    rows = []
    for ratio in study.select(panel="growth").values("edge_ratio"):
        slope, _, r2 = fit_line(study.select(panel="growth", edge_ratio=ratio))
        rows.append((ratio, slope, growth_slope(ratio) if ratio > 2 else 0.0, r2))
    return an.make_table(rows, "edge_ratio, slope, predicted, r_squared")


def figure(study: an.Study) -> an.Page:
    """Final eta lambda against eta lambda_0; steps to the loss maximum against n; a loss curve for each phase."""
    fig = an.new_figure(10, 6.2)
    grid = fig.add_gridspec(2, 6, height_ratios=[1.25, 1])
    draw_ends(fig.add_subplot(grid[0, :4]), study)
    draw_growth(fig.add_subplot(grid[0, 4:]), study)
    for i, (name, ratio) in enumerate(zip(PHASES, (1.5, 3.0, 4.2), strict=True)):
        draw_loss(fig.add_subplot(grid[1, 2 * i : 2 * i + 2]), study.select(panel="check", edge_ratio=ratio), name, i == 0)
    table = tabulate_ends(study.select(panel=["phases", "check"])).drop("run")
    growth = growth_table(study)
    tables = {"catapult_ends": table, "catapult_growth": growth}
    return an.Page(fig, caption(study), tables, {"steps to the loss maximum, against log n": growth})


def draw_ends(axis, study: an.Study) -> None:
    for name, (low, high) in PHASES.items():
        axis.axvspan(low, min(high, 4.5), color=SHADES[name], alpha=0.18, lw=0)
        axis.text((low + min(high, 4.5)) / 2, 2.8, name, ha="center", va="center")
    line, net = tabulate_ends(study.select(panel="line")), tabulate_ends(study.select(panel="phases", form="net"))
    axis.plot([0, 2], [0, 2], ":", color="0.4", label="linearised map (kernel fixed)")
    axis.plot(line["edge_ratio"], final_edge(line), "-", color=an.COLORS[0], label="two-variable map")
    axis.plot(net["edge_ratio"], final_edge(net), "o", color=an.COLORS[6], label=f"net of width {net['width'][0]}")
    lost = net.filter("diverged")["edge_ratio"]
    axis.plot(lost, np.full(len(lost), 2.2), "x", color=an.COLORS[1], label="net, diverged")
    axis.axhline(2, color="0.4", lw=0.8, ls="--")
    axis.set(xlim=(0, 4.5), ylim=(0, 3), xlabel=r"$\eta\lambda_0$", ylabel=r"final $\eta\lambda$")
    axis.set_title("where gradient descent ends")
    axis.legend(loc="upper left", bbox_to_anchor=(0.0, 0.91), ncols=2)


def final_edge(table: pl.DataFrame) -> np.ndarray:
    """Final eta lambda, NaN for a run that diverged and so has no end."""
    return np.where(table["diverged"], np.nan, table["last_edge"])


def draw_growth(axis, study: an.Study) -> None:
    ratios = [r for r in study.select(panel="growth").values("edge_ratio") if r in (2.2, 2.5, 3.0)]
    for ratio, color, marker in zip(ratios, an.COLORS, "os^", strict=False):
        part = study.select(panel="growth", edge_ratio=ratio)
        n, steps = peaks(part)
        slope, intercept, r2 = fit_line(part)
        axis.semilogx(n, steps, marker, color=color, label=rf"$\eta\lambda_0={ratio:g}$: $R^2={r2:.3f}$")
        axis.semilogx(n, intercept + slope * np.log(n), "-", color=color, lw=1)
    axis.set(xlabel="width $n$", ylabel="step", ylim=(0, None))
    axis.set_title("steps to the loss maximum")
    axis.legend()


def draw_loss(axis, part: an.Study, name: str, legend: bool) -> None:
    ratio = part.values("edge_ratio")[0]
    last = {"lazy": 16, "catapult": 40, "divergent": 14}[name]
    for form, mark in (("linearized", ":"), ("map", "-"), ("net", "o")):
        steps, loss = read_curve(part.select(form=form), "loss")
        shown = steps <= last
        color = {"linearized": "0.4", "map": an.COLORS[0], "net": an.COLORS[6]}[form]
        label = {"linearized": "linearised map", "map": "map", "net": "net"}[form]
        axis.semilogy(steps[shown], loss[shown], mark, color=color, ms=3, label=label)
    axis.set_ylim((1e-2, 1e8) if name == "divergent" else (1e-10, 1e4))
    axis.set_title(rf"{name}, $\eta\lambda_0={ratio:g}$")
    axis.set(xlabel="step", ylabel=r"loss $f^2/2$" if legend else None)
    if legend:
        axis.legend()


def caption(study: an.Study) -> str:
    run = an.read_settings(study)
    lazy = tabulate_ends(select_phase(study.select(panel="phases", form="net"), "lazy"))
    drift = lazy.select(CHANGE).to_series().to_numpy()
    worst = lazy["edge_ratio"][int(np.argmax(drift))]
    return (
        f"Two-layer linear net f = n^(-1/2) v.u on one sample, loss f^2/2, full-batch gradient descent in {run['precision']}; "
        f"n = {run['width']}, f_0 = {run['initial_output']:g}, lambda_0 = {run['initial_kernel']:g}, {run['steps']} steps. "
        f"Below 2 the kernel changes by at most {100 * drift.max():.2g} % (at eta lambda_0 = {worst:.3g}). Steps to the loss "
        "maximum are those of the map; lines are least-squares fits against log n, and R^2 is limited by whole steps. Close "
        "to 4 the end point depends on f_0."
    )


def largest_difference(one: an.Study, other: an.Study) -> float:
    """Return the largest difference in f and lambda over the first steps, relative to the largest value reached so far.

    Relative to the current value it would compare rounding errors: f passes through zero and decays to it. Runs that
    overflow within these steps are left out: f is cubed there at every step, which triples a relative rounding error.
    """
    early, late = (part.records.filter(pl.col("step") <= COMPARED_STEPS) for part in (one, other))
    both = early.join(late, on=["edge_ratio", "step"], suffix="_other").sort("edge_ratio", "step")
    whole = pl.col("output").is_finite().sum().over("edge_ratio") > COMPARED_STEPS
    both = both.filter(whole)
    worst = 0.0
    for name in ("output", "kernel"):
        so_far = pl.col(name).abs().cum_max().over("edge_ratio")
        worst = max(worst, both.select(((pl.col(name) - pl.col(f"{name}_other")).abs() / so_far).max()).item())
    return worst


def drift_ratio(part: an.Study, width: int) -> float:
    """Return the change of lambda over its leading term in 1/n, -(f_0^2 / (n lambda_0)) (4 - x) / (2 - x),
    x = eta lambda_0.

    From summing (eta f^2 / n)(x - 4) over the geometric decay f = f_0 (1 - x)^t.
    """
    row = tabulate_ends(part.select(width=width)).row(0, named=True)
    x, size = row["edge_ratio"], row["initial_output"] ** 2 / (row["width"] * row["initial_kernel"])
    return (row["last_kernel"] - row["first_kernel"]) / (-size * (4 - x) / (2 - x))


def share_diverged(part: an.Study) -> float:
    """Return the share of runs that diverge."""
    return float(tabulate_ends(part)["diverged"].to_numpy().mean())


def share_of_same_fate(part: an.Study) -> float:
    """Return the share of eta lambda_0 at which map and linearised map both converge or both diverge."""
    one, other = (tabulate_ends(part.select(form=form))["diverged"].to_numpy() for form in ("map", "linearized"))
    return float(np.mean(one == other))


def farthest_slope(growth: an.Study, predict: Callable[[float], float]) -> float:
    """Return the slope against log n over the predicted one, where it is farthest from 1 over the catapult phase."""
    rising = [ratio for ratio in growth.values("edge_ratio") if ratio > 2]
    ratios = [fit_line(growth.select(edge_ratio=ratio))[0] / predict(ratio) for ratio in rising]
    return max(ratios, key=lambda r: abs(r - 1))


def fit_quality(part: an.Study, power: float) -> float:
    """Return R^2 of the steps to the loss maximum against n^power, or against log n for power 0."""
    n, steps = peaks(part)
    return float(np.corrcoef(n**power if power else np.log(n), steps)[0, 1] ** 2)


def end_nearest(table: pl.DataFrame, edge_ratio: float) -> float:
    """Return the final eta lambda of the run that starts nearest to this eta lambda_0."""
    return table.sort((pl.col("edge_ratio") - edge_ratio).abs())["last_edge"][0]


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(DERIVED)
    grid, check, growth = (study.select(panel=p) for p in ("phases", "check", "growth"))
    forms = {form: study.select(panel=["phases", "check"], form=form) for form in ("net", "map", "linearized")}
    net, linear = forms["net"], grid.select(form="linearized")
    converged, checked = (tabulate_ends(part).filter(~pl.col("diverged")) for part in (net, check.select(form="net")))
    lazy_runs, fitted, widths = growth.select(edge_ratio=1.5), growth.select(edge_ratio=FITTED), growth.values("width")
    narrower = max(n for n in widths if n <= widths[-1] / 100)
    lower, missed = f"a threshold {100 * (1 - OFF):.0f} % lower", "one run of another fate"
    return [
        an.judge(
            id="catapult/net-is-the-map",
            source=SOURCE,
            statement=f"The net of width n follows the two-variable map for {COMPARED_STEPS} steps, where it lives so long",
            expects=an.at_most(1e-10, of="relative difference"),
            evidence=an.compare(
                largest_difference,
                (forms["map"], net),
                neighbour={"the map without its 1/n terms": (forms["linearized"], net)},
            ),
        ),
        an.judge(
            id="catapult/ends-below-two",
            source=SOURCE,
            statement="Every run that converges ends at eta lambda < 2",
            expects=an.below(2, of="largest final eta lambda"),
            evidence=an.scale_neighbour(an.largest(converged, "last_edge"), 1.1, "final eta lambda larger by 10 %"),
        ),
        an.judge(
            id="catapult/lazy-kernel-stays",
            source=SOURCE,
            statement="Below eta lambda_0 = 2 the kernel hardly changes",
            expects=an.at_most(0.02, of="largest relative change of lambda"),
            evidence=an.compare(
                an.largest,
                tabulate_ends(select_phase(net, "lazy")),
                treatment={"catapult runs": tabulate_ends(select_phase(net, "catapult"))},
                of=CHANGE,
            ),
        ),
        claim(
            id="catapult/lazy-drift",
            statement="In wide lazy nets lambda falls by f_0^2/(n lambda_0) * (4 - x)/(2 - x), x = eta lambda_0, up to 10 / n",
            expects=an.near(1, 10 / widths[-1], of=f"ratio at n = {widths[-1]}, x = 1.5,"),
            evidence=an.compare(
                drift_ratio,
                (lazy_runs, widths[-1]),
                neighbour={f"nets of width {narrower}, where the next term in 1/n tells": (lazy_runs, narrower)},
            ),
        ),
        an.judge(
            id="catapult/diverges-above-four",
            source=SOURCE,
            statement="Every run with eta lambda_0 > 4 diverges",
            expects=an.at_least(1, of="share"),
            evidence=an.compare(
                share_diverged, select_between(net, 4, np.inf), neighbour={lower: select_between(net, 4 * OFF, np.inf)}
            ),
            catches=missed,
        ),
        *(
            claim(
                id=f"catapult/final-edge-from-{ratio}",
                statement=f"From eta lambda_0 = {ratio} the net ends at {printed}",
                expects=an.near(float(printed), 0.0005, of="final eta lambda to the printed digits,"),
                evidence=an.compare(
                    end_nearest,
                    checked,
                    neighbour={
                        "another eta lambda_0, as near as there is one": converged.filter(pl.col("edge_ratio") != ratio)
                    },
                    edge_ratio=ratio,
                ),
            )
            for ratio, printed in {1.5: "1.491", 3.0: "0.187", 3.8: "0.009"}.items()
        ),
        an.judge(
            id="catapult/growth-is-logarithmic",
            source=SOURCE,
            statement=f"The steps to the loss maximum grow linearly in log n at eta lambda_0 = {FITTED:g}",
            expects=an.at_least(0.95, of="R^2"),
            evidence=an.compare(fit_quality, (fitted, 0), neighbour={"n^(1/4) in the place of log n": (fitted, 0.25)}),
        ),
        claim(
            id="catapult/growth-rate",
            statement="Their slope is 1 / (2 log(eta lambda_0 - 1)) all over the catapult phase",
            expects=an.within(0.9, 1.1, of="ratio, where it is farthest from 1,"),
            evidence=an.compare(
                farthest_slope,
                (growth, growth_slope),
                neighbour={"growth by eta lambda_0 a step": (growth, lambda ratio: growth_slope(ratio + 1))},
            ),
        ),
        claim(
            id="catapult/linearised-diverges-above-two",
            statement="Without its 1/n terms the map diverges for every eta lambda_0 in (2, 4)",
            expects=an.at_least(1, of="share"),
            evidence=an.compare(
                share_diverged, select_between(linear, 2, 4), neighbour={lower: select_between(linear, 2 * OFF, 4)}
            ),
            catches=missed,
        ),
        claim(
            id="catapult/linearised-agrees-below-two",
            statement="Map and linearised map have the same fate for every eta lambda_0 below 2",
            expects=an.at_least(1, of="share"),
            evidence=an.compare(
                share_of_same_fate,
                select_phase(grid, "lazy"),
                neighbour={f"all below {2 / OFF:.3g}": select_between(grid, 0, 2 / OFF)},
            ),
            catches=missed,
        ),
    ]
