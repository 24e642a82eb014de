"""Conservation laws of the flow, GD's drift away from them, and the balance under weight decay, neuron by neuron."""

import jax
import numpy as np
import polars as pl

import dynamics.analysis.words as an
from dynamics.measures.balance import conserved
from dynamics.study.reload import final_state, restart
from dynamics.systems.training import TrainingSpec

DU = "Du, Hu and Lee 2018"
DERIVED = "derived"
NAMES = {"flow": "flow, ReLU", "gd": "GD, ReLU", "flow_gelu": "flow, GELU"}
DECAYED = {"decay_all": "ReLU, all decay", "decay_weights": "ReLU, weights decay", "decay_gelu": "GELU, all decay"}


def tabulate_drifts(study: an.Study) -> pl.DataFrame:
    """One row a run: how far c_k = |w_k|^2 + b_k^2 - v_k^2 ends from exp(-2 decay time) c_k(0),
    over the largest neuron's size.

    Columns: panel, seed, rate (the step), largest and mean (over neurons) drift relative to max_k
        (|w_k|^2 + b_k^2 + v_k^2).
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
    return an.make_table(rows, "panel, seed, rate, largest, mean")


def figure(study: an.Study) -> an.Page:
    """Drift of c_k against the step; imbalance against time under decay;
    v^2 against |w|^2 + b^2 of every neuron at the end."""
    drifts = tabulate_drifts(study)
    fig, axes = an.new_axes(1, 3, (12, 3.7))
    draw_drift(axes[0], drifts)
    draw_balance(axes[1], study)
    draw_neurons(axes[2], study)
    summary = summarise(study, drifts)
    tables = {"conservation_drift": drifts, "conservation_balance": summary}
    return an.Page(fig, caption(study, drifts), tables, {"at the end": summary})


def draw_drift(axis, drifts: pl.DataFrame) -> None:
    for i, (panel, name) in enumerate(NAMES.items()):
        rates, values = an.pivot_seeds(drifts.filter(panel=panel), "rate", "largest")
        label = f"{name}: slope {an.fit_slope(rates, values).value:.2f}"
        an.draw_quartiles(axis, rates, values, tail=0, fmt=f"{an.MARKERS[i]}-", color=an.COLORS[i], label=label)
    high = axis.get_ylim()[1]
    axis.set(xscale="log", yscale="log", xlabel=r"step $\eta$", ylabel="largest drift, relative")
    axis.set_title(r"drift of $|w_k|^2+b_k^2-v_k^2$ over a fixed time")
    axis.set_ylim(top=30 * high)
    an.label_ticks(axis, np.unique(drifts.filter(pl.col("panel").is_in(list(NAMES)))["rate"]).tolist())
    axis.minorticks_off()
    axis.legend(loc="upper left", ncols=2, fontsize=7)


def draw_balance(axis, study: an.Study) -> None:
    for i, (panel, name) in enumerate(DECAYED.items()):
        part = study.select(panel=panel)
        later = part.records.filter(pl.col("step") > 0).group_by("step")
        seen = later.agg(pl.col("imbalance_max", "weights_imbalance_max").median()).sort("step")
        time = seen["step"] * part.values("learning_rate")[0]
        axis.loglog(time, seen["imbalance_max"], "-", color=an.COLORS[i], label=name)
        axis.loglog(time, seen["weights_imbalance_max"], "--", color=an.COLORS[i])
    axis.set(xlabel="time", ylabel="largest imbalance", title="solid: $v^2$ and $|w|^2+b^2$; dashed: $v^2$ and $|w|^2$")
    axis.set_xlim(left=10)
    axis.legend(loc="lower left", fontsize=7)


def draw_neurons(axis, study: an.Study) -> None:
    sizes = []
    for i, (panel, name) in enumerate(DECAYED.items()):
        for run in study.select(panel=panel).runs["run"]:
            params = final_state(study, run)[1].params
            square, incoming = np.asarray(params.readout) ** 2, np.sum(np.asarray(params.hidden) ** 2, axis=0)
            sizes.append(square.max())
            axis.loglog(square, incoming, an.MARKERS[i], color=an.COLORS[i], ms=3, alpha=0.6, lw=0)
        axis.plot([], [], an.MARKERS[i], color=an.COLORS[i], label=name)
    low, high = 1e-4 * max(sizes), 3 * max(sizes)
    axis.plot([low, high], [low, high], "-", color="0.6", lw=0.8, zorder=0)
    axis.set(xlabel="$v_k^2$", ylabel="$|w_k|^2+b_k^2$", title="neurons at the end", xlim=(low, high), ylim=(low, high))
    axis.legend(loc="lower right", fontsize=7)


def summarise(study: an.Study, drifts: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for panel in (*NAMES, *DECAYED):
        drift = drifts.filter(panel=panel).filter(pl.col("rate") == pl.col("rate").min())
        part = study.select(panel=panel, learning_rate=drift["rate"][0]).final
        largest = [float(part[c].to_numpy().max()) for c in ("imbalance_max", "weights_imbalance_max")]
        mean = [float(part[c].to_numpy().mean()) for c in ("imbalance_mean", "carrying_fraction", "gradient_norm")]
        rows.append((panel, drift["rate"][0], float(drift["largest"].to_numpy().max()), *largest, *mean))
    names = "panel, step, drift_max, imbalance_max, weights_imbalance_max, imbalance_mean, carrying, gradient_norm"
    return an.make_table(rows, names)


def caption(study: an.Study, drifts: pl.DataFrame) -> str:
    run = an.read_settings(study)
    decay = an.read_settings(study.select(panel="decay_all"))
    slopes = [an.fit_slope(*an.pivot_seeds(drifts.filter(panel=panel), "rate", "largest")).value for panel in ("gd", "flow")]
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


def median_imbalance(study: an.Study, panel: str, kind: str = "") -> an.Estimate:
    """Return the median over seeds of the largest imbalance at the end of a panel's runs."""
    return an.median_over_seeds(an.read_final(study.select(panel=panel), f"{kind}imbalance_max"))


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(DERIVED)
    drifts = tabulate_drifts(study)
    drift = {panel: an.pivot_seeds(own, "rate", "largest") for (panel,), own in drifts.group_by("panel")}
    smallest = {panel: values[:, 0] for panel, (_, values) in drift.items()}
    gelu, spared, neurons = "GELU net, not homogeneous", "decay of weights, not biases", "neurons that carry the function"
    balanced = an.at_most(1e-2, of="largest imbalance, median over seeds")
    return [
        an.judge(
            id="conservation/flow-conserves",
            source=DU,
            statement="Gradient flow conserves |w_k|^2 + b_k^2 - v_k^2 of every ReLU neuron",
            expects=an.at_most(1e-3, of="largest relative drift at the smallest step"),
            evidence=an.compare(np.max, smallest["flow"], treatment={gelu: smallest["flow_gelu"]}),
        ),
        an.judge(
            id="conservation/flow-drift-vanishes",
            source=DU,
            statement="What drift there is comes from the integrator: it vanishes with its step",
            expects=an.at_least(0.9, of="slope of the drift against the step"),
            evidence=an.compare(an.fit_slope, drift["flow"], treatment={gelu: drift["flow_gelu"]}),
            post_hoc="that Runge-Kutta is of first order where samples cross a kink was found by running",
        ),
        claim(
            id="conservation/gd-drift-is-first-order",
            statement="GD drifts from it by O(eta) over a fixed time",
            expects=an.within(0.9, 1.1, of="slope of the drift against eta"),
            evidence=an.shift_neighbour(an.fit_slope(*drift["gd"]), 0.5, "a drift of order eta^(1/2)"),
        ),
        claim(
            id="conservation/decay-law",
            statement="With decay of all parameters |w_k|^2 + b_k^2 - v_k^2 = exp(-2 decay t) times its first value",
            expects=an.at_most(1e-3, of="largest relative distance at the end"),
            evidence=an.compare(np.max, smallest["decay_all"], treatment={gelu: smallest["decay_gelu"]}),
        ),
        claim(
            id="conservation/balance-all",
            statement=f"With decay of all parameters v_k^2 = |w_k|^2 + b_k^2 in the end, for the {neurons}",
            expects=balanced,
            evidence=an.compare(median_imbalance, (study, "decay_all"), treatment={gelu: (study, "decay_gelu")}),
        ),
        claim(
            id="conservation/balance-all-counts-biases",
            statement="The same, against decay that spares the biases",
            expects=balanced,
            evidence=an.compare(median_imbalance, (study, "decay_all"), treatment={spared: (study, "decay_weights")}),
        ),
        claim(
            id="conservation/balance-weights",
            statement="With decay of weights alone v_k^2 = |w_k|^2 in the end",
            expects=balanced,
            evidence=an.compare(
                median_imbalance,
                (study, "decay_weights"),
                treatment={"decay of all parameters": (study, "decay_all")},
                kind="weights_",
            ),
        ),
    ]
