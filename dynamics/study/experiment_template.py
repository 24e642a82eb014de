"""The two files that `dynamics new` writes: a small study of gradient descent that runs as it is and
explains itself."""

CONFIG = """\
# @package _global_
# What is studied, in a line or two. `dynamics experiment=NAME` runs it; mode=plan only says what would run, and
# field=value on the command line changes anything below: optimizer.learning_rate=0.2, sweep.seed=[0,1,2].
defaults:
  - /system/training  # which dynamics; it says which fields there are
  - _self_

# One run: data of a law (here uniform in the ball of R^3) with labels of a target, a network, a rule, what is recorded.
# data.law=arrays data.file=mine.npz, or data.law=images data.root=folder, trains on data of your own.
data: {law: uniform_ball, input_dim: 3, num_samples: 64, num_test: 500, noise_std: 0.1}
target: {kind: linear}
model: {kind: two_layer, width: 32}
optimizer: {kind: gd, learning_rate: 0.1}
measures: [train_loss, excess_risk, sharpness]
steps: 2000
record: {num: 20}

# Axes: every combination of their values is a run, and all runs of one shape are one compiled program.
sweep:
  optimizer.learning_rate: [0.05, 0.1, 0.2]
  seed: {range: [0, 8]}  # a claim that rests on seeds needs five

# What `size=` changes. A smoke run takes seconds; a real one, the default, is `laptop`.
sizes:
  smoke:
    steps: 100
    sweep: {optimizer.learning_rate: [0.1, 0.2], seed: [0, 1]}
  laptop: {}
  paper:
    sweep: {seed: {range: [0, 16]}}
"""

MODULE = '''\
"""What NAME shows, in one line."""

from __future__ import annotations

from dynamics.analysis.bounds import at_most
from dynamics.analysis.captions import read_settings
from dynamics.analysis.claims import Claim, judge
from dynamics.analysis.controls import permute
from dynamics.analysis.curves import draw_band
from dynamics.analysis.figures import COLORS, Page, new_axes
from dynamics.analysis.seed_values import ratio_over_seeds, read_final, split_by, stack_seeds, tabulate_medians
from dynamics.study.tables import Study

METRICS = ("train_loss", "excess_risk", "sharpness")

# A law, target, model, rule, loss, measure or system of your own can be written here and named in the config: see
# docs/own.md, "Pieces of one's own".


def figure(study: Study) -> Page:
    """Return the picture, its caption from the numbers, and tables that are written beside it."""
    groups = {f"{rate:g}": study.select(learning_rate=rate) for rate in study.values("learning_rate")}
    fig, axes = new_axes(1, len(METRICS), (12, 3.4))
    for ax, metric in zip(axes, METRICS, strict=True):
        for (name, part), color in zip(groups.items(), COLORS, strict=False):
            draw_band(ax, part, metric, name, color)  # the median over seeds, the range as a band
        ax.set(title=metric.replace("_", " "), xlabel="step", xscale="log", yscale="log")
    axes[0].legend(title="learning rate")
    table = tabulate_medians(groups, METRICS)
    run = read_settings(study)
    seeds = len(study.values("seed"))
    text = f"n = {run['data.num_samples']}, width {run['model.width']}, {run['steps']} steps; medians over {seeds} seeds."
    return Page(fig, text, {"SHORT": table}, {"medians at the end": table})


def claims(study: Study) -> list[Claim]:
    """Return what is claimed, each with a bound and with a control on which the same bound must fail: docs/own.md, "Claims"."""
    rates = study.values("learning_rate")
    losses = stack_seeds(split_by(study, "learning_rate").values(), lambda part: read_final(part, "train_loss"))
    return [
        judge(
            id="SHORT/larger-rates-learn-faster",
            source="own",
            statement=f"The final loss at eta = {rates[-1]:g} is at most nine tenths of that at eta = {rates[0]:g}",
            expects=at_most(0.9, of="ratio of medians over seeds"),
            evidence=permute(lambda t: ratio_over_seeds(t[:, -1], t[:, 0]), losses, "rates permuted within every seed"),
        )
    ]
'''
