"""Packings of caps looked at: slopes of their counts and risk, and the functions that hide on empty ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from matplotlib.axes import Axes

from dynamics.analysis.bounds import UNKNOWN, at_most
from dynamics.analysis.claims import Claim, judge
from dynamics.analysis.controls import compare
from dynamics.analysis.drawing import draw_quartiles
from dynamics.analysis.intervals import Estimate, greatest_over_seeds
from dynamics.analysis.seed_values import largest
from dynamics.analysis.slopes import find_whole_seeds, fit_slope, median_slope
from dynamics.measures.table import MEASURES
from dynamics.measures.view import view
from dynamics.models.two_layer import TwoLayer
from dynamics.study.reload import final_state
from dynamics.study.tables import Study
from dynamics.systems.cap_packing import CapsSpec, choose_atom_geometry, samples_per_cap
from dynamics.theory import cap_geometry as theory

TOLERANCE = 0.05  # between a fitted slope and its exponent, which holds as n grows
Cell = tuple[Study, float]  # runs of one dimension (and law) at several n, and the exponent that is expected of them


def read_counts(part: Study, metric: str, step_at: Callable[[int], int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return (n (N,), values (S, N)) of a metric at the last step, or at `step_at(n)`,
    NaN in the seeds with a value <= 0."""
    at = part.final
    if step_at is not None:
        chosen = pl.col("num_samples").map_elements(step_at, return_dtype=pl.Int64)
        at = part.records.filter(pl.col("step") == chosen)
    values, (_, n) = replace(part, records=at).grid(metric, "seed", "num_samples")
    return np.array(n), np.where((values > 0).all(axis=1, keepdims=True), values, np.nan)


def fit_count_slope(part: Study, metric: str) -> Estimate:
    """Return the slope of a metric against n; unknown for one n or no seed."""
    return fit_slope(*read_counts(part, metric))


def worst_slope(cells: Sequence[Cell], metric: str) -> Estimate:
    """Return the largest distance of a slope against n from its exponent over the cells; seeds are taken together."""
    return largest_distance([read_counts(own, metric) for own, _ in cells], [exponent for _, exponent in cells])


def largest_distance(tables: Sequence[tuple[np.ndarray, np.ndarray]], exponents: Sequence[float]) -> Estimate:
    """Return the largest |slope - exponent| over tables (n (N,), values (S, N)) of the same seeds;
    unknown for one n."""
    if not tables or any(len(n) < 2 for n, _ in tables):
        return UNKNOWN
    whole = np.all([find_whole_seeds(values) for _, values in tables], axis=0)
    slopes = [median_slope(n, values[whole]) for n, values in tables]
    off = lambda index: np.abs(np.stack([s(index) for s in slopes], axis=1) - np.array(exponents))  # noqa: E731
    return greatest_over_seeds(off, int(whole.sum()), left_out=int((~whole).sum()))


def finite_slope(n: list[int], d: int, kappa: float, metric: str, alpha: float | None = None) -> float:
    """Return the slope over these n of the closed form behind an exponent,
    for packings that fill the same share of what fits.

    caps: 1 / (share of the sphere that a cap covers). risk: that times (1 - P)^n E Phi^2.
    """
    eps = [theory.cap_size(size, d, kappa, alpha) for size in n]
    squares = [
        theory.atom_mean_square(e, d) if alpha is None else float(theory.radial_atom_mean_square(e, d, alpha)) for e in eps
    ]
    seen = [square * theory.empty_cap_share(size, d, kappa, alpha) for square, size in zip(squares, n, strict=True)]
    fits = [theory.disjoint_cap_bound(e, d) for e in eps]
    values = np.array(fits) if metric == "caps" else np.array(fits) * np.array(seen)
    return float(np.polyfit(np.log(n), np.log(values), 1)[0])


def worst_share(table: pl.DataFrame, column: str) -> float:
    """Return the largest distance of a share from its prediction in standard errors, over all rows."""
    return float(((table["share"] - table[column]) / table["error"]).abs().to_numpy().max())


def build_hard_functions(part: Study) -> Iterator[tuple[CapsSpec, np.ndarray, dict[str, TwoLayer]]]:
    """Yield (spec, training points by falling norm, f_2 by the atoms it sums: on `empty` caps, or on `all`) of every
    run."""
    for run in part.runs["run"].unique(maintain_order=True):
        spec = part.specs[run]
        assert isinstance(spec, CapsSpec)
        with jax.enable_x64(True):
            fixed, state = final_state(part, run)
            there = np.arange(len(state.centres)) < int(state.count)
            empty = there & (np.asarray(samples_per_cap(choose_atom_geometry(spec), state, fixed)) == 0)
            summed = {"empty": empty, "all": there}
            nets = {k: theory.build_hard_function(state.centres, spec.amplitude * v, spec.eps) for k, v in summed.items()}
            yield spec, fixed.samples[: spec.num_samples], nets


@jax.jit
def view_on_data(net: TwoLayer, points: jax.Array) -> dict[str, jax.Array]:
    """Return the net seen against labels 0, the loss being (1/2n) sum f^2."""
    seen = view(net, points, jnp.zeros(len(points)))
    found = {"difference": jnp.max(jnp.abs(seen.prediction))}
    for name in ("gauss_newton_sharpness", "residual_sharpness", "path_norms"):
        found |= MEASURES[name](seen)
    return found


def pad_neurons(net: TwoLayer) -> TwoLayer:
    """Return the same function with neurons of weight zero up to a power of two, so that few shapes are compiled."""
    more = 2 ** (len(net.readout) - 1).bit_length() - len(net.readout)
    return net._replace(hidden=jnp.pad(net.hidden, ((0, 0), (0, more))), readout=jnp.pad(net.readout, (0, more)))


def tabulate_pairs(part: Study) -> pl.DataFrame:
    """Return f_2 of every run on its data: sum of atoms over the empty caps, and over all of them.

    Columns: input_dim, alpha, seed, atoms (`empty` or `all`), difference (max |f_1 - f_2| over the data, f_1 = 0),
    gauss_newton_sharpness and residual_sharpness (lambda_max is within the second of the first), weighted_path_norm
    (sum |a| g with the data's own g).
    """
    columns = ("difference", "gauss_newton_sharpness", "residual_sharpness", "weighted_path_norm")
    rows = []
    for spec, points, nets in build_hard_functions(part):
        with jax.enable_x64(True):
            for atoms, net in nets.items():
                found = view_on_data(pad_neurons(net), points)
                named = {name: float(found[name]) for name in columns}
                rows.append({"input_dim": spec.input_dim, "alpha": spec.alpha, "seed": spec.seed, "atoms": atoms, **named})
    return pl.DataFrame(rows)


def judge_pairs(table: pl.DataFrame, name: str, source: str) -> list[Claim]:
    """Judge that the two functions of `tabulate_pairs` agree on the data and are flat, against atoms on all caps."""
    empty = table.filter(atoms="empty")
    control = {"atoms on all caps": table.filter(atoms="all")}
    # the Hessian is Gauss-Newton plus S, so lambda_max is within |S| of Gauss-Newton's;
    # 1 is the least that there can be
    off_one = (pl.col("gauss_newton_sharpness") - 1).abs() + pl.col("residual_sharpness")
    return [
        judge(
            id=f"{name}/pair-same-on-data",
            source=source,
            statement=f"f_1 = 0 and f_2 on the empty caps are equal at every training point, {len(empty)} runs",
            expects=at_most(0, of="max |f_1 - f_2|"),
            evidence=compare(largest, empty, treatment=control, of="difference"),
        ),
        judge(
            id=f"{name}/pair-flat",
            source=source,
            statement=f"f_2 on the empty caps has lambda_max = 1, {len(empty)} runs",
            expects=at_most(1e-9, of="|lambda_max - 1|"),
            evidence=compare(largest, empty, treatment=control, of=off_one),
        ),
    ]


def draw_counts(ax: Axes, part: Study, metric: str, exponent: float, *, dodge: float = 1.0, **look: Any) -> None:
    """Draw a count (or risk) against n with quartiles, and a dotted power of n through its value at the largest n.

    For `caps` those without a sample are drawn too, open.
    """
    for name in (metric, "empty_caps") if metric == "caps" else (metric,):
        n, values = read_counts(part, name)
        values = values[find_whole_seeds(values)]
        if len(values):
            own = look if name == metric else {**look, "mfc": "white", "label": None}
            median = draw_quartiles(ax, n * dodge, values, **{"lw": 0.8, **own})
            if name == metric:
                ax.plot(n, median[-1] * (n / n[-1]) ** exponent, ":", color=look["color"], lw=1)
    ax.set(xlabel="$n$", xscale="log", yscale="log", ylabel="number of caps" if metric == "caps" else "$E f_2^2$")
