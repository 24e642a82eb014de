"""Is there a barrier of the loss between two trained nets,
and does it go once their neurons have been put in one order?

Two-layer ReLU nets are trained on the same samples from different initial parameters. The loss on the straight line
between two ends rises above both (a barrier). A net's neurons may be put in any order without changing its function;
conjecture (Entezari et al. 2022): for wide nets there is an order in which the barrier vanishes. Here the second net's
neurons are put in the order nearest to the first's parameters, which for one hidden layer is a linear assignment
(Ainsworth et al. 2023). The control is a random order, in which the barrier must not shrink.

What comes out, on T_3 of a line: at width 256 matching leaves 0.016 [0.009, 0.037] of the barrier, a random order 0.88.
The share that is left falls with width, but over 16 to 256 the control cannot be told from it.
"""

from typing import NamedTuple

import numpy as np

import dynamics.analysis.words as an
from dynamics.study.reload import views

SOURCE = "Entezari et al. 2022"
CHANGED = "rate, steps and the widest nets were changed after runs had diverged"
PLACES = np.linspace(0, 1, 21)
PLANE = np.linspace(-1, 1, 25)  # along filter-normalised random directions
ORDERS = {"as trained": "o", "matched": "s", "random order": "^"}


class Pairs(NamedTuple):
    """Losses on lines between the nets of P pairs of one width, by the order of the second's neurons, (P, 21) each."""

    losses: dict[str, np.ndarray]

    def barriers(self, order: str) -> np.ndarray:
        """Return the barrier of each pair, (P,)."""
        return np.array([an.find_barrier(losses) for losses in self.losses[order]])


def read_pairs(part: an.Study) -> Pairs:
    """The pairs of a part that has one width: seeds 0 and 1, 2 and 3, and so on."""
    seeds = dict(part.runs.unique("run").select("run", "seed").iter_rows())
    nets = [seen for _, seen in sorted(((seeds[run], seen) for run, seen in views(part)), key=lambda pair: pair[0])]
    losses = {order: [] for order in ORDERS}
    for i in range(0, len(nets) - 1, 2):
        one, other = nets[i], nets[i + 1].params
        orders = {"as trained": np.arange(len(other.readout)), "matched": an.find_match(one.params, other)}
        orders["random order"] = np.random.default_rng(i).permutation(len(other.readout))
        lines = an.line_losses(one, [an.permute_neurons(other, order) for order in orders.values()], PLACES)
        for name, found in zip(orders, lines, strict=True):
            losses[name].append(found)
    return Pairs({name: np.array(rows) for name, rows in losses.items()})


def read_widths(study: an.Study) -> dict[int, Pairs]:
    return {int(width): read_pairs(part) for width, part in an.split_by(study, "model.width").items()}


def stack(pairs: dict[int, Pairs], order: str) -> np.ndarray:
    """The barriers of P pairs at W widths, (P, W)."""
    return np.stack([own.barriers(order) for own in pairs.values()], axis=1)


def figure(study: an.Study) -> an.Page:
    """The loss between two ends, in three orders; barriers against width; a plane through one end."""
    pairs, widths = read_widths(study), study.values("model.width")
    fig, (left, middle, right) = an.new_axes(1, 3, (11, 3.4))
    for (name, losses), color in zip(pairs[max(pairs)].losses.items(), an.COLORS, strict=False):
        left.fill_between(PLACES, losses.min(axis=0), losses.max(axis=0), color=color, alpha=0.2, lw=0)
        left.plot(PLACES, np.median(losses, axis=0), color=color, label=name)
    left.set(
        title=f"between two nets of width {max(pairs)}", xlabel="share of the second net", ylabel="training loss", yscale="log"
    )
    for (name, marker), color in zip(ORDERS.items(), an.COLORS, strict=False):
        an.draw_quartiles(middle, widths, stack(pairs, name), fmt=marker + "-", color=color, capsize=2, label=name)
    middle.set(title="barrier", xlabel="width", ylabel="excess of the loss over the ends' line", xscale="log", yscale="log")
    an.label_ticks(middle, widths)
    for axis in (left, middle):
        axis.legend()
    (_, seen), *_ = views(an.first_seed(study).select(**{"model.width": max(pairs)}))
    plane = an.slice_losses(seen, [an.draw_direction(seen, seed) for seed in (0, 1)], PLANE, PLANE)
    shown = right.contourf(PLANE, PLANE, np.log10(plane).T, 20, cmap="viridis")
    fig.colorbar(shown, ax=right, label="log10 of the training loss")
    right.set(title="plane through one end", xlabel="first direction", ylabel="second direction", xticks=[-1, 0, 1])
    rows = [(name, w, float(np.median(own.barriers(name)))) for w, own in pairs.items() for name in ORDERS]
    table = an.make_table(rows, "order, width, barrier")
    run, count = an.read_settings(study), len(stack(pairs, "matched"))
    caption = (
        f"Two-layer ReLU nets on {run['data.num_samples']} points of [-1, 1], target T_{run['target.degree']}, {run['steps']} "
        f"steps; {count} pairs of seeds, bands from the least to the greatest, bars are quartiles. Right: two random "
        f"directions, normalised filter by filter (Li et al. 2018); 1 is the size of the weights themselves."
    )
    return an.Page(fig, caption, {"landscape_barriers": table}, {"median barriers": table})


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE, post_hoc=CHANGED)
    pairs = read_widths(study)
    trained, matched, shuffled = (stack(pairs, order) for order in ORDERS)
    widest, widths = max(pairs), list(pairs)
    return [
        claim(
            id="landscape/matching-removes-the-barrier",
            statement=f"At width {widest} matched neurons leave at most a tenth of the barrier",
            expects=an.at_most(0.1, of="ratio of median barriers, matched over as trained,"),
            evidence=an.compare(
                an.ratio_over_seeds,
                (matched[:, -1], trained[:, -1]),
                null={"a random order": (shuffled[:, -1], trained[:, -1])},
            ),
        ),
        claim(
            id="landscape/wide-nets-match-better",
            statement="The share of the barrier that is left after matching falls with width",
            expects=an.at_most(-0.1, of="slope of the ratio against the width"),
            evidence=an.compare(
                an.trend_of_logs, (matched / trained, widths), null={"a random order": (shuffled / trained, widths)}
            ),
        ),
    ]
