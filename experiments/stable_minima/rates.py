"""Figure 2 of Liang et al. 2025: the curse of dimensionality of stable minima, and its absence at low norm."""

from __future__ import annotations

from dynamics.analysis.bounds import at_least, at_most
from dynamics.analysis.claims import Claim, compare, judge
from dynamics.analysis.drawing import assign_shades, draw_intervals, place_below, place_beside, share_limits
from dynamics.analysis.figures import Page, new_axes
from dynamics.analysis.rate_claims import (
    AT_THE_EDGE,
    KEEPS_HALF,
    LOSES_HALF,
    greatest_steepness,
    kept_share,
    least_steepness,
    worst_edge,
)
from dynamics.analysis.rate_figures import draw_errors, draw_guides, final_slopes, of_setting, title
from dynamics.analysis.rate_pages import FITS, METRICS, losses, setup
from dynamics.analysis.slopes import ERROR, common_steps, settings, slope_table
from dynamics.analysis.stability_claims import judge_stability
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2025, Figure 2"


def figure(study: Study) -> Page:
    """A row a setting: error against n; slope against the stopping time; slope against d with the theory's exponents."""
    slopes = slope_table(study, METRICS)
    rows = settings(study)
    dims = study.values("input_dim")
    fig, axes = new_axes(len(rows), 3, (11, 3.4 * len(rows)), squeeze=False)
    for setting, (left, middle, right) in zip(rows, axes, strict=True):
        own = of_setting(slopes, setting)
        draw_errors(left, setting.part, dims)
        left.set_title(title(setting))
        place_beside(left, title="slope")

        for d, color, marker, place in assign_shades(dims):
            at = own.filter(input_dim=d)
            x = at["step"] * 1.1**place  # error bars side by side
            draw_intervals(middle, x, at, color=color, marker=marker, capsize=2, lw=1)
        middle.set(title="slope against stopping time", xlabel="step", ylabel="slope", xscale="log")
        middle.axhline(0, color="0.8", lw=0.8, zorder=0)

        draw_guides(right, dims)
        last = final_slopes(own)
        label = f"step {common_steps(setting.part)[-1]:,}"
        draw_intervals(right, last["input_dim"], last, fmt="ko-", capsize=3, label=label)
        right.set_title("slope against dimension")
    place_below(axes[-1, 2])
    for column in (1, 2):
        share_limits(list(axes[:, column]))
    steps = ", ".join(map(str, study.values("steps")))
    caption = f"{setup(study)}, {steps} steps. {FITS} {losses(study)}"
    return Page(fig, caption, {"slopes": slopes}, {f"slopes of the {ERROR}": final_slopes(slopes)})


def claims(study: Study) -> list[Claim]:
    stable, low, dims = study.select(panel="stable"), study.select(panel="low_norm"), study.values("input_dim")
    last, span = dims[-1], f"d = {dims[0]} to {dims[-1]}"
    against_low, against_stable = {"low-norm runs": low}, {"stable minima": stable}
    return [
        judge(
            id="rates/stable-slope-falls",
            source=SOURCE,
            statement=f"The slope's magnitude falls with d for stable minima ({span})",
            expects=LOSES_HALF,
            evidence=compare(kept_share, stable, control=against_low),
        ),
        judge(
            id="rates/low-norm-slope-does-not-fall",
            source=SOURCE,
            statement=f"The slope's magnitude does not fall so at low norm ({span})",
            expects=KEEPS_HALF,
            evidence=compare(kept_share, low, control=against_stable),
        ),
        judge(
            id="rates/stable-slope-is-flat-at-large-d",
            source=SOURCE,
            statement=f"At d = {last} stable minima hardly improve with n",
            expects=at_most(0.2, of="|slope|"),
            evidence=compare(
                greatest_steepness,
                stable.select(input_dim=last),
                control={"low-norm runs": low.select(input_dim=last)},
            ),
        ),
        judge(
            id="rates/low-norm-slope-is-steep",
            source=SOURCE,
            statement="At low norm every slope is steeper than 0.5",
            expects=at_least(0.5, of="least |slope| over d"),
            evidence=compare(least_steepness, low, control=against_stable),
        ),
        judge(
            id="rates/late-sharpness-at-the-edge",
            source=f"{SOURCE}; Cohen et al. 2021",
            statement="Late in training stable minima have sharpness 2/eta",
            expects=AT_THE_EDGE,
            evidence=compare(worst_edge, stable, control=against_low),
        ),
        *judge_stability(study, "rates"),
    ]
