"""Input laws: what a config says of the inputs, what a law is, and the source that it becomes in a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.dynamics import Hyper
from dynamics.core.registry import Registry
from dynamics.core.spec import added_field, unhashed_field
from dynamics.data.closed_forms import BALL, GAUSSIAN, SPHERE, ClosedForms
from dynamics.data.image_files import NORMALIZATIONS, SHAPES
from dynamics.errors import choose, require

# what fields of whatever law must be, whether or not a run has any use for them; what goes together is for `Law.check`
COUNTS = {"input_dim": 1, "num_samples": 1, "num_test": 1, "intrinsic_dim": 1, "components": 1}
COUNTS |= {"ambient_dim": 0, "patch_dim": 0, "channels": 1, "leaves": 1}
AT_LEAST_ZERO = ("noise_std", "offset", "cone_std", "texture")
ABOVE = {"scale": 0, "alpha": 0, "smallest_leaf": 0, "leaf_exponent": 1}

Row = Callable[[jax.Array, jax.Array, Any], tuple[jax.Array, jax.Array]]  # key, index, num_samples -> inputs, part


class Source(NamedTuple):
    """A law as one run has it, with whatever of it is random (subspaces, words, which images) drawn.

    row(key, index, num_samples): one sample, inputs (width,), and the number () of the part of the law that it is from: the
        subspace, word, cluster or class; coordinates from the true input dimension on are zero. index and num_samples may be
        traced.
    parts: what the parts stand for, (C, p), where a target may want it; None where they stand for nothing.
    fresh: the same for test samples, where these are drawn otherwise.
    """

    row: Row
    parts: jax.Array | None = None
    fresh: Row | None = None


def _nothing(data: DataSpec) -> None:
    pass


class Law(NamedTuple):
    """An input law.

    source(key, data, hyper, dtype): the law as a run of this key has it; shapes are `data`'s, sizes and scalars `hyper`'s
    check(data): raises `InputError` for fields of the data that do not go together
    forms(data): closed forms, None where the law is not isotropic or has none
    grid(data): how the inputs lie: (d,), or (height, width, channels) of images
    num_parts(data): of how many parts the law is
    reads(data): arrays that all runs share, by name, found in `hyper` as `data.<name>`: images, which are too many to draw
    pads: whether zeros may be appended to the inputs without changing any number
    """

    source: Callable[[jax.Array, DataSpec, Hyper, Any], Source]
    check: Callable[[DataSpec], None] = _nothing
    forms: Callable[[DataSpec], ClosedForms] | None = None
    grid: Callable[[DataSpec], tuple[int, ...]] = lambda data: (data.input_dim,)
    num_parts: Callable[[DataSpec], int] = lambda data: 1
    reads: Callable[[DataSpec], dict[str, np.ndarray]] | None = None
    pads: bool = False


LAWS: Registry[Law] = Registry("law")  # filled by the families (`dynamics.data`)


@dataclass(frozen=True)
class DataSpec:
    """law: of the inputs; scale: a factor on them; noise_std: sigma of the label noise; num_test: fresh samples.

    What follows belongs to some laws. alpha: `radial`. intrinsic_dim, components, offset: `subspace_balls`. ambient_dim:
    `sphere_patch`. patch_dim: the patchwise laws; components: also how many words or clusters there are; cone_std:
    `cone_clusters`. root: the folder of `mnist` or `cifar10` (or the environment variable DYNAMICS_DATA); normalization: of
    image sets, `own` or a named one; stand_in: what takes the place of a set's images (`stand_ins.py`), if anything. channels,
    leaves, smallest_leaf, leaf_exponent, texture: `dead_leaves`. shuffle_parts: what part (class, word) a sample is of is drawn
    at random, so that labels made of it say nothing.
    """

    law: str = "uniform_ball"
    input_dim: int = 2
    num_samples: int = 128
    num_test: int = 1000
    scale: float = 1.0
    noise_std: float = 1.0
    alpha: float = added_field(1.0)
    intrinsic_dim: int = added_field(1)
    components: int = added_field(1)
    offset: float = added_field(0.0)
    ambient_dim: int = added_field(0)
    patch_dim: int = added_field(0)
    cone_std: float = added_field(0.1)
    shuffle_parts: bool = added_field(False)
    root: str = unhashed_field("")
    normalization: str = added_field("own")
    stand_in: str = added_field("")
    channels: int = added_field(1)
    leaves: int = added_field(64)
    smallest_leaf: float = added_field(1.0)
    leaf_exponent: float = added_field(3.0)
    texture: float = added_field(0.0)

    def check(self) -> None:
        law = choose("data.law", self.law, LAWS)
        for name, least in COUNTS.items():
            allowed = f"must be an integer from {least} to 2^31 - 1"
            require(least <= getattr(self, name) < 2**31, f"data.{name}", getattr(self, name), allowed)
        for name in AT_LEAST_ZERO:
            require(0 <= getattr(self, name) < math.inf, f"data.{name}", getattr(self, name), "must be a number, at least 0")
        for name, bound in ABOVE.items():
            value = getattr(self, name)
            require(bound < value < math.inf, f"data.{name}", value, f"must be a number above {bound}")
        choose("data.normalization", self.normalization, {"own": None, **NORMALIZATIONS})
        fits = not self.stand_in or self.law in SHAPES
        require(fits, "data.stand_in", self.stand_in, f"is for a data.law of {', '.join(SHAPES)}")
        law.check(self)

    @property
    def grid(self) -> tuple[int, ...]:
        """How the inputs lie: (d,), or (height, width, channels)."""
        return LAWS[self.law].grid(self)

    def shared_arrays(self) -> dict[str, np.ndarray]:
        """Arrays that all runs on these data share, by the name that they have among a run's scalars."""
        found = LAWS[self.law].reads
        return {} if found is None else {f"data.{name}": array for name, array in found(self).items()}


def rows(source: Source, key: jax.Array, num_samples: Any, size: int, *, fresh: bool = False) -> tuple[jax.Array, jax.Array]:
    """Inputs (size, width) and parts (size,), the first `num_samples` of them meant; fresh: as test samples are drawn."""
    row = source.fresh if fresh and source.fresh is not None else source.row
    index = jnp.arange(size, dtype=jnp.int32)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
    return jax.vmap(lambda k, i: row(k, i, num_samples))(keys, index)


def sample(name: str, key: jax.Array, num_samples: Any, dim: Any, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """`shape[0]` inputs of a law without parameters in `shape[1]` coordinates, the first `num_samples` and `dim` of them
    meant."""
    source = LAWS[name].source(key, DataSpec(name, shape[1]), {"data.input_dim": dim}, dtype)
    return rows(source, key, num_samples, shape[0])[0]


def plain() -> dict[str, ClosedForms]:
    """The closed forms of the isotropic laws without parameters, by name."""
    return {"uniform_ball": BALL, "sphere": SPHERE, "gaussian": GAUSSIAN}


def direction(key: jax.Array, dim: Any, width: int, dtype: Any) -> jax.Array:
    """A uniform unit vector in the first `dim` of `width` coordinates."""
    z = jnp.where(jnp.arange(width) < dim, jax.random.normal(key, (width,), dtype), 0)
    return z / jnp.linalg.norm(z)


def directions(key: jax.Array, count: int, dim: int, dtype: Any) -> jax.Array:
    """Independent uniform unit vectors (count, dim), one key each."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count, dtype=jnp.int32))
    return jax.vmap(lambda k: direction(k, dim, dim, dtype))(keys)
