"""The plan: runs -> groups of equal static shape -> chunks that fit memory; decided before anything runs.

Runs of one family (equal in every static choice but the sizes) can each have a program of their exact shape,
or be padded to share one. Compiling costs seconds, padding costs wasted products: the cost model below
weighs the two and merges groups while that saves time.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Set
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from dynamics.core import spec as specs
from dynamics.core.dynamics import Cost
from dynamics.core.registry import revision
from dynamics.core.show import html_table, text_table
from dynamics.core.spec import RunSpec
from dynamics.core.text import counted

MOST_RUNS = 32768  # in one chunk: their records are held in memory until they are written


class Machine(NamedTuple):
    """What the cost model assumes of the machine; printed with the plan.

    flops: useful rate of one device; step_seconds: overhead of one step of one lane; compile_seconds: of one
    group's programs; memory: bytes that one group may take over all devices; lane_flops: work per step below
    which runs are batched into one lane.
    """

    kind: str
    devices: int
    flops: float
    step_seconds: float
    compile_seconds: float
    memory: float
    lane_flops: float


def this_machine() -> Machine:
    """The devices that JAX sees. CPU numbers were measured on two cores; accelerator ones are guesses until measured."""
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

    static: what the program is built from (sizes padded, swept scalars NaN); wholes: the runs by what is computed and
    stored at once, and chunks: those of each that are still to compute; lanes: runs per device that step together;
    chunk: the size that programs are made for; waste: share of the products that padding adds.
    """

    static: RunSpec
    wholes: tuple[tuple[RunSpec, ...], ...]
    chunks: tuple[tuple[RunSpec, ...], ...]
    schedule: tuple[int, ...]
    cost: Cost
    lanes: int
    chunk: int
    waste: float
    seconds: float

    @property
    def shape(self) -> dict[str, int]:
        return {path.split(".")[-1]: specs.get(self.static, path) for path in self.static.shape_fields}

    @property
    def program(self) -> str:
        """Groups with equal `program` (and ensemble size) run the same compiled code: schedules may differ.

        A piece that was registered anew in this process makes other programs of the same fields.
        """
        left_out = ("seed", "steps", *(f for f in specs.paths(self.static) if f.startswith("record.")))
        left_out += specs.swept(type(self.static))
        fields = {p: v for p, v in specs.flatten(self.static).items() if p not in left_out}
        anew = {"revision": revision()} if revision() else {}
        return specs.content_hash({"system": self.static.system, **fields, **anew})

    def memory(self, machine: Machine) -> float:
        """Bytes that one chunk takes over all devices."""
        return self.cost.bytes_resident * self.chunk + machine.devices * self.lanes * self.cost.bytes_working

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        return tuple(run for chunk in self.chunks for run in chunk)

    def cut(self, chunk: int) -> Group:
        """The same group for programs over fewer runs."""
        return replace(self, chunk=chunk, lanes=max(1, min(self.lanes, chunk)))

    def exact(self) -> list[Group]:
        """The group taken apart by the runs' own shapes, each without padding; itself if there is one shape only."""
        shapes: dict[tuple[int, ...], list[RunSpec]] = defaultdict(list)
        for whole in self.wholes:
            for run in whole:
                shapes[specs.shape(run)].append(run)
        if len(shapes) == 1:
            return [self]
        own = [(specs.static(runs[0], shape), tuple(runs)) for shape, runs in shapes.items()]
        return [
            replace(self, static=s, wholes=(runs,), chunks=(runs,), cost=s.cost(), chunk=len(runs), waste=0.0)
            for s, runs in own
        ]

    def step_seconds(self, machine: Machine) -> float:
        """Estimated seconds of one step of a chunk."""
        per_device = math.ceil(self.chunk / machine.devices)
        step = self.cost.flops_per_step / (machine.flops * self.cost.speed)
        return per_device * step + machine.step_seconds * per_device / self.lanes


@dataclass(frozen=True, repr=False)
class Plan:
    """What is to be computed, by groups; shows itself as a table. finished: runs that are stored already."""

    groups: tuple[Group, ...]
    machine: Machine
    finished: int = 0

    def __repr__(self) -> str:
        return f"{self.summary}\n{text_table(describe(self))}".rstrip()

    def _repr_html_(self) -> str:
        return f"<div>{html_table(describe(self))}{self.summary}</div>"

    @property
    def summary(self) -> str:
        """One line on the whole."""
        device = counted(self.machine.devices, f"{self.machine.kind} device")
        there = f"{self.finished} already in the store"
        runs, groups = counted(self.num_runs, "run"), counted(len(self.groups), "group")
        return f"{runs} to compute in {groups}, {there}; estimated {self.seconds:.0f} s on {device}"

    @property
    def num_runs(self) -> int:
        return sum(len(g.runs) for g in self.groups)

    @property
    def seconds(self) -> float:
        return sum(g.seconds for g in self.groups)


def _work(cost: Cost, schedule: tuple[int, ...]) -> float:
    """Useful operations of one run over its whole schedule."""
    return cost.flops_per_step * schedule[-1] + cost.flops_per_record * len(schedule)


def _lanes(cost: Cost, runs: int, machine: Machine) -> int:
    per_device = math.ceil(runs / machine.devices)
    return max(1, min(per_device, int(min(machine.lane_flops * cost.speed / max(cost.flops_per_step, 1), 1e6))))


def _seconds(cost: Cost, runs: int, schedule: tuple[int, ...], machine: Machine) -> float:
    """Compile time, plus products at the useful rate, plus the fixed price of a step."""
    per_device = math.ceil(runs / machine.devices)
    trips = math.ceil(per_device / _lanes(cost, runs, machine))
    return (
        machine.compile_seconds
        + per_device * _work(cost, schedule) / (machine.flops * cost.speed)
        + trips * schedule[-1] * machine.step_seconds
    )


def _merge(classes: dict[tuple[int, ...], list[RunSpec]], machine: Machine) -> list[tuple[tuple[int, ...], list[RunSpec]]]:
    """Greedily merge the two shapes whose union saves most, until no merger saves time."""
    groups = list(classes.items())

    first = groups[0][1][0]  # runs of a family have one schedule, and programs that differ in shape only
    schedule = first.record.schedule(first.steps)
    cost = cache(lambda shape: specs.static(first, shape).cost())

    def price(shape: tuple[int, ...], runs: list[RunSpec]) -> float:
        return _seconds(cost(shape), len(runs), schedule, machine)

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


def make_plan(runs: list[RunSpec], machine: Machine | None = None, there: Set[str] = frozenset(), workers: int = 1) -> Plan:
    """Group resolved, checked runs. Groups come cheapest first, so that something is soon done.

    there: identities of the runs that need not be computed. What is computed together depends on what is asked for and
    on the machine, not on how far a process came before it was killed: so the numbers do not either.
    workers: how many processes share the work, by taking chunks.
    """
    machine = machine or this_machine()
    families: dict[str, dict[tuple[int, ...], list[RunSpec]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        families[specs.family(run)][specs.shape(run)].append(run)
    groups, finished = [], 0
    for classes in families.values():
        for shape, members in _merge(classes, machine):
            first = members[0]
            static = specs.static(first, shape)
            cost, schedule = static.cost(), first.record.schedule(first.steps)
            useful = sum(_work(run.cost(), schedule) for run in members)
            lanes = _lanes(cost, len(members), machine)
            chunk = _chunk(cost, len(members), schedule, machine, workers)
            cut = [tuple(members[i : i + chunk]) for i in range(0, len(members), chunk)]
            left = [tuple(run for run in part if not there or specs.run_id(run) not in there) for part in cut]
            wholes = tuple(whole for whole, part in zip(cut, left, strict=True) if part)
            chunks = tuple(part for part in left if part)
            count = sum(map(len, chunks))
            finished += len(members) - count
            if not chunks:
                continue
            groups.append(
                Group(
                    static=static,
                    wholes=wholes,
                    chunks=chunks,
                    schedule=schedule,
                    cost=cost,
                    lanes=lanes,
                    chunk=chunk,
                    waste=1 - useful / max(_work(cost, schedule) * len(members), 1e-300),
                    seconds=_seconds(cost, count, schedule, machine),
                )
            )
    return Plan(tuple(sorted(groups, key=lambda g: g.seconds)), machine, finished)


def _chunk(cost: Cost, runs: int, schedule: tuple[int, ...], machine: Machine, workers: int) -> int:
    """How many runs to compute at once: as many as fit, and not more than leaves something for every worker."""
    fits = min(MOST_RUNS, int(machine.memory / max(cost.bytes_resident, 1)))  # what steps need besides is seen once compiled
    compute = _seconds(cost, runs, schedule, machine) - machine.compile_seconds
    shares = min(workers, max(1, int(compute / machine.compile_seconds))) if machine.compile_seconds else workers
    return max(1, min(runs, fits, math.ceil(runs / shares)))


def describe(plan: Plan) -> list[dict[str, Any]]:
    """One row a group, for a table."""
    return [
        {
            "runs": len(g.runs),
            "chunks": len(g.chunks),
            "lanes": g.lanes,
            "shape": ", ".join(f"{k} {v}" for k, v in g.shape.items()) or "-",
            "steps": g.schedule[-1],
            "records": len(g.schedule),
            "padding": f"{100 * g.waste:.0f} %",
            "memory": f"{g.memory(plan.machine) / 1e6:.1f} MB",
            "GFLOP": f"{_work(g.cost, g.schedule) * len(g.runs) / 1e9:.1f}",
            "seconds": f"{g.seconds:.1f}",
        }
        for g in plan.groups
    ]
