"""Experiment X7 of Liang et al. 2026b: shared filters know a word wherever it stands,
others must learn it place by place."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes

import dynamics.analysis.words as an
from dynamics.systems.training import TrainingSpec

SOURCE = "Liang et al. 2026b, experiment X7"
TITLES = {"cnn": "shared filters", "lc_mean": "own filters, mean", "lc_sum": "own filters, sum", "fc": "fully connected"}
COLOR = dict(zip(TITLES, an.COLORS, strict=False))
PAPER = {"cnn": 0.0421, "lc_mean": 0.3936, "lc_sum": 0.3936, "fc": 0.3457}  # test L2; which pooling is not known
TRAIN, TEST = "clean_train_error", "excess_risk"  # E |f - f_0|^2; labels have no noise
MOST, LEAST = 0.1, 0.25


def parameters(part: an.Study) -> int:
    spec = part.specs[part.runs["run"][0]]
    assert isinstance(spec, TrainingSpec)
    return spec.model.parameters(spec.data.grid, spec.outputs)


def draw_errors(ax: Axes, study: an.Study, rate: float) -> None:
    """Test error through, training error dashed."""
    for name, part in an.split_panels(study.select(learning_rate=rate), TITLES).items():
        an.draw_band(ax, part, pl.col(TEST).sqrt(), TITLES[name], COLOR[name])
        an.draw_band(ax, part, pl.col(TRAIN).sqrt(), "", COLOR[name], ls="--", lw=0.9)
    ax.plot([], [], "--", color="0.4", lw=0.9, label="training error")
    ax.set(title=f"$\\eta$ = {rate:g}", xlabel="step", ylabel="$L_2$ norm of $f - f_0$")
    ax.set(xscale="log", yscale="log", ylim=(1e-3, 2))


def draw_ends(ax: Axes, study: an.Study) -> None:
    """Test error at the end, a dot a seed, beside the paper's."""
    rates, parts = sorted(study.values("learning_rate"), reverse=True), an.split_panels(study, TITLES)
    for rate, marker, aside in zip(rates, "os", (-0.11, 0.11), strict=False):
        for place, (name, part) in enumerate(parts.items()):
            values = np.sqrt(an.read_final(part.select(learning_rate=rate), TEST))
            ax.plot(np.full(len(values), place + aside), values, marker, color=COLOR[name])
        ax.plot([], [], marker, color="0.4", label=f"$\\eta$ = {rate:g}")
    ax.plot(range(len(parts)), [PAPER[name] for name in parts], "kx", label="paper")
    for level in (MOST, LEAST):
        an.mark_level(ax, level, color="0.7")
    ax.set(title="test error at the end", yscale="log", ylabel="$L_2$ norm", ylim=(0.03, 1), xlim=(-0.5, len(parts) - 0.5))
    ax.set_xticks(range(len(parts)), [TITLES[name].replace(" f", "\nf").replace(", ", ",\n") for name in parts])
    ax.legend(loc="lower right")


def figure(study: an.Study) -> an.Page:
    """Errors of the nets against the step at each learning rate, and test errors at the end beside the paper's."""
    rates, run = sorted(study.values("learning_rate"), reverse=True), an.read_settings(study)
    fig, axes = an.new_axes(1, len(rates) + 1, (4 * (len(rates) + 1), 3.6))
    for ax, rate in zip(axes, rates, strict=False):
        draw_errors(ax, study, rate)
    axes[0].legend(loc="lower left")
    draw_ends(axes[-1], study)
    rows = []
    for name, part in an.split_panels(study, TITLES).items():
        for rate in rates:
            own = part.select(learning_rate=rate)
            means = [an.median_final(own, metric).value for metric in (TRAIN, TEST)]
            rows.append((TITLES[name], rate, *np.sqrt(means), *means, PAPER[name]))
    names = "net, learning_rate, train L2, test L2, train mean square, test mean square, paper's test L2"
    table = an.make_table(rows, names)
    patches = run["data.input_dim"] // run["data.patch_dim"]
    counts = ", ".join(f"{parameters(part):,}" for part in an.split_panels(study, TITLES).values())
    text = (
        f"Vocabulary of {run['data.components']} words in one of {patches} patches of {run['data.patch_dim']} coordinates, n = "
        f"{run['data.num_samples']}, {run['data.num_test']} test samples, {run['steps']} steps, {len(study.values('seed'))} "
        f"seeds; parameters: {counts}. Curves are medians over seeds, bands least to greatest. Errors are L2 norms, roots of "
        "the mean over samples of |f - f_0|^2 summed over outputs, and so are the paper's numbers and the thresholds 0.1 and "
        "0.25 (dotted) read; mean squares stand in the table. eta belongs to the loss summed over outputs: 0.4 if the paper's "
        "loss sums too, 0.04 if it averages over its ten outputs. Not known and ours: that, the pooling of own filters, the "
        "init (N(0, 2/m), readout N(0, 1/K); nn.Linear's for the full net), seeds."
    )
    return an.Page(fig, text, {"vocabulary": table}, {"medians over seeds at the end": table})


def median_norm(part: an.Study) -> an.Estimate:
    """Return the median over seeds of the L2 norm of f - f_0 on fresh samples at the end,
    the root of a mean over samples."""
    return an.median_over_seeds(np.sqrt(an.read_final(part, TEST)))


def claims(study: an.Study) -> list[an.Claim]:
    found = []
    for rate in sorted(study.values("learning_rate"), reverse=True):
        parts = an.split_panels(study.select(learning_rate=rate), TITLES)
        also = "" if rate == max(study.values("learning_rate")) else f"-{rate:g}"
        shared, control = parts["cnn"], {"the fully connected net": parts["fc"]}
        found.append(
            an.judge(
                id=f"vocabulary/shared{also}",
                source=SOURCE,
                statement=f"Shared filters generalise ({PAPER['cnn']} in the paper; eta = {rate:g})",
                expects=an.at_most(MOST, of="test L2"),
                evidence=an.compare(median_norm, shared, treatment=control),
            )
        )
        found += [
            an.judge(
                id=f"vocabulary/{name.replace('_', '-')}{also}",
                source=SOURCE,
                statement=f"A net of {TITLES[name]} does not ({PAPER[name]} in the paper; eta = {rate:g})",
                expects=an.at_least(LEAST, of="test L2"),
                evidence=an.compare(median_norm, part, treatment={"shared filters": shared}),
            )
            for name, part in parts.items()
            if name != "cnn"
        ]
    return found
