"""Every way that a problem is run: ours, plain JAX and PyTorch, each as fast as its own users would have it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any

from problems import Problem

RECORDS = 12
DEFAULT = "PyTorch eager, all threads"  # what a user has who sets nothing
OURS, PLAIN, TORCH = "ours", "plain JAX", "PyTorch"


@dataclass(frozen=True)
class Way:
    """competitor: whose it is; module: in `competitors`; arguments: of its methods that time and check.

    threads: of each process, None for what its library chooses; processes: that share out the runs
    """

    competitor: str
    label: str
    module: str
    arguments: dict[str, Any] = field(default_factory=dict)
    threads: int | None = None
    processes: int = 1

    def parts(self) -> list[dict[str, Any]]:
        """The arguments of each process."""
        if self.processes == 1:
            return [self.arguments]
        return [{**self.arguments, "part": i, "parts": self.processes} for i in range(self.processes)]


def ways(problem: Problem, device: str, cores: int) -> list[Way]:
    """Ours first, and PyTorch only where it is installed."""
    found = [
        Way(OURS, OURS, "ours"),
        Way(OURS, f"ours, {RECORDS} records", "ours", {"records": RECORDS}),
        Way(PLAIN, "plain JAX, step jitted, Python loop", "plain_jax", {"ensemble": "python_loop"}),
        Way(PLAIN, "plain JAX, loop jitted, runs in turn", "plain_jax", {"ensemble": "one_by_one"}),
        Way(PLAIN, "plain JAX, loop jitted, vmap over runs", "plain_jax", {"ensemble": "vmap"}),
    ]
    if importlib.util.find_spec("torch") is None:
        return found
    return found + (torch_on_gpu() if device == "gpu" else torch_on_cpu(min(cores, problem.runs), cores))


def torch_on_cpu(processes: int, cores: int) -> list[Way]:
    """All threads in one process; one thread in each of so many processes; and for the eager loop, one thread at all."""
    kinds = {"eager": "torch_eager", "vmap": "torch_vmap", "compile": "torch_compile"}
    found = [Way(TORCH, f"PyTorch {kind}, all threads", module) for kind, module in kinds.items()]
    if cores > 1:
        found.insert(1, Way(TORCH, "PyTorch eager, 1 thread", "torch_eager", threads=1))
    if processes > 1:
        autotuned = {"compile": {"mode": "max-autotune"}}  # mostly faster with one thread
        found += [
            Way(TORCH, f"PyTorch {kind}, {processes} processes", module, autotuned.get(kind, {}), 1, processes)
            for kind, module in kinds.items()
        ]
    return found


def torch_on_gpu() -> list[Way]:
    """One process: the GPU is the same for all. CUDA graphs take the launches out of a compiled step."""
    return [
        Way(TORCH, DEFAULT, "torch_eager"),
        Way(TORCH, "PyTorch vmap", "torch_vmap"),
        Way(TORCH, "PyTorch compile", "torch_compile"),
        Way(TORCH, "PyTorch compile, CUDA graphs", "torch_compile", {"mode": "reduce-overhead"}),
    ]
