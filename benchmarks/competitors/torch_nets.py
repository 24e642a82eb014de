"""The networks of the problems in idiomatic PyTorch, and the base class of the three PyTorch competitors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from problems import Problem
from torch import nn

from competitors import COPY_BYTES, PRODUCT_SIZE, Base, copy_rate, product_rate


class Convolution(nn.Module):
    """Shared filters, ReLU, mean over positions, linear readout; inputs (n, 1, d)."""

    def __init__(self, p: Problem) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, p.width, p.patch_size, stride=p.stride)
        self.readout = nn.Linear(p.width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs (n, 1)."""
        return self.readout(torch.relu(self.filters(x)).mean(-1))


class OnPatches(nn.Module):
    """The convolution on precut patches (n, positions, patch_size), faster under vmap and torch.compile."""

    def __init__(self, p: Problem) -> None:
        super().__init__()
        self.filters = nn.Linear(p.patch_size, p.width)
        self.readout = nn.Linear(p.width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs (n, 1)."""
        return self.readout(torch.relu(self.filters(x)).mean(1))


class TorchBase(Base):
    """Networks and data of the runs on the device."""

    cut = True  # into patches beforehand, where the problem has any

    @property
    def where(self) -> torch.device:
        """Return the device of the tensors."""
        return torch.device("cuda" if self.device == "gpu" else "cpu")

    def empty_network(self) -> nn.Module:
        """Return the network of the problem with default initialisation."""
        p = self.problem
        if not p.patch_size:
            return nn.Sequential(nn.Linear(p.input_dim, p.width), nn.ReLU(), nn.Linear(p.width, 1))
        return OnPatches(p) if self.cut else Convolution(p)

    def network(self, run: int) -> nn.Module:
        """The network with the run's initial weights."""
        net, start = self.empty_network(), self.start
        arrays = start.hidden[run].T.copy(), start.bias[run], start.readout[run][None], start.offset[run][None]
        with torch.no_grad():
            for parameter, array in zip(net.parameters(), arrays, strict=True):
                parameter.copy_(torch.from_numpy(array).view_as(parameter))
        return net.to(self.where)

    def data(self, run: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs as the network takes them, labels (n, 1)."""
        p = self.problem
        x, y = torch.from_numpy(self.start.inputs[run]), torch.from_numpy(self.start.labels[run])[:, None]
        if p.patch_size:
            x = x.unfold(1, p.patch_size, p.stride).contiguous() if self.cut else x[:, None]
        return x.to(self.where), y.to(self.where)

    def mine(self, part: int, parts: int) -> range:
        """Return the indices of the runs of this part."""
        return range(part, self.problem.runs, parts)

    def timed(self, loop: Callable[[], Any]) -> float:
        """Return the wall seconds of a loop, including pending work on the device."""
        self.wait()
        begun = time.perf_counter()
        loop()
        self.wait()
        return time.perf_counter() - begun

    def wait(self) -> None:
        """Wait until the GPU has finished all work."""
        if self.device == "gpu":
            torch.cuda.synchronize()

    def threads(self) -> int:
        """Return the number of threads that PyTorch uses."""
        return torch.get_num_threads()

    def reset_peak(self) -> None:
        """Reset the peak memory of the device."""
        if self.device == "gpu":
            torch.cuda.reset_peak_memory_stats()
        else:
            super().reset_peak()

    def peak_bytes(self) -> int:
        """Return the peak memory of the device since `reset_peak`."""
        return torch.cuda.max_memory_allocated() if self.device == "gpu" else super().peak_bytes()

    def product_rate(self) -> float:
        """Return the FLOP/s of a float32 matrix product."""
        size = PRODUCT_SIZE[self.device]
        a, b = torch.randn(2, size, size, device=self.where)
        return product_rate(lambda: (torch.mm(a, b), self.wait()), size)

    def copy_rate(self) -> float:
        """Return the bytes per second of a copy."""
        size = COPY_BYTES[self.device]
        a = torch.ones(size // 4, device=self.where)
        b = torch.zeros_like(a)
        return copy_rate(lambda: (b.copy_(a), self.wait()), size)


def clip_factor(gradients: list[torch.Tensor], clip_norm: Any) -> torch.Tensor:
    """What `clip_grad_norm_` multiplies by, of gradients of one run, written by hand for functional steps."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    return (clip_norm / (norm + 1e-6)).clamp(max=1.0)
