"""Recorded outputs and tangent kernels of training runs, and what linear dynamics make of their start."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dynamics.analysis.overlays import read_curves
from dynamics.study.tables import Study
from dynamics.theory.linearized_training import LinearizedTraining

__all__ = ["follow_kernels", "linearize", "read_first_kernels", "read_outputs"]


def read_outputs(part: Study, last: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
    """Return recorded steps (T,) up to `last`, and outputs (S, T, n + m) at inputs to train on and then to test on.

    Of runs that differ in their seed alone and record the measure `predictions`.
    """
    steps, train = read_curves(part, "train_prediction")
    seen = np.concatenate([train, read_curves(part, "test_prediction")[1]], axis=2)
    return steps[steps <= last], seen[:, steps <= last]


def read_first_kernels(part: Study) -> np.ndarray:
    """Return the tangent kernel of each run's first parameters, (S, n + m, n), from the recorded `tangent_kernel` and
    `test_tangent_kernel`."""
    return np.concatenate([read_curves(part, name)[1][:, 0] for name in ("tangent_kernel", "test_tangent_kernel")], axis=1)


def linearize(kernel: np.ndarray, labels: np.ndarray, first: np.ndarray, factor: float) -> LinearizedTraining:
    """Return the linear model with a kernel (n + m, n or more) and labels (n,) whose outputs (n + m,) are
    these at first."""
    n = len(labels)
    return LinearizedTraining(kernel[:n, :n], labels, kernel[n:, :n], first[:n], first[n:], factor)


def follow_kernels(
    kernels: Iterable[np.ndarray], labels: np.ndarray, first: np.ndarray, steps: np.ndarray, rate: float, factor: float
) -> np.ndarray:
    """Return outputs (S, T, n + m) of gradient descent on linear models,
    one for each kernel and row of outputs (S, n + m)."""
    models = (linearize(kernel, labels, own, factor) for kernel, own in zip(kernels, first, strict=True))
    return np.stack([np.concatenate(model.follow_descent(steps, rate), axis=1) for model in models])
