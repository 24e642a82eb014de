"""A phase diagram: where do fully connected, unshared and shared patch nets at the edge of stability generalise?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.colors import LogNorm

from dynamics.analysis.bootstrap import over_seeds
from dynamics.analysis.claims import Claim, Finding, judge, within
from dynamics.analysis.figures import Page
from dynamics.analysis.rate_pages import losses
from dynamics.analysis.slopes import UNKNOWN, whole_seeds
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2026 and 2026b, beyond their figures"
NETS = {"full": "fully connected", "unshared": "unshared filters", "shared": "shared filters"}
AXES = {"radial": "data.alpha", "sphere": "target.views.size"}
METRIC = "excess_risk"


def levels(study: Study, family: str, net: str) -> tuple[np.ndarray, list[Any], list[int]]:
    """Excess risk at the end (S, A, N), the values of the family's axis, and the n."""
    part = study.select(panel=f"{family}_{net}")
    values, (_, along, n) = replace(part, records=part.final).grid(METRIC, "seed", AXES[family], "num_samples")
    return values, along, n


def figure(study: Study) -> Page:
    """A row a family, a column an architecture: median excess risk as a map over the family's axis and n."""
    found = {(f, a): levels(study, f, a) for f in AXES for a in NETS}
    medians = {where: np.nanmedian(values, axis=0) for where, (values, _, _) in found.items()}
    everything = np.concatenate([m.ravel() for m in medians.values()])
    norm = LogNorm(np.nanmin(everything), np.nanmax(everything))
    fig, axes = plt.subplots(2, 3, figsize=(11.5, 6.4))
    image, rows = None, []
    for row, family in zip(axes, AXES, strict=True):
        d = study.select(panel=f"{family}_full").values("input_dim")[0]
        for ax, net in zip(row, NETS, strict=True):
            _, along, n = found[family, net]
            names = [f"{a:g}" if family == "radial" else f"{a}/{d}" for a in along]
            level = medians[family, net]
            image = ax.imshow(level, norm=norm, cmap="viridis_r", aspect="auto", origin="lower")
            middle = math.sqrt(norm.vmin * norm.vmax)  # type: ignore[operator]
            for (i, j), value in np.ndenumerate(level):
                ax.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=7, color="w" if value > middle else "k")
                rows.append((family, net, float(along[i]), n[j], float(value)))
            ax.set_xticks(range(len(n)), [str(k) for k in n])
            ax.set_yticks(range(len(along)), names)
            ax.set(title=f"{NETS[net]}, {'radial law' if family == 'radial' else 'sphere'}", xlabel="$n$")
        row[0].set_ylabel("$\\alpha$" if family == "radial" else "$m / d$")
    assert image is not None
    fig.colorbar(image, ax=axes, label="median excess risk", shrink=0.8)
    run = study.runs.row(0, named=True)
    text = (
        f"Median excess risk over {len(study.values('seed'))} seeds after {run['steps']} steps of GD at eta = "
        f"{run['optimizer.learning_rate']:g} "
        f"({run['loss.normalization']} loss), {run['model.width']} neurons, or filters (a position, if unshared), noise "
        f"{run['data.noise_std']:g}. "
        "Above: the radial law in R^8, P(|X| > 1 - eps) = eps^alpha, patches of 4 coordinates. Below: the sphere of R^16, "
        "disjoint patches of m; m = d "
        f"is the fully connected net for all. The teacher is a shared patch network of {run['target.units']} filters on the "
        f"same views. {losses(study)}"
    )
    table = pl.DataFrame(rows, schema=["family", "net", "along", "num_samples", "excess_risk"], orient="row")
    return Page(fig, text, {"phase_diagram": table})


def ratio(study: Study, family: str, first: str, second: str, at: int) -> Finding:
    """Geometric mean over n of the second's excess risk over the first's, at one place of the axis: below one."""
    a, b = (levels(study, family, net)[0][:, at] for net in (first, second))
    whole = whole_seeds(np.stack([a, b], axis=1))
    if not whole.any():
        return within(UNKNOWN, 0, 0)
    logs = np.mean(np.log(b[whole] / a[whole]), axis=1)
    return within(over_seeds(lambda i: np.exp(np.median(logs[i], axis=1)), len(logs)), -np.inf, np.nextafter(1, 0))


def falls(study: Study, family: str, net: str, *, flip: bool = False) -> Finding:
    """Excess risk, averaged over n in logarithms, falls along the family's axis (in its order, or reversed)."""
    values, along, _ = levels(study, family, net)
    values = values[whole_seeds(values)]
    if not len(values) or len(along) < 2:
        return within(UNKNOWN, 0, 0)
    x = np.log(np.array(along, float)) * (-1 if flip else 1)
    lever = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    logs = np.mean(np.log(values), axis=2)
    return within(over_seeds(lambda i: np.median(logs[i], axis=1) @ lever, len(logs)), -np.inf, -np.nextafter(0, 1))


def claims(study: Study) -> list[Claim]:
    return [
        *(
            judge(
                f"phase_diagram/excess-falls-with-alpha-{net}",
                SOURCE,
                f"Excess risk falls as the data gather at the centre ({NETS[net]})",
                "trend of log excess in log alpha < 0",
                lambda flip, net=net: falls(study, "radial", net, flip=flip),
                False,
                True,
                "alpha in reverse",
            )
            for net in NETS
        ),
        *(
            judge(
                f"phase_diagram/excess-grows-with-patch-{net}",
                SOURCE,
                f"On the sphere excess risk grows with the share m/d that a filter sees ({NETS[net]})",
                "trend of log excess in log m/d > 0",
                lambda flip, net=net: falls(study, "sphere", net, flip=flip),
                True,
                False,
                "m/d in reverse",
            )
            for net in ("shared", "unshared")
        ),
        *(
            judge(
                f"phase_diagram/shared-below-{other}",
                SOURCE,
                f"On the sphere with the smallest patches shared filters have less excess risk than {NETS[other]} nets",
                "geometric mean ratio over n < 1",
                lambda pair: ratio(study, "sphere", *pair, 0),
                (other, "shared"),
                ("shared", other),
                "the two exchanged",
            )
            for other in ("full", "unshared")
        ),
    ]
