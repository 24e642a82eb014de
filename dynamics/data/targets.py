"""Clean targets f_0 by name: drawn once a run, functions of an input and of the part of the law that it is from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.core.spec import added_field
from dynamics.data.law import LAWS, DataSpec, direction
from dynamics.data.views import ViewSpec, views
from dynamics.errors import InputError, choose, require

Target = Callable[
    [jax.Array, jax.Array], jax.Array
]  # inputs (n, d), parts (n,) -> (n,), or (n, C) where it has several outputs


@dataclass(frozen=True)
class TargetSpec:
    """kind: of the clean target; degree: of the Chebyshev polynomial; units, views: of a teacher network."""

    kind: str = "linear"
    degree: int = 4
    units: int = added_field(50)
    views: ViewSpec = field(default_factory=ViewSpec)

    def check(self, data: DataSpec) -> None:
        kind = choose("target.kind", self.kind, TARGETS)
        require(0 <= self.degree < 2**31, "target.degree", self.degree, "must be an integer from 0 to 2^31 - 1")
        require(1 <= self.units < 2**31, "target.units", self.units, "must be an integer from 1 to 2^31 - 1")
        self.views.check("target.views", data.grid)
        if kind.outputs(data) and LAWS[data.law].num_parts(data) == 1 and self.kind != "parts":
            raise InputError("target.kind", self.kind, f"needs a data.law of several parts (classes, words), not {data.law}")
        if self.kind == "parts":
            allowed = {name for name in LAWS if name in ("vocabulary", "cone_clusters", "subspace_balls")}
            require(data.law in allowed, "target.kind", self.kind, f"needs a data.law among {', '.join(sorted(allowed))}")

    @property
    def pads(self) -> bool:
        """Whether the target is the same where zeros are appended to the inputs."""
        return TARGETS[self.kind].pads

    def outputs(self, data: DataSpec) -> int:
        """How many outputs it has; 0 for a scalar, whose labels have no axis for them."""
        return TARGETS[self.kind].outputs(data)


class Setting(NamedTuple):
    """What a target may depend on besides its key: the true input dimension, the specs, what the law's parts stand for."""

    dim: Any
    data: DataSpec
    target: TargetSpec
    parts: jax.Array | None
    dtype: Any


class TargetKind(NamedTuple):
    """draw(key, setting) -> Target; outputs(data): how many, 0 for a scalar; pads: see `TargetSpec.pads`."""

    draw: Callable[[jax.Array, Setting], Target]
    outputs: Callable[[DataSpec], int] = lambda data: 0
    pads: bool = True


def linear(key: jax.Array, setting: Setting) -> Target:
    """f_0(x) = e_1 . x, a fixed unit vector (Liang et al. 2025, Figures 1-12)."""
    return lambda x, part: x[:, 0]


def random_linear(key: jax.Array, setting: Setting) -> Target:
    """f_0(x) = w . x, w a uniform unit vector: for inputs whose first coordinate is not like the others."""
    w = direction(key, setting.dim, setting.data.input_dim, setting.dtype)
    return lambda x, part: x @ w


def holder_half(key: jax.Array, setting: Setting) -> Target:
    """f_0(x) = (1/d) sum_{j <= d} |u_j . x|^(1/2) + 1 with u_j uniform on the sphere (ibid., Figures 13-15)."""
    width, dtype = setting.data.input_dim, setting.dtype
    index = jnp.arange(width, dtype=jnp.int32)
    unit = jax.vmap(lambda j: direction(jax.random.fold_in(key, j), setting.dim, width, dtype))(index)
    used = (index < setting.dim).astype(dtype)
    count = jnp.asarray(setting.dim, dtype)
    return lambda x, part: jnp.sqrt(jnp.abs(x @ unit.T)) @ used / count + 1


def chebyshev(key: jax.Array, setting: Setting) -> Target:
    """f_0(x) = T_degree(x_1) = cos(degree arccos x_1), the Chebyshev polynomial (Cohen et al. 2021)."""
    return lambda x, part: jnp.cos(setting.target.degree * jnp.arccos(jnp.clip(x[:, 0], -1, 1)))


def zero(key: jax.Array, setting: Setting) -> Target:
    """f_0(x) = 0."""
    return lambda x, part: jnp.zeros(x.shape[0], setting.dtype)


def teacher(key: jax.Array, setting: Setting, *, scaled: bool = False) -> Target:
    """A patch network with shared filters, f_0(x) = sum_k v_k (1/L) sum_l relu(w_k . x^(l) - b_k) + c (Liang et al. 2026b).

    v_k ~ N(0, 1), w_k ~ N(0, I), b_k ~ U(-1/2, 1/2), c ~ U(-1, 1); `scaled`: w_k ~ N(0, I/m), v_k ~ N(0, 1/K), b = c = 0.
    """
    spec, dtype = setting.target, setting.dtype
    seen, width = views(spec.views, setting.data.grid), spec.units
    v, w, b, c = (jax.random.fold_in(key, i) for i in range(4))
    readout, filters = jax.random.normal(v, (width,), dtype), jax.random.normal(w, (seen.shape[1], width), dtype)
    bias, offset = jax.random.uniform(b, (width,), dtype, -0.5, 0.5), jax.random.uniform(c, (), dtype, -1, 1)
    if scaled:
        readout, filters, bias, offset = readout / width**0.5, filters / seen.shape[1] ** 0.5, 0 * bias, 0 * offset

    def of_one(x):
        return jnp.mean(jnp.maximum(x[seen] @ filters - bias, 0), axis=0) @ readout + offset

    return lambda x, part: jax.lax.map(of_one, x, batch_size=64)  # all views of all samples at once may be too many


def scaled_teacher(key: jax.Array, setting: Setting) -> Target:
    """`teacher` of unit scale without biases, that of the image experiments (ibid., X3)."""
    return teacher(key, setting, scaled=True)


def parts(key: jax.Array, setting: Setting) -> Target:
    """What the sample's part stands for, a vector: its word, the direction of its cluster, the centre of its subspace."""
    stands_for = setting.parts
    assert stands_for is not None  # `check` sees to it
    return lambda x, part: stands_for[part]


def part_index(key: jax.Array, setting: Setting) -> Target:
    """The number of the sample's part: the class of an image as a number."""
    return lambda x, part: part.astype(setting.dtype)


def one_hot(key: jax.Array, setting: Setting) -> Target:
    """The sample's part as a class, 1 in its place and 0 elsewhere."""
    return lambda x, part: jax.nn.one_hot(part, _num_parts(setting.data), dtype=setting.dtype)


def _num_parts(data: DataSpec) -> int:
    return LAWS[data.law].num_parts(data)


def _part_dim(data: DataSpec) -> int:
    return data.patch_dim or data.input_dim


TARGETS: dict[str, TargetKind] = {
    "linear": TargetKind(linear),
    "random_linear": TargetKind(random_linear),
    "holder_half": TargetKind(holder_half),
    "chebyshev": TargetKind(chebyshev),
    "zero": TargetKind(zero),
    "teacher": TargetKind(teacher, pads=False),
    "scaled_teacher": TargetKind(scaled_teacher, pads=False),
    "parts": TargetKind(parts, _part_dim, pads=False),
    "part_index": TargetKind(part_index, pads=False),
    "one_hot": TargetKind(one_hot, _num_parts, pads=False),
}
