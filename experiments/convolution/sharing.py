"""What weight sharing is worth at an equal number of parameters, where the target is made for it and where it is not."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from dynamics.analysis.claims import Claim, Finding, judge, within
from dynamics.analysis.curves import draw_band
from dynamics.analysis.figures import COLORS, Page
from dynamics.analysis.rate_pages import losses
from dynamics.analysis.slope_groups import absolute, draw_against, level_ratio, slopes
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2026b, beyond their figures"
NETS = {
    "shared": "shared filters",
    "unshared": "own filters, shared readout",
    "unit_readout": "own filters, own readout",
    "full": "fully connected",
}
TEACHERS = {"disjoint": "teacher on all patches", "random_placement": "teacher on one window"}


def groups(study: Study, teacher: str) -> dict[str, Study]:
    part = study.select(**{"target.views.scheme": teacher})
    return {net: part.select(panel=net) for net in NETS if net in study.values("panel")}


def parameters(study: Study) -> dict[str, int]:
    """How many parameters each net has."""
    found = {}
    for panel, run in study.runs.unique("panel", maintain_order=True).select("panel", "run").iter_rows():
        spec = study.specs[run]
        found[panel] = spec.model.parameters(spec.data.grid)  # type: ignore[attr-defined]
    return found


def figure(study: Study) -> Page:
    """A row a teacher: excess risk and gap against n, excess risk against the step at the largest n."""
    fig, axes = plt.subplots(2, 3, figsize=(12, 7.4))
    counts = parameters(study)
    tables = []
    for row, (teacher, title) in zip(axes, TEACHERS.items(), strict=True):
        nets = groups(study, teacher)
        named = {f"{NETS[net]} ({counts[net]})": part for net, part in nets.items()}
        for ax, metric in zip(row, ("excess_risk", "generalization_gap"), strict=False):
            shown = {name: absolute(part, metric) for name, part in named.items()}
            draw_against(ax, shown, metric)
            ax.set_title(f"{title}: {metric.replace('_', ' ')}")
            tables.append(slopes(shown, metric).with_columns(teacher=pl.lit(teacher)))
        for (net, part), color in zip(nets.items(), COLORS, strict=False):
            n = part.values("num_samples")[-1]
            draw_band(row[2], part.select(num_samples=n), "excess_risk", NETS[net], color)
        row[2].set(title=f"excess risk at $n = {n}$", xlabel="step", ylabel="excess risk", xscale="log", yscale="log")
        row[0].legend(title="slope", loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=1)
        row[2].legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
    run = study.runs.row(0, named=True)
    text = (
        f"Sphere of R^{run['data.input_dim']} of radius {run['data.scale']:.3g}, 8 disjoint patches; parameters in brackets. "
        "Medians over "
        f"{len(study.values('seed'))} seeds with quartiles, {run['steps']} steps at eta = {run['optimizer.learning_rate']:g} "
        f"({run['loss.normalization']} "
        f"loss), noise {run['data.noise_std']:g}, teachers of {run['target.units']} filters. Above, the teacher sees all "
        "patches as shared filters do; "
        f"below, a single window of 10. The gap is |excess + sigma^2 - training error|. {losses(study)}"
    )
    table = pl.concat(tables)
    return Page(fig, text, {"sharing": table}, {"slopes": table})


def better(pair: tuple[Study, Study]) -> Finding:
    """The second's excess risk at the largest n is below the first's."""
    return within(level_ratio(*pair, "excess_risk"), -np.inf, np.nextafter(1, 0))


def claims(study: Study) -> list[Claim]:
    symmetric, local = (groups(study, teacher) for teacher in TEACHERS)
    others = [net for net in symmetric if net != "shared"]
    return [
        *(
            judge(
                f"sharing/helps-against-{net.replace('_', '-')}",
                SOURCE,
                f"At equal parameters shared filters have less excess risk than {NETS[net]} where the teacher shares",
                "ratio of excess risks at the largest n < 1",
                better,
                (symmetric[net], symmetric["shared"]),
                (local[net], local["shared"]),
                "a teacher on one window",
            )
            for net in others
        ),
        judge(
            "sharing/locality-helps",
            SOURCE,
            "Without sharing, filters that see one patch each have less excess risk than a fully connected net",
            "ratio of excess risks at the largest n < 1",
            better,
            (symmetric["full"], symmetric["unshared"]),
            (symmetric["unshared"], symmetric["full"]),
            "the two exchanged",
        ),
    ]
