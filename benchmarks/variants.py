"""The variants that a problem is run in: ours, plain JAX and PyTorch, each written as its users would for speed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any

from problems import Problem

RECORDS = 12
DEFAULT = "PyTorch eager, all threads"  # what a user has who sets nothing
OURS, PLAIN, TORCH = "ours", "plain JAX", "PyTorch"


@dataclass(frozen=True)
class Variant:
    """One implementation with its settings.

    competitor, label: for the tables; module: in `competitors`; arguments: passed to its methods
    threads: per process, None for the library's default; processes: number of processes that share the runs
    """

    competitor: str
    label: str
    module: str
    arguments: dict[str, Any] = field(default_factory=dict)
    threads: int | None = None
    processes: int = 1

    def parts(self) -> list[dict[str, Any]]:
        """Return the arguments of each process."""
        if self.processes == 1:
            return [self.arguments]
        return [{**self.arguments, "part": i, "parts": self.processes} for i in range(self.processes)]


def list_variants(problem: Problem, device: str, cores: int) -> list[Variant]:
    """Return the variants of a problem, ours first; those of PyTorch only if it is installed."""
    found = [
        Variant(OURS, OURS, "ours"),
        Variant(OURS, f"ours, {RECORDS} records", "ours", {"records": RECORDS}),
        Variant(PLAIN, "plain JAX, step jitted, Python loop", "plain_jax", {"ensemble": "python_loop"}),
        Variant(PLAIN, "plain JAX, loop jitted, runs in turn", "plain_jax", {"ensemble": "one_by_one"}),
        Variant(PLAIN, "plain JAX, loop jitted, vmap over runs", "plain_jax", {"ensemble": "vmap"}),
    ]
    if importlib.util.find_spec("torch") is None:
        return found
    return found + (torch_on_gpu() if device == "gpu" else torch_on_cpu(min(cores, problem.runs), cores))


def torch_on_cpu(processes: int, cores: int) -> list[Variant]:
    """Return the PyTorch variants on a CPU: one process with all threads, several processes, and one thread."""
    kinds = {"eager": "torch_eager", "vmap": "torch_vmap", "compile": "torch_compile"}
    found = [Variant(TORCH, f"PyTorch {kind}, all threads", module) for kind, module in kinds.items()]
    if cores > 1:
        found.insert(1, Variant(TORCH, "PyTorch eager, 1 thread", "torch_eager", threads=1))
    if processes > 1:
        autotuned = {"compile": {"mode": "max-autotune"}}  # mostly faster with one thread
        found += [
            Variant(TORCH, f"PyTorch {kind}, {processes} processes", module, autotuned.get(kind, {}), 1, processes)
            for kind, module in kinds.items()
        ]
    return found


def torch_on_gpu() -> list[Variant]:
    """Return the PyTorch variants on a GPU, in one process; CUDA graphs remove the launch cost of a compiled step."""
    return [
        Variant(TORCH, DEFAULT, "torch_eager"),
        Variant(TORCH, "PyTorch vmap", "torch_vmap"),
        Variant(TORCH, "PyTorch compile", "torch_compile"),
        Variant(TORCH, "PyTorch compile, CUDA graphs", "torch_compile", {"mode": "reduce-overhead"}),
    ]
