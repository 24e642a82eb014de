"""PyTorch as the papers' authors write it: an eager loop over steps, the runs one after the other.

It may use all its threads on one run, or one thread in each of several processes that share out the runs.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from problems import CHECK_STEPS, CLIP_NORM, Problem, Start
from torch import nn

from competitors import PRODUCT_SIZE, best_product_rate


class Competitor:
    def __init__(self, problem: Problem, folder: Path) -> None:
        self.problem = problem
        self.start = Start.load(folder / f"{problem.name}.npz")
        self.cores = torch.get_num_threads()

    def model(self, run: int) -> nn.Module:
        """The network with the run's initial weights."""
        p, start = self.problem, self.start
        net = nn.Sequential(nn.Linear(p.input_dim, p.width), nn.ReLU(), nn.Linear(p.width, 1))
        state = {
            "0.weight": start.hidden[run].T.copy(),
            "0.bias": start.bias[run],
            "2.weight": start.readout[run][None],
            "2.bias": start.offset[run][None],
        }
        net.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        return net

    def train(self, run: int, clip_norm: float, steps: int) -> tuple[nn.Module, float]:
        """The trained network and the wall time of its loop."""
        net, criterion = self.model(run), nn.MSELoss()
        optimizer = torch.optim.SGD(net.parameters(), lr=self.problem.learning_rate)
        x, y = self.data(run)
        begun = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad()
            criterion(net(x), y).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip_norm)
            optimizer.step()
        return net, time.perf_counter() - begun

    def data(self, run: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.start.inputs[run]), torch.from_numpy(self.start.labels[run])[:, None]

    def losses(self, clip_norm: float) -> list[float]:
        found = []
        for run in range(self.problem.runs):
            x, y = self.data(run)
            net, _ = self.train(run, clip_norm, CHECK_STEPS)
            with torch.no_grad():
                found.append(nn.functional.mse_loss(net(x), y).item())
        return found

    def seconds(self, steps: int, threads: int, part: int = 0, parts: int = 1) -> float:
        """Wall time of the loops of this process's part of the runs."""
        torch.set_num_threads(threads)
        return sum(self.train(run, CLIP_NORM, steps)[1] for run in range(part, self.problem.runs, parts))

    def product_rate(self) -> float:
        torch.set_num_threads(self.cores)
        a, b = torch.randn(2, PRODUCT_SIZE, PRODUCT_SIZE)
        return best_product_rate(lambda: a @ b)
