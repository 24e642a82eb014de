"""Compare what a plan takes a step to cost with what it costs, over models and numbers of inputs: a Markdown table.

    python benchmarks/prices.py            -> results/prices.md

CPU seconds of this process, so that a busy machine disturbs them little; the rates are those of one core. A plan
multiplies useful operations by the price of its kind of step; a ratio of 1 means that its hours are right.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from machine import describe_environment, provenance
from tables import markdown_table

import dynamics as dyn
from dynamics.core import spec as specs
from dynamics.engine.execute import Executor
from dynamics.engine.plan import Group, detect_machine, make_plan

RUNS, WARM_STEPS, OPERATIONS = 2, 20, 8e10
WIDE = {"width": 1024}
HEAD = ("step of", "MFLOP a step", "GFLOP/s, planned", "GFLOP/s, measured", "measured / planned")


def list_cases() -> dict[str, tuple[dyn.Data, dyn.Model]]:
    """Return data and model of every case by name."""
    cases = {}
    for activation, dims in (("relu", (5, 8, 16, 17, 50, 128, 500)), ("gelu", (5, 50, 500))):
        for d in dims:
            data = dyn.Data(input_dim=d, num_samples=512, num_test=1)
            cases[f"{activation}, d {d}, n 512, width 1024"] = (data, dyn.Model(width=1024, activation=activation))
    for kind, width in (("convolutional", 256), ("locally_connected", 128)):
        for size, d, n in ((10, 80, 256), (27, 270, 128)):
            model = dyn.Model(kind=kind, width=width, views=dyn.Views("disjoint", size))
            cases[f"{kind}, windows of {size} in d {d}, n {n}, width {width}"] = (
                dyn.Data(input_dim=d, num_samples=n, num_test=1),
                model,
            )
    return cases


def plan_steps(data: dyn.Data, model: dyn.Model, steps: int):
    """Return the plan of `RUNS` runs of so many steps that record nothing but the loss at both ends."""
    base = dyn.Training(data=data, model=model, steps=steps, record=dyn.Record(num=0), measures=["train_loss"])
    runs = [replace(base, seed=seed) for seed in range(RUNS)]
    for run in runs:
        run.check()
    return make_plan([specs.freeze(run.resolve()) for run in runs])


def measure(data: dyn.Data, model: dyn.Model) -> tuple[float, Group]:
    """Return the CPU seconds of a step of one run, once compiled, and the group that the plan made of the runs."""
    executor = Executor()

    def cpu_seconds(steps: int) -> float:
        plan = plan_steps(data, model, steps)
        list(executor.compute_plan(plan))
        begun = time.process_time()
        list(executor.compute_plan(plan))
        return time.process_time() - begun

    (group,) = plan_steps(data, model, WARM_STEPS).groups
    more = WARM_STEPS + max(100, int(OPERATIONS / (RUNS * group.cost.flops_per_step)))
    return (cpu_seconds(more) - cpu_seconds(WARM_STEPS)) / (RUNS * (more - WARM_STEPS)), group


def main() -> None:
    """Measure all cases, print the table and write it."""
    dyn.prepare()
    machine, rows = detect_machine(), []
    for name, case in list_cases().items():
        seconds, group = measure(*case)
        planned, measured = machine.flops * group.cost.speed, group.cost.flops_per_step / seconds
        cells = (
            f"{group.cost.flops_per_step / 1e6:.1f}",
            f"{planned / 1e9:.1f}",
            f"{measured / 1e9:.1f}",
            f"{measured / planned:.2f}",
        )
        rows.append((name, *cells))
        print(*rows[-1], sep="  ", flush=True)
    lines = ["# What plans take a step to cost, and what it costs", "", describe_environment(provenance()), ""]
    (Path(__file__).parent / "results" / "prices.md").write_text("\n".join([*lines, *markdown_table(HEAD, rows)]) + "\n")


if __name__ == "__main__":
    main()
