"""What steps on new samples cost, in time and memory, and what 10^6 of them with 64 runs would: a Markdown table.

    python benchmarks/online.py                  10^4 steps a case, the rest by proportion   -> results/online.md
    python benchmarks/online.py --steps 1000000  all of them

64 runs that differ in their seed, Gaussian inputs, d = 8, once compiled. Time is the process's on all cores, so
that a busy machine disturbs it little; a step's is the difference between a long and a short run. Memory is what
the process holds at most beyond what it held before it compiled anything, after a tenth of the steps and after all
of them: it does not grow with them. Batches of a training set of 1024 samples stand beside for comparison.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from machine import describe_environment, provenance
from memory import read_memory
from tables import markdown_table

import dynamics as dyn
from dynamics.core import spec as specs
from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan

RUNS, WHOLE = 64, 10**6
LINEAR, NET = dyn.Model(kind="linear", width=1), dyn.Model(width=16)
CASES = {  # model, samples a step, where they come from
    "linear regression, 1 new sample": (LINEAR, 1, "fresh"),
    "two-layer net of width 16, 1 new sample": (NET, 1, "fresh"),
    "the same by automatic differentiation, without kernels": (replace(NET, gradient="autodiff"), 1, "fresh"),
    "two-layer net of width 16, 16 new samples": (NET, 16, "fresh"),
    "two-layer net of width 16, 1 of 1024 with replacement": (NET, 1, "replacement"),
    "two-layer net of width 16, 16 of 1024 with replacement": (NET, 16, "replacement"),
}
HEAD = ("step of", "CPU us a step and run", f"CPU minutes, {RUNS} x 10^6", "MB after a tenth", "MB at the end")


def compute(model: dyn.Model, batch_size: int, sampling: str, steps: int, executor: Executor) -> float:
    """Return the CPU seconds of 64 runs of so many steps that record the loss at both ends."""
    base = dyn.Training(
        data=dyn.Data(law="gaussian", input_dim=8, num_samples=1024, num_test=1, noise_std=0.1),
        target=dyn.Target(kind="random_linear"),
        model=model,
        optimizer=dyn.Optimizer(learning_rate=0.005, batch_size=batch_size, sampling=sampling),
        steps=steps,
        record=dyn.Record(num=0),
        measures=["train_loss"],
    )
    base.check()
    begun = time.process_time()
    for chunk in executor.compute_plan(make_plan([specs.freeze(replace(base, seed=seed)) for seed in range(RUNS)])):
        if not chunk.trajectory.finite.all():
            raise RuntimeError(f"{model.kind} diverged in {steps} steps")
    return time.process_time() - begun


def measure(name: str, steps: int) -> dict[str, float]:
    """Return seconds a step and run, and the memory after a tenth of the steps and after all."""
    executor, few = Executor(), steps // 10
    held = read_memory("VmRSS")
    compute(*CASES[name], few, executor)
    short = compute(*CASES[name], few, executor)
    tenth = read_memory("VmHWM") - held
    long = compute(*CASES[name], steps, executor)
    return {"seconds": (long - short) / (RUNS * (steps - few)), "tenth": tenth, "end": read_memory("VmHWM") - held}


def main() -> None:
    """Measure each case in a process of its own, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10000, help="steps of the longer run of each case")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        dyn.prepare()
        print(json.dumps(measure(arguments.case, arguments.steps)))
        return
    about, rows = provenance(), []
    for name in CASES:
        command = [sys.executable, __file__, "--case", name, "--steps", str(arguments.steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        minutes = found["seconds"] * RUNS * WHOLE / 60
        rows.append((name, f"{found['seconds'] * 1e6:.2f}", f"{minutes:.1f}", f"{found['tenth']:.0f}", f"{found['end']:.0f}"))
        print(*rows[-1], sep="  ", flush=True)
    told = f"From {arguments.steps} steps a case, minutes by proportion; on two idle cores they take half of these."
    lines = ["# Steps on new samples", "", describe_environment(about), "", told, "", *markdown_table(HEAD, rows)]
    (Path(__file__).parent / "results" / "online.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
