"""One run of every input law, how its inputs are drawn, and the statistics that draws are judged by."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from oracles import hyper_of, key_of, to_numpy
from scipy import stats

from dynamics.core import spec as specs
from dynamics.data import mixtures
from dynamics.data.closed_forms import BALL, GAUSSIAN, SPHERE, radial_forms, sphere_patch_forms
from dynamics.data.law import LAWS, DataSpec, draw_samples
from dynamics.data.mixtures import Subspaces
from dynamics.data.problem import TargetSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.systems.training import TrainingSpec

N = 10_000


ALPHAS = (0.1, 0.3, 1.0, 1.5, 5.0)


# one run of every law that needs no file but the digits'
DATA = {
    "uniform_ball": DataSpec("uniform_ball", 3),
    "sphere": DataSpec("sphere", 3),
    "radial": DataSpec("radial", 3, alpha=0.3),
    "gaussian": DataSpec("gaussian", 3),
    "sphere_patch": DataSpec("sphere_patch", 3, ambient_dim=8),
    "grid": DataSpec("grid", 3),
    "subspace_balls": DataSpec("subspace_balls", 6, intrinsic_dim=2, components=3, offset=0.7),
    "patch_spheres": DataSpec("patch_spheres", 12, patch_dim=3),
    "tiled": DataSpec("tiled", 12, patch_dim=3),
    "vocabulary": DataSpec("vocabulary", 50, patch_dim=5, components=3),
    "cone_clusters": DataSpec("cone_clusters", 12, patch_dim=4, components=2, cone_std=0.3),
    "digits": DataSpec("digits", 64),
    "dead_leaves": DataSpec("dead_leaves", 32, channels=2, leaves=5, smallest_leaf=0.5, leaf_exponent=2.5, texture=0.1),
}


NEED_FILES = {"mnist", "cifar10", "arrays", "images"}


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def program(data, size, fresh, dtype, key, which, hyper):
    """Inputs and parts of `size` samples, and what the parts stand for; which: 0 for training samples,
    3 for test samples."""
    source = LAWS[data.law].source(jax.random.fold_in(key, 4), data, hyper, jnp.dtype(dtype))
    return *draw_samples(source, jax.random.fold_in(key, which), hyper["data.num_samples"], size, fresh=fresh), source.parts


def draw(data: DataSpec, n: int = N, *, seed: int = 0, size: int = 0, padded: int = 0, fresh: bool = False, dtype="float32"):
    """n inputs (n, d), their parts and what these stand for;
    in arrays of `size` rows and `padded` columns if that is more."""
    data = replace(data, num_samples=n)
    spec = TrainingSpec(seed=seed, precision=dtype, data=data, model=ModelSpec(width=1), target=TargetSpec("zero"))
    static = replace(specs.static(spec).data, input_dim=padded or data.input_dim, num_samples=1)
    with jax.enable_x64(dtype == "float64"):
        hyper = {**hyper_of(spec), **spec.shared_arrays()}
        drawn_otherwise = fresh and LAWS[data.law].shared_arrays is not None  # else one program for both
        found = program(static, size or n, drawn_otherwise, dtype, key_of(spec), jnp.int32(3 * fresh), hyper)
    x, part, stands_for = (None if a is None else np.asarray(a) for a in found)
    assert x.dtype == dtype and part.dtype.kind == "i"
    return x[:n].astype(float), part[:n], stands_for


def z_score(samples: np.ndarray, expected: float) -> float:
    return (np.mean(samples) - expected) / (np.std(samples, ddof=1) / np.sqrt(len(samples)))


def share_z(happened: np.ndarray, probability: float) -> float:
    """z-score of a share, with the deviation that it should have."""
    return (np.mean(happened) - probability) / np.sqrt(probability * (1 - probability) / len(happened))


def same_law(a: np.ndarray, b: np.ndarray) -> float:
    return stats.ks_2samp(a, b).pvalue


def uniformly_one_of(counted: np.ndarray, count: int) -> float:
    return stats.chisquare(np.bincount(counted, minlength=count)).pvalue


# Draws


ISOTROPIC = {
    "uniform_ball": BALL,
    "sphere": SPHERE,
    "radial": radial_forms(0.3),
    "gaussian": GAUSSIAN,
    "sphere_patch": sphere_patch_forms(8),
}


# Mixtures of balls in subspaces


BALLS = DATA["subspace_balls"]


@cache
def parts_of(data: DataSpec, seed: int = 0) -> Subspaces:
    """The subspaces of a run, by the law's key."""
    return to_numpy(
        mixtures.draw_subspaces(jax.random.fold_in(jax.random.key(seed), 4), data, jnp.float32(data.offset), jnp.float32)
    )


def directions(rng, d: int, count: int) -> np.ndarray:
    u = rng.normal(size=(d, count))
    return u / np.linalg.norm(u, axis=0)


def check_half_spaces(
    samples: np.ndarray, u: np.ndarray, t: np.ndarray, probability: np.ndarray, mean: np.ndarray
) -> list[float]:
    """Largest z-scores of P(u.Z > t) and of E[Z 1{u.Z > t}],
    for samples (n, J, d) of which only the n are independent."""
    worst = []
    for k in range(len(t)):
        over = samples @ u[:, k] > t[k]
        worst.append(abs(z_score(over.mean(axis=1), probability[k])))
        moment = np.mean(samples * over[..., None], axis=1)
        worst += [abs(z_score(moment[:, i], mean[i, k])) for i in range(len(u))]
    return worst
