"""What an input law is to the rest: a description, and the source that it becomes in a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core import Hyper
from dynamics.data.closed_forms import ClosedForms

if TYPE_CHECKING:
    from dynamics.data.laws import DataSpec

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


def direction(key: jax.Array, dim: Any, width: int, dtype: Any) -> jax.Array:
    """A uniform unit vector in the first `dim` of `width` coordinates."""
    z = jnp.where(jnp.arange(width) < dim, jax.random.normal(key, (width,), dtype), 0)
    return z / jnp.linalg.norm(z)


def directions(key: jax.Array, count: int, dim: int, dtype: Any) -> jax.Array:
    """Independent uniform unit vectors (count, dim), one key each."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count, dtype=jnp.int32))
    return jax.vmap(lambda k: direction(k, dim, dim, dtype))(keys)
