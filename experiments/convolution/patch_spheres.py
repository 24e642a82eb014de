"""Experiment X2 of Liang et al. 2026b: a convolutional net at the edge of stability memorises patches that
lie on spheres."""

import polars as pl

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2026b, experiment X2"
TITLES = {
    "patch_spheres": "patches on spheres",
    "one_sphere": "patches of one sphere",
    "decay": "decay",
    "large_step": "larger step",
    "small_step": "smaller step",
}
METRICS = ["train_loss", "clean_train_error", "excess_risk", "sharpness", "alive_fraction", "activation_rate_mean"]
PAPER = pl.DataFrame(
    {
        "step": [500, 1000, 5000, 10000, 20000, 50000],
        "train": [0.727, 0.546, 0.269, 0.021, 0.0011, 0.0],
        "clean": [0.191, 0.326, 0.869, 0.933, 1.018, 1.0418],
        "sharpness": [8.83, 9.31, 9.37, 9.88, 9.87, 9.99],
    }
)


def figure(study: an.Study) -> an.Page:
    """Training curves of the net and its controls, sharpness, and the filters at the end."""
    parts = an.split_panels(study, TITLES)
    fig, axes = an.new_axes(2, 3, (12, 7))
    shown = {name: parts[name] for name in ("patch_spheres", "one_sphere", "decay")}
    for ax, (name, part) in zip(axes.flat[:3], shown.items(), strict=True):
        an.draw_training(ax, part, ("train_loss", "clean_train_error", "excess_risk"))
        an.mark_level(ax, study.values("noise_std")[0] ** 2, ls="--", zorder=2)
        ax.set_title(f"{TITLES[name]}: $\\eta$ = {part.values('learning_rate')[0]:g}")
    axes[0, 0].plot(PAPER["step"], PAPER["clean"], "k+", label="clean error in the paper")
    axes[0, 0].legend(loc="lower left")
    sharp, cloud, rates = axes[1]
    for name, color in zip(("patch_spheres", "large_step", "small_step"), an.COLORS, strict=False):
        edge = 2 / parts[name].values("learning_rate")[0]
        an.draw_sharpness(sharp, parts[name], label=f"{TITLES[name]}, $2/\\eta$ = {edge:g}", color=color, edge=False)
        sharp.axhline(edge, color=color, ls=":", lw=0.9)
    an.draw_clouds(cloud, rates, {TITLES[name]: part for name, part in shown.items()}, column="path")
    cloud.set(title="filters at the end", ylabel="$|v_k|\\,\\|w_k\\|$")
    cloud.legend(loc="best")
    rates.axvline(10, color="0.7", lw=0.8, ls=":")
    rates.set(xlabel="activation rate (% of all patches)", ylabel="share of filters below")
    rates.legend(loc="center")
    run = an.read_settings(parts["patch_spheres"])
    text = (
        f"{run['data.input_dim'] // run['data.patch_dim']} patches of {run['data.patch_dim']} coordinates, n = "
        f"{run['data.num_samples']}, {run['model.width']} shared filters, mean pooling, teacher of {run['target.units']} "
        f"filters, noise {run['data.noise_std']:g}; GD, {run['loss.normalization']} loss, gradient clipped at "
        f"{run['optimizer.clip_norm']:g} (50 in the runs with other steps), {run['steps']} steps; seeds "
        f"{', '.join(map(str, study.values('seed')))}. Curves are medians over seeds, bands least to greatest; dashed the "
        "noise variance; crosses the paper's record (width 1024, n 512, 50000 steps). `one_sphere` has patches of points of one"
        " sphere of the same radius in R^d, which lie in a ball's inside; `decay` has weight decay 0.1."
    )
    table = an.tabulate_medians(parts, METRICS)
    return an.Page(fig, text, {"patch_spheres": table}, {"medians over seeds": an.spread_groups(table)})


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    parts = an.split_panels(study, TITLES)
    main, control = parts["patch_spheres"], {"decay": parts["decay"]}
    step = max(set(an.list_common_steps(main)) & set(an.list_common_steps(parts["one_sphere"])))
    cut = [an.cut_at(parts[name], step) for name in ("one_sphere", "patch_spheres")]
    return [
        claim(
            id="patch_spheres/late-sharpness",
            statement=f"Late in training (from step {3 * main.values('steps')[0] // 4} on) the sharpness is 2/eta",
            expects=an.within(0.98, 1.02, of="mean of eta S / 2"),
            evidence=an.compare(an.median_late, main, treatment=control),
        ),
        claim(
            id="patch_spheres/clean-error",
            statement="The noise is memorised: clean error near its variance (1.0418 in the paper)",
            expects=an.within(0.95, 1.1, of="clean in-sample error"),
            evidence=an.compare(an.median_final, main, treatment=control, metric="clean_train_error"),
        ),
        claim(
            id="patch_spheres/activation-rate",
            statement="Filters are seldom active (on 5.5 % of the patches in the paper)",
            expects=an.at_most(0.1, of="mean activation rate of the alive"),
            evidence=an.compare(an.median_final, main, treatment=control, metric="activation_rate_mean"),
        ),
        claim(
            id="patch_spheres/alive",
            statement="Hardly any filter has died (1 of 1024 in the paper)",
            expects=an.at_least(0.99, of="alive share"),
            evidence=an.compare(
                an.median_final, main, treatment={"a larger step": parts["large_step"]}, metric="alive_fraction"
            ),
        ),
        an.judge(
            id="patch_spheres/one-sphere-resists",
            source=f"{SOURCE}, abstract",
            statement="Patches of points of one large sphere are not memorised so: smaller clean error at the same step",
            expects=an.below(1, of="clean error over that of patch-wise spheres"),
            evidence=an.permute(
                lambda errors: an.ratio_over_seeds(errors[:, 0], errors[:, 1]),
                an.stack_seeds(cut, lambda part: an.read_final(part, "clean_train_error")),
                "the laws permuted within every seed",
            ),
        ),
        *an.judge_stability(study, "patch_spheres"),
    ]
