"""Figures 1 (left) and 3 of Liang et al. 2025: a large step shatters the network and fits the noise,
decay does neither."""

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2025, Figures 1 and 3"
TITLES = {"large_step": "large step", "decay": "decay"}
METRICS = (
    "train_loss, clean_train_error, sharpness, alive_fraction, activation_rate_median, activation_rate_p90, sparse_fraction, "
    "path_norm, weighted_path_norm, rate_weight_norm_correlation, rate_path_correlation"
)


def figure(study: an.Study) -> an.Page:
    """Left: neurons of both runs, and how rates are distributed; middle: training curves; right: sharpness."""
    parts = {TITLES[panel]: part for panel, part in an.split_panels(study, TITLES).items()}
    fig, axes = an.new_axes(2, 3, (11, 6.4))
    (cloud, *_), (rates, *_) = axes
    an.draw_clouds(cloud, rates, parts)
    errors = [an.median_final(part, "clean_train_error").value for part in parts.values()]
    handles, labels = cloud.get_legend_handles_labels()
    labels = [f"{label}: clean error {error:.3g}" for label, error in zip(labels, errors, strict=True)]
    cloud.legend(handles, labels, loc="upper right")
    rates.axvline(10, color="0.7", lw=0.8, ls=":")
    for (title, part), (_, curves, sharp) in zip(parts.items(), axes, strict=True):
        an.draw_training(curves, part)
        an.draw_sharpness(sharp, part)
        rate, decay = part.values("learning_rate")[0], part.values("weight_decay")[0]
        curves.set(title=f"{title}: $\\eta$ = {rate:g}, decay {decay:g}")
    table = an.tabulate_medians(parts, METRICS.split(", "))
    text = an.describe_networks(study) + (
        f" Weight decay {max(study.values('weight_decay')):g} in the second setting. Curves are medians over seeds, bands "
        "reach from the least to the greatest seed. Sharpness is the Hessian's top eigenvalue, of the loss that is descended."
    )
    return an.Page(fig, text, {"shattering": table}, {"medians over seeds": an.spread_groups(table)})


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    large, decay = an.split_panels(study, TITLES).values()
    against_decay, against_large = {"decay": decay}, {"the large step": large}
    return [
        claim(
            id="shattering/late-sharpness",
            statement="With the large step the late sharpness is 2/eta",
            expects=an.near(1, 0.05, of="mean of eta S / 2 over the last quarter"),
            evidence=an.compare(an.median_late, large, treatment=against_decay),
        ),
        claim(
            id="shattering/sparse",
            statement="With the large step every neuron that is alive is active on at most 10 % of the data",
            expects=an.at_least(0.99, of="sparse share of the alive"),
            evidence=an.compare(an.median_final, large, treatment=against_decay, metric="sparse_fraction"),
        ),
        claim(
            id="shattering/fits-the-noise",
            statement="The large step overfits: the clean error is 1.105, about the noise variance",
            expects=an.near(1.105, 0.1, of="clean in-sample error", relative=True),
            evidence=an.compare(an.median_final, large, treatment=against_decay, metric="clean_train_error"),
        ),
        claim(
            id="shattering/decay-clean-error",
            statement="Decay keeps the clean error at 0.055",
            expects=an.near(0.055, 0.25, of="clean in-sample error", relative=True),
            evidence=an.compare(an.median_final, decay, treatment=against_large, metric="clean_train_error"),
        ),
        claim(
            id="shattering/decay-active",
            statement="With decay neurons are active on most of the data",
            expects=an.at_least(0.7, of="median activation rate of the alive"),
            evidence=an.compare(an.median_final, decay, treatment=against_large, metric="activation_rate_median"),
        ),
        *an.judge_stability(study, "shattering"),
    ]
