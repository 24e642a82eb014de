"""A problem: inputs of a law, labels of a target, noise (Gaussian, or classes exchanged);
and fresh samples to test on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Hyper
from dynamics.data.law import LAWS, DataSpec, draw_samples
from dynamics.data.targets import TARGETS, TargetContext, TargetSpec

__all__ = ["TARGETS", "DataSpec", "Problem", "Samples", "TargetSpec", "draw_fresh_samples", "draw_problem"]


class Samples(NamedTuple):
    """Samples with their labels.

    inputs (n, d); labels (n,) with noise; clean (n,) without; weights (n,): 1/n each, 0 on padding.

    Where the target has C outputs, labels and clean are (n, C).
    """

    inputs: jax.Array
    labels: jax.Array
    clean: jax.Array
    weights: jax.Array


class Problem(NamedTuple):
    """A training sample and a test sample."""

    train: Samples
    test: Samples


Sampler = Callable[..., Samples]  # key, noise_key, count, size, fresh: `size` samples of which `count` are valid


def prepare_sampler(
    data: DataSpec, target: TargetSpec, target_key: jax.Array, law_key: jax.Array, hyper: Hyper, dtype: Any
) -> Sampler:
    """Return what draws samples of a run's law and teacher, whatever is random of these being drawn from their keys.

    Called as sampler(key, noise_key, count, size, fresh=...): `size` samples, the first `count` of them valid and the
    rest padding; fresh: as test samples are drawn.
    """
    source = LAWS[data.law].source(law_key, data, hyper, dtype)
    setting = TargetContext(hyper["data.input_dim"], data, target, source.parts, dtype, hyper)
    truth = TARGETS[target.kind].draw(target_key, setting)

    num_parts = LAWS[data.law].num_parts(data) if source.parts is None else len(source.parts)

    def draw(key: jax.Array, noise_key: jax.Array, count: Any, size: int, fresh: bool) -> Samples:
        x, part = draw_samples(source, key, count, size, fresh=fresh)
        if data.shuffle_parts:
            part = jax.random.randint(jax.random.fold_in(key, 2**30 + 1), (size,), 0, num_parts)
        clean = truth(x, part)
        noise = jax.random.normal(noise_key, (clean.size,), dtype).reshape(clean.shape)  # few outputs a row compile slowly
        noise = hyper["data.noise_std"] * noise
        labels = clean
        if TARGETS[target.kind].of_parts and num_parts > 1:
            flip_key, other_key = (jax.random.fold_in(noise_key, i) for i in range(2))
            flipped = jax.random.uniform(flip_key, (size,), dtype) < hyper["data.flip_probability"]
            further = jax.random.randint(other_key, (size,), 1, num_parts)
            labels = truth(x, jnp.where(flipped, (part + further) % num_parts, part))
        used = jnp.arange(size) < count
        weights = used.astype(dtype) / jnp.asarray(count, dtype)
        meant = used.reshape(-1, *[1] * (clean.ndim - 1))
        return Samples(hyper["data.scale"] * x, jnp.where(meant, labels + noise, 0), jnp.where(meant, clean, 0), weights)

    return draw


def draw_problem(data: DataSpec, target: TargetSpec, key: jax.Array, hyper: Hyper, dtype: Any) -> Problem:
    """Draw data and teacher from the run's key; shapes are `data`'s, true sizes and scalars are `hyper`'s.

    Inputs, teacher, noise, test samples and what is random of the law have keys of their own, so all runs of one seed
    share them whatever else differs, and the samples at a smaller n are the first ones of a larger n.
    """
    inputs_key, target_key, noise_key, test_key, law_key = (jax.random.fold_in(key, i) for i in range(5))
    draw = prepare_sampler(data, target, target_key, law_key, hyper, dtype)
    return Problem(
        draw(inputs_key, noise_key, hyper["data.num_samples"], data.num_samples, fresh=False),
        draw(test_key, _noise_key(test_key), data.num_test, data.num_test, fresh=True),
    )


def draw_fresh_samples(
    data: DataSpec, target: TargetSpec, key: jax.Array, hyper: Hyper, dtype: Any, step: jax.Array, size: int
) -> Samples:
    """Return the `size` samples that online training has for its step number `step` (), independent of all others.

    Law, teacher, noise and flipped labels are those of the training samples of `draw_problem` with the same key; the
    samples of a smaller batch are the first ones of a larger one.
    """
    target_key, law_key, stream_key = (jax.random.fold_in(key, i) for i in (1, 4, 5))
    draw, step_key = prepare_sampler(data, target, target_key, law_key, hyper, dtype), jax.random.fold_in(stream_key, step)
    return draw(step_key, _noise_key(step_key), size, size, fresh=False)


def _noise_key(key: jax.Array) -> jax.Array:
    """Return the key of the label noise of samples with this key, which none of their inputs has."""
    return jax.random.fold_in(key, 2**30)
