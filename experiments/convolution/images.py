"""Experiment X3 of Liang et al. 2026b: regression on images,
with filters on small patches that are shared and without."""

from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2026b, experiment X3"
TASKS = {"regression": "teacher on {}", "leaves": "teacher on {}", "classes": "classes of {}"}
FCN, PATCH = an.COLORS[0], an.COLORS[1]
BEFORE = (an.COLORS[5], an.COLORS[4])  # lighter, of the nets before training
OFF = 1.15  # the factor by which the control of a sharpness at the edge is off
METRICS = ["train_loss", "excess_risk", "sharpness", "alive_fraction", "activation_rate_mean"]


class Pair(NamedTuple):
    """The runs of both students at one task."""

    fcn: an.Study
    patch: an.Study

    @property
    def law(self) -> str:
        return self.fcn.values("data.law")[0]


def pairs(study: an.Study) -> dict[str, Pair]:
    """Both students at every task that the study has."""
    there = study.values("panel")
    students = {task: [f"{task}_{student}" for student in Pair._fields] for task in TASKS}
    return {
        task: Pair(*(study.select(panel=name) for name in names))
        for task, names in students.items()
        if all(name in there for name in names)
    }


def draw_clouds(ax: Axes, pair: Pair) -> None:
    """Neurons and filters of the first seed before and after training."""
    for part, name, color, before in zip(pair, ("fully connected", "patches"), (FCN, PATCH), BEFORE, strict=True):
        first = an.first_seed(part)
        an.draw_neurons(ax, an.tabulate_neurons(first, initial=True), color=before)
        an.draw_neurons(ax, an.tabulate_neurons(first), color=color)
        ax.plot([], [], "o", color=color, label=name)
        ax.plot([], [], "o", color=before, label=f"{name}, before")
    ax.set(ylabel="$\\|w_k\\|$", yscale="log")


def figure(study: an.Study) -> an.Page:
    """A row a task: training loss, excess risk, sharpness, and units before and after."""
    found = pairs(study)
    fig, axes = an.new_axes(len(found), 4, (14, 3 * len(found)), squeeze=False)
    for (loss, excess, sharp, cloud), (task, pair) in zip(axes, found.items(), strict=True):
        for part, name, color in zip(pair, ("fully connected", "patches, shared"), (FCN, PATCH), strict=True):
            an.draw_band(loss, part, "train_loss", name, color)
            an.draw_band(excess, part, "excess_risk", name, color)
            an.draw_sharpness(sharp, part, label=name, color=color, edge=part is pair.patch)
        an.mark_level(loss, part.values("noise_std")[0] ** 2, label="noise variance")
        title = TASKS[task].format(pair.law.replace("_", " "))
        loss.set(title=f"{title}: training loss", xlabel="step", xscale="log", yscale="log")
        excess.set(title="excess risk", xlabel="step", xscale="log", yscale="log")
        loss.legend(loc="lower left")
        sharp.legend(loc="lower left", bbox_to_anchor=(0, 0.1))
        draw_clouds(cloud, pair)
        cloud.set(title="units of one seed")
    axes[0, 3].legend(loc="best")
    table = ends(found)
    return an.Page(fig, caption(study, found), {"images": table}, {"medians over seeds at the end": table})


def ends(found: dict[str, Pair]) -> pl.DataFrame:
    """A row a task and student: medians over seeds at the end, and where the excess risk was least."""
    rows = []
    for task, pair in found.items():
        for student, part in zip(Pair._fields, pair, strict=True):
            medians = [an.median_final(part, m).value if m in part.records.columns else np.nan for m in METRICS]
            course = part.records.group_by("step").agg(pl.col("excess_risk").median()).sort("excess_risk")
            rows.append((task, pair.law, student, *medians, *course.row(0)))
    return an.make_table(rows, f"task, law, student, {', '.join(METRICS)}, best step, least excess")


def caption(study: an.Study, found: dict[str, Pair]) -> str:
    told = []
    for task, pair in found.items():
        run = an.read_settings(pair.patch)
        views = f"{run['model.views.size']} x {run['model.views.size']} {run['model.views.scheme']} patches"
        told.append(
            f"{task}: {pair.law}, d = {run['data.input_dim']}, n = {run['data.num_samples']}, width {run['model.width']}, "
            f"{views}, eta = {run['optimizer.learning_rate']:g}, {run['steps']} steps"
        )
    run = an.read_settings(study)
    return (
        f"{'; '.join(told)}. GD, clip {run['optimizer.clip_norm']:g}, {run['loss.normalization']} loss, Kaiming normal in both "
        f"layers, zero biases; teacher of {run['target.units']} shared filters with the patch net's views (classes: class "
        f"number), noise {run['data.noise_std']:g}. Medians over {len(study.values('seed'))} seeds, bands least to greatest. "
        "Late records come in pairs of successive steps, which differ at the edge. Pixels are standardised: |x|^2 is about d, "
        "and the sharpness starts far above 2/eta. The paper has CIFAR-10, n = 1024, width 1024, 5000 steps (classes: 40000 "
        "steps, 4 x 4 patches, n not known); its final excess risks are 0.4789 and 0.1289 (classes: 10.49 and 10.55)."
    )


def read_risks(pair: Pair) -> np.ndarray:
    """Return the excess risk of both nets at the end, (S, 2), the full one first."""
    return an.stack_seeds(pair, lambda part: an.read_final(part, "excess_risk"))


def ratio_of_risks(risks: np.ndarray) -> an.Estimate:
    """Return the median excess risk of the full net over that of the patch net, (S, 2)."""
    return an.ratio_over_seeds(risks[:, 0], risks[:, 1])


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    found, rows = pairs(study), []
    ratio, permuted = "excess risk of the full net / of the patch net", "the nets permuted within every seed"
    for task in (task for task in ("regression", "leaves") if task in found):
        pair = found[task]
        where = "" if pair.law == "cifar10" else f" on {pair.law.replace('_', ' ')}, in place of CIFAR-10"
        rows.append(
            claim(
                id=f"image_regression/{task}-patches-win",
                statement=f"The patch net's excess risk is lower{where} (3.7 times in the paper)",
                expects=an.above(1, of=ratio),
                evidence=an.permute(ratio_of_risks, read_risks(pair), permuted),
            )
        )
        if pair.law == "cifar10":
            rows.append(
                claim(
                    id=f"image_regression/{task}-ratio",
                    statement="The patch net's excess risk is 3.7 times lower in the paper",
                    expects=an.within(2.5, 6, of=ratio),
                    evidence=an.permute(ratio_of_risks, read_risks(pair), permuted),
                )
            )
        rows += [
            claim(
                id=f"image_regression/{task}-{student}-edge",
                statement=f"Late in training the sharpness of the {student} net is 2/eta{where}",
                expects=an.within(0.9, 1.1, of="mean of eta S / 2 over the last quarter"),
                evidence=an.scale_neighbour(an.median_late(part), OFF, f"an edge off by a factor of {OFF:g}"),
            )
            for student, part in zip(("full", "patch"), pair, strict=True)
        ]
    if "classes" in found:
        where = "" if found["classes"].law == "cifar10" else f" ({found['classes'].law} in place of CIFAR-10)"
        labels = {"the teacher's labels": read_risks(found["regression"])}
        rows.append(
            an.judge(
                id="image_regression/classes-no-advantage",
                source=f"{SOURCE}, version 1",
                statement=f"On class numbers neither net is clearly better at the end{where}",
                expects=an.within(0.8, 1.25, of=ratio),
                evidence=an.compare(ratio_of_risks, read_risks(found["classes"]), treatment=labels),
            )
        )
    return [*rows, *an.judge_stability(study, "image_regression")]
