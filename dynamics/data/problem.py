"""A regression problem: inputs of a law, labels of a target, Gaussian noise; and fresh samples to test on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dynamics.core import Hyper
from dynamics.data.laws import LAWS, sample
from dynamics.data.targets import TARGETS
from dynamics.errors import choose, require


@dataclass(frozen=True)
class DataSpec:
    """law: of the inputs; scale: a factor on them; noise_std: sigma of the label noise; num_test: fresh samples."""

    law: str = "uniform_ball"
    input_dim: int = 2
    num_samples: int = 128
    num_test: int = 1000
    scale: float = 1.0
    noise_std: float = 1.0

    def check(self) -> None:
        choose("data.law", self.law, LAWS)
        for name in ("input_dim", "num_samples", "num_test"):
            require(getattr(self, name) >= 1, f"data.{name}", getattr(self, name), "must be at least 1")
        require(self.noise_std >= 0, "data.noise_std", self.noise_std, "must be at least 0")
        require(self.scale > 0, "data.scale", self.scale, "must be above 0")


@dataclass(frozen=True)
class TargetSpec:
    """kind: of the clean target; degree: of the Chebyshev polynomial."""

    kind: str = "linear"
    degree: int = 4

    def check(self) -> None:
        choose("target.kind", self.kind, TARGETS)
        require(self.degree >= 0, "target.degree", self.degree, "must be at least 0")


class Samples(NamedTuple):
    """inputs (n, d); labels (n,) with noise; clean (n,) without; weights (n,): 1/n each, 0 on padding."""

    inputs: jax.Array
    labels: jax.Array
    clean: jax.Array
    weights: jax.Array


class Problem(NamedTuple):
    train: Samples
    test: Samples


def draw_problem(data: DataSpec, target: TargetSpec, key: jax.Array, hyper: Hyper, dtype) -> Problem:
    """Draw data and teacher from the run's key; shapes are `data`'s, true sizes and scalars are `hyper`'s.

    Inputs, teacher, noise and test samples have keys of their own, so all runs of one seed share them
    whatever else differs, and the samples at a smaller n are the first ones of a larger n.
    """
    inputs_key, target_key, noise_key, test_key = (jax.random.fold_in(key, i) for i in range(4))
    dim, num_samples = hyper["data.input_dim"], hyper["data.num_samples"]
    truth = TARGETS[target.kind](target_key, dim, data.input_dim, dtype, target.degree)

    def draw(key, noise_key, count, size) -> Samples:
        x = sample(LAWS[data.law], key, count, dim, (size, data.input_dim), dtype)
        clean = truth(x)
        noise = hyper["data.noise_std"] * jax.random.normal(noise_key, (size,), dtype)
        used = jnp.arange(size) < count
        weights = used.astype(dtype) / jnp.asarray(count, dtype)
        return Samples(hyper["data.scale"] * x, jnp.where(used, clean + noise, 0), jnp.where(used, clean, 0), weights)

    return Problem(
        draw(inputs_key, noise_key, num_samples, data.num_samples),
        draw(test_key, jax.random.fold_in(test_key, 2**30), data.num_test, data.num_test),
    )
