"""Samples of a law, or random views of them, drawn by the block so that what no view shows is not kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

BLOCK = 256  # samples drawn at a time


class PointRequest(NamedTuple):
    """A request for `size` samples drawn from a key, the first `count` of them valid, and for `each` views of every
    one."""

    key: jax.Array
    count: Any
    size: int
    each: int


def draw_points(
    row: Callable[..., tuple[jax.Array, jax.Array]], seen: np.ndarray | None, *requests: PointRequest
) -> list[jax.Array]:
    """Return for each request its samples (size, d), or random views of them (size * each, m), drawn in one loop.

    seen: the views (L, m).
    """
    sizes, most = [a.size for a in requests], max(a.each for a in requests)
    keys = jnp.concatenate(
        [jax.vmap(partial(jax.random.fold_in, a.key))(jnp.arange(a.size, dtype=jnp.int32)) for a in requests]
    )
    index = jnp.concatenate([jnp.arange(a.size, dtype=jnp.int32) for a in requests])
    count = jnp.concatenate([jnp.full(a.size, a.count, jnp.int32) for a in requests])

    def sample(i: jax.Array) -> jax.Array:
        x, _ = row(keys[i], index[i], count[i])
        if seen is None:
            return x[None]
        return x[jnp.asarray(seen)[lax.top_k(jax.random.uniform(jax.random.fold_in(keys[i], 2**30), (len(seen),)), most)[1]]]

    total, block = sum(sizes), min(sum(sizes), BLOCK)
    places = jnp.minimum(jnp.arange(-(-total // block) * block), total - 1).reshape(-1, block)
    drawn = lax.map(jax.vmap(sample), places)  # (blocks, block, most, m)
    parts = jnp.split(drawn.reshape(-1, *drawn.shape[2:])[:total], np.cumsum(sizes)[:-1].tolist())
    return [part[:, : a.each].reshape(a.size * a.each, -1) for part, a in zip(parts, requests, strict=True)]
