"""Does shatterability predict? The depth of the data before training against what the net then carries to
fresh samples."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2026, beyond their figures"
METRICS = ["excess_risk", "generalization_gap", "clean_train_error", "train_loss"]
ADDED = "the claim: added after a first run, which showed it"
INDICES = {
    "depth_area": "depth: area under $\\Psi(T)$",
    "mean_depth": "mean depth",
    "effective_rank": "effective rank of the covariance",
}


def figure(study: an.Study) -> an.Page:
    """Gap, excess risk and clean in-sample error against the depth index."""
    table = an.tabulate_indices(study, METRICS)
    fig, axes = an.new_axes(1, 3, (13, 4.6))
    columns = (("depth_area", "generalization_gap"), ("depth_area", "excess_risk"), ("depth_area", "clean_train_error"))
    for ax, (index, metric) in zip(axes, columns, strict=True):
        for i, ((panel,), own) in enumerate(table.group_by("panel", maintain_order=True)):
            x, y = (np.median(own[c]) for c in (index, metric))
            look = {"color": an.COLORS[i % len(an.COLORS)], "marker": an.MARKERS[(i // len(an.COLORS) + i) % len(an.MARKERS)]}
            spread, name = own[metric].to_numpy(), str(panel).replace("_", " ")
            bars = [[y - spread.min()], [spread.max() - y]]
            ax.errorbar(x, y, yerr=bars, lw=0.8, ls="", label=name, **look)
        found = an.correlate_ranks(table, index, metric)
        title = f"Spearman {found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
        ax.set(title=title, xlabel=INDICES[index], ylabel=metric.replace("_", " "), xscale="log", yscale="log")
        an.label_round_ticks(ax)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    rows = [(index, metric, *an.correlate_ranks(table, index, metric)) for index in INDICES for metric in METRICS]
    correlations = an.make_table(rows, "index, metric, spearman, low, high")
    run = an.read_settings(study)
    text = (
        f"{table['panel'].n_unique()} input laws and image sets, f_0 = 0, noise {run['data.noise_std']:g}, n = "
        f"{run['data.num_samples']}, width {run['model.width']}, {run['steps']} steps at eta = "
        f"{run['optimizer.learning_rate']:g} ({run['loss.normalization']} loss), medians over {len(study.values('seed'))} "
        "seeds, bars least to greatest; E |x|^2 = 1. The depth of the training inputs is that among fresh ones, bounded from "
        "above by 256 random directions and each point's own whitened one, before anything is trained. Intervals are "
        f"over laws. {an.describe_losses(study)}"
    )
    tables = {"shatterability": table, "shatterability_correlations": correlations}
    return an.Page(fig, text, tables, {"rank correlations": correlations})


def permute_laws(table: pl.DataFrame, index: str, statistic: Callable[[pl.DataFrame], an.Estimate]) -> an.Evidence:
    """Return the evidence of a statistic of the medians of each law,
    against the index dealt out anew among the laws."""
    laws = table.group_by("panel", maintain_order=True).agg(pl.col(*INDICES, *METRICS).median())
    return an.permute(
        lambda dealt: statistic(laws.with_columns(pl.Series(index, dealt[0]))),
        laws[index].to_numpy()[None],
        "the index permuted among the laws",
    )


def depth_advantage(table: pl.DataFrame) -> an.Estimate:
    """Return by how much the depth's correlation with the gap is the stronger;
    the interval adds the two halves' errors."""
    a = an.correlate_ranks(table, "depth_area", "generalization_gap")
    b = an.correlate_ranks(table, "effective_rank", "generalization_gap")
    strongest = max(abs(b.low), abs(b.high))
    weakest = 0.0 if b.low <= 0 <= b.high else min(abs(b.low), abs(b.high))
    return replace(a, value=-a.value - abs(b.value), low=-a.high - strongest, high=-a.low - weakest)


def claims(study: an.Study) -> list[an.Claim]:
    table = an.tabulate_indices(study, METRICS)
    found = []
    for index in ("depth_area", "mean_depth"):
        for metric in ("generalization_gap", "excess_risk", "clean_train_error"):
            (known, after), laws = (name.replace("_", " ") for name in (index, metric)), table["panel"].n_unique()
            found.append(
                an.judge(
                    id=f"shatterability/{index.replace('_', '-')}-predicts-{metric.replace('_', '-')}",
                    source=SOURCE,
                    statement=f"Over {laws} laws a larger {known}, known before training, goes with a smaller {after} after it",
                    expects=an.below(0, of="Spearman"),
                    evidence=permute_laws(table, index, partial(an.correlate_ranks, index=index, metric=metric)),
                    post_hoc=ADDED if metric == "clean_train_error" else "",
                )
            )
    found.append(
        an.judge(
            id="shatterability/depth-beats-rank",
            source=SOURCE,
            statement="The depth's area predicts the gap better than the covariance's effective rank does",
            expects=an.above(0, of="-Spearman of the area - |Spearman of the rank|"),
            evidence=permute_laws(table, "depth_area", depth_advantage),
        )
    )
    return found
