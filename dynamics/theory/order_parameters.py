"""Ordinary differential equations of order parameters, integrated to a tolerance that is checked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import integrate

from dynamics.core.given_arrays import read_array
from dynamics.errors import InputError, require

__all__ = ["integrate_ode"]

FINEST = 3e-14  # relative error of a step that an integrator can be asked for


def integrate_ode(
    slope: Callable[[float, np.ndarray], ArrayLike],
    initial: ArrayLike,
    times: ArrayLike,
    *,
    tolerance: float = 1e-8,
    stiff: bool = False,
) -> np.ndarray:
    """Return the solution of dy/dt = slope(t, y) with y(0) = initial (...) at rising times (T,), as (T, ...).

    tolerance: of the solution itself, relative to the largest value that each component takes
    stiff: by an implicit method (Radau) in the place of an explicit one of order 8 (DOP853)

    It is integrated with ever smaller steps, until two solutions in a row differ by at most the tolerance; the finer
    one is returned. Raises `InputError` where rounding ends that before, and where the solution stops existing.

    >>> integrate_ode(lambda t, y: -y, 1.0, [0, 1, 2]).round(6).tolist()
    [1.0, 0.367879, 0.135335]
    """
    start, at = read_array("initial", initial).astype(float), read_array("times", times).astype(float)
    require(bool(np.isfinite(start).all()) and start.size > 0, "initial", initial, "must be finite numbers")
    rising = at.ndim == 1 and at.size > 0 and at[0] >= 0 and bool((np.diff(at) > 0).all()) and bool(np.isfinite(at).all())
    require(rising, "times", times, "must be a list of rising numbers of at least 0")
    require(1e-11 <= tolerance <= 0.1, "tolerance", tolerance, "must lie between 1e-11 and 0.1")
    shape = np.shape(slope(0.0, start.copy()))
    require(shape == start.shape, "slope", shape, f"must have the shape {start.shape} of the initial state")

    def flat(t: float, y: np.ndarray) -> np.ndarray:
        return np.asarray(slope(t, y.reshape(start.shape)), float).ravel()

    def solve(error: float, size: np.ndarray) -> np.ndarray:
        """Return the solution (T, D) whose steps keep to this error, relative to these sizes (D,) of the components."""
        with np.errstate(over="ignore", invalid="ignore"):
            method = "Radau" if stiff else "DOP853"
            found = integrate.solve_ivp(flat, (0.0, at[-1]), start.ravel(), method, at, rtol=error, atol=error * size)
        if not found.success or not np.isfinite(found.y).all():
            reached = found.t[-1] if len(found.t) else 0.0
            raise InputError("times", float(at[-1]), f"the solution stops existing beyond t = {reached:.6g}: {found.message}")
        return found.y.T

    if at[-1] == 0:
        return start[None]
    asked, size = tolerance, np.full(start.size, np.abs(start).max() or 1.0)
    finer, differ = solve(asked, size), np.inf
    while differ > tolerance:
        rough, asked = finer, asked / 10
        allowed = f"is not met: two solutions differ by {differ:.2g} of their size at the smallest steps; try stiff=True"
        require(asked > FINEST, "tolerance", tolerance, allowed)
        size = np.maximum(np.abs(rough).max(axis=0), np.abs(start.ravel()))
        size = np.where(size > 0, size, 1.0)
        finer = solve(asked, size)
        differ = float((np.abs(finer - rough) / size).max())
    return finer.reshape(len(at), *start.shape)
