"""Execution: one compiled program a group, the ensemble axis sharded over all local devices.

A device takes its share of the runs as `lax.map` over lanes of `vmap`ped runs: one lane at a time on a CPU,
where a run's arrays then stay in cache for a whole segment, all runs in one lane on an accelerator.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dynamics.core import spec as specs
from dynamics.core.devices import available_cores
from dynamics.core.dynamics import Dynamics
from dynamics.core.simulate import advance, drive, start
from dynamics.core.spec import RunSpec
from dynamics.engine.checkpoint import Checkpoints
from dynamics.engine.plan import Group, Plan
from dynamics.kernels.threads import cores_per_device
from dynamics.store.results import ChunkResult

AXIS = "run"
Watch = Callable[[int, dict[str, np.ndarray]], None]


class OutOfMemory(MemoryError):
    """A chunk does not fit; says how many bytes its program over so many runs needs and how many there are.

    needed, size: 0 if only the device knows
    """

    def __init__(self, needed: float, limit: float, size: int = 0):
        self.needed, self.limit, self.size = needed, limit, size
        there = f"{limit / 1e9:.3g} GB may be used"
        super().__init__(f"needs {needed / 1e9:.3g} GB, {there}" if needed else f"the device is out of memory ({there})")


@dataclass(frozen=True)
class Programs:
    """start(keys, hyper, shared) -> fixed, state; advance(keys, fixed, state, begin, end, record) -> state, observations.

    Both go over all `size` runs.

    bytes: what they take over all devices, arguments, results and temporaries (known once compiled)
    """

    start: Callable
    advance: Callable
    size: int
    devices: int
    sharding: NamedSharding
    bytes: float = 0.0


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

    def start_all(keys, hyper, shared):
        return over_ensemble(lambda k, h: start(dynamics, k, {**h, **shared}), lanes)(keys, hyper)

    def advance_all(keys, fixed, state, begin, end, record):
        return over_ensemble(lambda k, f, s: advance(dynamics, k, f, s, begin, end, record), lanes)(keys, fixed, state)

    def shard(function, in_specs):
        return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=runs, check_vma=False)

    return Programs(
        jax.jit(shard(start_all, (runs, runs, same))),
        jax.jit(shard(advance_all, (runs, runs, runs, same, same, same)), donate_argnums=2),
        size,
        len(devices),
        NamedSharding(mesh, runs),
    )


def compile_programs(programs: Programs, *given: Any) -> Programs:
    """The same programs compiled ahead for what `arguments` gives, and the bytes they take; nothing is run."""

    def placed(tree):
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=programs.sharding), tree)

    first = programs.start.lower(*given).compile()
    fixed, state = placed(jax.eval_shape(programs.start, *given))
    step = np.int32(0)
    then = programs.advance.lower(given[0], fixed, state, step, step, np.bool_(True)).compile()

    def advance(keys, fixed, state, begin, end, record=True):
        return then(keys, fixed, state, begin, end, np.bool_(record))

    resident = sum(leaf.nbytes for leaf in jax.tree.leaves((fixed, state)) if hasattr(leaf, "nbytes"))
    bytes = max(_bytes(first) * programs.devices, resident + _bytes(then, resident=False) * programs.devices)
    return replace(programs, start=first, advance=advance, bytes=bytes)


def _bytes(compiled: Any, *, resident: bool = True) -> float:
    """What a compiled program takes on each device, with or without its arguments; 0 if the backend does not say."""
    stats = compiled.memory_analysis()
    if stats is None:
        return 0.0
    own = stats.temp_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    return float(own + (stats.argument_size_in_bytes if resident else 0))


def stack_hyper(runs: tuple[RunSpec, ...], size: int) -> dict[str, np.ndarray]:
    """Swept scalars and sizes of the runs as arrays (size,), the last run repeated to fill up."""
    columns = [specs.hyper(run) for run in runs]
    dtype = np.dtype(runs[0].precision)
    sizes = set(runs[0].shape_fields)
    return {
        name: np.pad(np.array([c[name] for c in columns], np.int32 if name in sizes else dtype), (0, size - len(runs)), "edge")
        for name in columns[0]
    }


class Executor:
    """Compiles the programs of groups and computes their chunks; groups that can share a program do."""

    def __init__(self, memory: float = math.inf) -> None:
        self.memory = memory  # bytes that a chunk may take over all devices
        self._programs: dict[tuple[str, int, int], Future[Programs]] = {}
        self._compilers = ThreadPoolExecutor(available_cores(), thread_name_prefix="compile")

    def results(self, plan: Plan, watch: Callable[[Group], Watch | None] = lambda group: None) -> Iterator[ChunkResult]:
        todo = [(group, runs) for group in plan.groups for runs in group.chunks]
        try:
            for at, (group, runs) in enumerate(todo):
                self.ahead(todo[at : at + available_cores() + 1])
                yield self.compute(group, runs, watch(group))
        finally:
            self.close()

    def ahead(self, chunks: Sequence[tuple[Group, tuple[RunSpec, ...]]]) -> None:
        """Start compiling the programs of these chunks in the background, in order, one per core at a time."""
        for group, runs in chunks:
            self._compiled(group, runs)

    def close(self) -> None:
        """Cancel the compilations that have not begun; one under way is waited for at exit."""
        for key, program in list(self._programs.items()):
            if program.cancel():
                del self._programs[key]

    def compute(
        self, group: Group, runs: tuple[RunSpec, ...], watch: Watch | None = None, hook: Checkpoints | None = None
    ) -> ChunkResult:
        """Compute a chunk, or resume it from its checkpoint. Raises `OutOfMemory` if it does not fit."""
        with jax.enable_x64(group.static.precision == "float64"):
            try:
                return self._compute(group, runs, watch, hook)
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                _reraise_unless_oom(error)
            # raised out here, for the error's traceback holds on to all the arrays that do not fit
            self._programs.clear()
            raise OutOfMemory(0, self.memory)

    def excess(self, group: Group, runs: tuple[RunSpec, ...]) -> OutOfMemory | None:
        """Return why these runs do not fit at once, as far as their compiled program tells; None if they do. Runs nothing."""
        with jax.enable_x64(group.static.precision == "float64"):
            try:
                self._prepare(group, runs)
                return None
            except OutOfMemory as error:
                return error
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                _reraise_unless_oom(error)
            return OutOfMemory(0, self.memory)

    def _compiled(self, group: Group, runs: tuple[RunSpec, ...]) -> Future[Programs]:
        """The programs for a chunk, compiled or being compiled; chunks that can share them do."""
        # a last, smaller chunk is filled up rather than compiled anew, unless that wastes most of it
        size = group.chunk if len(runs) <= group.chunk < 2 * len(runs) else len(runs)
        key = (group.program, group.lanes, size)

        def compiled() -> Programs:
            with jax.enable_x64(group.static.precision == "float64"):
                programs = build(group.static.dynamics(), group.lanes, size)
                cores_per_device.set(max(1, available_cores() // programs.devices))  # few runs leave devices idle
                return compile_programs(programs, *arguments(runs, programs.size, programs.sharding))

        if key not in self._programs:
            self._programs[key] = self._compilers.submit(compiled)
        return self._programs[key]

    def _prepare(self, group: Group, runs: tuple[RunSpec, ...]) -> tuple[Programs, Arguments]:
        """Compiled programs for a chunk, and what they start from."""
        compiled = self._compiled(group, runs)
        try:
            programs = compiled.result()
        except BaseException:  # may go well another time
            self._programs = {key: value for key, value in self._programs.items() if value is not compiled}
            raise
        if programs.bytes > self.memory:
            raise OutOfMemory(programs.bytes, self.memory, programs.size)
        return programs, arguments(runs, programs.size, programs.sharding)

    def _compute(self, group: Group, runs: tuple[RunSpec, ...], watch: Watch | None, hook: Checkpoints | None) -> ChunkResult:
        started = time.perf_counter()
        count = len(runs)
        programs, given = self._prepare(group, runs)
        compile_seconds = time.perf_counter() - started

        fixed, state = programs.start(*given)
        resume_state = hook.load(state) if hook is not None else None
        if resume_state is not None:
            resume_state = resume_state._replace(state=jax.device_put(resume_state.state, programs.sharding))
            if watch is not None:
                watch(resume_state.step, resume_state.records[-1])

        def segment(state: Any, begin: np.int32, end: np.int32, record: bool):
            return programs.advance(given.keys, fixed, state, begin, end, record)

        trajectory = drive(segment, state, group.schedule, watch, hook, resume_state)
        trajectory = trajectory._replace(
            records={name: value[:count] for name, value in trajectory.records.items()},
            finite=trajectory.finite[:count],
            state=jax.tree.map(lambda leaf: leaf[:count], trajectory.state),
        )
        return ChunkResult(group.program, runs, trajectory, time.perf_counter() - started - compile_seconds, compile_seconds)


def _reraise_unless_oom(error: Exception) -> None:
    """Re-raise anything but out-of-memory, and an `OutOfMemory` whose numbers are known."""
    short = isinstance(error, MemoryError) or re.search(r"RESOURCE_EXHAUSTED|[Oo]ut of memory", str(error))
    if isinstance(error, OutOfMemory) or not short:
        raise error


class Arguments(NamedTuple):
    """keys (size,); hyper: swept scalars (size,) by name; shared: what the runs read, on every device."""

    keys: jax.Array
    hyper: dict[str, jax.Array]
    shared: dict[str, jax.Array]


def arguments(runs: tuple[RunSpec, ...], size: int, sharding: NamedSharding) -> Arguments:
    """Keys and swept scalars of the runs on their devices, filled up to `size`, and what they share."""
    seeds = np.pad(np.array([run.seed for run in runs], np.uint32), (0, size - len(runs)), "edge")
    keys = jax.device_put(jax.vmap(jax.random.key)(seeds), sharding)
    everywhere = NamedSharding(sharding.mesh, PartitionSpec())
    return Arguments(
        keys,
        {name: jax.device_put(value, sharding) for name, value in stack_hyper(runs, size).items()},
        {name: jax.device_put(value, everywhere) for name, value in runs[0].shared_arrays().items()},
    )
