"""What plans count against what compilers allot and processes take.

    python benchmarks/memory.py          three runs, each in a process of its own, whose peak is measured; a few minutes
    python benchmarks/memory.py --all    the largest programs of every experiment at size=paper, compiled and not run

Megabytes. `plan` is what `mode=plan` says of the runs that are computed at once, `program` what the compiler allots for
them, `process` the most that the process held beyond what it held before it computed anything,
libraries and compiler apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

# experiment, kind of model, law of the data, measures (None: those of the experiment), runs at once
RUNS = {
    "patches of images, streamed": ("convolution/images", "convolutional", "dead_leaves", ["train_loss", "excess_risk"], 2),
    "whole images, curvature": ("convolution/images", "two_layer", "dead_leaves", ["train_loss", "sharpness"], 2),
    "Figure 2": ("stable_minima/rates", "two_layer", "uniform_ball", None, 40),
}
STEPS = (0, 2)
HEAD = ("", "runs", "plan", "program", "process", "plan / program", "plan / process")


def main() -> None:
    """Print the table that the command line asks for, and write that of measured runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="compile programs of every experiment instead of running some")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(measure_run(*RUNS[arguments.run])))
    elif arguments.all:
        print("experiment, kind, shape, runs at once, plan, program, plan / program")
        compile_all()
    else:
        lines = [f"| {' | '.join(cells)} |" for cells in (HEAD, ("---", *["---:"] * 6), *map(run_in_process, RUNS))]
        print("\n".join(lines))
        file = Path(__file__).parent / "results" / "memory.md"
        file.write_text("\n".join(["# Memory of a few runs at paper size, in MB", "", *lines, ""]))


def run_in_process(name: str) -> tuple[str, ...]:
    """Return the row of a run that is measured in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--run", name], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    plan, program, process = found["plan"], found["program"], found["process"]
    numbers = (f"{plan:.0f}", f"{program:.0f}", f"{process:.0f}", f"{plan / program:.2f}", f"{plan / process:.2f}")
    return name, str(found["runs"]), *numbers


def measure_run(experiment: str, kind: str, law: str, measures: list[str] | None, count: int) -> dict[str, Any]:
    """Return plan, program and process in MB of the largest group of such runs, after `STEPS`."""
    from dynamics.core import spec as specs
    from dynamics.engine.execute import Executor
    from dynamics.engine.plan import make_plan

    runs = [run for run in paper_runs(experiment) if run.model.kind == kind and run.data.law == law]
    if measures is not None:
        runs = [specs.put(run, {"measures": tuple(measures)}) for run in runs]
    plan = make_plan(runs)
    group = max(plan.groups, key=lambda group: group.cost.bytes_resident)
    group = replace(group.with_chunk_size(min(count, len(group.chunks[0]))), schedule=STEPS)
    executor, chosen = Executor(), group.chunks[0][: group.chunk]
    program = executor._compiled(group, chosen).result().bytes
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = read_memory("VmRSS")
    executor.compute(group, chosen)
    return {
        "runs": len(chosen),
        "plan": group.estimate_memory(plan.machine) / 1e6,
        "program": program / 1e6,
        "process": read_memory("VmHWM") - before,
    }


def compile_all() -> None:
    """Print plan and program of the largest group of every kind, of every experiment."""
    from dynamics.engine.execute import Executor
    from dynamics.engine.plan import make_plan
    from dynamics.study.experiments import experiment_names

    for name in experiment_names():
        plan = make_plan(paper_runs(name))
        largest: dict[str, Any] = {}
        for group in sorted(plan.groups, key=lambda group: group.estimate_memory(plan.machine)):
            static = group.static
            largest[f"{static.model.kind} {static.model.activation}" if static.system == "training" else static.system] = group
        for kind, group in largest.items():
            program = Executor()._compiled(group, group.chunks[0]).result().bytes / 1e6
            counted = group.estimate_memory(plan.machine) / 1e6
            shape = " x ".join(map(str, group.shape.values()))
            row = f"{name}, {kind}, {shape}, {len(group.chunks[0])}, {counted:.2f}, {program:.2f}, {counted / program:.2f}"
            print(row, flush=True)


def paper_runs(experiment: str) -> Any:
    """Return the runs of an experiment at paper size."""
    import dynamics as dyn
    from dynamics.study.config import compose

    dyn.prepare()
    with tempfile.TemporaryDirectory() as folder:
        return list(compose(experiment, "size=paper", f"output={folder}").runs)


def read_memory(field: str) -> float:
    """Return a line of the process's status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


if __name__ == "__main__":
    main()
