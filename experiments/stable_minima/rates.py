"""Figure 2 of Liang et al. 2025: the curse of dimensionality of stable minima, and its absence at low norm."""

from __future__ import annotations

import matplotlib.pyplot as plt

from dynamics.analysis.claims import Claim, judge
from dynamics.analysis.figures import Page
from dynamics.analysis.rate_claims import at_the_edge, flat, keeps_half, loses_half, steep
from dynamics.analysis.rate_figures import bars, draw_errors, draw_guides, final_slopes, of_setting, shades, share_limits, title
from dynamics.analysis.rate_pages import FITS, METRICS, losses, setup
from dynamics.analysis.slopes import ERROR, common_steps, settings, slope_table
from dynamics.analysis.stability_claims import stability_claims
from dynamics.study.tables import Study

SOURCE = "Liang et al. 2025, Figure 2"


def figure(study: Study) -> Page:
    """A row a setting: error against n; slope against the stopping time; slope against d with the theory's exponents."""
    slopes = slope_table(study, METRICS)
    rows = settings(study)
    dims = study.values("input_dim")
    fig, axes = plt.subplots(len(rows), 3, figsize=(11, 3.4 * len(rows)), squeeze=False)
    for setting, (left, middle, right) in zip(rows, axes, strict=True):
        own = of_setting(slopes, setting)
        draw_errors(left, setting.part, dims)
        left.set_title(title(setting))
        left.legend(title="slope", loc="center left", bbox_to_anchor=(1, 0.5))

        for d, color, marker, place in shades(dims):
            at = own.filter(input_dim=d)
            x = at["step"] * 1.1**place  # error bars side by side
            middle.errorbar(x, at["slope"], yerr=bars(at), color=color, marker=marker, capsize=2, lw=1)
        middle.set(title="slope against stopping time", xlabel="step", ylabel="slope", xscale="log")
        middle.axhline(0, color="0.8", lw=0.8, zorder=0)

        draw_guides(right, dims)
        last = final_slopes(own)
        label = f"step {common_steps(setting.part)[-1]:,}"
        right.errorbar(last["input_dim"], last["slope"], yerr=bars(last), fmt="ko-", capsize=3, label=label)
        right.set_title("slope against dimension")
    axes[-1, 2].legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    for column in (1, 2):
        share_limits(list(axes[:, column]))
    steps = ", ".join(map(str, study.values("steps")))
    caption = f"{setup(study)}, {steps} steps. {FITS} {losses(study)}"
    return Page(fig, caption, {"slopes": slopes}, {f"slopes of the {ERROR}": final_slopes(slopes)})


def claims(study: Study) -> list[Claim]:
    stable, low = study.select(panel="stable"), study.select(panel="low_norm")
    dims = study.values("input_dim")
    span = f"d = {dims[0]} to {dims[-1]}"
    against_low, against_stable = "low-norm runs", "stable minima"
    return [
        judge(
            "rates/stable-slope-falls",
            SOURCE,
            f"The slope's magnitude falls with d for stable minima ({span})",
            "share of |slope| kept < 1/2",
            loses_half,
            stable,
            low,
            against_low,
        ),
        judge(
            "rates/low-norm-slope-does-not-fall",
            SOURCE,
            f"The slope's magnitude does not fall so at low norm ({span})",
            "share of |slope| kept >= 1/2",
            keeps_half,
            low,
            stable,
            against_stable,
        ),
        judge(
            "rates/stable-slope-is-flat-at-large-d",
            SOURCE,
            f"At d = {dims[-1]} stable minima hardly improve with n",
            "|slope| <= 0.2",
            flat,
            stable.select(input_dim=dims[-1]),
            low.select(input_dim=dims[-1]),
            against_low,
        ),
        judge(
            "rates/low-norm-slope-is-steep",
            SOURCE,
            "At low norm every slope is steeper than 0.5",
            "least |slope| over d >= 0.5",
            steep,
            low,
            stable,
            against_stable,
        ),
        judge(
            "rates/late-sharpness-at-the-edge",
            f"{SOURCE}; Cohen et al. 2021",
            "Late in training stable minima have sharpness 2/eta",
            "eta S / 2 in [0.95, 1.05] at the worst d",
            at_the_edge,
            stable,
            low,
            against_low,
        ),
        *stability_claims(study, "rates"),
    ]
