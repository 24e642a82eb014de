"""Plan a study before anything runs: runs -> groups that share a program -> chunks that fit in memory.

Runs of one family agree in every static choice except the sizes. They can be compiled at their exact shapes or padded
to share a program. Compilation costs seconds and padding costs wasted arithmetic, so the cost model below merges
shapes as long as that reduces the estimated total time.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Set
from dataclasses import dataclass, replace
from functools import cache
from numbers import Real
from typing import Any, NamedTuple

from dynamics.core import spec as specs
from dynamics.core.dynamics import Cost
from dynamics.core.lanes import step_together
from dynamics.core.registry import revision
from dynamics.core.show import html_table, text_table
from dynamics.core.spec import RunSpec
from dynamics.core.text import counted
from dynamics.errors import require

MAX_CHUNK_RUNS = 32768  # the records of a chunk stay in memory until they are written


class Machine(NamedTuple):
    """The parameters of the cost model for this machine; printed with the plan.

    kind: JAX platform; devices: number of local devices
    flops: useful floating-point operations per second of one device
    step_seconds: fixed overhead of one step of one lane
    compile_seconds: compile time of one group's programs
    memory: bytes available to one chunk over all devices
    lane_flops: operations per step below which several runs are batched into one lane
    """

    kind: str
    devices: int
    flops: float
    step_seconds: float
    compile_seconds: float
    memory: float
    lane_flops: float


def cost_of(run: RunSpec) -> Cost:
    """Return what a run says that it costs; raises `InputError` unless that is a `Cost` of finite numbers."""
    cost = run.cost()
    fits = isinstance(cost, Cost) and all(isinstance(part, Real) and 0 <= part < math.inf for part in cost)
    require(fits, f"cost of {run.system}", cost, "must be a dyn.Cost of finite numbers, none below 0")
    if run.stop.every:
        cost = cost._replace(flops_per_step=cost.flops_per_step + run.flops_per_check() / run.stop.every)
    return cost


def detect_machine() -> Machine:
    """Return the cost-model parameters of the local JAX devices.

    The CPU numbers were measured on two cores; those of accelerators are guesses.
    """
    import jax

    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        memory = 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Machine("cpu", len(devices), 2.5e10, 2e-6, 3.5, memory, 5e4)
    limit = (devices[0].memory_stats() or {}).get("bytes_limit", 8e9)
    return Machine(devices[0].platform, len(devices), 1e13, 3e-5, 6.0, 0.7 * limit * len(devices), math.inf)


@dataclass(frozen=True)
class Group:
    """Runs that share one compiled program, at one padded shape, on one schedule.

    static: the spec that the program is built from (padded sizes, swept scalars NaN)
    full_chunks: the runs, partitioned into those that are computed and stored together
    chunks: the runs of each full chunk that are still to be computed
    schedule: the recorded steps; cost: estimated cost of one run at the padded shape
    lanes: number of runs per device that step together
    chunk: number of runs that the programs are compiled for
    padding_share: fraction of the arithmetic that padding adds
    seconds: estimated time to compute the group
    """

    static: RunSpec
    full_chunks: tuple[tuple[RunSpec, ...], ...]
    chunks: tuple[tuple[RunSpec, ...], ...]
    schedule: tuple[int, ...]
    cost: Cost
    lanes: int
    chunk: int
    padding_share: float
    seconds: float

    @property
    def shape(self) -> dict[str, int]:
        """Return the padded sizes by field name."""
        return {path.split(".")[-1]: specs.get(self.static, path) for path in self.static.shape_fields}

    @property
    def program(self) -> str:
        """Return the identity of the compiled code: groups with equal `program` and chunk size share it.

        Registering a piece again in the same process changes the identity of the programs that may use it.
        """
        left_out = ("seed", "steps", *(f for f in specs.paths(self.static) if f.startswith("record.")))
        left_out += specs.swept(type(self.static))
        if not self.static.stop:
            left_out += tuple(path for path in specs.paths(self.static) if path.startswith("stop."))
        fields = {p: v for p, v in specs.flatten(self.static).items() if p not in left_out}
        anew = {"revision": revision()} if revision() else {}
        return specs.content_hash({"system": self.static.system, **fields, **anew})

    def estimate_memory(self, machine: Machine) -> float:
        """Return the estimated bytes of one chunk over all devices."""
        devices = min(machine.devices, self.chunk)
        shared = sum(array.nbytes for array in self.static.shared_arrays().values())
        return self.cost.bytes_resident * self.chunk + devices * (self.lanes * self.cost.bytes_working + shared)

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """Return the runs that are still to be computed."""
        return tuple(run for chunk in self.chunks for run in chunk)

    def with_chunk_size(self, chunk: int) -> Group:
        """Return the same group with programs for `chunk` runs."""
        return replace(self, chunk=chunk, lanes=max(1, min(self.lanes, chunk)))

    def split_by_shape(self) -> list[Group]:
        """Return one unpadded group per exact shape of the runs; `[self]` if all runs have one shape."""
        shapes: dict[tuple[int, ...], list[RunSpec]] = defaultdict(list)
        for whole in self.full_chunks:
            for run in whole:
                shapes[specs.shape(run)].append(run)
        if len(shapes) == 1:
            return [self]
        own = [(specs.static(runs[0], shape), tuple(runs)) for shape, runs in shapes.items()]
        return [
            replace(self, static=s, full_chunks=(runs,), chunks=(runs,), cost=cost_of(s), chunk=len(runs), padding_share=0.0)
            for s, runs in own
        ]

    def step_seconds(self, machine: Machine) -> float:
        """Return the estimated seconds of one step of a chunk."""
        per_device = math.ceil(self.chunk / machine.devices)
        step = self.cost.flops_per_step / (machine.flops * self.cost.speed)
        return per_device * step + machine.step_seconds * per_device / self.lanes


@dataclass(frozen=True, repr=False)
class Plan:
    """What is to be computed, by groups; displays itself as a table.

    groups: cheapest first
    machine: the parameters of the cost model
    num_stored: how many of the requested runs are stored already and therefore left out
    """

    groups: tuple[Group, ...]
    machine: Machine
    num_stored: int = 0

    def __repr__(self) -> str:
        return f"{self.summary}\n{text_table(tabulate_plan(self))}".rstrip()

    def _repr_html_(self) -> str:
        return f"<div>{html_table(tabulate_plan(self))}{self.summary}</div>"

    @property
    def summary(self) -> str:
        """Return one line: number of runs and groups, runs already stored, estimated time, devices."""
        device = counted(self.machine.devices, f"{self.machine.kind} device")
        stored = f"{self.num_stored} already in the store"
        runs, groups = counted(self.num_runs, "run"), counted(len(self.groups), "group")
        return f"{runs} to compute in {groups}, {stored}; estimated {self.seconds:.0f} s on {device}"

    @property
    def num_runs(self) -> int:
        """Return the number of runs to compute."""
        return sum(len(g.runs) for g in self.groups)

    @property
    def seconds(self) -> float:
        """Return the estimated time of all groups in seconds."""
        return sum(g.seconds for g in self.groups)


def _useful_flops(cost: Cost, schedule: tuple[int, ...]) -> float:
    """Return the useful floating-point operations of one run over its whole schedule."""
    return cost.flops_per_step * schedule[-1] + cost.flops_per_record * len(schedule)


def _choose_lanes(cost: Cost, runs: int, machine: Machine) -> int:
    """Return how many runs per device step together; cheap steps are batched."""
    per_device = math.ceil(runs / machine.devices)
    return max(1, min(per_device, int(min(machine.lane_flops * cost.speed / max(cost.flops_per_step, 1), 1e6))))


def _estimate_seconds(cost: Cost, runs: int, schedule: tuple[int, ...], machine: Machine) -> float:
    """Return the estimated seconds: compilation, arithmetic, and the fixed overhead of every step."""
    per_device = math.ceil(runs / machine.devices)
    trips = math.ceil(per_device / _choose_lanes(cost, runs, machine))
    return (
        machine.compile_seconds
        + per_device * _useful_flops(cost, schedule) / (machine.flops * cost.speed)
        + trips * schedule[-1] * machine.step_seconds
    )


def _merge_shapes(
    classes: dict[tuple[int, ...], list[RunSpec]], machine: Machine
) -> list[tuple[tuple[int, ...], list[RunSpec]]]:
    """Return groups of runs by padded shape: greedily merge the pair that saves most time until none saves any."""
    groups = list(classes.items())

    first = groups[0][1][0]  # runs of a family have one schedule, and programs that differ in shape only
    schedule = first.record.schedule(first.steps)
    cost = cache(lambda shape: cost_of(specs.static(first, shape)))

    def price(shape: tuple[int, ...], runs: list[RunSpec]) -> float:
        return _estimate_seconds(cost(shape), len(runs), schedule, machine)

    prices = [price(*g) for g in groups]
    while len(groups) > 1:
        best = None
        for i in range(len(groups)):
            for j in range(i):
                shape = tuple(map(max, groups[i][0], groups[j][0]))
                merged = price(shape, groups[i][1] + groups[j][1])
                saving = prices[i] + prices[j] - merged
                if saving > 0 and (best is None or saving > best[0]):
                    best = (saving, i, j, shape, merged)
        if best is None:
            break
        _, i, j, shape, merged = best
        groups[j], prices[j] = (shape, groups[j][1] + groups[i][1]), merged
        del groups[i], prices[i]
    return groups


def make_plan(runs: list[RunSpec], machine: Machine | None = None, stored: Set[str] = frozenset(), workers: int = 1) -> Plan:
    """Return a plan that computes `runs`, which must be resolved and checked; the cheapest groups come first.

    machine: parameters of the cost model, by default those of the local devices
    stored: identities of the runs that need not be computed
    workers: how many processes share the plan by claiming chunks

    Which runs are computed together depends on the request and the machine, not on `stored`: an interrupted sweep that
    is resumed gives the same numbers, bit for bit.
    """
    machine = machine or detect_machine()
    families: dict[str, dict[tuple[int, ...], list[RunSpec]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        families[specs.family(run)][specs.shape(run)].append(run)
    groups, num_stored = [], 0
    for classes in families.values():
        for shape, members in _merge_shapes(classes, machine):
            first = members[0]
            static = specs.static(first, shape)
            cost, schedule = cost_of(static), first.record.schedule(first.steps)
            useful = sum(_useful_flops(cost_of(run), schedule) for run in members)
            lanes = _choose_lanes(cost, len(members), machine)
            if lanes > 1:  # runs that step together share what one may hold
                with step_together(lanes):
                    cost = cost_of(static)
            chunk = _choose_chunk_size(cost, len(members), schedule, machine, workers)
            cut = [tuple(members[i : i + chunk]) for i in range(0, len(members), chunk)]
            left = [tuple(run for run in part if not stored or specs.run_id(run) not in stored) for part in cut]
            full_chunks = tuple(whole for whole, part in zip(cut, left, strict=True) if part)
            chunks = tuple(part for part in left if part)
            count = sum(map(len, chunks))
            num_stored += len(members) - count
            if not chunks:
                continue
            groups.append(
                Group(
                    static=static,
                    full_chunks=full_chunks,
                    chunks=chunks,
                    schedule=schedule,
                    cost=cost,
                    lanes=lanes,
                    chunk=chunk,
                    padding_share=1 - useful / max(_useful_flops(cost, schedule) * len(members), 1e-300),
                    seconds=_estimate_seconds(cost, count, schedule, machine),
                )
            )
    return Plan(tuple(sorted(groups, key=lambda g: g.seconds)), machine, num_stored)


def _choose_chunk_size(cost: Cost, runs: int, schedule: tuple[int, ...], machine: Machine, workers: int) -> int:
    """Return how many runs to compute at once: as many as fit in memory while every worker gets a chunk."""
    fits = min(MAX_CHUNK_RUNS, int(machine.memory / max(cost.bytes_resident, 1)))  # temporaries are known once compiled
    compute = _estimate_seconds(cost, runs, schedule, machine) - machine.compile_seconds
    shares = min(workers, max(1, int(compute / machine.compile_seconds))) if machine.compile_seconds else workers
    return max(1, min(runs, fits, math.ceil(runs / shares)))


def tabulate_plan(plan: Plan) -> list[dict[str, Any]]:
    """Return one table row per group: column names to values."""
    return [
        {
            "runs": len(g.runs),
            "chunks": len(g.chunks),
            "lanes": g.lanes,
            "shape": ", ".join(f"{k} {v}" for k, v in g.shape.items()) or "-",
            "steps": g.schedule[-1],
            "records": len(g.schedule),
            "padding": f"{100 * g.padding_share:.0f} %",
            "memory": f"{g.estimate_memory(plan.machine) / 1e6:.1f} MB",
            "GFLOP": f"{_useful_flops(g.cost, g.schedule) * len(g.runs) / 1e9:.1f}",
            "seconds": f"{g.seconds:.1f}",
        }
        for g in plan.groups
    ]
