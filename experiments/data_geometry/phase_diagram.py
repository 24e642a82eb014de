"""A phase diagram: where do fully connected, unshared and shared patch nets at the edge of stability generalise?"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2026 and 2026b, beyond their figures"
NETS = {"full": "fully connected", "unshared": "unshared filters", "shared": "shared filters"}
AXES = {"radial": "data.alpha", "sphere": "target.views.size"}
METRIC = "excess_risk"


def levels(study: an.Study, family: str, net: str) -> tuple[np.ndarray, list[Any], list[int]]:
    """Excess risk at the end (S, A, N), inf where a run diverged, the values of the family's axis, and the n."""
    part = study.select(panel=f"{family}_{net}")
    values, (_, along, n) = an.lay_out(replace(part, records=part.final), METRIC, "seed", AXES[family], "num_samples")
    return values, along, n


def figure(study: an.Study) -> an.Page:
    """A row a family, a column an architecture: median excess risk as a map over the family's axis and n."""
    found = {(f, a): levels(study, f, a) for f in AXES for a in NETS}
    medians = {where: np.nanmedian(values, axis=0) for where, (values, _, _) in found.items()}
    everything = np.concatenate([m.ravel() for m in medians.values()])
    everything = everything[np.isfinite(everything)]
    norm = LogNorm(everything.min(), everything.max())
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


def average_over_n(study: an.Study, family: str, net: str) -> np.ndarray:
    """Return the geometric mean over n of the excess risk, (S, A); NaN for a seed with a value that is not positive."""
    values, _, _ = levels(study, family, net)
    whole = an.find_whole_seeds(values)[:, None, None]
    return np.exp(np.log(np.where(whole, values, np.nan)).mean(axis=2))


def ratio_of_nets(table: np.ndarray) -> an.Estimate:
    """Return the median over seeds of the second column over the first, seeds being paired."""
    both = np.isinf(table).all(axis=1)  # inf over inf may be anything
    with np.errstate(invalid="ignore"):
        return an.median_over_seeds(np.where(both, np.inf, table[:, 1] / table[:, 0]))


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    smallest = [average_over_n(study, "sphere", net)[:, 0] for net in NETS]
    by_net = dict(zip(NETS, smallest, strict=True))

    def judge_trend(family: str, net: str, bound: Callable[..., an.Bound], symbol: str, **told: str) -> an.Claim:
        along, table = levels(study, family, net)[1], average_over_n(study, family, net)
        trend = partial(an.trend_of_logs, positions=along)
        evidence = an.permute(trend, table, f"{symbol} permuted within every seed")
        return claim(expects=bound(0, of=f"trend of log excess in log {symbol}"), evidence=evidence, **told)

    return [
        *(
            judge_trend(
                *("radial", net, an.below, "alpha"),
                id=f"phase_diagram/excess-falls-with-alpha-{net}",
                statement=f"Excess risk falls as the data gather at the centre ({NETS[net]})",
            )
            for net in NETS
        ),
        *(
            judge_trend(
                *("sphere", net, an.above, "m/d"),
                id=f"phase_diagram/excess-grows-with-patch-{net}",
                statement=f"On the sphere excess risk grows with the share m/d that a filter sees ({NETS[net]})",
            )
            for net in ("shared", "unshared")
        ),
        *(
            claim(
                id=f"phase_diagram/shared-below-{other}",
                statement="On the sphere with the smallest patches shared filters have less excess risk than "
                f"{NETS[other]} nets",
                expects=an.below(1, of="geometric mean ratio over n"),
                evidence=an.permute(
                    ratio_of_nets,
                    np.stack([by_net[other], by_net["shared"]], axis=1),
                    "the two nets exchanged at random in every seed",
                ),
            )
            for other in ("full", "unshared")
        ),
    ]
