"""One input dimension: what gradient descent at small and large rates learns, and its curvature against the weight function."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate, over_seeds
from dynamics.analysis.claims import INCONCLUSIVE, Claim, Finding, exact, judge, within
from dynamics.analysis.figures import COLORS, MARKERS, Page
from dynamics.analysis.stability_claims import ROUNDING, stability_claims
from dynamics.models.two_layer import TwoLayer
from dynamics.stability.ridges import path_norm, reduced, ridges, weighted_path_norm
from dynamics.stability.univariate import curvature_integral, effective_knots, knots
from dynamics.stability.weight import line_weight
from dynamics.study.reload import final_state, restart
from dynamics.study.tables import Study
from dynamics.systems.training import TrainingSpec

MULAYOFF, QIAO = "Mulayoff et al. 2021", "Qiao et al. 2024"


@dataclass(frozen=True)
class Net:
    """A run's first and final parameters with its data, on the host in float64: inputs (n,), labels (n,), clean (n,)."""

    rate: float
    seed: int
    begin: TwoLayer
    end: TwoLayer
    inputs: np.ndarray
    labels: np.ndarray
    clean: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """f(x) of the final net, x (M,)."""
        hidden = np.asarray(self.end.hidden, float)
        z = x[:, None] * hidden[1] + hidden[0]
        return np.maximum(z, 0) @ np.asarray(self.end.readout, float) + float(self.end.offset)


def nets(study: Study) -> list[Net]:
    found = []
    for run in study.runs["run"].unique(maintain_order=True):
        spec = study.specs[run]
        assert isinstance(spec, TrainingSpec)
        begin, (fixed, state) = restart(spec)[1].params, final_state(study, run)
        train = fixed.problem.train
        data = [np.asarray(a, float) for a in (train.inputs[:, 0], train.labels, train.clean)]
        found.append(Net(spec.optimizer.learning_rate, spec.seed, begin, state.params, *data))
    return found


def net_table(all_nets: list[Net]) -> pl.DataFrame:
    """One row a run: norms of the final net by several ways, and its effective number of knots, at the start and in the end.

    weighted: sum |a_j| g(t_j) over the reduced form; neurons: the same over all neurons, unmerged; integral: int |f''| g from
    values of f alone; plain: sum |a_j|; inside: the part of it between the outermost inputs.
    """
    rows = []
    for net in all_nets:
        form, inputs = reduced(net.end), net.inputs[:, None]
        rows.append(
            (
                net.rate,
                net.seed,
                weighted_path_norm(form, inputs),
                weighted_path_norm(ridges(net.end), inputs),
                curvature_integral(net, net.inputs),
                path_norm(form),
                float(np.abs(knots(net.end, net.inputs)[1]).sum()),
                effective_knots(net.begin, net.inputs),
                effective_knots(net.end, net.inputs),
            )
        )
    names = ["rate", "seed", "weighted", "neurons", "integral", "plain", "inside", "first_knots", "knots"]
    return pl.DataFrame(rows, schema=names, orient="row")


def per_rate(table: pl.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """(rates (K,), values (S, K)) of a column."""
    pivot = table.sort("rate").pivot(on="rate", index="seed", values=column, maintain_order=True).sort("seed")
    return np.array(pivot.columns[1:], float), pivot.drop("seed").to_numpy().astype(float)


def finals(study: Study) -> pl.DataFrame:
    return study.final.with_columns(rate=pl.col("optimizer.learning_rate"))


def figure(study: Study) -> Page:
    """Learned functions at the least and largest rate, their curvature against g; norm, sharpness, knots against 1/eta."""
    all_nets = nets(study)
    table = net_table(all_nets)
    fig, axes = plt.subplots(2, 3, figsize=(12, 6.8))
    seed = study.values("seed")[0]
    pair = [
        next(n for n in all_nets if n.rate == rate and n.seed == seed) for rate in (table["rate"].min(), table["rate"].max())
    ]
    for axis, net, color in zip(axes[0], pair, COLORS, strict=False):
        draw_function(axis, net, color)
    draw_curvature(axes[0, 2], pair)
    draw_norms(axes[1, 0], study, table)
    draw_sharpness(axes[1, 1], study)
    draw_knots(axes[1, 2], study, table)
    summary = table.group_by("rate").agg(pl.exclude("seed").median()).sort("rate")
    return Page(fig, caption(study, table), {"univariate": table}, {"medians over seeds": summary})


def draw_function(axis, net: Net, color: str) -> None:
    order = np.argsort(net.inputs)
    x = np.linspace(-1, 1, 2001)
    at, _ = knots(net.end, net.inputs)
    axis.plot(net.inputs, net.labels, ".", color="0.5", label="data")
    axis.plot(net.inputs[order], net.clean[order], "-", color="0.7", lw=3, label="clean target", zorder=0)
    axis.plot(x, net(x), "-", color=color, label="learned")
    axis.plot(at, net(at), "|", color=color, ms=8, label="knots")
    axis.set(title=rf"$\eta={net.rate:g}$, seed {net.seed}", xlabel="$x$", ylabel="$f(x)$")
    axis.legend(fontsize=7)


def draw_curvature(axis, pair: list[Net]) -> None:
    """Every kink as a point (its place, the size of its jump), over the empirical g of the data."""
    for net, color, marker in zip(pair, COLORS, MARKERS, strict=False):
        at, jump = knots(net.end, net.inputs)
        axis.semilogy(at, np.abs(jump), marker, color=color, ms=3.5, label=rf"jumps of f', $\eta={net.rate:g}$")
    t = np.linspace(-1, 1, 1001)
    g = line_weight(pair[0].inputs, t)
    axis.semilogy(t[g > 0], g[g > 0], "-", color="k", lw=1, label="$g_n(x)$")
    axis.set(title="curvature |f''| against $g$", xlabel="$x$", ylim=(1e-5, None))
    axis.legend(fontsize=7, loc="lower center")


def spread(axis, rates: np.ndarray, values: np.ndarray, color: str, marker: str, label: str) -> None:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    axis.errorbar(1 / rates, middle, yerr=[middle - low, high - middle], fmt=f"{marker}-", color=color, lw=1, label=label)


def inverse_rates(axis, rates: np.ndarray) -> None:
    axis.set(xscale="log", xlabel=r"$1/\eta$")
    axis.set_xticks(1 / rates, [f"{1 / rate:.3g}" for rate in rates])
    axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)


def draw_norms(axis, study: Study, table: pl.DataFrame) -> None:
    spread(axis, *per_rate(table, "plain"), COLORS[1], "s", "unweighted norm ($g=1$)")
    spread(axis, *per_rate(table, "weighted"), COLORS[0], "o", "weighted norm $|f|_{V_g}$")
    rates, bound = per_rate(finals(study).with_columns(bound=pl.col("corollary_slack") + pl.col("weighted_path_norm")), "bound")
    axis.plot(1 / rates, 1 / rates - 0.5, "--", color="0.4", label=r"$1/\eta-1/2$")
    seen = np.isfinite(bound).any(axis=0)
    axis.plot(1 / rates[seen], np.nanmedian(bound[:, seen], axis=0), ":", color="0.4", label="the same, with loss term")
    axis.set(title="path norms and the bound", yscale="log", ylim=(1e-2, None))
    inverse_rates(axis, rates)
    axis.legend(fontsize=7)


def draw_sharpness(axis, study: Study) -> None:
    spread(axis, *per_rate(finals(study), "sharpness"), COLORS[0], "o", "final sharpness")
    rates = np.array(study.values("learning_rate"))
    axis.plot(1 / rates, 2 / rates, "--", color="0.4", label=r"$2/\eta$")
    start = study.records.filter(step=0)["sharpness"].to_numpy()
    axis.axhline(np.median(start), color=COLORS[1], ls=":", label="at the start")
    axis.set(title="sharpness", yscale="log")
    inverse_rates(axis, rates)
    axis.legend(fontsize=7)


def draw_knots(axis, study: Study, table: pl.DataFrame) -> None:
    spread(axis, *per_rate(table, "knots"), COLORS[0], "o", "effective number of knots")
    rates, risk = per_rate(finals(study), "excess_risk")
    spread(axis, rates, 10 * risk, COLORS[1], "s", "10 x excess risk")
    axis.set(title="simplicity and error", ylim=(0, 1.3 * axis.get_ylim()[1]))
    inverse_rates(axis, rates)
    axis.legend(fontsize=7)


def caption(study: Study, table: pl.DataFrame) -> str:
    run, last = study.runs.row(0, named=True), finals(study)
    rates, norm = per_rate(table, "weighted")
    merged = float((table["neurons"] - table["weighted"]).to_numpy().max())
    edge = per_rate(last.with_columns(edge=pl.col("sharpness") * pl.col("rate") / 2), "edge")[1]
    time, ends = run["optimizer.learning_rate"] * run["steps"], np.median(norm, axis=0)
    edges = np.median(edge, axis=0)
    return (
        f"d = 1, {run['data.num_samples']} inputs uniform on [-1, 1], target {run['target.kind']} T_{run['target.degree']}, "
        f"noise {run['data.noise_std']:g}, width {run['model.width']}, full-batch GD on 1/(2n) up to time {time:g}, "
        f"{len(study.values('seed'))} seeds (medians and quartiles). The weighted norm falls from {ends[0]:.3g} at eta = "
        f"{rates[0]:g} to {ends[-1]:.3g} at eta = {rates[-1]:g}, eta times final sharpness over 2 being {edges[0]:.2f} and "
        f"{edges[-1]:.2f}. Knots count by the participation ratio of the curvature over the gaps between inputs. Merging "
        f"coinciding kinks lowers the norm of a trained net by at most {merged:.2g}: kinks of trained nets hardly coincide."
    )


def same(pair: tuple[np.ndarray, np.ndarray]) -> Finding:
    """The largest relative difference over runs is at most 1 %; nets without curvature are left out."""
    one, other = pair
    curved = one > 1e-9
    if not curved.any():
        return Finding(INCONCLUSIVE, Estimate(np.nan, np.nan, np.nan))
    return exact(float(np.max(np.abs(other[curved] / one[curved] - 1))), 0, 0.01)


def never_below(slack: np.ndarray) -> Finding:
    """The smallest relative slack over runs is not negative beyond rounding; nothing to check is inconclusive."""
    if not len(slack):
        return Finding(INCONCLUSIVE, Estimate(np.nan, np.nan, np.nan))
    return exact(float(slack.min()), -ROUNDING["float64"], np.inf)


def stationary_slack(study: Study, norm: str) -> np.ndarray:
    """(lambda / 2 - 1/2 - norm) / (lambda / 2) of every final net, without a loss term."""
    last = finals(study)
    half = last["sharpness"].to_numpy() / 2
    return (half - 0.5 - last[norm].to_numpy()) / half


def edge_slack(study: Study, norm: str) -> np.ndarray:
    """(1 / eta - 1/2 - norm) eta of every final net below the edge, without a loss term."""
    last = finals(study).filter("below_edge")
    return 1 - last["rate"].to_numpy() * (0.5 + last[norm].to_numpy())


def ratio_below(limit: float):
    """The median at the largest rate over that at the smallest is at most `limit`."""

    def check(values: np.ndarray) -> Finding:
        def ratio(index: np.ndarray) -> np.ndarray:
            return np.median(values[index, -1], axis=1) / np.median(values[index, 0], axis=1)

        return within(over_seeds(ratio, len(values)), -np.inf, limit)

    return check


def stable(seen: tuple[np.ndarray, np.ndarray]) -> Finding:
    """eta * sharpness / 2 is at most 1.05 at every rate, median over seeds, where it is largest."""
    rates, sharpness = seen
    return within(over_seeds(lambda i: np.max(np.median(sharpness[i], axis=1) * rates / 2, axis=1), len(sharpness)), 0, 1.05)


def claims(study: Study) -> list[Claim]:
    table, last = net_table(nets(study)), finals(study)
    weighted, integral, inside = (table[c].to_numpy() for c in ("weighted", "integral", "inside"))
    rates, norm = per_rate(table, "weighted")
    first = study.records.filter(step=0).with_columns(rate=pl.col("optimizer.learning_rate"))
    sharpness = per_rate(last, "sharpness")[1]
    return [
        *stability_claims(study, "univariate"),
        judge(
            "univariate/norm-is-curvature",
            "Liang et al. 2025, Theorem 3.4; Mulayoff et al. 2021",
            "The reduced form's weighted path norm is int |f''| g, found from values of f alone",
            "relative difference <= 1 % in every run",
            same,
            (weighted, integral),
            (inside, integral),
            "g = 1 inside the data",
        ),
        judge(
            "univariate/no-loss-term-at-the-end",
            "derived: H = GN at stationary points",
            "Final nets have int |f''| g <= lambda / 2 - 1/2 without the loss term",
            "smallest slack / (lambda / 2) >= 0",
            never_below,
            stationary_slack(study, "weighted_path_norm"),
            stationary_slack(study, "path_norm"),
            "unweighted path norm",
        ),
        judge(
            "univariate/below-one-over-eta",
            f"{MULAYOFF}, Theorem 1 (stated for interpolation)",
            "Final nets below the edge have int |f''| g <= 1/eta - 1/2 without the loss term",
            "smallest eta * slack >= 0",
            never_below,
            edge_slack(study, "weighted_path_norm"),
            edge_slack(study, "path_norm"),
            "unweighted path norm",
        ),
        judge(
            "univariate/norm-falls-with-eta",
            QIAO,
            f"The weighted norm at eta = {rates[-1]:g} is less than half of that at eta = {rates[0]:g}",
            "ratio of medians <= 1/2",
            ratio_below(0.5),
            norm,
            per_rate(first, "weighted_path_norm")[1],
            "the same nets before training",
        ),
        judge(
            "univariate/fewer-knots-at-large-eta",
            QIAO,
            f"Nets at eta = {rates[-1]:g} have fewer effective knots than at eta = {rates[0]:g}",
            "ratio of medians <= 0.9",
            ratio_below(0.9),
            per_rate(table, "knots")[1],
            per_rate(table, "first_knots")[1],
            "the same nets before training",
        ),
        judge(
            "univariate/settles-below-the-edge",
            f"{MULAYOFF}, Lemma 1",
            "GD ends with sharpness at most 2/eta at every rate",
            "eta * sharpness / 2 <= 1.05, median over seeds, where it is largest",
            stable,
            (rates, sharpness),
            (rates, np.repeat(sharpness[:, :1], len(rates), axis=1)),
            "nets of the smallest rate, held to the other rates",
        ),
    ]
