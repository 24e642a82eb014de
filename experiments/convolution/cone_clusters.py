"""Experiment X8 of Liang et al. 2026b: shared filters find the patch that tells the class, if there is one."""

import numpy as np

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2026b, experiment X8"
TITLES = {"signal": "labels of the signal", "random": "random labels"}
METRICS = ["train_accuracy", "test_accuracy", "train_loss", "test_loss"]
GENERALISES, MEMORISED = 0.95, 0.99  # ours: the paper's numbers are not known


def figure(study: an.Study) -> an.Page:
    """Accuracies and losses against the step, training dashed, for both kinds of labels."""
    run, parts = an.read_settings(study), an.split_panels(study, TITLES)
    classes = run["data.components"]
    fig, axes = an.new_axes(1, 2, (9, 3.6))
    for ax, what, level in zip(axes, ("accuracy", "loss"), (1 / classes, np.log(classes)), strict=True):
        for (name, part), color in zip(parts.items(), an.COLORS, strict=False):
            an.draw_band(ax, part, f"test_{what}", f"{TITLES[name]}: test", color)
            an.draw_band(ax, part, f"train_{what}", f"{TITLES[name]}: training", color, ls="--")
        an.mark_level(ax, level, label="chance")
        ax.set(title=what, xlabel="step", xscale="log")
    axes[0].set(ylim=(-0.03, 1.03))
    axes[1].set(ylabel="cross-entropy", yscale="log")
    axes[0].legend(loc="best")
    table = an.tabulate_medians(parts, METRICS)
    patches, m = run["data.input_dim"] // run["data.patch_dim"], run["data.patch_dim"]
    text = (
        f"Cone clusters: one of {patches} patches of {m} coordinates is from the cone of its class (of {classes}), the others "
        f"from a noise cone, sigma {run['data.cone_std']:g} about unit vectors; n = {run['data.num_samples']}, "
        f"{run['data.num_test']} test samples. Shared filters, width {run['model.width']}, global average pooling, "
        f"cross-entropy; GD with eta = {run['optimizer.learning_rate']:g}, clip {run['optimizer.clip_norm']:g}, {run['steps']} "
        f"steps (100000 in the paper). Curves are medians over {len(study.values('seed'))} seeds, bands least to greatest. "
        f"d = {run['data.input_dim']} = J m, the init (N(0, 2/m), readout N(0, 1/K)) and seeds are ours, the paper's not known."
    )
    return an.Page(fig, text, {"cone_clusters": table}, {"medians over seeds at the end": an.spread_groups(table)})


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    signal, random = an.split_panels(study, TITLES).values()
    steps, classes = study.values("steps")[0], study.values("components")[0]
    early = max(step for step in an.list_common_steps(random) if step <= steps / 10)
    one_less = 1 / (classes - 1) - 1 / classes
    return [
        claim(
            id="cone_clusters/signal-generalises",
            statement="With labels of the signal the net generalises",
            expects=an.at_least(GENERALISES, of="test accuracy"),
            evidence=an.compare(an.median_final, signal, null={"random labels": random}, metric="test_accuracy"),
        ),
        claim(
            id="cone_clusters/random-at-chance",
            statement="With random labels its test accuracy is that of guessing, 1 / classes",
            expects=an.near(1 / classes, one_less / 2, of="test accuracy"),
            evidence=an.shift_neighbour(
                an.median_final(random, "test_accuracy"), one_less, "guessing among one class less, 1 / (classes - 1)"
            ),
        ),
        claim(
            id="cone_clusters/random-memorised",
            statement=f"Random labels are memorised within {steps} steps (100000 in the paper)",
            expects=an.at_least(MEMORISED, of="training accuracy"),
            evidence=an.compare(
                an.median_final,
                random,
                neighbour={f"a tenth of the steps (step {early})": an.cut_at(random, early)},
                metric="train_accuracy",
            ),
            post_hoc="the steps of this size were chosen for their cost",
        ),
    ]
