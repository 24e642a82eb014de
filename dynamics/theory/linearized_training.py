"""Training of a model that is linear in its parameters, by its kernel: predictions at any time,
in closed form (float64).

For the loss factor * (1/n) sum_i |f(x_i) - y_i|^2 and c = 2 factor / n,
gradient flow and gradient descent at rate eta give

    d f / dt = -c T(., X) (f(X) - y)                  f <- f - eta c T(., X) (f(X) - y)
    f(x) at t = f_0(x) + T(x, X) G_t(T) (y - f_0(X)), where for an eigenvalue l of T = T(X, X)
    G_t = (1 - exp(-c l t)) / l  for the flow,        G_t = (1 - (1 - eta c l)^t) / l  for descent

with the limits c t and eta c t where l = 0, so that a singular kernel is no trouble (Lee et al. 2019, section 2). With
f_0 = 0 it is the mean over random initialisations of infinitely wide networks, whose covariance is (there, too)

    K(x, x') - A K(X, x') - K(x, X) A'^T + A K(X, X) A'^T,    A = T(x, X) G_t,    K the covariance of f_0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dynamics.core.given_arrays import read_array
from dynamics.errors import require

ASYMMETRY = 1e-4  # |T - T^T| relative to the largest entry, above which a kernel is not what it should be


class Trajectory(NamedTuple):
    """Predictions of a linearised model at T times: train (T, n, ...), test (T, m, ...),
    as the labels' shape goes on."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class LinearizedTraining:
    """A model linear in its parameters, trained on a squared loss, as its tangent kernel knows it.

    kernel: T(X, X), (n, n); labels: y, (n,) or (n, C) for C outputs that have this same kernel each
    test_kernel: T(x, X) of the points to predict at, (m, n); none if left out
    initial, initial_test: f_0 at both, shaped like the labels; 0, the mean over initialisations, if left out
    factor: the loss is factor * (1/n) sum_i |f(x_i) - y_i|^2: 1 for the mean square, 1/2 for half of it,
        n/2 for half the sum

    Raises `InputError` for shapes that do not go together,
    numbers that are not finite and a kernel that is not symmetric.

    >>> one = LinearizedTraining(kernel=[[2.0]], labels=[1.0], factor=0.5)
    >>> one.follow_flow([0.5]).train.round(4).tolist(), one.follow_descent([2], learning_rate=0.25).train.tolist()
    ([[0.6321]], [[0.75]])
    """

    kernel: Any  # like all of them an array, or what becomes one
    labels: Any
    test_kernel: Any = None
    initial: Any = None
    initial_test: Any = None
    factor: float = 1.0

    def __post_init__(self):
        kernel, labels = _read("kernel", self.kernel), _read("labels", self.labels)
        n = len(labels) if labels.ndim else 0
        require(n > 0, "labels", labels.shape, "must have the shape (samples,) or (samples, outputs)")
        require(kernel.shape == (n, n), "kernel", kernel.shape, f"must be {(n, n)}, as there are {n} labels")
        size = np.abs(kernel).max()
        odd = float(np.abs(kernel - kernel.T).max() / size) if size > 0 else 0.0
        require(odd <= ASYMMETRY, "kernel", odd, f"differs from its transpose by more than {ASYMMETRY:g} of its largest entry")
        require(self.factor > 0, "factor", self.factor, "must be above 0")
        test = np.zeros((0, n)) if self.test_kernel is None else _read("test_kernel", self.test_kernel)
        require(test.ndim == 2 and test.shape[1] == n, "test_kernel", test.shape, f"must be (points, {n})")
        found = {"kernel": (kernel + kernel.T) / 2, "labels": labels, "test_kernel": test}
        for name, count in (("initial", n), ("initial_test", len(test))):
            value, shape = getattr(self, name), (count, *labels.shape[1:])
            found[name] = np.zeros(shape) if value is None else _read(name, value)
            require(found[name].shape == shape, name, found[name].shape, f"must be {shape}")
        for name, value in found.items():
            object.__setattr__(self, name, value)

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """The eigenvalues (n,) of T, rising, and its eigenvectors in columns (n, n)."""
        return np.linalg.eigh(self.kernel)

    @property
    def speed(self) -> float:
        """c = 2 factor / n, by which a kernel's eigenvalues become rates."""
        return 2 * self.factor / len(self.labels)

    @property
    def largest_learning_rate(self) -> float:
        """2 / (c l_max): descent diverges above it."""
        return float(2 / (self.speed * self.spectrum[0][-1]))

    def follow_flow(self, times: ArrayLike) -> Trajectory:
        """Return the predictions of gradient flow at these times (T,)."""
        return self._follow(times, self._flow_filter)

    def follow_descent(self, steps: ArrayLike, learning_rate: float) -> Trajectory:
        """Return the predictions of full-batch gradient descent after these numbers of steps (T,)."""
        whole = np.asarray(steps)
        require(bool((whole == np.round(whole)).all()), "steps", steps, "must be whole numbers")
        require(learning_rate > 0, "learning_rate", learning_rate, "must be above 0")
        return self._follow(steps, lambda step: self._descent_filter(step, learning_rate))

    def spread_at(self, time: float, prior: ArrayLike, *, learning_rate: float | None = None) -> np.ndarray:
        """Return the covariance (m, m) over initialisations of the predictions at the test points.

        time: of the flow, or the number of steps of descent at `learning_rate`
        prior: K, the covariance of f_0 over training and test points together, (n + m, n + m),
            the training points first
        """
        n, m = len(self.kernel), len(self.test_kernel)
        prior = _read("prior", prior)
        require(prior.shape == (n + m, n + m), "prior", prior.shape, f"must be {(n + m, n + m)}")
        gain = self._flow_filter(time) if learning_rate is None else self._descent_filter(time, learning_rate)
        vectors = self.spectrum[1]
        answer = self.test_kernel @ (vectors * gain) @ vectors.T
        both = np.concatenate([-answer, np.eye(m)], axis=1)
        return both @ prior @ both.T

    def _flow_filter(self, time: float) -> np.ndarray:
        values = self.spectrum[0]
        with np.errstate(over="ignore"):
            return _over(-np.expm1(-self.speed * time * values), values, self.speed * time)

    def _descent_filter(self, step: float, learning_rate: float) -> np.ndarray:
        values, pace = self.spectrum[0], learning_rate * self.speed
        slow = np.abs(pace * values) < 0.5
        with np.errstate(over="ignore"):
            kept = np.where(slow, 0.0, 1 - (1 - pace * values) ** step)
            kept = np.where(slow, -np.expm1(step * np.log1p(-pace * np.where(slow, values, 0))), kept)
        return _over(kept, values, pace * step)

    def _follow(self, times: ArrayLike, gain_at: Callable[[float], np.ndarray]) -> Trajectory:
        times = _read("times", times)
        require(times.ndim == 1 and bool((times >= 0).all()), "times", times.shape, "must be a list of numbers of at least 0")
        vectors, missing = self.spectrum[1], self.labels - self.initial
        seen = np.tensordot(vectors.T, missing, axes=1)
        gains = np.stack([gain_at(time) for time in times])
        dual = np.einsum("ij,tj,j...->ti...", vectors, gains, seen)
        return Trajectory(
            self.initial + np.einsum("ij,tj...->ti...", self.kernel, dual),
            self.initial_test + np.einsum("ij,tj...->ti...", self.test_kernel, dual),
        )


def _over(numerator: np.ndarray, values: np.ndarray, limit: float) -> np.ndarray:
    """Return numerator / values, or `limit` where the values are 0."""
    zero = values == 0
    return np.where(zero, limit, numerator / np.where(zero, 1, values))


def _read(name: str, value: ArrayLike) -> np.ndarray:
    array = read_array(name, value).astype(float)
    require(bool(np.isfinite(array).all()), name, array[~np.isfinite(array)][:1].tolist(), "must be finite")
    return array
