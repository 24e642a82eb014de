"""A prediction drawn over a simulation, the residual beneath,
and the claim judged by the very numbers that are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from dynamics.analysis.bounds import Measured
from dynamics.analysis.controls import NEIGHBOUR, NULL, TREATMENT, Evidence
from dynamics.analysis.drawing import make_table, mark_level
from dynamics.analysis.figures import COLORS
from dynamics.analysis.intervals import over_values
from dynamics.core.given_arrays import read_array
from dynamics.errors import choose, require
from dynamics.study.tables import Study

__all__ = ["Overlay", "add_overlay_axes", "measure_deviation", "read_curves"]

# what is drawn beneath, of the simulated values s (S, K) and the predicted ones p (1 or S, K),
# and how its axis is called
RESIDUALS: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "difference": ("difference", lambda s, p: s - p),
    "relative": ("relative difference", lambda s, p: s / p - 1),
    "range": ("difference / range", lambda s, p: (s - p) / (p.max(axis=1, keepdims=True) - p.min(axis=1, keepdims=True))),
    "log": ("log ratio", lambda s, p: np.log(s / p)),
}
SIZES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "largest": lambda r: np.max(np.abs(r), axis=-1),
    "root mean square": lambda r: np.sqrt(np.mean(r**2, axis=-1)),
}


@dataclass(frozen=True, eq=False)
class Overlay:
    """Simulated values beside what a theory predicts of them, at the places x (K,).

    simulated: (S, K), a row a seed, inf where a run diverged, NaN where there is no value; or (K,),
        without sampling error
    predicted: (K,), or (S, K) where each seed has a prediction of its own; finite
    control: another prediction of the same shape, which a claim must reject, drawn faintly; control_text: what it is;
        control_kind: `null`, `neighbour` or `treatment`, see `controls`
    residual: `difference`, `relative` (to the prediction), `range` (over the range of the prediction),
        or `log` (of the ratio)
    size: how a seed's residuals make one number, the `largest` or the `root mean square`

    `deviation()` and `evidence()` are computed from the residuals that `draw` draws, so that figure and claim agree.

    >>> seen = Overlay([1, 2, 4], [1.0, 0.52, 0.24], [1.0, 0.5, 0.25], residual="relative")
    >>> round(seen.deviation(), 4)
    0.04
    """

    x: Any
    simulated: Any
    predicted: Any
    control: Any = None
    control_text: str = ""
    control_kind: str = NEIGHBOUR
    residual: str = "difference"
    size: str = "largest"

    def __post_init__(self):
        found = {name: read_array(name, getattr(self, name)).astype(float) for name in ("x", "simulated", "predicted")}
        (count,) = found["x"].shape if found["x"].ndim == 1 else (0,)
        require(count > 0, "x", found["x"].shape, "must be a list of places")
        shape = found["simulated"].shape
        require(len(shape) in (1, 2) and shape[-1] == count, "simulated", shape, f"must be (seeds, {count}) or ({count},)")
        if self.control is not None:
            found["control"] = read_array("control", self.control).astype(float)
            require(bool(self.control_text), "control_text", self.control_text, "must say what the control is")
        for name in ("predicted", "control"):
            if name in found:
                require(found[name].shape in ((count,), shape), name, found[name].shape, f"must be ({count},) or {shape}")
                require(bool(np.isfinite(found[name]).all()), name, found[name], "must be finite")
        choose("control_kind", self.control_kind, dict.fromkeys((NULL, NEIGHBOUR, TREATMENT)))
        choose("residual", self.residual, RESIDUALS)
        choose("size", self.size, SIZES)
        for name, value in found.items():
            object.__setattr__(self, name, value)

    @cached_property
    def residuals(self) -> np.ndarray:
        """What lies between the simulated and the predicted values, (S, K), with one row where there are no seeds."""
        return self._residuals_of(self.predicted)

    def _residuals_of(self, predicted: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return RESIDUALS[self.residual][1](np.atleast_2d(self.simulated), np.atleast_2d(predicted))

    def deviation(self) -> Measured:
        """Return the median over seeds of the size of the residuals, with its interval;
        a plain number without seeds."""
        return self._measure(self.residuals)

    def _measure(self, residuals: np.ndarray) -> Measured:
        each = SIZES[self.size](residuals)
        return over_values(lambda v: np.median(v, axis=1), each) if self.simulated.ndim == 2 else float(each[0])

    def evidence(self) -> Evidence:
        """Return the deviation beside that of the control, for `judge`."""
        require(self.control is not None, "control", None, "a claim needs one: give the prediction that it must reject")
        control = self._measure(self._residuals_of(self.control))
        return Evidence(self.deviation(), control, self.control_text, self.control_kind)

    def table(self) -> pl.DataFrame:
        """Return what is drawn: x, least, median and greatest simulated value, prediction, control,
        and median residual."""
        low, middle, high = _spread(np.atleast_2d(self.simulated))
        columns = [self.x, low, middle, high, _middle(self.predicted), _spread(self.residuals)[1]]
        names = "x, low, simulated, high, predicted, residual"
        if self.control is not None:
            columns, names = [*columns, _middle(self.control)], f"{names}, control"
        return make_table(np.stack(columns, axis=1).tolist(), names)

    def draw(
        self,
        above: Axes,
        below: Axes | None = None,
        *,
        color: str = COLORS[0],
        label: str = "simulation",
        predicted: str | None = "prediction",
        marker: str = "",
        allowed: float | None = None,
        **look: Any,
    ) -> None:
        """Draw median and band from the least to the greatest seed, the prediction over them,
        and the residuals beneath.

        predicted: the label of the prediction's line; marker: draw the medians as points, not as a line
        allowed: the largest deviation that a claim allows, shaded beneath
        """
        style = {"ls": "none", "marker": marker, "ms": 3.5} if marker else {"lw": 1.6, "alpha": 0.75}
        for axis, values in ((above, np.atleast_2d(self.simulated)), (below, self.residuals)):
            if axis is None:
                continue
            low, middle, high = _spread(values)
            if len(values) > 1:
                axis.fill_between(self.x, low, high, color=color, alpha=0.2, lw=0)
            axis.plot(self.x, middle, color=color, label=label if axis is above else None, **{**style, **look})
        if self.control is not None:
            above.plot(self.x, _middle(self.control), ":", color="0.6", lw=1, label=self.control_text, zorder=1)
        above.plot(self.x, _middle(self.predicted), "--", color="k", lw=0.9, label=predicted)
        if below is None:
            return
        mark_level(below, 0, color="k", ls="--", lw=0.9)
        if allowed is not None:
            below.axhspan(-allowed, allowed, color="0.9", lw=0, zorder=-1)
        below.set_ylabel(RESIDUALS[self.residual][0])


def measure_deviation(overlay: Overlay) -> Measured:
    """Return `Overlay.deviation()`, as `compare` wants a statistic: of a prediction over another simulation, say."""
    return overlay.deviation()


def add_overlay_axes(figure: Figure, cell: SubplotSpec | None = None, **options: Any) -> tuple[Axes, Axes]:
    """Return new axes for an overlay, with those for the residual beneath, on a third of the height and the same x."""
    grid = (cell.subgridspec if cell is not None else figure.add_gridspec)(2, 1, height_ratios=[3, 1], hspace=0.08)
    above = figure.add_subplot(grid[0], **options)
    below = figure.add_subplot(grid[1], sharex=above)
    above.tick_params(labelbottom=False)
    return above, below


def read_curves(part: Study, metric: str, *axes: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the recorded steps (T,) and a metric as (S, T, ...) by rising seed,
    of runs that differ in their seed alone.

    inf where a run had diverged; axes: others than the step to have in its place, such as `input_dim`.
    """
    values, levels = part.grid(metric, "seed", *(axes or ("step",)))
    lost = part.runs.filter(pl.col("status") == "diverged")["seed"].unique() if "status" in part.runs.columns else []
    for seed in lost:
        row = values[levels[0].index(seed)]
        row[np.isnan(row)] = np.inf
    return np.array(levels[1], float), values


def _middle(values: np.ndarray) -> np.ndarray:
    return _spread(np.atleast_2d(values))[1]


def _spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return least, median and greatest value (K,) over rows (S, K), NaN where they are not finite."""
    seen = np.stack([values.min(axis=0), np.median(values, axis=0), values.max(axis=0)])
    low, middle, high = np.where(np.isfinite(seen), seen, np.nan)
    return low, middle, high
