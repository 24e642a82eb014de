"""Modular addition: every pair (a, b) of numbers mod M once,
whose part is (a + b) mod M (Power et al. 2022, Gromov 2023).

An input is the one-hot vector of a followed by that of b, so M = input_dim / 2 and the first layer of a network is a
table of embeddings. A run draws an order of all M^2 pairs; training samples are the first of them and test samples the
last, so a larger training set grows at the expense of no test sample. The train share is num_samples / M^2. With
`target.kind=one_hot` labels are the classes (a + b) mod M.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Hyper
from dynamics.data.law import LAWS, DataSpec, Law, Source
from dynamics.errors import require


def count_residues(data: DataSpec) -> int:
    """Return M, how many numbers there are mod M."""
    return data.input_dim // 2


def _check_pairs(data: DataSpec) -> None:
    modulus = count_residues(data)
    even = data.input_dim % 2 == 0 and modulus >= 2
    require(even, "data.input_dim", data.input_dim, "must be 2 M, M >= 2: one-hot vectors of two numbers mod M")
    pairs = modulus**2
    require(data.num_samples < pairs, "data.num_samples", data.num_samples, f"must be less than M^2 = {pairs} pairs")
    left = pairs - data.num_samples
    allowed = f"must be at most M^2 - num_samples = {left}: the pairs that training leaves over"
    require(data.num_test <= left, "data.num_test", data.num_test, allowed)


def _modular_addition(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
    modulus = count_residues(data)
    order = jax.random.permutation(key, modulus**2)

    def pair(place: jax.Array) -> tuple[jax.Array, jax.Array]:
        a, b = order[place] // modulus, order[place] % modulus
        both = jax.nn.one_hot(jnp.stack([a, b]), modulus, dtype=dtype)
        return both.reshape(-1), ((a + b) % modulus).astype(jnp.int32)

    return Source(
        lambda key, index, num_samples: pair(index), fresh=lambda key, index, num_samples: pair(modulus**2 - 1 - index)
    )


LAWS.add("modular_addition", Law(_modular_addition, _check_pairs, num_parts=count_residues))
