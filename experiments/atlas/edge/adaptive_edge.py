"""The adaptive edge: RMSProp and Adam hold their preconditioned sharpness at a threshold, not the raw one.

The question: which sharpness does an optimizer of adaptive rates feel? A step divides the mean of gradients by P, a
diagonal matrix of running root mean squares; while P changes little within an oscillation, descent on a quadratic of
curvature H is stable as long as the largest eigenvalue of P^-1 H is below (2 + 2b) / ((1 - b) eta), where b is the
decay of the mean of gradients: 2 / eta for RMSProp, 38 / eta for Adam at b = 0.9 (Cohen et al. 2022; the threshold on a
quadratic is derived, `dynamics.theory.edge`). P is read from the rule's own state, bias correction included.

What comes out: late in training eta times the preconditioned sharpness is 2.00, 2.05 and 2.08 for RMSProp and 37.0,
36.9 and 36.9 for Adam at three rates each. The controls: held to the other rule's threshold both fail; gradient
descent, which has no preconditioner, holds its raw sharpness at 2.00 / eta; and RMSProp's raw sharpness at the same
time is 20, 25 and 28, which rises where 1 / eta falls by a factor of four, so that eta S is no constant.
"""

import numpy as np
import polars as pl

import dynamics.analysis.words as an
from dynamics.theory.edge import averaged_momentum_threshold

SOURCE = "Cohen et al. 2022"
RULES = {"rmsprop": "RMSProp", "adam": "Adam", "gd": "GD"}
FELT = {"rmsprop": "preconditioned_sharpness", "adam": "preconditioned_sharpness", "gd": "sharpness"}
RATES = "the rates were chosen after six of them had been seen on two seeds, some of which do not reach the edge in time"
CHOSEN = "GD's rate 0.05 was replaced by 0.09 once it was seen that 4000 steps of it end before 2 / eta is reached"
LATE = 0.3  # late training is this share of the steps


def threshold(study: an.Study, panel: str) -> float:
    """Return the threshold of eta times the sharpness that a panel's rule feels."""
    beta1 = study.select(panel=panel).values("optimizer.beta1")[0] if panel == "adam" else 0.0
    return averaged_momentum_threshold(beta1)


def read_edge(study: an.Study, panel: str, metric: str) -> np.ndarray:
    """Return the late mean of eta times a sharpness, a row a seed and a column a rate, (S, K)."""
    scaled = pl.col(metric) * pl.col("optimizer.learning_rate")
    parts = an.split_by(study.select(panel=panel), "learning_rate").values()
    return an.stack_seeds(parts, lambda part: an.read_late(part, scaled, LATE))


def spread_of_rates(values: np.ndarray) -> an.Estimate:
    """Return the largest over the smallest median over seeds, over the columns, each a learning rate."""
    return an.over_values(lambda v: np.max(np.median(v, axis=1), axis=-1) / np.min(np.median(v, axis=1), axis=-1), values)


def distance_from(values: np.ndarray, edge: float) -> an.Estimate:
    """Return the relative distance of the medians over seeds from a threshold, at the rate where it is largest."""
    return an.over_values(lambda v: np.abs(np.median(v, axis=1) / edge - 1), values, over=an.greatest_over_seeds)


def figure(study: an.Study) -> an.Page:
    """Sharpness that a rule feels against its threshold (top), the raw sharpness (bottom), of three rules."""
    fig, axes = an.new_axes(2, 3, (11, 5.6))
    for column, panel in zip(axes.T, RULES, strict=True):
        draw_rule(column, study, panel)
    axes[0, 0].set_ylabel(r"$\eta\,\lambda_{max}(P^{-1}H)$")
    axes[1, 0].set_ylabel("sharpness $S$")
    table = tabulate(study)
    return an.Page(fig, caption(study), {"adaptive_edge": table}, {"late eta times sharpness": table})


def draw_rule(axes, study: an.Study, panel: str) -> None:
    part = study.select(panel=panel)
    seed, edge = part.values("seed")[0], threshold(study, panel)
    for rate, color in zip(part.values("learning_rate"), an.COLORS, strict=False):
        table = part.select(learning_rate=rate, seed=seed).records.sort("step")
        steps = table["step"].to_numpy()
        axes[0].plot(steps, rate * table[FELT[panel]].to_numpy(), "-", color=color, lw=1, label=rf"$\eta={rate:g}$")
        axes[1].plot(steps, table["sharpness"].to_numpy(), "-", color=color, lw=1)
        if panel == "gd":
            axes[1].axhline(2 / rate, color=color, lw=0.8, ls="--")
    axes[0].axhline(edge, color="k", lw=1, ls="--", label=f"threshold {edge:g}")
    axes[0].set(title=RULES[panel], ylim=(0, 1.6 * edge))
    axes[1].set(xlabel="step", ylim=(0, None))
    axes[0].legend(loc="lower right")


def tabulate(study: an.Study) -> pl.DataFrame:
    """One row a rule and learning rate: late eta times the sharpness that it feels, and the raw sharpness."""
    rows = []
    for panel, rule in RULES.items():
        rates = study.select(panel=panel).values("learning_rate")
        felt, raw = (read_edge(study, panel, name) for name in (FELT[panel], "sharpness"))
        for k, rate in enumerate(rates):
            estimate = an.median_over_seeds(felt[:, k])
            rows.append((rule, rate, threshold(study, panel), *estimate, float(np.median(raw[:, k])) / rate))
    return an.make_table(rows, "rule, learning_rate, predicted, felt, low, high, raw_sharpness")


def caption(study: an.Study) -> str:
    run = an.read_settings(study.select(panel="adam"))
    return (
        f"T_{run['target.degree']} on {run['data.num_samples']} points of [-1, 1], {run['model.activation']} MLP with "
        f"{run['model.depth']} hidden layers of {run['model.width']}, loss {run['loss_factor']:g} * mean square, full batch; "
        f"beta2 = {run['optimizer.beta2']:g}, epsilon = {run['optimizer.epsilon']:g}, Adam's beta1 = "
        f"{run['optimizer.beta1']:g}. Curves: seed {study.values('seed')[0]} of {len(study.values('seed'))}. P is that of the "
        f"step that starts at the record. Late is the last {100 * LATE:.0f} % of the steps."
    )


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    made = []
    for panel, rule in RULES.items():
        edge, values = threshold(study, panel), read_edge(study, panel, FELT[panel])
        name = "sharpness" if panel == "gd" else "preconditioned sharpness"
        other = "adam" if panel != "adam" else "rmsprop"
        made.append(
            claim(
                id=f"adaptive-edge/{panel}-at-its-threshold",
                statement=f"{rule} ends with {name} {edge:g} / eta at every rate",
                expects=an.at_most(0.1, of=f"relative distance of late eta times the {name}, at the farthest rate"),
                evidence=an.compare(
                    distance_from,
                    (values, edge),
                    treatment={f"{RULES[other]}, held to this threshold": (read_edge(study, other, FELT[other]), edge)},
                ),
                post_hoc=CHOSEN if panel == "gd" else RATES,
            )
        )
    raw, felt = (read_edge(study, "rmsprop", name) for name in ("sharpness", FELT["rmsprop"]))
    made.append(
        claim(
            id="adaptive-edge/rates-agree-in-the-felt-sharpness",
            statement="RMSProp's late eta times preconditioned sharpness is one number for all rates",
            expects=an.at_most(1.1, of="largest over smallest of the rates' medians"),
            evidence=an.compare(spread_of_rates, felt, treatment={"eta times the raw sharpness of the same runs": raw}),
        )
    )
    return made
