"""The problems that all competitors solve: full-batch descent of a two-layer ReLU net, several runs at once.

Data and initial weights are drawn once, by ours, and handed to the others in a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

CLIP_NORM = 50.0
CHECK_STEPS = 20


@dataclass(frozen=True)
class Problem:
    """Sizes of one run, how many runs, and a learning rate below 2 / sharpness at the start.

    Above that rate float32 paths part company within a few steps, and nothing could be compared.
    """

    name: str
    num_samples: int
    width: int
    input_dim: int
    runs: int
    learning_rate: float

    @property
    def neuron_samples(self) -> int:
        """Neuron-samples of one step of all runs."""
        return self.num_samples * self.width * self.runs

    @property
    def flops(self) -> int:
        """Useful operations a neuron-sample and step, as in `TrainingSpec.cost`: four products with d + 1 or 1 numbers."""
        return 4 * (self.input_dim + 1) + 4


PROBLEMS = {
    p.name: p
    for p in (
        Problem("medium", num_samples=512, width=2048, input_dim=5, runs=8, learning_rate=0.004),
        Problem("small", num_samples=128, width=512, input_dim=3, runs=8, learning_rate=0.01),
    )
}


class Start(NamedTuple):
    """Where every run begins, in float32.

    inputs (R, n, d), labels (R, n), hidden (R, d, K), bias (R, K), readout (R, K), offset (R,)
    """

    inputs: np.ndarray
    labels: np.ndarray
    hidden: np.ndarray
    bias: np.ndarray
    readout: np.ndarray
    offset: np.ndarray

    def save(self, file: Path) -> None:
        np.savez(file, **self._asdict())

    @classmethod
    def load(cls, file: Path) -> Start:
        with np.load(file) as arrays:
            return cls(**arrays)
