"""Integrate y' = f(y) over a span of time by steps whose length follows an estimate of their error.

`DORMAND_PRINCE` is the embedded pair of orders 5 and 4 (Dormand and Prince 1980). It is bound by stability to steps of
about 3.3 over the spectral radius of f's Jacobian, so it is for accuracy. `CHEBYSHEV` is the stabilised explicit method
of order 2 (RKC: Sommeijer, Shampine and Verwer 1997, J. Comput. Appl. Math. 88): s stages are stable on the real
interval [-0.65 s^2, 0], so a stiff span costs the root of what others take. A gradient flow's Jacobian is minus the
Hessian and has real eigenvalues, which is what it is made for;
implicit methods would have to solve with the Hessian at every step.

A step is accepted if its estimated error is at most |y| max(a tolerance^p, 8 eps). With p = 1 for the pair, which goes
on with the better of its two solutions, and p = 3/2 for the method of order 2 the error over a span is proportional to
the tolerance, whatever that is; with a = 1/10 and 1 it stays below it in the tests. The norm is Euclidean: padding
leaves it as it is. The next length is 0.9 (allowed / error)^(1/q) times this one, q = 5 or 3,
between a fifth and five times it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Velocity = Callable[[jax.Array], jax.Array]  # y (n,) -> y' (n,)

MOST_TRIES = 10_000  # steps within one span; a span that wants more is given up
MOST_STAGES = 500  # of one step of `CHEBYSHEV`
POWER_STEPS = 40  # of one estimate of the spectral radius
STEPS_AN_ESTIMATE = 25  # accepted steps for which an estimate is kept
DAMPING = 2 / 13
ROUNDING = 8  # least allowed error of a step, in units of the last place

# Dormand and Prince 1980, table 2: row i has the weights of the slopes in stage i + 1; the last is the step itself
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)  # of order 5 less that of order 4


class Pace(NamedTuple):
    """What one span hands to the next: length (), of the next step; direction (n,), in which f changes fastest."""

    length: jax.Array
    direction: jax.Array


class Method(NamedTuple):
    """A method of integration.

    attempt(velocity, y, slope, length, radius): one step from y (n,), where the velocity is `slope`; returns the new y,
        the slope there and an estimate of the error (n,); radius: of the Jacobian's spectrum, if `stabilised`
    order: q, the power of the length with which the estimate falls; share, strictness: a and p
    stabilised: whether it adapts to the radius, which is then estimated
    """

    attempt: Callable[[Velocity, jax.Array, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]
    order: int
    share: float
    strictness: float
    stabilised: bool = False

    def least_tolerance(self, eps: float) -> float:
        """Return the smallest tolerance that can be kept where numbers are rounded by `eps`."""
        return (ROUNDING * eps / self.share) ** (1 / self.strictness)


def _dormand_prince(velocity, y, slope, length, radius):
    slopes = [slope]
    for weights in STAGES:
        moved = y + length * sum(w * k for w, k in zip(weights, slopes, strict=True) if w)
        slopes.append(velocity(moved))
    return moved, slopes[-1], length * sum(w * k for w, k in zip(ERROR, slopes, strict=True) if w)


class _Chebyshev(NamedTuple):
    """T_j, its first two derivatives at w0, and b_j, for the last two j."""

    value: jax.Array
    first: jax.Array
    second: jax.Array
    weight: jax.Array


def _next_polynomial(w0: jax.Array, last: _Chebyshev, before: _Chebyshev) -> _Chebyshev:
    value = 2 * w0 * last.value - before.value
    first = 2 * last.value + 2 * w0 * last.first - before.first
    second = 4 * last.first + 2 * w0 * last.second - before.second
    return _Chebyshev(value, first, second, second / first**2)


def _chebyshev(velocity, y, slope, length, radius):
    wanted = jnp.sqrt(1 + 1.54 * length * radius)
    num_stages = jnp.clip(jnp.floor(wanted), 1, MOST_STAGES - 1).astype(jnp.int32) + 1
    w0 = 1 + DAMPING / num_stages.astype(y.dtype) ** 2
    one, zero = jnp.ones((), y.dtype), jnp.zeros((), y.dtype)
    b2 = 1 / (4 * w0**2)  # T_2'' / T_2'^2 = 4 / (4 w0)^2
    start = _Chebyshev(one, zero, zero, b2), _Chebyshev(w0, one, zero, b2)

    def to_next(j, pair):
        return pair[1], _next_polynomial(w0, pair[1], pair[0])

    top = lax.fori_loop(2, num_stages + 1, to_next, start)[1]
    w1 = top.first / top.second

    def stage(j, carry):
        before, last, earlier, current = carry
        new = _next_polynomial(w0, last, before)
        mu, nu = 2 * new.weight * w0 / last.weight, -new.weight / before.weight
        pull = 2 * new.weight * w1 / last.weight
        drag = -(1 - last.weight * last.value) * pull
        moved = (1 - mu - nu) * y + mu * current + nu * earlier + length * (pull * velocity(current) + drag * slope)
        return last, new, current, moved

    first = y + b2 * w1 * length * slope
    *_, moved = lax.fori_loop(2, num_stages + 1, stage, (*start, y, first))
    after = velocity(moved)
    return moved, after, 0.8 * (y - moved) + 0.4 * length * (slope + after)


DORMAND_PRINCE = Method(_dormand_prince, 5, 0.1, 1.0)
CHEBYSHEV = Method(_chebyshev, 3, 1.0, 1.5, stabilised=True)


def estimate_radius(velocity: Velocity, y: jax.Array, slope: jax.Array, direction: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return an upper estimate of the spectral radius of f's Jacobian at y, and the direction of its eigenvector.

    Power iterations on differences of f, from `direction` (n,), or from `slope` where that is zero; a fifth is added to
    what they come to, as RKC does. What is zero in both stays so (padding).
    """
    tiny = jnp.finfo(y.dtype).tiny
    apart = jnp.sqrt(jnp.finfo(y.dtype).eps) * jnp.maximum(jnp.linalg.norm(y), jnp.finfo(y.dtype).eps)
    direction = jnp.where(jnp.any(direction != 0), direction, slope)

    def go_on(carry):
        count, radius, last, _ = carry
        return (count < POWER_STEPS) & ~(jnp.abs(radius - last) <= 0.01 * radius)

    def iterate(carry):
        count, radius, _, direction = carry
        ahead = direction / jnp.maximum(jnp.linalg.norm(direction), tiny)
        change = velocity(y + apart * ahead) - slope
        size = jnp.linalg.norm(change)
        return count + 1, size / apart, radius, jnp.where(size > 0, change, direction)

    start = (jnp.int32(0), jnp.zeros((), y.dtype), jnp.full((), jnp.inf, y.dtype), direction)
    _, radius, _, direction = lax.while_loop(go_on, iterate, start)
    return 1.2 * radius, direction


class _Progress(NamedTuple):
    """left: time that is left; y, slope; length: of the next step; radius, direction, age: of the estimate; tries"""

    left: jax.Array
    y: jax.Array
    slope: jax.Array
    length: jax.Array
    radius: jax.Array
    direction: jax.Array
    age: jax.Array
    tries: jax.Array


def begin(y: jax.Array, time: jax.Array) -> Pace:
    """Return the pace of a first span: one step, and no direction yet."""
    return Pace(jnp.asarray(time, y.dtype), jnp.zeros_like(y))


def integrate(
    method: Method, velocity: Velocity, y: jax.Array, time: jax.Array, tolerance: jax.Array, pace: Pace
) -> tuple[jax.Array, Pace]:
    """Return y (n,) after so much `time`, and the pace at which to go on;
    NaN where `MOST_TRIES` steps do not suffice."""
    time = jnp.asarray(time, y.dtype)
    share = jnp.maximum(method.share * tolerance**method.strictness, ROUNDING * jnp.finfo(y.dtype).eps)

    def go_on(at: _Progress) -> jax.Array:
        return (at.left > 0) & (at.tries < MOST_TRIES) & jnp.all(jnp.isfinite(at.y))

    def step(at: _Progress) -> _Progress:
        radius, direction, length = at.radius, at.direction, jnp.minimum(at.length, at.left)
        if method.stabilised:
            estimate = lambda: estimate_radius(velocity, at.y, at.slope, at.direction)  # noqa: E731
            radius, direction = lax.cond(at.age == 0, estimate, lambda: (at.radius, at.direction))
            length = jnp.minimum(length, 0.64 * MOST_STAGES**2 / jnp.maximum(radius, jnp.finfo(radius.dtype).tiny))
        y, slope, error = method.attempt(velocity, at.y, at.slope, length, radius)
        norm = jnp.linalg.norm
        allowed = share * jnp.maximum(norm(at.y), norm(y))
        ratio = jnp.where(norm(error) == 0, 0, norm(error) / allowed)
        accepted = ratio <= 1  # not so where a stage overflowed
        factor = jnp.where(ratio > 0, 0.9 * jnp.where(ratio > 0, ratio, 1) ** (-1 / method.order), 5.0)
        longer = length * jnp.where(jnp.isnan(ratio), 0.2, jnp.clip(factor, 0.2, 5.0))
        longer = jnp.where(accepted & (length < at.length), jnp.maximum(longer, at.length), longer)  # the last may be short
        age = jnp.where(accepted, (at.age + 1) % STEPS_AN_ESTIMATE, 0)
        keep = lambda new, old: jnp.where(accepted, new, old)  # noqa: E731
        left = keep(at.left - length, at.left)
        return _Progress(left, keep(y, at.y), keep(slope, at.slope), longer, radius, direction, age, at.tries + 1)

    count = jnp.int32(0)
    start = _Progress(time, y, velocity(y), pace.length, jnp.zeros((), y.dtype), pace.direction, count, count)
    end = lax.while_loop(go_on, step, start)
    return jnp.where(end.left > 0, jnp.full_like(y, np.nan), end.y), Pace(end.length, end.direction)
