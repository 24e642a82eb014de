"""Conservation laws of the flow, GD's drift away from them, and the balance under weight decay, neuron by neuron."""

from __future__ import annotations

from collections.abc import Callable

import jax
import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate, over_seeds
from dynamics.analysis.claims import Claim, Finding, exact, judge, within
from dynamics.analysis.figures import COLORS, MARKERS, Page
from dynamics.analysis.slopes import fit_slope
from dynamics.measures.conservation import conserved
from dynamics.study.reload import final_state, restart
from dynamics.study.tables import Study
from dynamics.systems.training import TrainingSpec

DU = "Du, Hu and Lee 2018"
DERIVED = "derived"
NAMES = {"flow": "flow, ReLU", "gd": "GD, ReLU", "flow_gelu": "flow, GELU"}
DECAYED = {"decay_all": "ReLU, all decay", "decay_weights": "ReLU, weights decay", "decay_gelu": "GELU, all decay"}


def drift_table(study: Study) -> pl.DataFrame:
    """One row a run: how far c_k = |w_k|^2 + b_k^2 - v_k^2 ends from exp(-2 decay time) c_k(0), over the largest neuron's size.

    Columns: panel, seed, rate (the step), largest and mean (over neurons) drift relative to max_k (|w_k|^2 + b_k^2 + v_k^2).
    """
    rows = []
    for run, panel in study.runs.select("run", "panel").iter_rows():
        spec = study.specs[run]
        assert isinstance(spec, TrainingSpec)
        begin, end = (jax.tree.map(np.asarray, state.params) for _, state in (restart(spec), final_state(study, run)))
        rate, decay = spec.optimizer.learning_rate, spec.optimizer.weight_decay
        expected = conserved(begin) * np.exp(-2 * decay * rate * spec.steps)
        size = np.max(np.sum(end.hidden**2, axis=0) + end.readout**2)
        drift = np.abs(np.asarray(conserved(end)) - expected) / size
        rows.append((panel, spec.seed, rate, float(drift.max()), float(drift.mean())))
    return pl.DataFrame(rows, schema=["panel", "seed", "rate", "largest", "mean"], orient="row")


def by_rate(drifts: pl.DataFrame, panel: str) -> tuple[np.ndarray, np.ndarray]:
    """(rates (K,), largest drift (S, K)) of a panel."""
    pivot = drifts.filter(panel=panel).sort("rate").pivot(on="rate", index="seed", values="largest", maintain_order=True)
    return np.array(pivot.columns[1:], float), pivot.drop("seed").to_numpy()


def ends(study: Study, panel: str, column: str) -> np.ndarray:
    """A column at the end of each run of a panel, (S,)."""
    return study.select(panel=panel).final.sort("seed")[column].to_numpy()


def figure(study: Study) -> Page:
    """Drift of c_k against the step; imbalance against time under decay; v^2 against |w|^2 + b^2 of every neuron at the end."""
    drifts = drift_table(study)
    fig, axes = plt.subplots(1, 3, figsize=(12, 3.7))
    draw_drift(axes[0], drifts)
    draw_balance(axes[1], study)
    draw_neurons(axes[2], study)
    summary = summary_table(study, drifts)
    return Page(
        fig, caption(study, drifts), {"conservation_drift": drifts, "conservation_balance": summary}, {"at the end": summary}
    )


def draw_drift(axis, drifts: pl.DataFrame) -> None:
    for i, (panel, name) in enumerate(NAMES.items()):
        rates, values = by_rate(drifts, panel)
        low, middle, high = np.quantile(values, [0, 0.5, 1], axis=0)
        label = f"{name}: slope {fit_slope(rates, values).value:.2f}"
        axis.errorbar(
            rates, middle, yerr=[middle - low, high - middle], fmt=f"{MARKERS[i]}-", color=COLORS[i], lw=1, label=label
        )
    high = axis.get_ylim()[1]
    axis.set(xscale="log", yscale="log", xlabel=r"step $\eta$", ylabel="largest drift, relative")
    axis.set_title(r"drift of $|w_k|^2+b_k^2-v_k^2$ over a fixed time")
    axis.set_ylim(top=30 * high)
    ticks = np.unique(drifts.filter(pl.col("panel").is_in(list(NAMES)))["rate"])
    axis.set_xticks(ticks, [f"{v:g}" for v in ticks])
    axis.minorticks_off()
    axis.legend(loc="upper left", ncols=2, fontsize=7)


def draw_balance(axis, study: Study) -> None:
    for i, (panel, name) in enumerate(DECAYED.items()):
        part = study.select(panel=panel)
        seen = (
            part.records.filter(pl.col("step") > 0)
            .group_by("step")
            .agg(pl.col("imbalance_max", "weights_imbalance_max").median())
        )
        seen = seen.sort("step")
        time = seen["step"] * part.values("learning_rate")[0]
        axis.loglog(time, seen["imbalance_max"], "-", color=COLORS[i], label=name)
        axis.loglog(time, seen["weights_imbalance_max"], "--", color=COLORS[i])
    axis.set(xlabel="time", ylabel="largest imbalance", title="solid: $v^2$ and $|w|^2+b^2$; dashed: $v^2$ and $|w|^2$")
    axis.set_xlim(left=10)
    axis.legend(loc="lower left", fontsize=7)


def draw_neurons(axis, study: Study) -> None:
    sizes = []
    for i, (panel, name) in enumerate(DECAYED.items()):
        for run in study.select(panel=panel).runs["run"]:
            params = final_state(study, run)[1].params
            square, incoming = np.asarray(params.readout) ** 2, np.sum(np.asarray(params.hidden) ** 2, axis=0)
            sizes.append(square.max())
            axis.loglog(square, incoming, MARKERS[i], color=COLORS[i], ms=3, alpha=0.6, lw=0)
        axis.plot([], [], MARKERS[i], color=COLORS[i], label=name)
    low, high = 1e-4 * max(sizes), 3 * max(sizes)
    axis.plot([low, high], [low, high], "-", color="0.6", lw=0.8, zorder=0)
    axis.set(xlabel="$v_k^2$", ylabel="$|w_k|^2+b_k^2$", title="neurons at the end", xlim=(low, high), ylim=(low, high))
    axis.legend(loc="lower right", fontsize=7)


def summary_table(study: Study, drifts: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for panel in (*NAMES, *DECAYED):
        drift = drifts.filter(panel=panel).filter(pl.col("rate") == pl.col("rate").min())
        part = study.select(panel=panel, learning_rate=drift["rate"][0]).final
        largest = [float(part[c].to_numpy().max()) for c in ("imbalance_max", "weights_imbalance_max")]
        mean = [float(part[c].to_numpy().mean()) for c in ("imbalance_mean", "carrying_fraction", "gradient_norm")]
        rows.append((panel, drift["rate"][0], float(drift["largest"].to_numpy().max()), *largest, *mean))
    names = [
        "panel",
        "step",
        "drift_max",
        "imbalance_max",
        "weights_imbalance_max",
        "imbalance_mean",
        "carrying",
        "gradient_norm",
    ]
    return pl.DataFrame(rows, schema=names, orient="row")


def caption(study: Study, drifts: pl.DataFrame) -> str:
    run = study.runs.row(0, named=True)
    decay = study.select(panel="decay_all").runs.row(0, named=True)
    slopes = [fit_slope(*by_rate(drifts, panel)).value for panel in ("gd", "flow")]
    time, late = (r["optimizer.learning_rate"] * r["steps"] for r in (run, decay))
    return (
        f"Two-layer nets, width {run['model.width']}, n = {run['data.num_samples']}, d = {run['data.input_dim']}, loss 1/(2n), "
        f"{run['precision']}, {len(study.values('seed'))} seeds. Left: largest change of a neuron's |w|^2 + b^2 - v^2 over the "
        f"time {time:g}, relative to the largest neuron's |w|^2 + b^2 + v^2; medians, bars from least to greatest. GD's drift "
        f"has slope {slopes[0]:.2f} in eta. The flow is integrated by fourth-order Runge-Kutta, whose drift falls with slope "
        f"{slopes[1]:.2f} only: it is of first order where samples cross a neuron's kink. Middle, right: decay "
        f"{decay['optimizer.weight_decay']:g}, flow up to time {late:g}; medians over seeds of the largest imbalance "
        "|a - v^2| / (a + v^2) over the neurons that carry at least a thousandth of the largest |v| |w|."
    )


def small(values: np.ndarray) -> Finding:
    """The largest over seeds is at most 1e-3."""
    return exact(float(values.max()), 0, 1e-3)


def first_order(seen: tuple[np.ndarray, np.ndarray]) -> Finding:
    """The slope of the drift against eta lies in [0.9, 1.1]."""
    return within(fit_slope(*seen), 0.9, 1.1)


def vanishes(seen: tuple[np.ndarray, np.ndarray]) -> Finding:
    """The drift falls with the step, with a slope of at least 0.5."""
    return within(fit_slope(*seen), 0.5, np.inf)


def balanced(values: np.ndarray) -> Finding:
    """The largest imbalance, median over seeds, is at most 1e-2."""
    median: Callable = lambda index: np.median(values[index], axis=1)  # noqa: E731
    return within(over_seeds(median, len(values)) if len(values) > 1 else Estimate(values[0], np.nan, np.nan), 0, 1e-2)


def claims(study: Study) -> list[Claim]:
    drifts = drift_table(study)
    smallest = {panel: by_rate(drifts, panel)[1][:, 0] for panel in (*NAMES, *DECAYED)}
    gelu = "GELU net, not homogeneous"
    return [
        judge(
            "conservation/flow-conserves",
            DU,
            "Gradient flow conserves |w_k|^2 + b_k^2 - v_k^2 of every ReLU neuron",
            "largest relative drift at the smallest step <= 1e-3",
            small,
            smallest["flow"],
            smallest["flow_gelu"],
            gelu,
        ),
        judge(
            "conservation/flow-drift-vanishes",
            DU,
            "What drift there is comes from the integrator: it vanishes with its step",
            "slope of the drift against the step >= 1/2",
            vanishes,
            by_rate(drifts, "flow"),
            by_rate(drifts, "flow_gelu"),
            gelu,
        ),
        judge(
            "conservation/gd-drift-is-first-order",
            DERIVED,
            "GD drifts from it by O(eta) over a fixed time",
            "slope of the drift against eta in [0.9, 1.1]",
            first_order,
            by_rate(drifts, "gd"),
            by_rate(drifts, "flow_gelu"),
            gelu,
        ),
        judge(
            "conservation/decay-law",
            DERIVED,
            "With decay of all parameters |w_k|^2 + b_k^2 - v_k^2 = exp(-2 decay t) times its first value",
            "largest relative distance at the end <= 1e-3",
            small,
            smallest["decay_all"],
            smallest["decay_weights"],
            "decay of weights, not biases",
        ),
        judge(
            "conservation/balance-all",
            DERIVED,
            "With decay of all parameters v_k^2 = |w_k|^2 + b_k^2 in the end, for the neurons that carry the function",
            "largest imbalance <= 1e-2, median over seeds",
            balanced,
            ends(study, "decay_all", "imbalance_max"),
            ends(study, "decay_gelu", "imbalance_max"),
            gelu,
        ),
        judge(
            "conservation/balance-all-counts-biases",
            DERIVED,
            "The same, against decay that spares the biases",
            "largest imbalance <= 1e-2, median over seeds",
            balanced,
            ends(study, "decay_all", "imbalance_max"),
            ends(study, "decay_weights", "imbalance_max"),
            "decay of weights, not biases",
        ),
        judge(
            "conservation/balance-weights",
            DERIVED,
            "With decay of weights alone v_k^2 = |w_k|^2 in the end",
            "largest imbalance <= 1e-2, median over seeds",
            balanced,
            ends(study, "decay_weights", "weights_imbalance_max"),
            ends(study, "decay_all", "weights_imbalance_max"),
            "decay of all parameters",
        ),
    ]
