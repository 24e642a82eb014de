"""Figure 2 of Liang et al. 2025: the curse of dimensionality of stable minima, and its absence at low norm."""

import dynamics.analysis.words as an

SOURCE = "Liang et al. 2025, Figure 2"


def figure(study: an.Study) -> an.Page:
    """A row a setting: error against n; slope against the stopping time;
    slope against d with the theory's exponents."""
    slopes = an.tabulate_slopes(study, an.METRICS)
    rows = an.list_settings(study)
    dims = study.values("input_dim")
    fig, axes = an.new_axes(len(rows), 3, (11, 3.4 * len(rows)), squeeze=False)
    for setting, (left, middle, right) in zip(rows, axes, strict=True):
        own = an.select_setting(slopes, setting)
        an.draw_errors(left, setting.part, dims)
        left.set_title(an.name_setting(setting))
        an.place_beside(left, title="slope")

        for d, color, marker, place in an.assign_shades(dims):
            at = own.filter(input_dim=d)
            x = at["step"] * 1.1**place  # error bars side by side
            an.draw_intervals(middle, x, at, color=color, marker=marker, capsize=2, lw=1)
        middle.set(title="slope against stopping time", xlabel="step", ylabel="slope", xscale="log")
        middle.axhline(0, color="0.8", lw=0.8, zorder=0)

        an.draw_guides(right, dims)
        last = an.select_final_slopes(own)
        label = f"step {an.list_common_steps(setting.part)[-1]:,}"
        an.draw_intervals(right, last["input_dim"], last, fmt="ko-", capsize=3, label=label)
        right.set_title("slope against dimension")
    an.place_below(axes[-1, 2])
    for column in (1, 2):
        an.share_limits(list(axes[:, column]))
    steps = ", ".join(map(str, study.values("steps")))
    caption = f"{an.describe_setup(study)}, {steps} steps. {an.FITS} {an.describe_losses(study)}"
    return an.Page(fig, caption, {"slopes": slopes}, {f"slopes of the {an.ERROR}": an.select_final_slopes(slopes)})


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    stable, low, dims = study.select(panel="stable"), study.select(panel="low_norm"), study.values("input_dim")
    last, span = dims[-1], f"d = {dims[0]} to {dims[-1]}"
    return [
        claim(
            id="rates/stable-slope-falls",
            statement=f"The slope's magnitude falls with d for stable minima ({span})",
            expects=an.LOSES_HALF,
            evidence=an.compare(an.kept_share, stable, treatment={"low-norm runs": low}),
        ),
        claim(
            id="rates/low-norm-slope-does-not-fall",
            statement=f"The slope's magnitude does not fall so at low norm ({span})",
            expects=an.KEEPS_HALF,
            evidence=an.compare(an.kept_share, low, treatment={"stable minima": stable}),
        ),
        claim(
            id="rates/stable-slope-is-flat-at-large-d",
            statement=f"At d = {last} stable minima hardly improve with n",
            expects=an.at_most(0.2, of="|slope|"),
            evidence=an.compare(
                an.greatest_steepness,
                stable.select(input_dim=last),
                neighbour={f"d = {dims[0]}": stable.select(input_dim=dims[0])},
            ),
        ),
        claim(
            id="rates/low-norm-slope-is-steep",
            statement="At low norm every slope is steeper than 0.5",
            expects=an.at_least(0.5, of="least -slope over d"),
            evidence=an.compare(an.least_steepness, low, treatment={"stable minima": stable}),
        ),
        *an.judge_edge(stable, low, "rates/late-sharpness-at-the-edge", SOURCE),
        *an.judge_stability(study, "rates"),
    ]
