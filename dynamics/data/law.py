"""Input laws: what a config says of the inputs, what a law is, and the source that it becomes in a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.checked_fields import CheckedFields
from dynamics.core.dynamics import Hyper
from dynamics.core.registry import Registry
from dynamics.core.spec import added_field, check_options, option, unhashed_field
from dynamics.data.closed_forms import BALL, GAUSSIAN, SPHERE, ClosedForms
from dynamics.data.image_files import NORMALIZATIONS, SHAPES
from dynamics.errors import choose, require

Row = Callable[[jax.Array, jax.Array, Any], tuple[jax.Array, jax.Array]]  # key, index, num_samples -> inputs, part


class Source(NamedTuple):
    """A law as one run has it, with whatever of it is random (subspaces, words, which images) drawn.

    row(key, index, num_samples): one sample, inputs (width,), and the number () of the part of the law that it is
        from: the subspace, word, cluster or class; coordinates from the true input dimension on are zero. index and
        num_samples may be traced.
    parts: what the parts stand for, (C, p), where a target may want it; None where they stand for nothing.
    fresh: the same for test samples, where these are drawn otherwise.
    """

    row: Row
    parts: jax.Array | None = None
    fresh: Row | None = None


class Law(NamedTuple):
    """An input law.

    source(key, data, hyper, dtype): the law as a run of this key has it; shapes are `data`'s, sizes and scalars
        `hyper`'s
    check(data): raises an `InputError` for fields of the data that do not go together
    closed_forms(data): half-space probabilities and the like; None where the law is not isotropic or has none
    grid(data): the shape of an input, (d,), or (height, width, channels) of images
    num_parts(data): how many parts (classes, words, clusters) the law is made of
    shared_arrays(data): arrays that all runs share, by name, found in `hyper` as `data.<name>`: images, which are too
        many to draw
    pads: whether zeros may be appended to the inputs without changing any number
    parts_mean_something: whether the source says what each part stands for
    resolve(data): the data with what their files say of them (digest, coordinates); None where there is nothing to
        find out
    endless: whether every sample is drawn anew from its key, so that a step may have fresh ones; a law with shared
        arrays is of finitely many samples, whatever this says
    """

    source: Callable[[jax.Array, DataSpec, Hyper, Any], Source]
    check: Callable[[DataSpec], None] = lambda data: None
    closed_forms: Callable[[DataSpec], ClosedForms] | None = None
    grid: Callable[[DataSpec], tuple[int, ...]] = lambda data: (data.input_dim,)
    num_parts: Callable[[DataSpec], int] = lambda data: 1
    shared_arrays: Callable[[DataSpec], dict[str, np.ndarray]] | None = None
    pads: bool = False
    parts_mean_something: bool = False
    resolve: Callable[[DataSpec], DataSpec] | None = None
    endless: bool = True

    @property
    def has_fresh_samples(self) -> bool:
        """Whether as many independent samples as one likes may be drawn."""
        return self.endless and self.shared_arrays is None


COMMON = ("input_dim", "num_samples", "num_test", "scale", "noise_std", "flip_probability", "shuffle_parts")
LAWS: Registry[Law] = Registry("law", "data", lambda: DataSpec, selector="law", common=COMMON)  # filled by `dynamics.data`


@dataclass(frozen=True)
class DataSpec(CheckedFields):
    """The input law, its parameters and the sample sizes; most fields belong to some laws only.

    A field that the chosen law does not use must be left at its default. Floats are swept scalars.

    >>> import dynamics as dyn
    >>> dyn.Data(law="radial", alpha=0.5, input_dim=3).grid
    (3,)
    """

    law: str = option("uniform_ball", choices=LAWS, doc="law of the inputs")
    input_dim: int = option(2, at_least=1, placeholder=0, doc="dimension d of the inputs; 0: that of one's own data")
    num_samples: int = option(128, at_least=1, doc="number n of training samples")
    num_test: int = option(1000, at_least=1, doc="number of fresh samples to test on")
    scale: float = option(1.0, above=0, doc="factor on the inputs")
    noise_std: float = option(1.0, at_least=0, doc="standard deviation sigma of the label noise")
    alpha: float = added_field(1.0, above=0, doc="exponent of the mass near the rim of the ball, P(|x| > 1 - e) = e^alpha")
    intrinsic_dim: int = added_field(1, at_least=1, doc="dimension of each subspace")
    components: int = added_field(1, at_least=1, doc="number of subspaces, words or clusters")
    offset: float = added_field(0.0, at_least=0, doc="distance of the subspaces from the origin")
    ambient_dim: int = added_field(0, at_least=0, doc="dimension of the space whose sphere a patch is cut from")
    patch_dim: int = added_field(0, at_least=0, doc="number of coordinates of a patch")
    cone_std: float = added_field(0.1, at_least=0, doc="standard deviation of a cluster around its direction")
    shuffle_parts: bool = added_field(False, doc="whether classes and words are drawn at random, so that labels say nothing")
    root: str = unhashed_field("", doc="folder of image files, or a zip file; empty: the environment variable DYNAMICS_DATA")
    normalization: str = added_field(
        "own", choices=("own", *NORMALIZATIONS), doc="mean and deviation that pixels are divided by"
    )
    stand_in: str = added_field("", doc="what takes the place of the images; empty: nothing")
    channels: int = added_field(1, at_least=1, doc="colour channels of a picture")
    leaves: int = added_field(64, at_least=1, doc="discs laid on one another in a picture")
    smallest_leaf: float = added_field(1.0, above=0, doc="smallest radius of a disc", unit="pixels")
    leaf_exponent: float = added_field(3.0, above=1, doc="exponent of the density of the radii, r^-exponent")
    texture: float = added_field(0.0, at_least=0, doc="standard deviation of the noise in every pixel")
    file: str = unhashed_field("", doc="file of one's own arrays")
    flip_probability: float = added_field(
        0.0, at_least=0, at_most=1, doc="probability that a label is that of another class, any of them alike"
    )
    digest: str = added_field("", doc="content hash of one's own file or images, which is found out")

    def resolve(self) -> DataSpec:
        """Return the same data with what the law's files say of them."""
        law = LAWS.get(self.law)
        return self if law is None or law.resolve is None else law.resolve(self)

    def check(self, *, flips: bool = False) -> None:
        """Raise an `InputError` for a value that is not allowed; flips:
        whether labels may be those of another class."""
        law = choose("data.law", self.law, LAWS)
        check_options(self, "data")
        fits = not self.stand_in or self.law in (*SHAPES, "images")
        require(fits, "data.stand_in", self.stand_in, f"is for a data.law of {', '.join(SHAPES)}, images")
        for name, own in {"file": ("arrays",), "digest": ("arrays", "images")}.items():
            value, fits = getattr(self, name), not getattr(self, name) or self.law in own
            require(fits, f"data.{name}", value, f"is for a data.law of {', '.join(own)}")
        law.check(self)
        if self.flip_probability:
            allowed = "needs a target.kind that goes by the class, such as one_hot, and a data.law of several classes"
            require(flips and law.num_parts(self) > 1, "data.flip_probability", self.flip_probability, allowed)

    @property
    def grid(self) -> tuple[int, ...]:
        """Return how the inputs lie: (d,), or (height, width, channels)."""
        return LAWS[self.law].grid(self)

    def shared_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that all runs on these data share, by their names among a run's scalars."""
        found = LAWS[self.law].shared_arrays
        return {} if found is None else {f"data.{name}": array for name, array in found(self).items()}


def draw_samples(
    source: Source, key: jax.Array, num_samples: Any, size: int, *, fresh: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Return inputs (size, width) and parts (size,); the first `num_samples` are valid, the rest padding.

    fresh: as test samples are drawn
    """
    row = source.fresh if fresh and source.fresh is not None else source.row
    index = jnp.arange(size, dtype=jnp.int32)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
    return jax.vmap(lambda k, i: row(k, i, num_samples))(keys, index)


def draw_inputs(name: str, key: jax.Array, num_samples: Any, dim: Any, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """Return inputs (n, d) of a law without parameters, of this shape.

    The first `num_samples` rows and `dim` columns are valid.
    """
    source = LAWS[name].source(key, DataSpec(name, shape[1]), {"data.input_dim": dim}, dtype)
    return draw_samples(source, key, num_samples, shape[0])[0]


def parameter_free_forms() -> dict[str, ClosedForms]:
    """Return the closed forms of the isotropic laws without parameters, by name."""
    return {"uniform_ball": BALL, "sphere": SPHERE, "gaussian": GAUSSIAN}


def draw_direction(key: jax.Array, dim: Any, width: int, dtype: Any) -> jax.Array:
    """Return a uniform unit vector in the first `dim` of `width` coordinates."""
    z = jnp.where(jnp.arange(width) < dim, jax.random.normal(key, (width,), dtype), 0)
    return z / jnp.linalg.norm(z)


def draw_directions(key: jax.Array, count: int, dim: int, dtype: Any) -> jax.Array:
    """Return independent uniform unit vectors (count, dim), one key each."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count, dtype=jnp.int32))
    return jax.vmap(lambda k: draw_direction(k, dim, dim, dtype))(keys)
