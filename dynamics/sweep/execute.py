"""Execution: one compiled program a group, the ensemble axis sharded over all local devices.

A device takes its share of the runs as `lax.map` over lanes of `vmap`ped runs: one lane at a time on a CPU,
where a run's arrays then stay in cache for a whole segment, all runs in one lane on an accelerator.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from dynamics import spec as specs
from dynamics.core import Dynamics
from dynamics.simulate import Trajectory, advance, drive, start
from dynamics.spec import RunSpec
from dynamics.sweep.plan import Group, Plan

AXIS = "run"
Watch = Callable[[int, dict[str, np.ndarray]], None]


@dataclass(frozen=True)
class Programs:
    """start(keys, hyper) -> fixed, state; advance(keys, fixed, state, begin, end) -> state, record; all over `size` runs."""

    start: Callable
    advance: Callable
    size: int
    devices: int


@dataclass(frozen=True)
class Result:
    """A finished chunk: its runs, what was seen, how long it took (compile time apart)."""

    group: Group
    runs: tuple[RunSpec, ...]
    trajectory: Trajectory
    seconds: float
    compile_seconds: float


def over_ensemble(function: Callable, lanes: int) -> Callable:
    """A single-run function made one over a local ensemble: `lax.map` over lanes of `vmap`."""
    return lambda *args: lax.map(lambda a: function(*a), args, batch_size=lanes if lanes > 1 else None)


def build(dynamics: Dynamics, lanes: int, size: int, devices: list | None = None) -> Programs:
    """Programs for up to `size` runs; the size is rounded up so that every device has equally many full lanes."""
    devices = devices or jax.local_devices()
    devices = devices[: max(1, min(len(devices), size))]
    per_device = -(-size // len(devices))
    lanes = min(lanes, per_device)
    size = len(devices) * lanes * -(-per_device // lanes)
    mesh = Mesh(np.array(devices), (AXIS,))
    runs, same = PartitionSpec(AXIS), PartitionSpec()

    def start_all(keys, hyper):
        return over_ensemble(lambda k, h: start(dynamics, k, h), lanes)(keys, hyper)

    def advance_all(keys, fixed, state, begin, end):
        return over_ensemble(lambda k, f, s: advance(dynamics, k, f, s, begin, end), lanes)(keys, fixed, state)

    def shard(function, in_specs):
        return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=runs, check_vma=False)

    return Programs(
        jax.jit(shard(start_all, (runs, runs))),
        jax.jit(shard(advance_all, (runs, runs, runs, same, same)), donate_argnums=2),
        size,
        len(devices),
    )


def stack_hyper(runs: tuple[RunSpec, ...], size: int) -> dict[str, np.ndarray]:
    """Swept scalars and sizes of the runs as arrays (size,), the last run repeated to fill up."""
    filled = [*runs, *[runs[-1]] * (size - len(runs))]
    columns = [specs.hyper(run) for run in filled]
    dtype = np.dtype(runs[0].precision)
    sizes = set(runs[0].shape_fields)
    return {name: np.array([c[name] for c in columns], np.int32 if name in sizes else dtype) for name in columns[0]}


class Executor:
    """Computes plans chunk by chunk, keeping programs for groups that can share them."""

    def __init__(self) -> None:
        self._programs: dict[tuple[str, int, int], Programs] = {}
        self._compiled: set[tuple[str, int, int]] = set()

    def results(self, plan: Plan, watch: Callable[[Group], Watch | None] = lambda group: None) -> Iterator[Result]:
        for group in plan.groups:
            for runs in group.chunks:
                yield self.compute(group, runs, watch(group))

    def compute(self, group: Group, runs: tuple[RunSpec, ...], watch: Watch | None = None) -> Result:
        with jax.enable_x64(group.static.precision == "float64"):
            return self._compute(group, runs, watch)

    def _compute(self, group: Group, runs: tuple[RunSpec, ...], watch: Watch | None) -> Result:
        key = (group.program, group.lanes, group.chunk)  # a last, smaller chunk is filled up, not compiled anew
        if key not in self._programs:
            self._programs[key] = build(group.static.dynamics(), group.lanes, group.chunk)
        programs = self._programs[key]
        count, size = len(runs), programs.size

        keys = jax.vmap(jax.random.key)(np.array([r.seed for r in runs] + [runs[-1].seed] * (size - count), np.uint32))
        hyper = {name: jnp.asarray(value) for name, value in stack_hyper(runs, size).items()}
        begun = time.perf_counter()
        fixed, state = programs.start(keys, hyper)
        compile_seconds = 0.0
        if key not in self._compiled:  # a segment of no steps compiles and costs one observation
            state, record = programs.advance(keys, fixed, state, np.int32(0), np.int32(0))
            jax.block_until_ready(record)
            compile_seconds = time.perf_counter() - begun
            self._compiled.add(key)

        def segment(state: Any, begin: np.int32, end: np.int32):
            return programs.advance(keys, fixed, state, begin, end)

        trajectory = drive(segment, state, group.schedule, watch)
        trajectory = trajectory._replace(
            records={name: value[:count] for name, value in trajectory.records.items()},
            finite=trajectory.finite[:count],
            state=jax.tree.map(lambda leaf: leaf[:count], trajectory.state),
        )
        return Result(group, runs, trajectory, time.perf_counter() - begun - compile_seconds, compile_seconds)
