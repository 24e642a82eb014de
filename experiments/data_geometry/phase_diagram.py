"""A phase diagram: where do fully connected, unshared and shared patch nets at the edge of stability generalise?"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2026 and 2026b, beyond their figures"
NETS = {"full": "fully connected", "unshared": "unshared filters", "shared": "shared filters"}
AXES = {"radial": "data.alpha", "sphere": "target.views.size"}
METRIC = "excess_risk"


def levels(study: an.Study, family: str, net: str) -> tuple[np.ndarray, list[Any], list[int]]:
    """Excess risk at the end (S, A, N), the values of the family's axis, and the n."""
    part = study.select(panel=f"{family}_{net}")
    values, (_, along, n) = replace(part, records=part.final).grid(METRIC, "seed", AXES[family], "num_samples")
    return values, along, n


def figure(study: an.Study) -> an.Page:
    """A row a family, a column an architecture: median excess risk as a map over the family's axis and n."""
    found = {(f, a): levels(study, f, a) for f in AXES for a in NETS}
    medians = {where: np.nanmedian(values, axis=0) for where, (values, _, _) in found.items()}
    everything = np.concatenate([m.ravel() for m in medians.values()])
    norm = LogNorm(np.nanmin(everything), np.nanmax(everything))
    fig, axes = an.new_axes(2, 3, (11.5, 6.4))
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
    run = an.read_settings(study)
    text = (
        f"Median excess risk over {len(study.values('seed'))} seeds after {run['steps']} steps of GD at eta = "
        f"{run['optimizer.learning_rate']:g} ({run['loss.normalization']} loss), {run['model.width']} neurons, or filters (a "
        f"position, if unshared), noise {run['data.noise_std']:g}. Above: the radial law in R^8, P(|X| > 1 - eps) = eps^alpha, "
        "patches of 4 coordinates. Below: the sphere of R^16, disjoint patches of m; m = d is the fully connected net for all. "
        f"The teacher is a shared patch network of {run['target.units']} filters on the same views. {an.describe_losses(study)}"
    )
    table = an.make_table(rows, "family, net, along, num_samples, excess_risk")
    return an.Page(fig, text, {"phase_diagram": table})


def mean_ratio(study: an.Study, first: str, second: str) -> an.Estimate:
    """Return the geometric mean over n of the second's excess risk over the first's, on spheres with the smallest patches."""
    a, b = (levels(study, "sphere", net)[0][:, 0] for net in (first, second))
    whole = an.find_whole_seeds(np.stack([a, b], axis=1))
    if not whole.any():
        return an.UNKNOWN
    logs = np.mean(np.log(b[whole] / a[whole]), axis=1)
    return an.over_seeds(lambda i: np.exp(np.median(logs[i], axis=1)), len(logs))


def risk_trend(study: an.Study, reverse: bool, family: str, net: str) -> an.Estimate:
    """Return the trend of log excess risk, averaged over n, in the log of the family's axis (or in the axis reversed)."""
    values, along, _ = levels(study, family, net)
    means = np.exp(np.mean(np.log(values[an.find_whole_seeds(values)]), axis=2))
    return an.trend_of_logs(means, [1 / a if reverse else a for a in along])


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    forward, backward = (study, False), (study, True)
    found = [
        claim(
            id=f"phase_diagram/excess-falls-with-alpha-{net}",
            statement=f"Excess risk falls as the data gather at the centre ({NETS[net]})",
            expects=an.below(0, of="trend of log excess in log alpha"),
            evidence=an.compare(risk_trend, forward, control={"alpha in reverse": backward}, family="radial", net=net),
        )
        for net in NETS
    ]
    found += [
        claim(
            id=f"phase_diagram/excess-grows-with-patch-{net}",
            statement=f"On the sphere excess risk grows with the share m/d that a filter sees ({NETS[net]})",
            expects=an.below(0, of="trend of log excess in -log m/d"),
            evidence=an.compare(risk_trend, backward, control={"m/d in reverse": forward}, family="sphere", net=net),
        )
        for net in ("shared", "unshared")
    ]
    smallest = "On the sphere with the smallest patches"
    return found + [
        claim(
            id=f"phase_diagram/shared-below-{other}",
            statement=f"{smallest} shared filters have less excess risk than {NETS[other]} nets",
            expects=an.below(1, of="geometric mean ratio over n"),
            evidence=an.compare(mean_ratio, (study, other, "shared"), control={an.EXCHANGED: (study, "shared", other)}),
        )
        for other in ("full", "unshared")
    ]
