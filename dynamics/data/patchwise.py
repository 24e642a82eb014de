"""Laws that are made patch by patch: J = input_dim / patch_dim disjoint blocks of m = patch_dim coordinates.

    patch_spheres   every patch uniform on S^(m-1), independently: a filter sees a sphere, and everything can be
                    memorised
    tiled           one point of S^(m-1), J times over: what one patch says all of them say
    vocabulary      one patch, anywhere, is a word f_i plus noise, the others are noise, of variance 1 / (J m) a
                    coordinate
    cone_clusters   one patch, anywhere, is from the cone around a direction of its cluster, the others from a noise
                    cone

(Liang et al. 2026b, experiments X2, X6, X7, X8. That which patch it is is uniform, and how cones are made, is our
reading.) What a shared filter sees of the first two is the sphere of R^m, whose closed forms are `SPHERE`'s; of the
words `vocabulary_half_space`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.dynamics import Hyper
from dynamics.data.closed_forms import gaussian_half_space_mean, gaussian_half_space_probability
from dynamics.data.law import LAWS, DataSpec, Law, Source, draw_direction, draw_directions
from dynamics.errors import require


def count_patches(data: DataSpec) -> int:
    """Return how many disjoint patches an input has."""
    return data.input_dim // data.patch_dim


def _check_patches(data: DataSpec) -> None:
    allowed = f"must divide data.input_dim = {data.input_dim}"
    require(data.patch_dim >= 1 and data.input_dim % data.patch_dim == 0, "data.patch_dim", data.patch_dim, allowed)


def _patch_spheres(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
    return Source(
        lambda key, index, n: (draw_directions(key, count_patches(data), data.patch_dim, dtype).reshape(-1), jnp.int32(0))
    )


def _tiled(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
    def row(key, index, num_samples):
        return jnp.tile(draw_direction(key, data.patch_dim, data.patch_dim, dtype), count_patches(data)), jnp.int32(0)

    return Source(row)


def _normals(key: jax.Array, data: DataSpec, dtype: Any) -> jax.Array:
    """Return J + 1 patches (J + 1, m) of standard normals, in one draw: rows as short as m take long to compile."""
    return jax.random.normal(key, ((count_patches(data) + 1) * data.patch_dim,), dtype).reshape(-1, data.patch_dim)


def _choice(key: jax.Array, data: DataSpec) -> tuple[jax.Array, jax.Array]:
    """Return which patch is special, and which part it is of: independent and uniform."""
    drawn = jax.random.randint(key, (), 0, count_patches(data) * data.components)
    return drawn // data.components, drawn % data.components


def noise_std(data: DataSpec) -> float:
    """Return the standard deviation of a coordinate's noise in `vocabulary`."""
    return float((count_patches(data) * data.patch_dim) ** -0.5)


def _vocabulary(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
    words = draw_directions(key, data.components, data.patch_dim, dtype)

    def row(key, index, num_samples):
        place, part = _choice(jax.random.fold_in(key, 1), data)
        noise = noise_std(data) * _normals(key, data, dtype)
        return noise[:-1].at[place].set(words[part] + noise[-1]).reshape(-1), part

    return Source(row, words)


def _cone_clusters(key: jax.Array, data: DataSpec, hyper: Hyper, dtype: Any) -> Source:
    centres = draw_directions(key, data.components + 1, data.patch_dim, dtype)

    def cone(centre, normals):
        drawn = centre + hyper["data.cone_std"] * normals
        return drawn / jnp.linalg.norm(drawn, axis=-1, keepdims=True)

    def row(key, index, num_samples):
        place, part = _choice(jax.random.fold_in(key, 1), data)
        normals = _normals(key, data, dtype)
        return cone(centres[-1], normals[:-1]).at[place].set(cone(centres[part], normals[-1])).reshape(-1), part

    return Source(row, centres[:-1])


def vocabulary_half_space(words: np.ndarray, num_patches: int, u: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return P(u.Z > t) (K,) and E[Z 1{u.Z > t}] (m, K) of a patch Z of `vocabulary`, for unit u (m, K) and t (K,).

    Z is a word plus noise with chance 1/J and noise else: a mixture of Gaussians of standard deviation (J m)^(-1/2).
    """
    words = np.asarray(words, float)
    std = (num_patches * words.shape[1]) ** -0.5
    centres = np.concatenate([words, np.zeros((1, words.shape[1]))])
    chances = np.append(np.full(len(words), 1 / (num_patches * len(words))), 1 - 1 / num_patches)
    cut = (t - centres @ u) / std  # (c + 1, K)
    share = chances[:, None] * gaussian_half_space_probability(cut, 1)
    along = np.sum(chances[:, None] * std * gaussian_half_space_mean(cut, 1), axis=0)
    return share.sum(axis=0), centres.T @ share + u * along


def _parts(data: DataSpec) -> int:
    return data.components


LAWS.add("patch_spheres", Law(_patch_spheres, check=_check_patches), uses=("patch_dim",))
LAWS.add("tiled", Law(_tiled, check=_check_patches), uses=("patch_dim",))

for parts_name, parts_source, parts_fields in (
    ("vocabulary", _vocabulary, ("patch_dim", "components")),
    ("cone_clusters", _cone_clusters, ("patch_dim", "components", "cone_std")),
):
    LAWS.add(
        parts_name,
        Law(parts_source, check=_check_patches, num_parts=_parts, parts_mean_something=True),
        uses=parts_fields,
    )
