"""Learning-rate transfer: is the learning rate that is best for a narrow network best for a wide one?

A ReLU network of two hidden layers learns a teacher by Adam, at every width and every learning rate, in the standard
parametrisation (SP) and in the maximal-update one (muP) with the narrowest width as its base, where both are the same.
The best rate has the least training loss after a fixed number of steps. Under muP it stays where it is, so that a rate
tuned on a narrow network serves a wide one; under SP it falls with the width (Yang et al. 2022, Figure 1; Yang and Hu
2021: features move by n times the rate under Adam, so that stable rates fall as 1/n).

In numbers, from width 32 to 512 and over 8 seeds: the best rate goes from 0.019 to 0.020 under muP and to 0.0013 under
SP. The readout starts at zero, as the source advises. A first sweep, with a random one, gave muP's rate the power -0.20
[-0.33, -0.06] of the width.

Controls: each parametrisation fails what is claimed of the other.
"""

from dataclasses import replace

import numpy as np

import dynamics.analysis.words as an

SOURCE = "Yang et al. 2022"
CHANGED = "after a first sweep the readout was set to zero, as the source advises, and the rates reach lower"
NAMES = {"standard": "SP", "mup": "muP"}
PREDICTED = {"standard": -1.0, "mup": 0.0}  # powers of the width in the best rate


def read_losses(study: an.Study, panel: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return widths (W,), rates (R,) and the final training loss (S, W, R), inf where a run diverged."""
    part = study.select(panel=panel)
    widths, rates = part.values("model.width"), part.values("optimizer.learning_rate")
    cells = [part.select(**{"model.width": n, "optimizer.learning_rate": rate}) for n in widths for rate in rates]
    losses = an.stack_seeds(cells, lambda cell: an.read_final(cell, "train_loss"))
    return np.array(widths, float), np.array(rates), losses.reshape(len(losses), len(widths), len(rates))


def find_best(rates: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best rate and the least loss (..., W) of losses (..., W, R).

    The vertex of the parabola through the least loss and its neighbours, in logarithms; the least itself at the ends,
    and where a neighbour diverged.
    """
    x, y = np.log(rates), np.log(np.where(np.isfinite(losses), losses, np.finfo(float).max))
    inner = np.clip(np.argmin(y, axis=-1), 1, len(rates) - 2)
    low, mid, high = (np.take_along_axis(y, (inner + k)[..., None], axis=-1)[..., 0] for k in (-1, 0, 1))
    bend = low - 2 * mid + high
    is_vertex = (mid <= low) & (mid <= high) & (bend > 0) & (np.maximum(low, high) < 100)
    shift = np.where(is_vertex, (low - high) / (2 * np.where(bend > 0, bend, 1)), 0)
    at_end = np.argmin(y, axis=-1)
    best = np.where(is_vertex, x[inner] + shift * (x[1] - x[0]), x[at_end])
    least = np.where(is_vertex, mid - (low - high) ** 2 / (8 * np.where(bend > 0, bend, 1)), np.min(y, axis=-1))
    return np.exp(best), np.exp(least)


def power_of_width(widths: np.ndarray, rates: np.ndarray, losses: np.ndarray) -> an.Estimate:
    """Return the least-squares power of the width in the best rate, whose logarithm is averaged over seeds."""
    x = np.log(widths) - np.mean(np.log(widths))
    return an.mean_over_seeds(np.log(find_best(rates, losses)[0]) @ x / np.sum(x**2))


def cost_of_transfer(widths: np.ndarray, rates: np.ndarray, losses: np.ndarray) -> an.Estimate:
    """Return the loss of the widest net at the rate of the grid that is best for the narrowest,
    over its own least loss.

    Geometric mean over seeds; the narrowest net's rate is a seed's own.
    """
    chosen = np.argmin(np.where(np.isfinite(losses[:, 0]), losses[:, 0], np.inf), axis=1)
    transferred = np.take_along_axis(losses[:, -1], chosen[:, None], axis=1)[:, 0]
    found = an.mean_over_seeds(np.log(transferred / np.min(losses[:, -1], axis=1)))
    return replace(found, **{end: float(np.exp(getattr(found, end))) for end in ("value", "low", "high")})


def figure(study: an.Study) -> an.Page:
    """Final loss against the learning rate at every width, SP and muP;
    best rate against width with the predicted powers."""
    fig, axes = an.new_axes(1, 3, (11, 3.6))
    rows = []
    for axis, (panel, title) in zip(axes, NAMES.items(), strict=False):
        widths, rates, losses = read_losses(study, panel)
        best, least = find_best(rates, losses)
        for i, shade in enumerate(an.assign_shades(list(widths))):
            look = {"color": shade.color, "marker": shade.marker, "label": f"$n = {widths[i]:g}$"}
            an.draw_quartiles(axis, rates, losses[:, i], ms=3, **look)
            typical = np.exp(np.mean(np.log(best[:, i])))
            axis.axvline(typical, color=shade.color, lw=0.8, ls=":")
            rows.append((title, widths[i], typical, np.exp(np.mean(np.log(least[:, i])))))
        axis.set(xscale="log", yscale="log", xlabel="learning rate", title=f"{title} (dotted: best rate)")
        axis.legend()
        color = an.COLORS[list(NAMES).index(panel)]
        an.draw_quartiles(axes[2], widths, best, fmt=an.MARKERS[0], color=color, ls="none", label=title)
        start = np.exp(np.mean(np.log(best[:, 0])))
        axes[2].plot(widths, start * (widths / widths[0]) ** PREDICTED[panel], "-", color=color, lw=1)
    axes[0].set_ylabel("training loss at the end")
    an.share_limits(list(axes[:2]))
    axes[2].set(xscale="log", yscale="log", xlabel="width $n$", title="best rate (lines: $n^0$, $1/n$)")
    an.label_ticks(axes[2], list(widths.astype(int)))
    axes[2].legend(loc="lower left")
    table = an.make_table(rows, "parametrisation, width, best_rate, least_loss")
    return an.Page(fig, caption(study), {"learning_rate_transfer": table}, {"best rate and its loss": table})


def caption(study: an.Study) -> str:
    run = an.read_settings(study.select(panel="mup"))
    _, rates, losses = read_losses(study, "mup")
    return (
        f"{run['model.activation']} network of two hidden layers on {run['data.num_samples']} samples of a teacher, Adam, full "
        f"batch, {run['steps']} steps, {len(rates)} rates; medians and quartiles over {len(losses)} seeds. The rates of muP's "
        f"layers are those of SP at width {run['model.base_width']}. The best rate is the vertex of a parabola in logarithms."
    )


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE, post_hoc=CHANGED)
    standard, mup = (read_losses(study, panel) for panel in NAMES)
    widest = f"{standard[0][-1] / standard[0][0]:g}"
    return [
        claim(
            id="transfer/mup-rate-stays",
            statement="Under muP the best learning rate does not go with the width",
            expects=an.near(0, 0.15, of="power of the width in the best rate"),
            evidence=an.compare(power_of_width, mup, treatment={"standard parametrisation": standard}),
        ),
        claim(
            id="transfer/standard-rate-falls",
            statement="Under SP the best learning rate falls with the width, at least as n^(-1/2)",
            expects=an.at_most(-0.5, of="power of the width in the best rate"),
            evidence=an.compare(power_of_width, standard, treatment={"muP": mup}),
        ),
        claim(
            id="transfer/mup-rate-serves",
            statement=f"Under muP the rate tuned on the narrowest net serves one {widest} times as wide",
            expects=an.at_most(1.5, of="its loss over the least loss"),
            evidence=an.compare(cost_of_transfer, mup, treatment={"standard parametrisation": standard}),
        ),
    ]
