"""The problems that all competitors solve: full-batch descent on a two-layer ReLU net, several runs at once.

Data and initial weights are drawn once and stored in a file for all competitors: by our suite, else by `draw`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

CLIP_NORM = 50.0


@dataclass(frozen=True)
class Problem:
    """Sizes of one run, how many runs, and a learning rate below 2 / sharpness at the start.

    Above that rate float32 paths part company within a few steps, and nothing could be compared.

    biting_clip: a clip norm short of the gradients at the start, so that clipping is checked too
    check_steps: after how many steps losses are compared
    patch_size, stride: of a one-dimensional convolution with mean pooling, whose `width` is its number of filters;
        0 for none
    """

    name: str
    num_samples: int
    width: int
    input_dim: int
    runs: int
    learning_rate: float
    biting_clip: float = 0.5
    check_steps: int = 20
    patch_size: int = 0
    stride: int = 1

    @property
    def positions(self) -> int:
        """Return the number of positions at which a neuron is evaluated per sample."""
        return (self.input_dim - self.patch_size) // self.stride + 1 if self.patch_size else 1

    @property
    def fan_in(self) -> int:
        """Return the number of inputs of a neuron."""
        return self.patch_size or self.input_dim

    @property
    def neuron_samples(self) -> int:
        """Return the neuron-samples of one step of all runs; with patches, each position counts as a sample."""
        return self.num_samples * self.positions * self.width * self.runs

    @property
    def flops(self) -> int:
        """Return the useful operations per neuron-sample and step.

        These are four products with `fan_in` + 1 numbers and four with the readout.

        As in `TrainingSpec.cost`. Pooling meets the readout once a sample, and adds and masks once a position.
        """
        return 4 * (self.fan_in + 1) + (2 if self.patch_size else 4)

    def windows(self) -> np.ndarray:
        """Return the indices (positions, patch_size) of the coordinates that each position sees."""
        return np.arange(self.positions)[:, None] * self.stride + np.arange(self.patch_size)


PROBLEMS = {
    p.name: p
    for p in (
        Problem("small", num_samples=128, width=512, input_dim=5, runs=32, learning_rate=0.01),
        Problem("medium", num_samples=512, width=2048, input_dim=5, runs=8, learning_rate=0.004),
        Problem("large", num_samples=4096, width=16384, input_dim=10, runs=1, learning_rate=0.001, check_steps=6),
        Problem("wide", num_samples=512, width=1024, input_dim=784, runs=2, learning_rate=0.2, biting_clip=0.02),
        Problem("line", num_samples=512, width=2048, input_dim=1, runs=8, learning_rate=0.001),
        Problem(
            "patches",
            num_samples=128,
            width=256,
            input_dim=64,
            runs=8,
            learning_rate=0.05,
            biting_clip=0.05,
            patch_size=8,
        ),
    )
}


class Start(NamedTuple):
    """Data and initial weights of all runs, in float32; f is `fan_in`.

    inputs (R, n, d), labels (R, n), hidden (R, f, K), bias (R, K), readout (R, K), offset (R,)
    """

    inputs: np.ndarray
    labels: np.ndarray
    hidden: np.ndarray
    bias: np.ndarray
    readout: np.ndarray
    offset: np.ndarray

    def save(self, file: Path) -> None:
        """Write the arrays to an .npz file."""
        np.savez(file, **self._asdict())

    @classmethod
    def load(cls, file: Path) -> Start:
        """Read the arrays from an .npz file."""
        with np.load(file) as arrays:
            return cls(**arrays)


def draw(problem: Problem) -> Start:
    """Draw inputs uniform in the unit ball, a linear target with noise 1, and PyTorch's default initialisation."""
    p, rng = problem, np.random.default_rng(0)
    runs, n, d, width = p.runs, p.num_samples, p.input_dim, p.width
    z = rng.normal(size=(runs, n, d))
    inputs = z / np.linalg.norm(z, axis=-1, keepdims=True) * rng.uniform(size=(runs, n, 1)) ** (1 / d)
    teacher = rng.normal(size=(runs, d, 1))
    labels = (inputs @ (teacher / np.linalg.norm(teacher, axis=1, keepdims=True)))[..., 0] + rng.normal(size=(runs, n))

    def uniform(fan_in: int, *shape: int) -> np.ndarray:
        return rng.uniform(-(fan_in**-0.5), fan_in**-0.5, shape)

    hidden, bias = uniform(p.fan_in, runs, p.fan_in, width), uniform(p.fan_in, runs, width)
    readout, offset = uniform(width, runs, width), uniform(width, runs)
    return Start(*(a.astype(np.float32) for a in (inputs, labels, hidden, bias, readout, offset)))
