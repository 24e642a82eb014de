"""PyTorch as its model-ensembling tutorial has it: stacked parameters, `vmap` over `functional_call`.

The gradient is `torch.func.grad`; SGD and each run's clipping are written by hand, since `torch.optim` knows no
ensembles. Measured beside it and slower: autograd through the vmapped forward pass;
torch.compile over all of it on small nets.
"""

from __future__ import annotations

import torch
from problems import CLIP_NORM
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from competitors import WARM_STEPS
from competitors.torch_nets import TorchBase

Params = dict[str, torch.Tensor]


class Competitor(TorchBase):
    """PyTorch with stacked parameters under `vmap`."""

    def run(self, clip_norm: float, steps: int, part: int, parts: int) -> tuple[float, torch.Tensor]:
        """The wall time of the loop and the loss of every run."""
        runs = self.mine(part, parts)
        params, _ = stack_module_state([self.network(run) for run in runs])  # type: ignore[arg-type]
        params = {name: p.detach() for name, p in params.items()}
        x, y = (torch.stack(arrays) for arrays in zip(*(self.data(run) for run in runs), strict=True))
        base, criterion, rate = self.empty_network().to("meta"), nn.MSELoss(), self.problem.learning_rate

        def loss(params: Params, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return criterion(functional_call(base, params, (x,)), y)

        gradient = vmap(grad(loss))

        def loop() -> None:
            for _ in range(steps):
                gradients = gradient(params, x, y)
                norm = torch.stack([(g.flatten(1) ** 2).sum(1) for g in gradients.values()]).sum(0).sqrt()
                scale = rate * (clip_norm / (norm + 1e-6)).clamp(max=1.0)
                for name, g in gradients.items():
                    params[name].sub_(scale.view(-1, *[1] * (g.ndim - 1)) * g)

        with torch.no_grad():
            return self.timed(loop), vmap(loss)(params, x, y)

    def losses(self, clip_norm: float, part: int = 0, parts: int = 1) -> list[float]:
        """Return the loss of every run of this part after `check_steps` steps."""
        return self.run(clip_norm, self.problem.check_steps, part, parts)[1].tolist()

    def seconds(self, steps: int, part: int = 0, parts: int = 1) -> float:
        """Return the wall seconds of the loop over this part of the runs."""
        return self.run(CLIP_NORM, steps, part, parts)[0]

    def compile_seconds(self, part: int = 0, parts: int = 1) -> tuple[None, None]:
        """Warm up; nothing is compiled, so both times are None."""
        self.seconds(WARM_STEPS, part, parts)
        return None, None
