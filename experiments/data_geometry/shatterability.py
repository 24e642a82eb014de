"""Does shatterability predict? The depth of the data before training against what the net then carries to fresh samples."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate
from dynamics.analysis.claims import Claim, Finding, judge, within
from dynamics.analysis.depth_index import index_table, rank_correlation
from dynamics.analysis.figures import COLORS, MARKERS, Page
from dynamics.analysis.rate_pages import losses
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2026, beyond their figures"
METRICS = ["excess_risk", "generalization_gap", "clean_train_error", "train_loss"]
INDICES = {
    "depth_area": "depth: area under $\\Psi(T)$",
    "mean_depth": "mean depth",
    "effective_rank": "effective rank of the covariance",
}


def figure(study: Study) -> Page:
    """Gap, excess risk and clean in-sample error against the depth index."""
    table = index_table(study, METRICS)
    fig, axes = plt.subplots(1, 3, figsize=(13, 4.6))
    columns = (("depth_area", "generalization_gap"), ("depth_area", "excess_risk"), ("depth_area", "clean_train_error"))
    for ax, (index, metric) in zip(axes, columns, strict=True):
        for i, ((panel,), own) in enumerate(table.group_by("panel", maintain_order=True)):
            x, y = (np.median(own[c]) for c in (index, metric))
            look = {"color": COLORS[i % len(COLORS)], "marker": MARKERS[(i // len(COLORS) + i) % len(MARKERS)]}
            spread = own[metric].to_numpy()
            ax.errorbar(
                x, y, yerr=[[y - spread.min()], [spread.max() - y]], lw=0.8, ls="", label=str(panel).replace("_", " "), **look
            )
        found = rank_correlation(table, index, metric)
        title = f"Spearman {found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
        ax.set(title=title, xlabel=INDICES[index], ylabel=metric.replace("_", " "), yscale="log")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    correlations = pl.DataFrame(
        [(index, metric, *rank_correlation(table, index, metric)) for index in INDICES for metric in METRICS],
        schema=["index", "metric", "spearman", "low", "high"],
        orient="row",
    )
    run = study.runs.row(0, named=True)
    text = (
        f"{table['panel'].n_unique()} input laws and image sets, f_0 = 0, noise {run['data.noise_std']:g}, n = "
        f"{run['data.num_samples']}, width "
        f"{run['model.width']}, {run['steps']} steps at eta = {run['optimizer.learning_rate']:g} ({run['loss.normalization']} "
        "loss), medians over "
        f"{len(study.values('seed'))} seeds, bars least to greatest; E |x|^2 = 1. The depth of the training inputs is that "
        "among fresh ones, bounded from "
        "above by 256 random directions and each point's own whitened one, before anything is trained. Intervals resample "
        "laws, and seeds "
        f"within each. {losses(study)}"
    )
    return Page(
        fig, text, {"shatterability": table, "shatterability_correlations": correlations}, {"rank correlations": correlations}
    )


def predicts(part: tuple[pl.DataFrame, str, str]) -> Finding:
    """Deeper data, smaller gap: Spearman's correlation below zero, interval and all."""
    return within(rank_correlation(*part), -1, -math.nextafter(0, 1))


def shuffled(table: pl.DataFrame) -> pl.DataFrame:
    """The control: every law with the index of another one."""
    panels = table["panel"].unique(maintain_order=True).to_list()
    order = np.random.default_rng(1).permutation(len(panels))
    exchanged = dict(zip(panels, [panels[i] for i in order], strict=True))
    other = table.select(pl.col("panel").replace({v: k for k, v in exchanged.items()}), "seed", *INDICES)
    return table.drop(*INDICES).join(other, on=["panel", "seed"])


def claims(study: Study) -> list[Claim]:
    table = index_table(study, METRICS)
    mixed = shuffled(table)
    return [
        *(
            judge(
                f"shatterability/{index.replace('_', '-')}-predicts-{metric.replace('_', '-')}",
                SOURCE,
                f"Over {table['panel'].n_unique()} laws a larger {index.replace('_', ' ')}, known before training, goes with a "
                "smaller "
                f"{metric.replace('_', ' ')} after it",
                "Spearman < 0",
                predicts,
                (table, index, metric),
                (mixed, index, metric),
                "the indices shuffled among the laws",
            )
            for index in ("depth_area", "mean_depth")
            for metric in ("generalization_gap", "excess_risk", "clean_train_error")
        ),
        judge(
            "shatterability/depth-beats-rank",
            SOURCE,
            "The depth's area predicts the gap better than the covariance's effective rank does",
            "-Spearman of the area - |Spearman of the rank| > 0",
            lambda pair: better(*pair),
            (table, table),
            (mixed, table),
            "the indices shuffled among the laws",
        ),
    ]


def better(depth: pl.DataFrame, rank: pl.DataFrame) -> Finding:
    """By how much the depth's correlation is the stronger; the interval adds the two halves' errors."""
    a = rank_correlation(depth, "depth_area", "generalization_gap")
    b = rank_correlation(rank, "effective_rank", "generalization_gap")
    strongest = max(abs(b.low), abs(b.high))
    weakest = 0.0 if b.low <= 0 <= b.high else min(abs(b.low), abs(b.high))
    return within(Estimate(-a.value - abs(b.value), -a.high - strongest, -a.low - weakest), math.nextafter(0, 1), math.inf)
