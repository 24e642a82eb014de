"""Compile one program per group and run it, with the ensemble axis sharded over all local devices.

Each device processes its runs with `lax.map` over lanes of `vmap`ped runs. On a CPU a lane usually holds one run, whose
arrays then stay in cache for a whole segment; on an accelerator one lane holds all runs.
"""

from __future__ import annotations

import math
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
from dynamics.core.lanes import step_together
from dynamics.core.segments import advance, advance_pursuit, start, start_pursuit
from dynamics.core.simulate import drive
from dynamics.core.spec import RunSpec
from dynamics.core.stop_spec import StopSpec
from dynamics.engine.checkpoint import CheckpointHook
from dynamics.engine.plan import Group, Plan
from dynamics.errors import is_out_of_memory
from dynamics.kernels.threads import cores_per_device
from dynamics.store.results import ChunkResult

ENSEMBLE_AXIS = "run"
# called after a segment with the step and the observations of the ensemble
RecordCallback = Callable[[int, dict[str, np.ndarray]], None]


class OutOfMemory(MemoryError):
    """Raised when a chunk does not fit in memory.

    needed: bytes that its program needs, 0 if unknown; limit: bytes available
    size: number of runs that the program was compiled for, 0 if unknown
    """

    def __init__(self, needed: float, limit: float, size: int = 0):
        self.needed, self.limit, self.size = needed, limit, size
        there = f"{limit / 1e9:.3g} GB are available"
        super().__init__(f"needs {needed / 1e9:.3g} GB, {there}" if needed else f"the device is out of memory ({there})")


@dataclass(frozen=True)
class Programs:
    """The two programs of a group, over an ensemble of `size` runs.

    start: (keys, hyper, shared) -> (fixed, state)
    advance: (keys, fixed, state, begin, end, record) -> (state, observations)
    devices: how many devices the ensemble axis is sharded over
    undefined: observations that are NaN where they have no value
    bytes: memory over all devices for arguments, results and temporaries (known once compiled)
    """

    start: Callable
    advance: Callable
    size: int
    devices: int
    sharding: NamedSharding
    bytes: float = 0.0
    undefined: tuple[str, ...] = ()


def map_over_ensemble(function: Callable, lanes: int) -> Callable:
    """Return `function`, written for one run, mapped over a leading ensemble axis: `lax.map` over lanes of `vmap`."""
    return lambda *args: lax.map(lambda a: function(*a), args, batch_size=lanes if lanes > 1 else None)


def build_programs(
    dynamics: Dynamics, lanes: int, size: int, devices: list | None = None, stop: StopSpec | None = None
) -> Programs:
    """Return uncompiled programs for `size` runs, rounded up so that every device has the same number of full lanes.

    lanes: runs per device that step together; devices: by default all local ones; stop: the goal at which runs end
    """
    begin_run, advance_run = start, advance
    if stop:
        begin_run, advance_run = start_pursuit, lambda dynamics, *rest: advance_pursuit(dynamics, stop, *rest)
    devices = devices or jax.local_devices()
    devices = devices[: max(1, min(len(devices), size))]
    per_device = -(-size // len(devices))
    lanes = min(lanes, per_device)
    size = len(devices) * lanes * -(-per_device // lanes)
    mesh = Mesh(np.array(devices), (ENSEMBLE_AXIS,))
    runs, same = PartitionSpec(ENSEMBLE_AXIS), PartitionSpec()

    def start_all(keys, hyper, shared):
        return map_over_ensemble(lambda k, h: begin_run(dynamics, k, {**h, **shared}), lanes)(keys, hyper)

    def advance_all(keys, fixed, state, begin, end, record):
        one = lambda k, f, s: advance_run(dynamics, k, f, s, begin, end, record)  # noqa: E731
        return map_over_ensemble(one, lanes)(keys, fixed, state)

    def shard(function, in_specs):
        return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=runs, check_vma=False)

    return Programs(
        jax.jit(shard(start_all, (runs, runs, same))),
        jax.jit(shard(advance_all, (runs, runs, runs, same, same, same)), donate_argnums=2),
        size,
        len(devices),
        NamedSharding(mesh, runs),
        undefined=dynamics.undefined,
    )


def compile_programs(programs: Programs, *given: Any) -> Programs:
    """Return the programs compiled for the given `ProgramArguments`, with their memory use; nothing is run."""

    def placed(tree):
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=programs.sharding), tree)

    first = programs.start.lower(*given).compile()
    fixed, state = placed(jax.eval_shape(programs.start, *given))
    step = np.int32(0)
    then = programs.advance.lower(given[0], fixed, state, step, step, np.bool_(True)).compile()

    def advance(keys, fixed, state, begin, end, record=True):
        return then(keys, fixed, state, begin, end, np.bool_(record))

    resident = float(sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves((fixed, state))))
    resident += programs.devices * sum(array.nbytes for array in given[2].values())  # what all runs share is on every device
    bytes = max(_bytes(first) * programs.devices, resident + _bytes(then, resident=False) * programs.devices)
    return replace(programs, start=first, advance=advance, bytes=bytes)


def _bytes(compiled: Any, *, resident: bool = True) -> float:
    """Return the bytes a compiled program needs on each device, 0 if the backend does not say.

    resident: count the arguments too
    """
    stats = compiled.memory_analysis()
    if stats is None:
        return 0.0
    own = stats.temp_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    return float(own + (stats.argument_size_in_bytes if resident else 0))


def stack_hyperparameters(runs: tuple[RunSpec, ...], size: int) -> dict[str, np.ndarray]:
    """Return the swept scalars and sizes of the runs as arrays (size,) by name, padded by repeating the last run."""
    columns = [{**specs.hyper(run), **specs.goal(run)} for run in runs]
    dtype = np.dtype(runs[0].precision)
    sizes = set(runs[0].shape_fields)
    return {
        name: np.pad(np.array([c[name] for c in columns], np.int32 if name in sizes else dtype), (0, size - len(runs)), "edge")
        for name in columns[0]
    }


class Executor:
    """Compiles programs and computes chunks; groups with the same program and chunk size share it.

    memory: bytes that one chunk may use over all devices
    """

    def __init__(self, memory: float = math.inf) -> None:
        self.memory = memory
        self._programs: dict[tuple[str, int, int], Future[Programs]] = {}
        self._compilers = ThreadPoolExecutor(available_cores(), thread_name_prefix="compile")

    def compute_plan(
        self, plan: Plan, watch: Callable[[Group], RecordCallback | None] = lambda group: None
    ) -> Iterator[ChunkResult]:
        """Yield the result of every chunk of the plan.

        watch: returns, for a group, a callback for its records or None. Raises `OutOfMemory` if a chunk does not fit.
        """
        todo = [(group, runs) for group in plan.groups for runs in group.chunks]
        try:
            for at, (group, runs) in enumerate(todo):
                self.compile_ahead(todo[at : at + available_cores() + 1])
                yield self.compute(group, runs, watch(group))
        finally:
            self.close()

    def compile_ahead(self, chunks: Sequence[tuple[Group, tuple[RunSpec, ...]]]) -> None:
        """Start compiling the programs of these chunks in background threads, in order, one per core."""
        for group, runs in chunks:
            self._compiled(group, runs)

    def close(self) -> None:
        """Cancel the compilations that have not started; a running one is waited for at exit."""
        for key, program in list(self._programs.items()):
            if program.cancel():
                del self._programs[key]

    def compute(
        self, group: Group, runs: tuple[RunSpec, ...], watch: RecordCallback | None = None, hook: CheckpointHook | None = None
    ) -> ChunkResult:
        """Compute a chunk, or resume it from its checkpoint, and return the result; raises `OutOfMemory`.

        watch: called with step and observations after every segment; hook: saves and loads checkpoints
        """
        with jax.enable_x64(group.static.precision == "float64"):
            try:
                return self._compute(group, runs, watch, hook)
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                _reraise_unless_oom(error)
            # raised outside the handler: the traceback of the error keeps the arrays that do not fit alive
            self._programs.clear()
            raise OutOfMemory(0, self.memory)

    def find_memory_excess(self, group: Group, runs: tuple[RunSpec, ...]) -> OutOfMemory | None:
        """Return the `OutOfMemory` error that computing these runs at once would raise, or None if they fit.

        Compiles their program but does not run it.
        """
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
        """Return the future programs of a chunk, shared with other chunks where possible."""
        # a smaller last chunk is padded rather than compiled anew, unless more than half would be padding
        size = group.chunk if len(runs) <= group.chunk < 2 * len(runs) else len(runs)
        key = (group.program, group.lanes, size)

        def compiled() -> Programs:
            with jax.enable_x64(group.static.precision == "float64"), step_together(group.lanes):
                programs = build_programs(group.static.dynamics(), group.lanes, size, stop=group.static.stop)
                cores_per_device.set(max(1, available_cores() // programs.devices))  # few runs leave devices idle
                return compile_programs(programs, *place_arguments(runs, programs.size, programs.sharding))

        if key not in self._programs:
            self._programs[key] = self._compilers.submit(compiled)
        return self._programs[key]

    def _prepare(self, group: Group, runs: tuple[RunSpec, ...]) -> tuple[Programs, ProgramArguments]:
        """Return the compiled programs of a chunk and their arguments; raises `OutOfMemory` if they do not fit."""
        compiled = self._compiled(group, runs)
        try:
            programs = compiled.result()
        except BaseException:  # allow another attempt
            self._programs = {key: value for key, value in self._programs.items() if value is not compiled}
            raise
        if programs.bytes > self.memory:
            raise OutOfMemory(programs.bytes, self.memory, programs.size)
        return programs, place_arguments(runs, programs.size, programs.sharding)

    def _compute(
        self, group: Group, runs: tuple[RunSpec, ...], watch: RecordCallback | None, hook: CheckpointHook | None
    ) -> ChunkResult:
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

        stops = bool(group.static.stop)
        trajectory = drive(segment, state, group.schedule, watch, hook, resume_state, stops=stops)
        trajectory = trajectory._replace(
            records={name: value[:count] for name, value in trajectory.records.items()},
            finite=trajectory.finite[:count],
            state=jax.tree.map(lambda leaf: leaf[:count], trajectory.state),
            undefined=programs.undefined,
            stopped_at=None if trajectory.stopped_at is None else trajectory.stopped_at[:count],
        )
        return ChunkResult(group.program, runs, trajectory, time.perf_counter() - started - compile_seconds, compile_seconds)


def _reraise_unless_oom(error: Exception) -> None:
    """Re-raise anything but out-of-memory, and an `OutOfMemory` whose numbers are known."""
    if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
        raise error


class ProgramArguments(NamedTuple):
    """Arguments of the start program: keys (size,), swept scalars (size,) by name, arrays shared by all runs."""

    keys: jax.Array
    hyper: dict[str, jax.Array]
    shared: dict[str, jax.Array]


def place_arguments(runs: tuple[RunSpec, ...], size: int, sharding: NamedSharding) -> ProgramArguments:
    """Return the arguments of a chunk placed on the devices, padded to `size` runs by repeating the last one."""
    seeds = np.pad(np.array([run.seed for run in runs], np.uint32), (0, size - len(runs)), "edge")
    keys = jax.device_put(jax.vmap(jax.random.key)(seeds), sharding)
    everywhere = NamedSharding(sharding.mesh, PartitionSpec())
    return ProgramArguments(
        keys,
        {name: jax.device_put(value, sharding) for name, value in stack_hyperparameters(runs, size).items()},
        {name: jax.device_put(value, everywhere) for name, value in runs[0].shared_arrays().items()},
    )
