"""PyTorch as the papers' authors write it: an eager loop over steps, the runs one after the other."""

from __future__ import annotations

import torch
from problems import CLIP_NORM
from torch import nn

from competitors import WARM_STEPS
from competitors.torch_nets import TorchBase


class Competitor(TorchBase):
    """PyTorch with an eager training loop."""

    cut = False  # nn.Conv1d is what a user writes, and no slower in an eager loop

    def train(self, run: int, clip_norm: float, steps: int) -> tuple[float, float]:
        """Train one run; return the wall seconds of its loop and its loss."""
        net, criterion = self.network(run), nn.MSELoss()
        optimizer = torch.optim.SGD(net.parameters(), lr=self.problem.learning_rate)
        x, y = self.data(run)

        def loop() -> None:
            for _ in range(steps):
                optimizer.zero_grad()
                criterion(net(x), y).backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), clip_norm)
                optimizer.step()

        seconds = self.timed(loop)
        with torch.no_grad():
            return seconds, criterion(net(x), y).item()

    def losses(self, clip_norm: float, part: int = 0, parts: int = 1) -> list[float]:
        """Return the loss of every run of this part after `check_steps` steps."""
        return [self.train(run, clip_norm, self.problem.check_steps)[1] for run in self.mine(part, parts)]

    def seconds(self, steps: int, part: int = 0, parts: int = 1) -> float:
        """Wall time of the loops of this process's part of the runs."""
        return sum(self.train(run, CLIP_NORM, steps)[0] for run in self.mine(part, parts))

    def compile_seconds(self, part: int = 0, parts: int = 1) -> tuple[None, None]:
        """Warm up; nothing is compiled, so both times are None."""
        self.seconds(WARM_STEPS, part, parts)
        return None, None
