"""Greedy packing of the ball's rim as a dynamics, and which of the packed caps hold no training point.

The points are uniform on the ball, or of the radial law.

The n training points are drawn first and never looked at by the packing. A proposal is a uniform unit vector u; it
becomes a centre if it is at least twice the angular radius arccos(1 - eps^2) away from every centre that is there, so
that the caps {u.x > 1 - eps^2} are disjoint. For d = 1 the proposals are intervals of width eps^2, uniform in the two
ends 1 - eps <= |x| <= 1, kept if they are disjoint (`theory/cap_geometry.py`); read "interval" for "cap" then.

A step makes as many proposals as caps could fit at most (`capacity`). Steps are thus time in units of random sequential
adsorption, one proposal per cap's area, and packings of equally many steps are equally saturated, whatever n, d and
eps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dynamics.core.dynamics import Cost, Dynamics, Hyper
from dynamics.core.spec import RunSpec, added_field
from dynamics.data.law import LAWS, DataSpec, draw_inputs, draw_samples
from dynamics.errors import choose, require
from dynamics.systems import register
from dynamics.theory.cap_geometry import (
    atom_mean_square,
    cap_mass_exponent,
    cap_probability,
    cap_size,
    disjoint_cap_bound,
    radial_atom_mean_square,
)

BLOCK = 256  # points compared at once with as many others
MOST = 100_000  # caps; far more would take hours


@register.system
@dataclass(frozen=True)
class CapsSpec(RunSpec):
    """A greedy packing of caps on the unit ball, and how many of num_samples points each cap holds.

    Caps have height eps^2, eps = kappa num_samples^(-1/(input_dim+1)).

    amplitude: L, the height of the atoms of f_2. capacity: what fits at most; it follows from the rest and is left at
    0.
    law: of the points, `uniform_ball`, or `radial` with its alpha, where eps = kappa num_samples^(-1/(input_dim-1+2
    alpha)).
    """

    input_dim: int = 2
    num_samples: int = 1024
    kappa: float = 1.0
    amplitude: float = 1.0
    capacity: int = 0
    law: str = added_field("uniform_ball")
    alpha: float = added_field(1.0)

    system: ClassVar[str] = "caps"
    shape_fields: ClassVar[tuple[str, ...]] = ("num_samples", "capacity")

    @property
    def paddable(self) -> tuple[str, ...]:
        return self.shape_fields

    @property
    def rim(self) -> float | None:
        """Return alpha of the radial law; None for the uniform ball."""
        return self.alpha if self.law == "radial" else None

    @property
    def eps(self) -> float:
        return float(cap_size(self.num_samples, self.input_dim, self.kappa, self.rim))

    def resolve(self) -> CapsSpec:
        require(self.input_dim >= 1, "input_dim", self.input_dim, "must be at least 1")
        require(self.num_samples >= 1, "num_samples", self.num_samples, "must be at least 1")
        choose("law", self.law, dict.fromkeys(("uniform_ball", "radial")))
        require(self.alpha > 0, "alpha", self.alpha, "must be above 0")
        if self.law == "radial":
            require(self.input_dim >= 2, "input_dim", self.input_dim, "must be at least 2 for the radial law")
        else:
            require(self.alpha == 1, "alpha", self.alpha, "is of law = radial; leave it out")
        most = self.num_samples ** (1 / cap_mass_exponent(self.input_dim, self.rim))
        power = "d+1" if self.rim is None else "d-1+2 alpha"
        require(0 < self.kappa <= most, "kappa", self.kappa, f"must be above 0 and at most n^(1/({power})) = {most:g}")
        fits = disjoint_cap_bound(self.eps, self.input_dim)
        require(self.capacity in (0, fits), "capacity", self.capacity, f"must be 0, or {fits}, which fits at most")
        return replace(self, capacity=fits)

    def check(self) -> None:
        super().check()
        require(self.amplitude > 0, "amplitude", self.amplitude, "must be above 0")
        allowed = f"gives room for {self.capacity} caps of height eps^2 = {self.eps**2:.3g}; at most {MOST} are packed"
        require(self.capacity <= MOST, "kappa", self.kappa, allowed)

    def derived_columns(self) -> dict[str, Any]:
        return {"eps": self.eps, "cap_probability": float(cap_probability(self.eps, self.input_dim, self.rim))}

    def dynamics(self) -> Dynamics:
        return build_cap_packing(self)

    def cost(self) -> Cost:
        """A step compares `capacity` proposals with about a third as many centres; a record the centres with the
        samples."""
        n, d, most = self.num_samples, self.input_dim, self.capacity
        itemsize = 8 if self.precision == "float64" else 4
        near = n * min(1.0, d * most ** (-2 / max(d - 1, 2)))
        working = itemsize * (4 * BLOCK * min(BLOCK, most) + n * (d + 2))
        return Cost((d + 2) * most**2 / 1.5, (d + 2) * near * most, itemsize * (n + most) * (d + 1), working)


class AtomGeometry(NamedTuple):
    """How atoms, caps or intervals, are proposed and compared.

    propose(key, count, eps): `count` candidates (count, d), uniform
    closeness(a, b): (A, d), (B, d) -> (A, B), the larger the closer
    apart(eps): centres are disjoint if their closeness is at most this; inside(eps): a point is inside if its is above
    this
    depth(eps): no atom reaches deeper below the rim
    ratio(closeness, eps): distance over the smallest that is allowed
    """

    propose: Callable[..., jax.Array]
    closeness: Callable[[jax.Array, jax.Array], jax.Array]
    apart: Callable[[jax.Array], jax.Array]
    inside: Callable[[jax.Array], jax.Array]
    depth: Callable[[jax.Array], jax.Array]
    ratio: Callable[[jax.Array, jax.Array], jax.Array]


def build_cap_atoms(d: int, dtype: Any) -> AtomGeometry:
    """Return the geometry of caps on the unit sphere of R^d, d >= 2."""

    def propose(key, count, eps):
        return draw_inputs("sphere", key, count, d, (count, d), dtype)

    def angle(cosine):
        return jnp.arccos(jnp.clip(cosine, -1, 1))

    return AtomGeometry(
        propose,
        lambda a, b: a @ b.T,
        lambda eps: 2 * (1 - eps**2) ** 2 - 1,
        lambda eps: 1 - eps**2,
        lambda eps: eps**2,
        lambda cosine, eps: angle(cosine) / (2 * angle(1 - eps**2)),
    )


def build_interval_atoms(d: int, dtype: Any) -> AtomGeometry:
    """Return the geometry of intervals at the two ends of [-1, 1], the atoms of d = 1."""

    def propose(key, count, eps):
        draws = draw_inputs("sphere", key, count, d, (count, d), dtype)
        places = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, i), 1), (d,), dtype))
        return draws * (1 - eps**2 / 2 - (eps - eps**2) * places(jnp.arange(count)))

    return AtomGeometry(
        propose,
        lambda a, b: -jnp.abs(a - b.T),
        lambda eps: -(eps**2),
        lambda eps: -(eps**2) / 2,
        lambda eps: eps,
        lambda closeness, eps: -closeness / eps**2,
    )


def choose_atom_geometry(spec: CapsSpec) -> AtomGeometry:
    """Return the geometry of the spec's dimension: intervals for d = 1, caps above."""
    return (build_interval_atoms if spec.input_dim == 1 else build_cap_atoms)(spec.input_dim, jnp.dtype(spec.precision))


class PackingData(NamedTuple):
    """What stays fixed in a packing run.

    hyper: its scalars; eps (); samples (n, d): training points by falling norm; near (): how many may lie in an atom.
    """

    hyper: Hyper
    eps: jax.Array
    samples: jax.Array
    near: jax.Array


class PackingState(NamedTuple):
    """The centres (C, d) accepted so far, of which the first `count` () are valid.

    accepted (): in the last step; closest (): the smallest distance ratio over all pairs.
    """

    centres: jax.Array
    count: jax.Array
    accepted: jax.Array
    closest: jax.Array


def count_blocks(size: int) -> int:
    """Return how many blocks of BLOCK rows hold `size` rows."""
    return -(-size // BLOCK)


def count_closer_columns(
    atoms: AtomGeometry, rows: jax.Array, columns: jax.Array, used: jax.Array, limit: jax.Array
) -> jax.Array:
    """Return for each row how many of the first `used` columns are closer than the limit, (R,).

    Columns come in whole blocks.
    """

    def add(j, total):
        near = atoms.closeness(rows, lax.dynamic_slice_in_dim(columns, j * BLOCK, BLOCK)) > limit
        meant = j * BLOCK + jnp.arange(BLOCK) < used
        return total + jnp.sum(near & meant, axis=1, dtype=jnp.int32)

    return lax.fori_loop(0, (used + BLOCK - 1) // BLOCK, add, jnp.zeros(len(rows), jnp.int32))


def samples_per_cap(atoms: AtomGeometry, state: PackingState, fixed: PackingData) -> jax.Array:
    """Return how many samples the atom of every centre holds, (C,); 0 where there is no centre."""
    limit = atoms.inside(fixed.eps)

    def block(args):
        j, rows = args
        near = jnp.where(j * BLOCK < state.count, fixed.near, 0)
        return count_closer_columns(atoms, rows, fixed.samples, near, limit)

    room, d = state.centres.shape
    inside = lax.map(block, (jnp.arange(room // BLOCK), state.centres.reshape(-1, BLOCK, d))).reshape(-1)
    return jnp.where(jnp.arange(room) < state.count, inside, 0)


def build_cap_packing(spec: CapsSpec) -> Dynamics:
    """Return the dynamics of a packing at the spec's sizes; loops run over the blocks in use, not over the capacity."""
    dtype, d = jnp.dtype(spec.precision), spec.input_dim
    atoms, radial = choose_atom_geometry(spec), spec.law == "radial"
    num_rows, room = BLOCK * count_blocks(spec.num_samples), BLOCK * count_blocks(spec.capacity)

    def init(key: jax.Array, hyper: Hyper) -> tuple[PackingData, PackingState]:
        n = hyper["num_samples"]
        eps = cap_size(n.astype(dtype), d, hyper["kappa"], hyper["alpha"] if radial else None)
        scalars: dict[str, Any] = {"data.input_dim": d, "data.alpha": hyper["alpha"]}
        source = LAWS[spec.law].source(key, DataSpec(spec.law, d), scalars, dtype)
        points, _ = draw_samples(source, key, n, num_rows)
        norm = jnp.where(jnp.arange(num_rows) < n, jnp.linalg.norm(points, axis=1), -1)
        order = jnp.argsort(-norm)
        near = jnp.sum(norm > 1 - atoms.depth(eps), dtype=jnp.int32)
        nothing = PackingState(jnp.zeros((room, d), dtype), jnp.int32(0), jnp.int32(0), jnp.asarray(-4, dtype))
        return PackingData(hyper, eps, points[order], near), nothing

    def admit(state: PackingState, proposals: jax.Array, free: jax.Array, limit: jax.Array) -> PackingState:
        """Accept the free proposals in their order; each that is accepted rules out those too close to it."""

        def more(carry):
            return jnp.any(carry[0])

        def accept(carry):
            free, state = carry
            i = jnp.argmax(free)
            chosen = proposals[i][None]
            there = jnp.arange(room) < state.count
            closest = jnp.max(jnp.where(there, atoms.closeness(state.centres, chosen)[:, 0], state.closest))
            centres = lax.dynamic_update_slice_in_dim(state.centres, chosen, state.count, 0)
            free = free & (atoms.closeness(proposals, chosen)[:, 0] <= limit) & (jnp.arange(BLOCK) != i)
            return free, PackingState(centres, state.count + 1, state.accepted + 1, jnp.maximum(closest, state.closest))

        return lax.while_loop(more, accept, (free, state))[1]

    def step(state: PackingState, fixed: PackingData, key: jax.Array) -> PackingState:
        tries, limit = fixed.hyper["capacity"], atoms.apart(fixed.eps)

        def batch(j, state):
            proposals = atoms.propose(jax.random.fold_in(key, j), BLOCK, fixed.eps)
            meant = j * BLOCK + jnp.arange(BLOCK) < tries
            free = meant & (count_closer_columns(atoms, proposals, state.centres, state.count, limit) == 0)
            return admit(state, proposals, free, limit)

        return lax.fori_loop(0, (tries + BLOCK - 1) // BLOCK, batch, state._replace(accepted=jnp.int32(0)))

    def observe(state: PackingState, fixed: PackingData) -> dict[str, jax.Array]:
        """caps, empty_caps, held_samples: counts; coverage: share of what fits at most.

        acceptance: share of the last step's proposals that were accepted. separation: smallest distance of centres over
        the allowed one, NaN for fewer than two. risk: E (L sum over empty caps of Phi)^2, for disjoint atoms
        L^2 E Phi^2 times their number.
        """
        inside = samples_per_cap(atoms, state, fixed)
        empty = state.count - jnp.sum(inside > 0, dtype=jnp.int32)
        most, eps = fixed.hyper["capacity"].astype(dtype), fixed.eps
        square = radial_atom_mean_square(eps, d, fixed.hyper["alpha"]) if radial else atom_mean_square(eps, d)
        return {
            "caps": state.count,
            "empty_caps": empty,
            "empty_share": empty / state.count.astype(dtype),
            "held_samples": jnp.sum(inside, dtype=jnp.int32),
            "coverage": state.count / most,
            "acceptance": state.accepted / most,
            "separation": jnp.where(state.count > 1, atoms.ratio(state.closest, fixed.eps), jnp.nan),
            "risk": empty * fixed.hyper["amplitude"] ** 2 * square,
        }

    return Dynamics(init, step, observe, undefined=("empty_share", "separation"))
