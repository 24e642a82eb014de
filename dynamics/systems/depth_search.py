"""Half-space depth of points of a law in a sample of it, searched: the lightest half-space through each point so far.

What is found never lies below the depth in the sample, which `guided` comes close to and `random` does not in many
dimensions: a uniform direction is nearly orthogonal to the best one there. The papers' depths are those of `random`
(Liang et al. 2026). Depth does not change under affine maps, so `data.scale` plays no part, nor do labels and their
noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.dynamics import Cost, Dynamics, Hyper
from dynamics.core.spec import RunSpec
from dynamics.data.law import LAWS, DataSpec
from dynamics.data.point_sets import PointRequest, draw_points
from dynamics.data.views import ViewSpec, list_views, view_shape
from dynamics.errors import choose, require
from dynamics.stability.half_space_depth import THRESHOLDS
from dynamics.stability.half_spaces import (
    PointCloud,
    build_point_cloud,
    draw_nearby_directions,
    draw_uniform_directions,
    lighter_half_space_shares,
    lighter_half_space_shares_per_query,
    whiten_queries,
)
from dynamics.stability.isotropic_depth import build_isotropic_depth
from dynamics.systems import register

SEARCHES = {
    "random": "uniform directions, shared by all queries",
    "guided": "half of them shared and uniform; half each query's own, near the best so far, from Sigma^-1 (x - mean) on",
}
DEEP = (0.05, 0.1, 0.2, 0.3, 0.4)  # T of `deep`
SHALLOW = (0.001, 0.003, 0.01, 0.03, 0.1)  # T of `shallow`


@register.system
@dataclass(frozen=True)
class DepthSpec(RunSpec):
    """A search for the half-space depth of fresh samples in a sample of a law.

    Of `data.num_test` samples in `data.num_samples`, those that a training run at this seed has.

    views: with a scheme the points are random views of samples instead
    views_per_sample, views_per_query: so many of a sample that is referred to, and of a fresh one; all if there are no
    more
    directions_per_step: tried a step; search: of `SEARCHES`
    """

    data: DataSpec = field(default_factory=DataSpec)
    views: ViewSpec = field(default_factory=ViewSpec)
    views_per_sample: int = 1
    views_per_query: int = 1
    directions_per_step: int = 16
    search: str = "random"

    system: ClassVar[str] = "depth"
    shape_fields: ClassVar[tuple[str, ...]] = ("data.input_dim", "data.num_samples")

    @property
    def paddable(self) -> tuple[str, ...]:
        samples = ("data.num_samples",) if self.search == "random" else ()  # counts are exact, a covariance rounds
        return ("data.input_dim", *samples) if LAWS[self.data.law].pads and not self.views.scheme else samples

    def resolve(self) -> DepthSpec:
        data = self.data.resolve()
        data.check()
        there = view_shape(self.views, data.grid)[0]
        each = (min(self.views_per_sample, there), min(self.views_per_query, there))
        return replace(self, data=data, views_per_sample=each[0], views_per_query=each[1])

    def check(self) -> None:
        super().check()
        choose("search", self.search, SEARCHES)
        least = 1 if self.search == "random" else 2
        require(self.directions_per_step >= least, "directions_per_step", self.directions_per_step, f"must be at least {least}")
        for name in ("views_per_sample", "views_per_query"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")

    def unused_fields(self) -> dict[str, str]:
        labels = dict.fromkeys(("data.scale", "data.noise_std", "data.shuffle_parts"), "system")
        views = {} if self.views.scheme else dict.fromkeys(("views_per_sample", "views_per_query"), "views.scheme")
        return {**super().unused_fields(), **labels, **views}

    def shared_arrays(self) -> dict[str, np.ndarray]:
        return self.data.shared_arrays()

    @property
    def dim(self) -> int:
        """Return the number of coordinates of a point."""
        return view_shape(self.views, self.data.grid)[1]

    def derived_columns(self) -> dict[str, Any]:
        return {
            "dim": self.dim,
            "num_reference": self.data.num_samples * self.views_per_sample,
            "num_queries": self.data.num_test * self.views_per_query,
        }

    def dynamics(self) -> Dynamics:
        return build_depth_search(self)

    def cost(self) -> Cost:
        """In time: sorting and searching are slow for their operations."""
        n, q, m = self.data.num_samples * self.views_per_sample, self.data.num_test * self.views_per_query, self.dim
        own = self.directions_per_step // 2 if self.search == "guided" else 0
        shared = (self.directions_per_step - own) * (n * (2 * m + 500 * math.log2(n + 1)) + 400 * q * math.log2(n + 1))
        itemsize = 8 if self.precision == "float64" else 4
        working = itemsize * (3.0 * self.directions_per_step * (n + q) + own * (n + q * m))
        resident = itemsize * (n + q) * (m + 1.0)
        return Cost(shared + own * q * n * (2 * m + 60), 20.0 * q * len(THRESHOLDS), resident, working)


class DepthProblem(NamedTuple):
    """The sample with its queries; exact (Q,): the queries' depths in the law, where they are known."""

    cloud: PointCloud
    exact: jax.Array | None


class DepthState(NamedTuple):
    """The lightest half-spaces found so far: their share of the reference, depth (Q,) <= 1/2, and direction (Q, m)."""

    depth: jax.Array
    direction: jax.Array | None


def build_depth_search(spec: DepthSpec) -> Dynamics:
    """Return the dynamics of a depth search at the spec's shapes; every step draws new directions."""
    dtype, data, guided = jnp.dtype(spec.precision), spec.data, spec.search == "guided"
    exact = None if spec.views.scheme else build_isotropic_depth(data, dtype)
    own = spec.directions_per_step // 2 if guided else 0

    def init(key: jax.Array, hyper: Hyper) -> tuple[DepthProblem, DepthState]:
        data_key = jax.random.fold_in(key, 0)  # the keys that `draw_problem` has in training
        inputs_key, test_key, law_key = (jax.random.fold_in(data_key, i) for i in (0, 3, 4))
        source, n = LAWS[data.law].source(law_key, data, hyper, dtype), hyper["data.num_samples"]
        seen = list_views(spec.views, data.grid) if spec.views.scheme else None
        sample = PointRequest(inputs_key, n, data.num_samples, spec.views_per_sample)
        fresh = PointRequest(test_key, data.num_test, data.num_test, spec.views_per_query)
        if source.fresh is None:
            reference, queries = draw_points(source.row, seen, sample, fresh)
        else:
            (reference,), (queries,) = draw_points(source.row, seen, sample), draw_points(source.fresh, seen, fresh)
        used = jnp.repeat(jnp.arange(data.num_samples) < n, spec.views_per_sample)
        dim = jnp.int32(spec.dim) if spec.views.scheme else hyper["data.input_dim"]
        drawn = build_point_cloud(reference, queries, used, n * spec.views_per_sample, dim)
        known = None if exact is None else exact(jnp.linalg.norm(queries, axis=1), hyper)
        return DepthProblem(drawn, known), DepthState(
            jnp.full(len(queries), 0.5, dtype), whiten_queries(drawn) if guided else None
        )

    def step(state: DepthState, fixed: DepthProblem, key: jax.Array) -> DepthState:
        drawn = draw_uniform_directions(jax.random.fold_in(key, 0), spec.directions_per_step - own, fixed.cloud)
        mass = lighter_half_space_shares(drawn, fixed.cloud)
        found = DepthState(jnp.min(mass, axis=0), drawn[jnp.argmin(mass, axis=0)] if guided else None)
        if state.direction is None:
            return keep_lighter(found, state)
        near = draw_nearby_directions(jax.random.fold_in(key, 1), state.direction, own, fixed.cloud)
        near_mass = lighter_half_space_shares_per_query(near, fixed.cloud)
        best = jnp.argmin(near_mass, axis=1)[:, None, None]
        near_found = DepthState(jnp.min(near_mass, axis=1), jnp.take_along_axis(near, best, axis=1)[:, 0])
        return keep_lighter(found, keep_lighter(near_found, state))

    def observe(state: DepthState, fixed: DepthProblem) -> dict[str, jax.Array]:
        """mean_depth; area: of Psi by the trapezoid rule; deep: Psi at `DEEP`; shallow: P(depth < T) at `SHALLOW`.

        Where the law's depths are known: mean_exact; mean_excess and least_excess of the depth found over it.
        """
        levels = jnp.asarray(THRESHOLDS * (1 - 4 * jnp.finfo(dtype).eps), dtype)
        psi = jnp.mean(state.depth[:, None] >= levels, axis=0, dtype=dtype)
        seen = {
            "mean_depth": jnp.mean(state.depth),
            "area": jnp.trapezoid(psi, dx=THRESHOLDS[1]),
            "deep": psi[np.searchsorted(THRESHOLDS, np.array(DEEP) - 1e-9)],
            "shallow": jnp.mean(state.depth[:, None] < jnp.asarray(SHALLOW, dtype), axis=0, dtype=dtype),
        }
        if fixed.exact is not None:
            excess = state.depth - fixed.exact
            seen |= {"mean_exact": jnp.mean(fixed.exact), "mean_excess": jnp.mean(excess), "least_excess": jnp.min(excess)}
        return seen

    return Dynamics(init, step, observe)


def keep_lighter(new: DepthState, old: DepthState) -> DepthState:
    """Return for each query the new half-space where it is lighter, and the old one elsewhere."""
    better = new.depth < old.depth
    return jax.tree.map(lambda a, b: jnp.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)
