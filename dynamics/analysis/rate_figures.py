"""How rates are drawn, an axis at a time: errors against n, slopes against stopping time and dimension, levels against
eta."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from dynamics.analysis.drawing import assign_shades, draw_intervals, draw_power, draw_quartiles, label_ticks, place_below
from dynamics.analysis.figures import COLORS, MARKERS
from dynamics.analysis.slopes import ERROR, Setting, fit_slope, list_common_steps, list_settings, read_levels, read_seed_table
from dynamics.study.tables import Study
from dynamics.theory import rate_exponents as rates

TITLES = {"stable": "stable minima", "low_norm": "low norm"}
GUIDES = (
    ("--", "upper bound $1/(2d+4)$", rates.stable_upper_exponent),
    (":", "lower bound $2/(d+1)$", rates.stable_lower_exponent),
    ("-.", "low norm $(d+3)/(2d+3)$", rates.low_norm_exponent),
)


def name_setting(setting: Setting) -> str:
    name = TITLES.get(setting.panel, setting.panel)
    decay = f", decay {setting.weight_decay:g}" if setting.weight_decay else ""
    return f"{name}: $\\eta$ = {setting.learning_rate:g}{decay}"


def select_setting(slopes: pl.DataFrame, setting: Setting) -> pl.DataFrame:
    """Return the slopes of the clean in-sample error in one setting."""
    panel, rate, decay, _ = setting
    return slopes.filter(panel=panel, learning_rate=rate, weight_decay=decay, metric=ERROR)


def select_final_slopes(slopes: pl.DataFrame) -> pl.DataFrame:
    """Return the slopes of the clean in-sample error at each setting's last stopping time."""
    last = pl.col("step") == pl.col("step").max().over("panel", "learning_rate", "weight_decay", "input_dim")
    return slopes.filter(metric=ERROR).filter(last).drop("metric")


def draw_errors(ax: Axes, part: Study, dims: list[int]) -> None:
    """Draw median error against n with quartiles and fitted line, a colour a dimension, at the last common step."""
    for d, color, marker, place in assign_shades(dims):
        n, values = read_seed_table(part.select(input_dim=d), ERROR, list_common_steps(part)[-1])
        if not len(values):
            ax.plot([], [], marker, color=color, label=f"$d={d}$: diverged")
            continue
        slope = fit_slope(n, values).value
        x = n * 1.05**place  # so that error bars of different d do not hide one another
        median = draw_quartiles(ax, x, values, fmt=marker, color=color, label=f"$d={d}$: {slope:+.2f}")
        draw_power(ax, n, median, slope, color=color)
    ax.set(xlabel="$n$", ylabel="clean in-sample error", xscale="log", yscale="log")
    label_ticks(ax, part.values("num_samples"))


def draw_guides(ax: Axes, dims: list[int]) -> None:
    """Draw the theory's exponents, as guides, and a line at slope 0."""
    for line, label, exponent in GUIDES:
        ax.plot(dims, [-exponent(d) for d in dims], line, color="0.45", label=label, zorder=1)
    ax.axhline(0, color="0.8", lw=0.8, zorder=0)
    ax.set(xlabel="$d$", ylabel="slope", xticks=dims)


def by_decay(weight_decay: float) -> dict[str, Any]:
    """Filled and drawn through without weight decay, open and dashed with it."""
    return {"ls": "--", "mfc": "white"} if weight_decay else {"ls": "-"}


def choose_look(setting: Setting, learning_rates: list[float]) -> dict[str, Any]:
    """Colour and marker of a learning rate, line and filling of its weight decay."""
    i = learning_rates.index(setting.learning_rate)
    return {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)], **by_decay(setting.weight_decay)}


def draw_slopes(ax: Axes, slopes: pl.DataFrame, shown: list[Setting], learning_rates: list[float]) -> None:
    """Draw slope against dimension at the last stopping time, a line a setting."""
    for setting, place in zip(shown, np.linspace(-0.5, 0.5, len(shown) + 2)[1:-1], strict=True):
        own = select_final_slopes(select_setting(slopes, setting))
        label = f"$\\eta$ = {setting.learning_rate:g}"
        x = own["input_dim"].to_numpy() + 0.5 * place
        draw_intervals(ax, x, own, capsize=2, lw=1, label=label, **choose_look(setting, learning_rates))


def draw_setting_times(ax: Axes, slopes: pl.DataFrame, shown: list[Setting], learning_rates: list[float], d: int) -> None:
    """Draw slope at one dimension against eta * step, a line a setting."""
    for setting in shown:
        own = select_setting(slopes, setting).filter(input_dim=d)
        ax.plot(own["time"], own["slope"], **choose_look(setting, learning_rates))
    ax.axhline(0, color="0.8", lw=0.8, zorder=0)
    ax.set(title=f"slope at $d={d}$ against time", xlabel=r"$\eta\,\times$ step", ylabel="slope", xscale="log")
    times = slopes["time"].unique().sort().to_list()
    label_ticks(ax, [times[0], times[len(times) // 2], times[-1]])


def draw_levels(ax: Axes, study: Study) -> None:
    """Draw median error at the largest n against the learning rate, quartile to quartile; a colour a dimension."""
    for i, panel in enumerate(study.runs["panel"].unique(maintain_order=True)):
        for d, color, marker, place in assign_shades(study.values("input_dim")):
            own = list_settings(study.select(panel=panel, input_dim=d))
            errors = [e[np.isfinite(e)] for e in (read_levels(s.part, list_common_steps(s.part)[-1]) for s in own)]
            low, median, high = np.array([np.quantile(e, [0.25, 0.5, 0.75]) if len(e) else [np.nan] * 3 for e in errors]).T
            eta = np.array([s.learning_rate for s in own]) * 1.06**place
            look = {"color": color, "marker": marker, "label": None if i else f"$d={d}$", **by_decay(own[0].weight_decay)}
            ax.errorbar(eta, median, yerr=[median - low, high - median], lw=1, **look)
    etas, n = study.values("learning_rate"), study.values("num_samples")[-1]
    ax.set(title=f"error at $n={n}$", xlabel=r"$\eta$", ylabel="clean in-sample error", xscale="log", yscale="log")
    label_ticks(ax, etas)
    place_below(ax, 3)
