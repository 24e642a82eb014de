"""Clean targets f_0 by name: drawn once a run, functions of an input and of the part of the law that it is from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.core.checked_fields import CheckedFields
from dynamics.core.dynamics import Hyper
from dynamics.core.registry import Registry
from dynamics.core.spec import added_field, check_options, option
from dynamics.data.law import LAWS, DataSpec, draw_direction
from dynamics.data.views import ViewSpec, list_views
from dynamics.errors import choose, require

Target = Callable[
    [jax.Array, jax.Array], jax.Array
]  # inputs (n, d), parts (n,) -> (n,), or (n, C) where it has several outputs


class TargetKind(NamedTuple):
    """A kind of clean target f_0, as it is registered.

    draw(key, setting): f_0 as a run of this key has it
    outputs(data): how many outputs it has, 0 for a scalar, whose labels have no axis for them
    pads: whether the target is the same where zeros are appended to the inputs
    check(target, data): raises an `InputError` for fields that do not go together, or with the law
    reads_parts: whether it depends on the part of the law that a sample is from
    of_parts: whether it depends on nothing else, as a class does, so that a label may be that of another part
    are_shares(data): whether its values are shares of classes, at least 0 and 1 in sum, as cross-entropy wants them
    """

    draw: Callable[[jax.Array, TargetContext], Target]
    outputs: Callable[[DataSpec], int] = lambda data: 0
    pads: bool = True
    check: Callable[[TargetSpec, DataSpec], None] = lambda target, data: None
    reads_parts: bool = False
    of_parts: bool = False
    are_shares: Callable[[DataSpec], bool] = lambda data: False


TARGETS: Registry[TargetKind] = Registry("target", "target", lambda: TargetSpec)


@dataclass(frozen=True)
class TargetSpec(CheckedFields):
    """The function of the inputs that labels are, before noise.

    >>> import dynamics as dyn
    >>> dyn.Target(kind="chebyshev", degree=5).outputs(dyn.Data(input_dim=1))  # 0: labels are scalars
    0
    """

    kind: str = option("linear", choices=TARGETS, doc="the clean target f_0")
    degree: int = option(4, at_least=0, doc="degree of the Chebyshev polynomial")
    units: int = added_field(50, at_least=1, doc="number of neurons of a teacher network")
    views: ViewSpec = field(default_factory=ViewSpec)

    def check(self, data: DataSpec) -> None:
        """Raise an `InputError` for a value that is not allowed, by itself or on these data."""
        kind = choose("target.kind", self.kind, TARGETS)
        check_options(self, "target")
        self.views.check("target.views", data.grid)
        kind.check(self, data)

    @property
    def pads(self) -> bool:
        """Return whether the target is the same where zeros are appended to the inputs."""
        return TARGETS[self.kind].pads

    def outputs(self, data: DataSpec) -> int:
        """Return how many outputs it has; 0 for a scalar, whose labels have no axis for them."""
        return TARGETS[self.kind].outputs(data)


class TargetContext(NamedTuple):
    """What a target may depend on besides its key: specs, true dimension and swept scalars.

    dim: the true input dimension, where `data` says the padded one; data, target: the specs
    parts: what the law's parts stand for (C, p), None where they stand for nothing
    hyper: the run's swept scalars by path, such as `target.<name>`
    """

    dim: Any
    data: DataSpec
    target: TargetSpec
    parts: jax.Array | None
    dtype: Any
    hyper: Hyper = MappingProxyType({})


def build_linear(key: jax.Array, setting: TargetContext) -> Target:
    """Return f_0(x) = e_1 . x, a fixed unit vector (Liang et al. 2025, Figures 1-12)."""
    return lambda x, part: x[:, 0]


def build_random_linear(key: jax.Array, setting: TargetContext) -> Target:
    """Return f_0(x) = w . x, w a uniform unit vector: for inputs whose first coordinate is not like the others."""
    w = draw_direction(key, setting.dim, setting.data.input_dim, setting.dtype)
    return lambda x, part: x @ w


def build_holder_half(key: jax.Array, setting: TargetContext) -> Target:
    """Return f_0(x) = (1/d) sum_{j <= d} |u_j . x|^(1/2) + 1, u_j uniform on the sphere (ibid., Figures 13-15)."""
    width, dtype = setting.data.input_dim, setting.dtype
    index = jnp.arange(width, dtype=jnp.int32)
    unit = jax.vmap(lambda j: draw_direction(jax.random.fold_in(key, j), setting.dim, width, dtype))(index)
    used = (index < setting.dim).astype(dtype)
    count = jnp.asarray(setting.dim, dtype)
    return lambda x, part: jnp.sqrt(jnp.abs(x @ unit.T)) @ used / count + 1


def build_chebyshev(key: jax.Array, setting: TargetContext) -> Target:
    """Return f_0(x) = T_degree(x_1) = cos(degree arccos x_1), the Chebyshev polynomial (Cohen et al. 2021)."""
    return lambda x, part: jnp.cos(setting.target.degree * jnp.arccos(jnp.clip(x[:, 0], -1, 1)))


def build_zero(key: jax.Array, setting: TargetContext) -> Target:
    """Return f_0(x) = 0."""
    return lambda x, part: jnp.zeros(x.shape[0], setting.dtype)


def build_teacher(key: jax.Array, setting: TargetContext, *, scaled: bool = False) -> Target:
    """Return a random patch network with shared filters as f_0 (Liang et al. 2026b).

    f_0(x) = sum_k v_k (1/L) sum_l relu(w_k . x^(l) - b_k) + c.

    v_k ~ N(0, 1), w_k ~ N(0, I), b_k ~ U(-1/2, 1/2), c ~ U(-1, 1); `scaled`: w_k ~ N(0, I/m), v_k ~ N(0, 1/K), b = c =
    0.
    """
    spec, dtype = setting.target, setting.dtype
    seen, width = list_views(spec.views, setting.data.grid), spec.units
    v, w, b, c = (jax.random.fold_in(key, i) for i in range(4))
    readout, filters = jax.random.normal(v, (width,), dtype), jax.random.normal(w, (seen.shape[1], width), dtype)
    bias, offset = jax.random.uniform(b, (width,), dtype, -0.5, 0.5), jax.random.uniform(c, (), dtype, -1, 1)
    if scaled:
        readout, filters, bias, offset = readout / width**0.5, filters / seen.shape[1] ** 0.5, 0 * bias, 0 * offset

    def of_one(x):
        return jnp.mean(jnp.maximum(x[seen] @ filters - bias, 0), axis=0) @ readout + offset

    return lambda x, part: jax.lax.map(of_one, x, batch_size=64)  # all views of all samples at once may be too many


def build_scaled_teacher(key: jax.Array, setting: TargetContext) -> Target:
    """Return `build_teacher` at unit scale without biases, as in the image experiments (ibid., X3)."""
    return build_teacher(key, setting, scaled=True)


def build_part_vectors(key: jax.Array, setting: TargetContext) -> Target:
    """Return f_0(x) = the vector of the sample's part: its word, its cluster's direction or its subspace's centre."""
    stands_for = setting.parts
    assert stands_for is not None  # `check` sees to it
    return lambda x, part: stands_for[part]


def build_part_index(key: jax.Array, setting: TargetContext) -> Target:
    """Return f_0(x) = the number of the sample's part, for an image its class."""
    return lambda x, part: part.astype(setting.dtype)


def build_one_hot(key: jax.Array, setting: TargetContext) -> Target:
    """Return f_0(x) = the sample's part as a class, 1 in its place and 0 elsewhere."""
    return lambda x, part: jax.nn.one_hot(part, _num_parts(setting.data), dtype=setting.dtype)


def _num_parts(data: DataSpec) -> int:
    return LAWS[data.law].num_parts(data)


def _part_dim(data: DataSpec) -> int:
    return data.patch_dim or data.input_dim


def _check_several_parts(target: TargetSpec, data: DataSpec) -> None:
    several = LAWS[data.law].num_parts(data) > 1
    hint = "; labels that are whole numbers or words are classes" if data.law == "arrays" else ""
    allowed = f"needs a data.law of several parts (classes, words), not {data.law}{hint}"
    require(several, "target.kind", target.kind, allowed)


def _check_meaning(target: TargetSpec, data: DataSpec) -> None:
    known = sorted(name for name, law in LAWS.items() if law.parts_mean_something)
    require(data.law in known, "target.kind", target.kind, f"needs a data.law among {', '.join(known)}")


TARGETS.add("linear", TargetKind(build_linear))
TARGETS.add("random_linear", TargetKind(build_random_linear))
TARGETS.add("holder_half", TargetKind(build_holder_half))
TARGETS.add("chebyshev", TargetKind(build_chebyshev), uses=("degree",))
TARGETS.add("zero", TargetKind(build_zero))
TARGETS.add("teacher", TargetKind(build_teacher, pads=False), uses=("units", "views"))
TARGETS.add("scaled_teacher", TargetKind(build_scaled_teacher, pads=False), uses=("units", "views"))
OF_PARTS: dict[str, Any] = {"pads": False, "reads_parts": True, "of_parts": True}
TARGETS.add("parts", TargetKind(build_part_vectors, _part_dim, check=_check_meaning, **OF_PARTS))
TARGETS.add("part_index", TargetKind(build_part_index, **OF_PARTS))
TARGETS.add(
    "one_hot",
    TargetKind(build_one_hot, _num_parts, check=_check_several_parts, are_shares=lambda data: True, **OF_PARTS),
)
