"""What weight sharing is worth at an equal number of parameters,
where the target is made for it and where it is not."""

import polars as pl

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2026b, beyond their figures"
NETS = {
    "shared": "shared filters",
    "unshared": "own filters, shared readout",
    "unit_readout": "own filters, own readout",
    "full": "fully connected",
}
TEACHERS = {"disjoint": "teacher on all patches", "random_placement": "teacher on one window"}


def groups(study: an.Study, teacher: str) -> dict[str, an.Study]:
    """Return the runs of each net under a teacher."""
    return an.split_panels(study.select(**{"target.views.scheme": teacher}), NETS)


def parameters(study: an.Study) -> dict[str, int]:
    """How many parameters each net has."""
    found = {}
    for panel, run in study.runs.unique("panel", maintain_order=True).select("panel", "run").iter_rows():
        spec = study.specs[run]
        found[panel] = spec.model.parameters(spec.data.grid)  # type: ignore[attr-defined]
    return found


def figure(study: an.Study) -> an.Page:
    """A row a teacher: excess risk and gap against n, excess risk against the step at the largest n."""
    fig, axes = an.new_axes(2, 3, (12, 7.4))
    counts = parameters(study)
    tables = []
    for row, (teacher, title) in zip(axes, TEACHERS.items(), strict=True):
        nets = groups(study, teacher)
        named = {f"{NETS[net]} ({counts[net]})": part for net, part in nets.items()}
        for ax, metric in zip(row, ("excess_risk", "generalization_gap"), strict=False):
            shown = {name: an.take_absolute(part, metric) for name, part in named.items()}
            an.draw_against(ax, shown, metric)
            ax.set_title(f"{title}: {metric.replace('_', ' ')}")
            tables.append(an.fit_slopes(shown, metric).with_columns(teacher=pl.lit(teacher)))
        for (net, part), color in zip(nets.items(), an.COLORS, strict=False):
            n = part.values("num_samples")[-1]
            an.draw_band(row[2], part.select(num_samples=n), "excess_risk", NETS[net], color)
        row[2].set(title=f"excess risk at $n = {n}$", xlabel="step", ylabel="excess risk", xscale="log", yscale="log")
        an.place_below(row[0], 1, title="slope")
        an.place_below(row[2])
    run = an.read_settings(study)
    text = (
        f"Sphere of R^{run['data.input_dim']} of radius {run['data.scale']:.3g}, 8 disjoint patches; parameters in brackets. "
        f"Medians over {len(study.values('seed'))} seeds with quartiles, {run['steps']} steps at eta = "
        f"{run['optimizer.learning_rate']:g} ({run['loss.normalization']} loss), noise {run['data.noise_std']:g}, teachers of "
        f"{run['target.units']} filters. Above, the teacher sees all patches as shared filters do; below, a single window of "
        f"10. The gap is |excess + sigma^2 - training error|. {an.describe_losses(study)}"
    )
    table = pl.concat(tables)
    return an.Page(fig, text, {"sharing": table}, {"slopes": table})


def claims(study: an.Study) -> list[an.Claim]:
    symmetric, local = (groups(study, teacher) for teacher in TEACHERS)
    n = study.values("num_samples")[-1]
    local_first = [symmetric[net].select(num_samples=n) for net in ("unshared", "full")]
    less = an.below(1, of="ratio of excess risks at the largest n")
    return [
        *(
            an.judge(
                id=f"sharing/helps-against-{net.replace('_', '-')}",
                source=SOURCE,
                statement=f"At equal parameters shared filters beat {NETS[net]} in excess risk where the teacher shares",
                expects=less,
                evidence=an.compare(
                    an.level_ratio,
                    (symmetric[net], symmetric["shared"]),
                    treatment={"a teacher on one window": (local[net], local["shared"])},
                    metric="excess_risk",
                ),
            )
            for net in symmetric
            if net != "shared"
        ),
        an.judge(
            id="sharing/locality-helps",
            source=SOURCE,
            statement="Without sharing, filters that see one patch each beat a fully connected net in excess risk",
            expects=less,
            evidence=an.permute(
                lambda risks: an.ratio_over_seeds(risks[:, 0], risks[:, 1]),
                an.stack_seeds(local_first, lambda part: an.read_final(part, "excess_risk")),
                "the nets permuted within every seed",
            ),
        ),
    ]
