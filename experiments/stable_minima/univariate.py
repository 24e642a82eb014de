"""One input dimension: what gradient descent at small and large rates learns,
and its curvature against the weight function."""

from dataclasses import dataclass

import numpy as np
import polars as pl

import dynamics.analysis.words as an
from dynamics.models.two_layer import TwoLayer
from dynamics.stability.one_dimension import effective_knot_count, find_knots, weighted_curvature_integral
from dynamics.stability.ridges import list_ridges, merge_equal_ridges, path_norm, weighted_path_norm
from dynamics.stability.weight import line_weight
from dynamics.study.reload import final_state, restart
from dynamics.systems.training import TrainingSpec

MULAYOFF, QIAO = "Mulayoff et al. 2021", "Qiao et al. 2024"


@dataclass(frozen=True)
class Net:
    """A run's first and final parameters with its data, on the host in float64: inputs (n,), labels (n,),
    clean (n,)."""

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


def load_nets(study: an.Study) -> list[Net]:
    found = []
    for run in study.runs["run"].unique(maintain_order=True):
        spec = study.specs[run]
        assert isinstance(spec, TrainingSpec)
        begin, (fixed, state) = restart(spec)[1].params, final_state(study, run)
        train = fixed.problem.train
        data = [np.asarray(a, float) for a in (train.inputs[:, 0], train.labels, train.clean)]
        found.append(Net(spec.optimizer.learning_rate, spec.seed, begin, state.params, *data))
    return found


def tabulate_nets(all_nets: list[Net]) -> pl.DataFrame:
    """One row a run: norms of the final net by several ways, and its effective number of knots,
    at the start and in the end.

    weighted: sum |a_j| g(t_j) over the reduced form; neurons: the same over all neurons, unmerged; integral: int |f''|
    g from values of f alone; plain: sum |a_j|; inside: the part of it between the outermost inputs.
    """
    rows = []
    for net in all_nets:
        form, inputs = merge_equal_ridges(net.end), net.inputs[:, None]
        weighted = (weighted_path_norm(form, inputs), weighted_path_norm(list_ridges(net.end), inputs))
        unweighted = (path_norm(form), float(np.abs(find_knots(net.end, net.inputs)[1]).sum()))
        count = [effective_knot_count(params, net.inputs) for params in (net.begin, net.end)]
        rows.append((net.rate, net.seed, *weighted, weighted_curvature_integral(net, net.inputs), *unweighted, *count))
    return an.make_table(rows, "rate, seed, weighted, neurons, integral, plain, inside, first_knots, knots")


def finals(study: an.Study) -> pl.DataFrame:
    return study.final.with_columns(rate=pl.col("optimizer.learning_rate"))


def figure(study: an.Study) -> an.Page:
    """Learned functions at the least and largest rate, their curvature against g; norm, sharpness,
    knots against 1/eta."""
    all_nets = load_nets(study)
    table = tabulate_nets(all_nets)
    fig, axes = an.new_axes(2, 3, (12, 6.8))
    seed = study.values("seed")[0]
    ends = (table["rate"].min(), table["rate"].max())
    pair = [next(n for n in all_nets if n.rate == rate and n.seed == seed) for rate in ends]
    for axis, net, color in zip(axes[0], pair, an.COLORS, strict=False):
        draw_function(axis, net, color)
    draw_curvature(axes[0, 2], pair)
    draw_norms(axes[1, 0], study, table)
    draw_sharpness(axes[1, 1], study)
    draw_knots(axes[1, 2], study, table)
    summary = table.group_by("rate").agg(pl.exclude("seed").median()).sort("rate")
    return an.Page(fig, caption(study, table), {"univariate": table}, {"medians over seeds": summary})


def draw_function(axis, net: Net, color: str) -> None:
    order = np.argsort(net.inputs)
    x = np.linspace(-1, 1, 2001)
    at, _ = find_knots(net.end, net.inputs)
    axis.plot(net.inputs, net.labels, ".", color="0.5", label="data")
    axis.plot(net.inputs[order], net.clean[order], "-", color="0.7", lw=3, label="clean target", zorder=0)
    axis.plot(x, net(x), "-", color=color, label="learned")
    axis.plot(at, net(at), "|", color=color, ms=8, label="knots")
    axis.set(title=rf"$\eta={net.rate:g}$, seed {net.seed}", xlabel="$x$", ylabel="$f(x)$")
    axis.legend(fontsize=7)


def draw_curvature(axis, pair: list[Net]) -> None:
    """Every kink as a point (its place, the size of its jump), over the empirical g of the data."""
    for net, color, marker in zip(pair, an.COLORS, an.MARKERS, strict=False):
        at, jump = find_knots(net.end, net.inputs)
        axis.semilogy(at, np.abs(jump), marker, color=color, ms=3.5, label=rf"jumps of f', $\eta={net.rate:g}$")
    t = np.linspace(-1, 1, 1001)
    g = line_weight(pair[0].inputs, t)
    axis.semilogy(t[g > 0], g[g > 0], "-", color="k", lw=1, label="$g_n(x)$")
    axis.set(title="curvature |f''| against $g$", xlabel="$x$", ylim=(1e-5, None))
    axis.legend(fontsize=7, loc="lower center")


def draw_over_rates(axis, rates: np.ndarray, values: np.ndarray, color: str, marker: str, label: str) -> None:
    """Draw values (S, K) against 1/eta, which is labelled at these rates."""
    an.draw_quartiles(axis, 1 / rates, values, fmt=f"{marker}-", color=color, label=label)
    axis.set(xscale="log", xlabel=r"$1/\eta$")
    axis.set_xticks(1 / rates, [f"{1 / rate:.3g}" for rate in rates])
    axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)


def draw_norms(axis, study: an.Study, table: pl.DataFrame) -> None:
    draw_over_rates(axis, *an.pivot_seeds(table, "rate", "plain"), an.COLORS[1], "s", "unweighted norm ($g=1$)")
    draw_over_rates(axis, *an.pivot_seeds(table, "rate", "weighted"), an.COLORS[0], "o", "weighted norm $|f|_{V_g}$")
    bound = pl.col("corollary_slack") + pl.col("weighted_path_norm")
    rates, bound = an.pivot_seeds(finals(study).with_columns(bound=bound), "rate", "bound")
    axis.plot(1 / rates, 1 / rates - 0.5, "--", color="0.4", label=r"$1/\eta-1/2$")
    seen = np.isfinite(bound).any(axis=0)
    axis.plot(1 / rates[seen], np.nanmedian(bound[:, seen], axis=0), ":", color="0.4", label="the same, with loss term")
    axis.set(title="path norms and the bound", yscale="log", ylim=(1e-2, None))
    axis.legend(fontsize=7)


def draw_sharpness(axis, study: an.Study) -> None:
    draw_over_rates(axis, *an.pivot_seeds(finals(study), "rate", "sharpness"), an.COLORS[0], "o", "final sharpness")
    rates = np.array(study.values("learning_rate"))
    axis.plot(1 / rates, 2 / rates, "--", color="0.4", label=r"$2/\eta$")
    start = study.records.filter(step=0)["sharpness"].to_numpy()
    axis.axhline(np.median(start), color=an.COLORS[1], ls=":", label="at the start")
    axis.set(title="sharpness", yscale="log")
    axis.legend(fontsize=7)


def draw_knots(axis, study: an.Study, table: pl.DataFrame) -> None:
    draw_over_rates(axis, *an.pivot_seeds(table, "rate", "knots"), an.COLORS[0], "o", "effective number of knots")
    rates, risk = an.pivot_seeds(finals(study), "rate", "excess_risk")
    draw_over_rates(axis, rates, 10 * risk, an.COLORS[1], "s", "10 x excess risk")
    axis.set(title="simplicity and error", ylim=(0, 1.3 * axis.get_ylim()[1]))
    axis.legend(fontsize=7)


def caption(study: an.Study, table: pl.DataFrame) -> str:
    run, last = an.read_settings(study), finals(study)
    rates, norm = an.pivot_seeds(table, "rate", "weighted")
    merged = float((table["neurons"] - table["weighted"]).to_numpy().max())
    edge = an.pivot_seeds(last.with_columns(edge=pl.col("sharpness") * pl.col("rate") / 2), "rate", "edge")[1]
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


def worst_agreement(one: np.ndarray, other: np.ndarray) -> an.Estimate | float:
    """Return the largest relative difference over runs; nets without curvature are left out,
    unknown if none has any."""
    curved = one > 1e-9
    return float(np.max(np.abs(other[curved] / one[curved] - 1))) if curved.any() else an.UNKNOWN


def largest_edge(rates: np.ndarray, sharpness: np.ndarray) -> an.Estimate:
    """Return eta * sharpness / 2, median over seeds, at the rate where it is largest; sharpness (S, K)."""
    return an.over_values(lambda v: np.median(v, axis=1) * rates / 2, sharpness, over=an.greatest_over_seeds)


def last_over_first(values: np.ndarray) -> an.Estimate:
    """Return the ratio of the medians over seeds at the largest rate and at the smallest, values (S, K)."""
    return an.ratio_over_seeds(values[:, -1], values[:, 0])


def claims(study: an.Study) -> list[an.Claim]:
    table, last = tabulate_nets(load_nets(study)), finals(study)
    weighted, integral = (table[c].to_numpy() for c in ("weighted", "integral"))
    rates, norm = an.pivot_seeds(table, "rate", "weighted")
    knots, sharpness = an.pivot_seeds(table, "rate", "knots")[1], an.pivot_seeds(last, "rate", "sharpness")[1]
    half, weight = last["sharpness"].to_numpy() / 2, last["weighted_path_norm"].to_numpy()
    below = last["below_edge"].to_numpy().astype(bool)
    time, own = last["rate"].to_numpy()[below], weight[below]
    larger = {"g larger by 2 %": (1.02 * weighted, integral)}
    rounding, permuted = an.ROUNDING["float64"], "rates permuted within every seed"
    return [
        *an.judge_stability(study, "univariate"),
        an.judge(
            id="univariate/norm-is-curvature",
            source="Liang et al. 2025, Theorem 3.4; Mulayoff et al. 2021",
            statement="The reduced form's weighted path norm is int |f''| g, found from values of f alone",
            expects=an.at_most(0.01, of="largest relative difference over runs"),
            evidence=an.compare(worst_agreement, (weighted, integral), neighbour=larger),
        ),
        an.judge_slack(
            (half - 0.5 - weight) / half,
            weight / half,
            rounding,
            "smallest slack / (lambda / 2)",
            id="univariate/no-loss-term-at-the-end",
            source="derived: H = GN at stationary points",
            statement="Final nets have int |f''| g <= lambda / 2 - 1/2 without the loss term",
        ),
        an.judge_slack(
            1 - time * (0.5 + own),
            time * own,
            rounding,
            "smallest eta * slack",
            id="univariate/below-one-over-eta",
            source=f"{MULAYOFF}, Theorem 1 (stated for interpolation)",
            statement="Final nets below the edge have int |f''| g <= 1/eta - 1/2 without the loss term",
        ),
        an.judge(
            id="univariate/norm-falls-with-eta",
            source=QIAO,
            statement=f"The weighted norm at eta = {rates[-1]:g} is less than half of that at eta = {rates[0]:g}",
            expects=an.at_most(0.5, of="ratio of medians"),
            evidence=an.permute(last_over_first, norm, permuted),
        ),
        an.judge(
            id="univariate/fewer-knots-at-large-eta",
            source=QIAO,
            statement=f"Nets at eta = {rates[-1]:g} have fewer effective knots than at eta = {rates[0]:g}",
            expects=an.at_most(0.9, of="ratio of medians"),
            evidence=an.permute(last_over_first, knots, permuted),
        ),
        an.judge(
            id="univariate/settles-below-the-edge",
            source=f"{MULAYOFF}, Lemma 1",
            statement="GD ends with sharpness at most 2/eta at every rate",
            expects=an.at_most(1.02, of="eta * sharpness / 2, median over seeds, where it is largest,"),
            evidence=an.compare(
                largest_edge, (rates, sharpness), neighbour={"2/eta of rates 10 % larger": (1.1 * rates, sharpness)}
            ),
        ),
    ]
