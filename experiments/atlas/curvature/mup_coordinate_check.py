"""Coordinate check: by how much one step changes the features of a network, and how that goes with its width.

A network of two hidden ReLU layers takes a step on eight samples. In the maximal-update parametrisation (muP) the
change of both hidden layers and of the output is the same at every width. In the standard one (SP) it goes with powers
of the width: -1/2, 1/2, 1 under gradient descent and 0, 1, 3/2 under sign descent, which is Adam's first step (Yang and
Hu 2021, Yang et al. 2022; powers in `dynamics.theory.width_scaling`). In numbers, over 16 seeds at
widths 64 to 1024: the powers under muP are within 0.015 of 0, those under SP within 0.09 (gradient) and 0.06 (signs) of
the predicted ones, which finite widths approach from below.

Controls: SP fails the test of flatness that muP passes; the powers of the other rule do not fit;
    and muP's rates are not
enough: with the readout as large as SP starts it,
    the output moves by n under gradient descent and by n^(1/2) under signs.
"""

import numpy as np

import dynamics.analysis.words as an
from dynamics.optimizers.layer_rates import FAMILIES
from dynamics.systems.coordinate_check import CASES, DIM, SAMPLES
from dynamics.theory.width_scaling import predict_step_powers

SOURCE = "Yang and Hu 2021, Yang et al. 2022"
LABELS = {"first": "$h_1$", "second": "$h_2$", "output": "$f$"}
RULES = {"gd": "gradient descent", "signgd": "sign descent"}
TITLES = {"standard": "SP", "mup": "muP", "unscaled": "muP, SP readout"}


def read_changes(study: an.Study, case: str, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the widths (W,) and the mean absolute changes after one step, (S, W, 3): of h1, h2 and f."""
    table, columns = study.select(step=1).records, [f"{case}_{rule}_{part}" for part in LABELS]
    pivots = [an.pivot_seeds(table.select("seed", "width", column), "width", column) for column in columns]
    return pivots[0][0], np.stack([changes for _, changes in pivots], axis=2)


def predict(case: str, rule: str) -> tuple[float, ...]:
    """Return the predicted powers of the width of a case's changes under a rule."""
    return tuple(predict_step_powers(CASES[case].parametrization, FAMILIES[rule], CASES[case].readout_power))


def fit_powers(widths: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """Return least-squares powers of the width (..., 3) of changes (..., S, W, 3),
    whose logarithms are averaged over S."""
    x = np.log(widths) - np.mean(np.log(widths))
    return np.einsum("...wj,w->...j", np.mean(np.log(changes), axis=-3), x / np.sum(x**2))


def farthest_power(widths: np.ndarray, changes: np.ndarray, predicted: tuple[float, ...]) -> an.Estimate:
    """Return the largest distance of a measured power, of h1, h2 and f, from the predicted one."""
    distance = lambda v: np.abs(fit_powers(widths, v) - np.array(predicted))  # noqa: E731
    return an.over_values(distance, changes, either_way=True, over=an.greatest_over_seeds)


def figure(study: an.Study) -> an.Page:
    """Change against width after one step, a panel for each rule and parametrisation, with the predicted powers."""
    fig, axes = an.new_axes(len(RULES), len(TITLES), (9.5, 5.6), sharex=True)
    rows = []
    for line, (rule, title) in zip(axes, RULES.items(), strict=True):
        for axis, case in zip(line, TITLES, strict=True):
            widths, changes = read_changes(study, case, rule)
            measured, predicted = fit_powers(widths, changes), predict(case, rule)
            for j, (name, label) in enumerate(LABELS.items()):
                color = an.COLORS[j]
                shown = f"{label}: {measured[j]:+.2f} ({predicted[j]:+g})"
                an.draw_quartiles(axis, widths, changes[..., j], fmt=an.MARKERS[j], color=color, ls="none", label=shown)
                an.draw_power(axis, widths, np.median(changes[..., j], axis=0), predicted[j], color=color, lw=1)
                rows.append((TITLES[case], rule, name, predicted[j], measured[j]))
            axis.set(xscale="log", yscale="log", title=f"{TITLES[case]}, {title}")
            an.label_ticks(axis, list(widths.astype(int)))
            axis.legend(title="power (predicted)")
        line[0].set_ylabel("mean change in one step")
        an.share_limits(list(line))
        line[0].set_ylim(top=20 * line[0].get_ylim()[1])  # room for the legend
    for axis in axes[-1]:
        axis.set_xlabel("width $n$")
    table = an.make_table(rows, "parametrisation, rule, part, predicted, measured")
    return an.Page(fig, caption(study), {"mup_coordinate_check": table}, {"powers of the width": table})


def caption(study: an.Study) -> str:
    widths, changes = read_changes(study, "mup", "gd")
    return (
        f"Two hidden ReLU layers, {DIM} inputs, {SAMPLES} samples, loss -mean(y f), learning rate "
        f"{study.values('learning_rate')[0]:g} times the layer's factor; mean absolute change of pre-activations and output in "
        f"the first step, medians and quartiles over {len(changes)} seeds, widths {widths.min():g} to {widths.max():g}. Lines: "
        "predicted powers. SP: standard parametrisation."
    )


def claims(study: an.Study) -> list[an.Claim]:
    claim, made = an.judge_from(SOURCE), []
    show = lambda powers: ", ".join(f"n^({power:g})" for power in powers)  # noqa: E731
    for rule, other in zip(RULES, reversed(RULES), strict=True):
        mup, standard, unscaled = (read_changes(study, case, rule) for case in ("mup", "standard", "unscaled"))
        flat, wrong = (0.0, 0.0, 0.0), predict("standard", other)
        powers, enlarged = predict("standard", rule), predict("unscaled", rule)
        said = {
            "flat": (f"Under muP one step of {RULES[rule]} changes both layers and the output alike at every width", 0.1),
            "standard": (f"Under SP one step of {RULES[rule]} changes h1, h2, f by {show(powers)}", 0.12),
            "readout": (f"muP with SP's readout: {RULES[rule]} changes h1, h2, f by {show(enlarged)}", 0.15),
        }
        evidence = {
            "flat": an.compare(farthest_power, (*mup, flat), treatment={"standard parametrisation": (*standard, flat)}),
            "standard": an.compare(
                farthest_power, (*standard, powers), neighbour={f"powers of {RULES[other]}": (*standard, wrong)}
            ),
            "readout": an.compare(farthest_power, (*unscaled, enlarged), treatment={"muP's own readout": (*mup, enlarged)}),
        }
        made += [
            claim(
                id=f"mup/{name}-{rule}",
                statement=statement,
                expects=an.at_most(bound, of="largest distance of a power of the width from the predicted one"),
                evidence=evidence[name],
            )
            for name, (statement, bound) in said.items()
        ]
    return made
