"""How far the empirical weight function is from the population's: sup over (u, t) of |g_n(u, t) - g_P(u, t)|, searched.

A step tries a batch of directions u, half of them uniform, half near the best one so far, each with every threshold t
that
matters: g_n is linear in t between neighbouring projections x_i . u (each side's sums are constant there), so the ends
of these gaps, as one-sided limits, and their midpoints are looked at. The search never overshoots: it is a lower bound
on the sup that rises with the steps. The sup is at most C sqrt((d + log(1/delta)) / n) (Liang et al. 2025, Theorem
E.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.dynamics import Cost, Dynamics, Hyper
from dynamics.core.spec import RunSpec
from dynamics.data.law import draw_inputs, parameter_free_forms
from dynamics.errors import choose, require
from dynamics.stability.weight import one_sided_weight, population_weight
from dynamics.systems import register

TABLE = 4097  # points of g_P on [-R, R]; linear interpolation errs by less than 1e-6
NEAREST = 1e-3  # the smallest distance at which the neighbourhood of the best direction is searched


@register.system
@dataclass(frozen=True)
class ConcentrationSpec(RunSpec):
    """A search for the largest deviation |g_n - g_P| between a sample of `num_samples` inputs and its law.

    weight_dim: the dimension whose g_P is compared with, 0 for input_dim (another one is a negative control)
    directions: tried a step
    annulus, cap: the samples with |x| > 1 - annulus and with x_1 >= 1 - cap are counted, of the unit radius
    """

    law: str = "uniform_ball"
    input_dim: int = 2
    num_samples: int = 128
    weight_dim: int = 0
    directions: int = 32
    annulus: float = 0.1
    cap: float = 0.1

    system: ClassVar[str] = "concentration"
    shape_fields: ClassVar[tuple[str, ...]] = ("num_samples",)

    @property
    def paddable(self) -> tuple[str, ...]:
        return self.shape_fields

    def resolve(self) -> ConcentrationSpec:
        return replace(self, weight_dim=self.weight_dim or self.input_dim)

    def check(self) -> None:
        super().check()
        choose("law", self.law, {name: forms for name, forms in parameter_free_forms().items() if math.isfinite(forms.radius)})
        for name in ("input_dim", "num_samples", "weight_dim"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        require(self.directions >= 2, "directions", self.directions, "must be at least 2")
        for name in ("annulus", "cap"):
            require(0 < getattr(self, name) <= 1, name, getattr(self, name), "must be in (0, 1]")

    def dynamics(self) -> Dynamics:
        return build_deviation_search(self)

    def cost(self) -> Cost:
        n, d = self.num_samples, self.input_dim
        itemsize = 8 if self.precision == "float64" else 4
        per_direction = n * (150.0 * (d + 1) + 800 * math.log2(n + 1))  # in time: sorting is slow for its operations
        resident = float(itemsize * (n * (d + 1) + TABLE))
        return Cost(self.directions * per_direction, 4.0 * n * d, resident, itemsize * self.directions * n * (4.0 * d + 20))


class WeightedSample(NamedTuple):
    """A sample and the run's scalars: hyper; inputs (n, d); weights (n,), 1/n each and 0 on padding."""

    hyper: Hyper
    inputs: jax.Array
    weights: jax.Array


class LargestDeviation(NamedTuple):
    """The largest deviation () found so far, with its direction (d,) and threshold ()."""

    deviation: jax.Array
    direction: jax.Array
    threshold: jax.Array


def weights_in_gaps(inputs: jax.Array, weights: jax.Array, direction: jax.Array, radius: float) -> tuple[jax.Array, jax.Array]:
    """Return thresholds at the ends and middle of every gap between projections, and g_n there, (3, n + 1) each.

    In the order left end, middle, right end.

    At the ends g_n is the limit from inside the gap, so its jumps at the samples are seen from both sides.
    """
    z = jnp.where(weights > 0, inputs @ direction, jnp.inf)
    order = jnp.argsort(z)
    moments = (weights[:, None] * jnp.concatenate([jnp.ones((len(z), 1), z.dtype), inputs], axis=1))[order].T
    below = jnp.pad(jnp.cumsum(moments, axis=1), [(0, 0), (1, 0)])
    above = below[:, -1:] - below
    ends = jnp.clip(jnp.pad(z[order], 1, constant_values=jnp.inf).at[0].set(-radius), -radius, radius)
    left, right = ends[:-1], ends[1:]
    t = jnp.stack([left, (left + right) / 2, right])

    def side(sums: jax.Array, sign: int) -> jax.Array:
        excess = jnp.maximum(sign * (direction @ sums[1:] - t * sums[0]), 0)
        return one_sided_weight(excess, sums[0], sums[1:])

    return t, jnp.minimum(side(above, 1), side(below, -1))


def build_deviation_search(spec: ConcentrationSpec) -> Dynamics:
    """Return the dynamics of a deviation search at the spec's shapes; every step draws new directions."""
    dtype, law, d = jnp.dtype(spec.precision), parameter_free_forms()[spec.law], spec.input_dim
    table = jnp.asarray(population_weight(law, np.linspace(-law.radius, law.radius, TABLE), spec.weight_dim), dtype)

    def population(t: jax.Array) -> jax.Array:
        position = (t + law.radius) * ((TABLE - 1) / (2 * law.radius))
        return jax.scipy.ndimage.map_coordinates(table, [position], order=1, mode="nearest")

    def init(key: jax.Array, hyper: Hyper) -> tuple[WeightedSample, LargestDeviation]:
        count = hyper["num_samples"]
        inputs = draw_inputs(spec.law, key, count, d, (spec.num_samples, d), dtype)
        weights = (jnp.arange(spec.num_samples) < count).astype(dtype) / count.astype(dtype)
        start = jnp.zeros(d, dtype).at[0].set(1)
        return WeightedSample(hyper, inputs, weights), LargestDeviation(jnp.zeros((), dtype), start, jnp.zeros((), dtype))

    def deviation(direction: jax.Array, fixed: WeightedSample) -> LargestDeviation:
        t, empirical = weights_in_gaps(fixed.inputs, fixed.weights, direction, law.radius)
        gap = jnp.abs(empirical - population(t)).ravel()
        at = jnp.argmax(gap)
        return LargestDeviation(gap[at], direction, t.ravel()[at])

    def step(best: LargestDeviation, fixed: WeightedSample, key: jax.Array) -> LargestDeviation:
        drawn = normalize_rows(jax.random.normal(jax.random.fold_in(key, 0), (spec.directions, d), dtype))
        power = jax.random.uniform(jax.random.fold_in(key, 1), (spec.directions, 1), dtype)
        near = normalize_rows(best.direction + NEAREST**power * drawn)
        tried = jnp.where((jnp.arange(spec.directions) % 2 == 0)[:, None], drawn, near)
        found = jax.vmap(deviation, in_axes=(0, None))(tried, fixed)
        top = jax.tree.map(lambda a: a[jnp.argmax(found.deviation)], found)
        return jax.tree.map(lambda new, old: jnp.where(top.deviation > best.deviation, new, old), top, best)

    def observe(best: LargestDeviation, fixed: WeightedSample) -> dict[str, jax.Array]:
        used = fixed.weights > 0
        outer = used & (jnp.linalg.norm(fixed.inputs, axis=1) > 1 - fixed.hyper["annulus"])
        capped = used & (fixed.inputs[:, 0] >= 1 - fixed.hyper["cap"])
        return {
            "deviation": best.deviation,
            "threshold": best.threshold,
            "in_annulus": jnp.sum(outer),
            "in_cap": jnp.sum(capped),
        }

    return Dynamics(init, step, observe)


def normalize_rows(rows: jax.Array) -> jax.Array:
    """Return the rows scaled to length 1."""
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
