"""Packings of caps looked at: slopes of their counts and risk, and the functions that hide on empty ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate
from dynamics.analysis.claims import Finding, exact, within
from dynamics.analysis.slopes import UNKNOWN, fit_slope
from dynamics.measures.table import MEASURES
from dynamics.measures.view import view
from dynamics.models.two_layer import TwoLayer
from dynamics.study.reload import final_state
from dynamics.study.tables import Study
from dynamics.systems.cap_packing import CapsSpec, geometry, held
from dynamics.theory import cap_geometry as theory

TOLERANCE = 0.05  # between a fitted slope and its exponent, which holds as n grows
Cell = tuple[Study, float]  # runs of one dimension (and law) at several n, and the exponent that is expected of them


def counts(part: Study, metric: str, step_at: Callable[[int], int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(n (N,), values (S, N)) of a metric at the last step, or at `step_at(n)`, over the seeds where all are positive."""
    at = part.final
    if step_at is not None:
        chosen = pl.col("num_samples").map_elements(step_at, return_dtype=pl.Int64)
        at = part.records.filter(pl.col("step") == chosen)
    values, (_, n) = replace(part, records=at).grid(metric, "seed", "num_samples")
    return np.array(n), values[(values > 0).all(axis=1)]


def slope(part: Study, metric: str) -> Estimate:
    n, values = counts(part, metric)
    return fit_slope(n, values) if len(n) > 1 and len(values) else UNKNOWN


def minus(estimate: Estimate, value: float) -> Estimate:
    return Estimate(estimate.value - value, estimate.low - value, estimate.high - value)


def worst(estimates: list[Estimate]) -> Estimate:
    """The one farthest from 0."""
    known = [e for e in estimates if np.isfinite(e.value)]
    return max(known, key=lambda e: max(abs(e.low), abs(e.high), abs(e.value)), default=UNKNOWN)


def slope_as(metric: str) -> Callable[[Sequence[Cell]], Finding]:
    """The slope of a metric against n within the tolerance of its exponent; the cell that is farthest off is measured."""

    def check(cells: Sequence[Cell]) -> Finding:
        off = [minus(slope(own, metric), exponent) for own, exponent in cells]
        return within(worst(off), -TOLERANCE, TOLERANCE)

    return check


def finite_slope(n: list[int], d: int, kappa: float, metric: str, alpha: float | None = None) -> float:
    """The slope over these n of the closed form behind an exponent, for packings that fill the same share of what fits.

    caps: 1 / (share of the sphere that a cap covers). risk: that times (1 - P)^n E Phi^2.
    """
    eps = [theory.cap_scale(size, d, kappa, alpha) for size in n]
    squares = [theory.atom_square(e, d) if alpha is None else float(theory.radial_atom_square(e, d, alpha)) for e in eps]
    seen = [square * theory.empty_share(size, d, kappa, alpha) for square, size in zip(squares, n, strict=True)]
    fits = [theory.packing_bound(e, d) for e in eps]
    values = np.array(fits) if metric == "caps" else np.array(fits) * np.array(seen)
    return float(np.polyfit(np.log(n), np.log(values), 1)[0])


def as_expected(part: tuple[pl.DataFrame, str]) -> Finding:
    """Largest distance of a share from its prediction in standard errors, over all (d, kappa): at most 4, as there are many."""
    table, column = part
    return exact(float(((table["share"] - table[column]) / table["error"]).abs().to_numpy().max()), 0, 4)


def hard_functions(part: Study) -> Iterator[tuple[CapsSpec, np.ndarray, dict[str, TwoLayer]]]:
    """(spec, training points by falling norm, f_2 by the atoms it sums: those on `empty` caps, or on `all`) of every run."""
    for run in part.runs["run"].unique(maintain_order=True):
        spec = part.specs[run]
        assert isinstance(spec, CapsSpec)
        with jax.enable_x64(True):
            fixed, state = final_state(part, run)
            there = np.arange(len(state.centres)) < int(state.count)
            empty = there & (np.asarray(held(geometry(spec), state, fixed)) == 0)
            summed = {"empty": empty, "all": there}
            nets = {k: theory.hard_function(state.centres, spec.amplitude * v, spec.eps) for k, v in summed.items()}
            yield spec, fixed.samples[: spec.num_samples], nets


@jax.jit
def on_data(net: TwoLayer, points: jax.Array) -> dict[str, jax.Array]:
    """The net seen against labels 0, the loss being (1/2n) sum f^2."""
    seen = view(net, points, jnp.zeros(len(points)))
    found = {"difference": jnp.max(jnp.abs(seen.prediction))}
    for name in ("gauss_newton_sharpness", "residual_sharpness", "path_norms"):
        found |= MEASURES[name](seen)
    return found


def pairs(part: Study) -> pl.DataFrame:
    """f_2 of every run on its data: sum of atoms over the empty caps, and over all of them.

    Columns: input_dim, alpha, seed, atoms (`empty` or `all`), difference (max |f_1 - f_2| over the data, f_1 = 0),
    gauss_newton_sharpness and residual_sharpness (lambda_max is within the second of the first), weighted_path_norm (sum |a| g
    with the data's own g).
    """
    columns = ("difference", "gauss_newton_sharpness", "residual_sharpness", "weighted_path_norm")
    rows = []
    for spec, points, nets in hard_functions(part):
        with jax.enable_x64(True):
            for atoms, net in nets.items():
                found = on_data(net, points)
                named = {name: float(found[name]) for name in columns}
                rows.append({"input_dim": spec.input_dim, "alpha": spec.alpha, "seed": spec.seed, "atoms": atoms, **named})
    return pl.DataFrame(rows)


def same_on_data(table: pl.DataFrame) -> Finding:
    """max |f_1 - f_2| over the data is exactly 0 in every run."""
    return exact(float(table["difference"].to_numpy().max()), 0, 0)


def perfectly_flat(table: pl.DataFrame) -> Finding:
    """|lambda_max - 1| at most 1e-9 in every run; 1 is the value at f_1 = 0 and the least there can be.

    Measured is its bound |lambda_GN - 1| + |S|, the Hessian being Gauss-Newton plus S.
    """
    off = (table["gauss_newton_sharpness"] - 1).abs() + table["residual_sharpness"]
    return exact(float(off.to_numpy().max()), 0, 1e-9)


def draw_line(axis, n: np.ndarray, anchor: float, exponent: float, color) -> None:
    """A power of n through its value at the largest n."""
    axis.plot(n, anchor * (n / n[-1]) ** exponent, ":", color=color, lw=1)
