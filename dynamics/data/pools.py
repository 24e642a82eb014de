"""Samples of a fixed pool: image sets, and one's own arrays and images. A run's key says which of them it has.

A pool without a test part is shuffled once a run: training samples are taken from its front, test samples from its
back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Hyper
from dynamics.data.law import DataSpec, Row, Source
from dynamics.errors import require

POOL_ARRAYS = ("pool", "pool_parts", "test_pool", "test_pool_parts")  # as `Law.shared_arrays` names them


def pool_source(
    key: jax.Array,
    hyper: Hyper,
    convert: Callable[[jax.Array], jax.Array],
    wrap: Callable[[Row], Row] = lambda row: row,
    stands_for: jax.Array | None = None,
) -> Source:
    """Return the source that draws from the shared arrays `data.pool` (N, d) and `data.pool_parts` (N,), or the test
    ones.

    convert: makes inputs of a stored row; wrap: put around both rows; stands_for: see `Source.parts`.
    """

    def rows(which: str, backwards: bool = False) -> Row:
        pool, parts = hyper[f"data.{which}"], hyper[f"data.{which}_parts"]
        order = jax.random.permutation(key, len(parts))
        order = order[::-1] if backwards else order

        def row(_, index, num_samples):
            chosen = order[jnp.minimum(index, len(parts) - 1)]
            return convert(pool[chosen]), parts[chosen]

        return row

    both = rows("pool"), rows("test_pool") if "data.test_pool" in hyper else rows("pool", backwards=True)
    image, fresh = map(wrap, both)
    return Source(image, stands_for, fresh)


def check_sizes(data: DataSpec, train: int, test: int | None, kind: str = "sample") -> None:
    """Raise `InputError` if a run asks for more samples than the pool has.

    test: how many samples its test part has, None if it has none.
    """
    if test is not None:
        require(data.num_test <= test, "data.num_test", data.num_test, f"{data.law} has {test} test {kind}s")
        require(data.num_samples <= train, "data.num_samples", data.num_samples, f"{data.law} has {train} training {kind}s")
        return
    allowed = f"with data.num_test = {data.num_test} must be at most {train}, so many {kind}s {data.law} has"
    require(data.num_samples + data.num_test <= train, "data.num_samples", data.num_samples, allowed)


def check_digest(data: DataSpec, field: str, value: Any, digest: str) -> None:
    """Raise `InputError` if the config names another content than the one that was found."""
    allowed = f"{field} = {value} holds other data, of digest {digest}; correct one of the two, or leave data.digest out"
    require(data.digest in ("", digest), "data.digest", data.digest, allowed)
