"""PyTorch with `torch.compile` of a whole training step, the runs one after the other.

The step is written functionally, so that gradient, clipping and update are one graph; compiling the network alone, the
loss, or the eager step as it stands (its backward pass breaks the graph) was slower where it was tried; a C++ wrapper
and updates in place were mixed. `mode` is torch.compile's own;
with one thread `max-autotune` was mostly a tenth faster.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from problems import CLIP_NORM
from torch import nn
from torch.func import functional_call, grad

from competitors.torch_nets import TorchBase, clip_factor

Params = dict[str, torch.Tensor]


class Competitor(TorchBase):
    """PyTorch with a compiled training step."""

    @cache  # noqa: B019 (one competitor a process)
    def step(self, mode: str) -> Any:
        """(params, x, y, clip_norm) -> params, compiled at its first call."""
        base, criterion, rate = self.empty_network().to(self.where), nn.MSELoss(), self.problem.learning_rate

        def loss(params: Params, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return criterion(functional_call(base, params, (x,)), y)

        def step(params: Params, x: torch.Tensor, y: torch.Tensor, clip_norm: torch.Tensor) -> Params:
            gradients = grad(loss)(params, x, y)
            scale = rate * clip_factor(list(gradients.values()), clip_norm)
            return {name: p - scale * gradients[name] for name, p in params.items()}

        return torch.compile(step, mode=mode, fullgraph=True)

    def train(self, run: int, clip_norm: float, steps: int, mode: str) -> tuple[float, float]:
        """Train one run; return the wall seconds of its loop and its loss."""
        net, step = self.network(run), self.step(mode)
        x, y = self.data(run)
        limit = torch.tensor(clip_norm, device=self.where)
        params = {name: p.detach() for name, p in net.named_parameters()}

        def loop() -> None:
            nonlocal params
            for _ in range(steps):
                params = step(params, x, y, limit)
                if mode == "reduce-overhead":  # the graph's outputs lie where its next run writes
                    params = {name: p.clone() for name, p in params.items()}

        with torch.no_grad():
            seconds = self.timed(loop)
            return seconds, nn.functional.mse_loss(functional_call(net, params, (x,)), y).item()

    def losses(self, clip_norm: float, mode: str = "default", part: int = 0, parts: int = 1) -> list[float]:
        """Return the loss of every run of this part after `check_steps` steps."""
        return [self.train(run, clip_norm, self.problem.check_steps, mode)[1] for run in self.mine(part, parts)]

    def seconds(self, steps: int, mode: str = "default", part: int = 0, parts: int = 1) -> float:
        """Return the wall seconds of the loops of this part of the runs."""
        return sum(self.train(run, CLIP_NORM, steps, mode)[0] for run in self.mine(part, parts))

    def compile_seconds(self, mode: str = "default", part: int = 0, parts: int = 1) -> tuple[float, float]:
        """Return the compile seconds with an empty cache and with a cache on disk."""
        cold, _ = super().compile_seconds(mode=mode, part=part, parts=parts)
        torch.compiler.reset()
        self.step.cache_clear()
        cached, _ = super().compile_seconds(mode=mode, part=part, parts=parts)
        assert cold is not None and cached is not None
        return cold, cached
