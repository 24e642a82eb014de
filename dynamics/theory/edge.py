"""Stability thresholds of full-batch descent: the eta * S above which its linearisation diverges."""

from __future__ import annotations


def stability_threshold(kind: str, momentum: float) -> float:
    """Return the largest stable eta * S: `gd` 2; `momentum` (heavy ball) 2 + 2b; `nesterov` (2 + 2b) / (1 + 2b).

    On a quadratic of curvature S a step has the characteristic polynomial z^2 - (1 + b - s) z + b for heavy ball and
    z^2 - (1 + b)(1 - s) z + b (1 - s) for Nesterov, with s = eta S. A root leaves the unit disc at z = -1, at these s.

    >>> [round(stability_threshold(kind, 0.9), 4) for kind in ("gd", "momentum", "nesterov")]
    [2.0, 3.8, 1.3571]
    """
    thresholds = {"gd": 2.0, "momentum": 2 + 2 * momentum, "nesterov": (2 + 2 * momentum) / (1 + 2 * momentum)}
    return thresholds[kind]


def averaged_momentum_threshold(beta1: float) -> float:
    """Return the largest stable eta * S of heavy ball with m <- b m + (1 - b) g: (2 + 2b) / (1 - b), 38 at b = 0.9.

    theta <- theta - eta m on a quadratic is heavy ball with the rate (1 - b) eta. It is Adam's threshold too, once its
    means have forgotten their start, with S the largest eigenvalue of P^-1 H for its preconditioner P while P changes
    little within an oscillation (Cohen et al. 2022); RMSProp's is that at b = 0.

    >>> [round(averaged_momentum_threshold(b), 6) for b in (0.0, 0.9)]
    [2.0, 38.0]
    """
    return (2 + 2 * beta1) / (1 - beta1)
