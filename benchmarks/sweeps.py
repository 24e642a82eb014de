"""Measure what a sweep costs beyond its arithmetic: launching ten thousand jobs,
and scaling over devices and processes.

Launching is measured on the command line as a user would call it, a tiny problem a job, against Hydra's basic launcher
in the same run. Scaling is measured on one compiled program each way, compile time apart: forced CPU devices of one
process, and processes with a device each that share a plan through its store.
More of either than there are cores cannot be faster.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import cores
from rich.console import Console
from rich.table import Table

STUDY = [
    *("experiment=stable_minima/rates", "size=smoke", "~panels.stable", "steps=20", "record.at=[10]", "data.input_dim=2"),
    *("data.num_samples=8", "model.width=8", "measures=[train_loss,excess_risk]", "optimizer.learning_rate=0.05,0.1,0.2,0.4"),
]
WORK = """
import json, sys, time
from pathlib import Path
from dynamics.core.devices import prepare
devices, runs, worker, workers = map(int, sys.argv[1:5])
folder = Path(sys.argv[5])
prepare(devices=devices)
from dynamics.core import spec as specs
from dynamics.data.problem import DataSpec
from dynamics.engine.interrupt import Interrupt
from dynamics.models.model_spec import ModelSpec
from dynamics.core.recording import RecordSpec
from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.store.store import Store
from dynamics.engine.worker import work_on_plan
from dynamics.engine.worker import ProgressReporter, ExecutionOptions
from dynamics.systems.training import TrainingSpec

spec = TrainingSpec(steps={steps}, record=RecordSpec(num=0), data=DataSpec(input_dim=5, num_samples=256, num_test=10),
                    model=ModelSpec(width=512), measures=["train_loss"])
base = specs.freeze(spec.resolve())
plan = make_plan([specs.put(base, {{"seed": seed}}) for seed in range(runs)], workers=workers)
executor = Executor()
for group in plan.groups:
    executor.find_memory_excess(group, group.chunks[0])  # compiles, runs nothing
(folder / f"ready{{worker}}").touch()
while len(list(folder.glob("ready*"))) < workers:
    time.sleep(0.01)
begun = time.time()
options = ExecutionOptions(worker=worker, workers=workers)
work_on_plan(plan, Store(folder / "store"), options, Interrupt(), ProgressReporter(), executor)
print(json.dumps([begun, time.time()]))
"""
STEPS = 1500


def measure(quick: bool, say) -> dict[str, Any]:
    """Return the measurements of launching and scaling."""
    jobs = 1_000 if quick else 10_000
    say(f"launching {jobs} jobs")
    launch = launch_folded(jobs)
    say("launching 20 jobs one by one")
    launch["basic"] = launch_basic(20 if quick else 200)
    return {"launch": launch, "scaling": scaling(quick, say)}


def launch_folded(jobs: int) -> dict[str, Any]:
    """Return the seconds of each stage of a folded sweep, its peak memory, programs and files."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*STUDY, f"seed=range(0,{jobs // 4})", f"output={folder}"]
        plan, _ = _timed(["-m", *command, "mode=plan"])
        first, peak = _timed(["-m", *command])
        again, _ = _timed(["-m", *command])
        start, _ = _timed(["list"])
        parts = list(Path(folder).glob("results/*/*/parts/*"))
        files = sum(1 for f in Path(folder).rglob("*") if f.is_file())
    return {
        "jobs": jobs,
        "start_seconds": start,
        "plan_seconds": plan,
        "total_seconds": first,
        "again_seconds": again,
        "peak_bytes": peak,
        "programs": len(parts),
        "files": files,
    }


def launch_basic(jobs: int) -> dict[str, Any]:
    """Return the seconds per job of Hydra's basic launcher, which composes and computes jobs one after another."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "hydra/launcher=basic", *STUDY, f"output={folder}"]
        few, _ = _timed([*command, "seed=range(0,1)"])
        many, _ = _timed([*command, f"seed=range(0,{jobs // 4})"])
    return {"jobs": jobs, "seconds_per_job": (many - few) / (jobs - 4)}


def _timed(arguments: list[str]) -> tuple[float, int]:
    """(wall seconds, peak bytes of memory) of a command."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "dynamics", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    error = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, error
    return time.perf_counter() - begun, usage.ru_maxrss * 1024


def scaling(quick: bool, say) -> list[dict[str, Any]]:
    """Return strong and weak scaling over forced devices and over processes: medians of three."""
    found = []
    runs = 16 if quick else 32
    for kind in ("devices", "processes"):
        for count in (1, 2, 4, 8) if kind == "devices" else (1, 2, 4):
            for law in ("strong", "weak"):
                say(f"{law} scaling over {count} {kind}")
                size = runs if law == "strong" else runs // 2 * count
                seconds = sorted(_scaled(kind, count, size, STEPS // (2 if quick else 1)) for _ in range(1 if quick else 3))
                found.append({"kind": kind, "law": law, "count": count, "runs": size, "seconds": seconds[len(seconds) // 2]})
    for entry in found:
        alone = next(e for e in found if (e["kind"], e["law"], e["count"]) == (entry["kind"], entry["law"], 1))
        entry["run_rate"] = entry["runs"] / entry["seconds"]
        entry["efficiency"] = entry["run_rate"] / (alone["run_rate"] * min(entry["count"], cores()))
    return found


def _scaled(kind: str, count: int, runs: int, steps: int) -> float:
    """Seconds from the first process's start of work to the last one's end, all compiled beforehand."""
    processes, devices = (count, 1) if kind == "processes" else (1, count)
    with tempfile.TemporaryDirectory() as folder:
        crowd = [
            subprocess.Popen(
                [sys.executable, "-c", WORK.format(steps=steps), *map(str, (devices, runs, worker, processes)), folder],
                stdout=subprocess.PIPE,
                text=True,
            )
            for worker in range(processes)
        ]
        times = [json.loads(process.communicate()[0]) for process in crowd]
    return max(end for _, end in times) - min(begun for begun, _ in times)


def tables(found: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return title, head and rows of each table."""
    launch, basic = found["launch"], found["launch"]["basic"]
    own = (launch["total_seconds"] - launch["start_seconds"]) / launch["jobs"]
    rows = [
        [f"from the command to the plan, {launch['jobs']:,} jobs", f"{launch['plan_seconds']:.1f} s"],
        ["from the command to the end (job folders, computing, results)", f"{launch['total_seconds']:.1f} s"],
        ["the same command again (nothing to compute)", f"{launch['again_seconds']:.1f} s"],
        ["a job, all in all", f"{1000 * own:.2f} ms"],
        [
            "a job of Hydra's basic launcher",
            f"{1000 * basic['seconds_per_job']:.0f} ms ({basic['seconds_per_job'] / own:.0f} x)",
        ],
        ["compiled programs", str(launch["programs"])],
        ["peak memory of the process", f"{launch['peak_bytes'] / 1e6:.0f} MB"],
        ["files written", f"{launch['files']:,}"],
    ]
    scaled = [
        [
            e["law"],
            f"{e['count']} {e['kind']}",
            str(e["runs"]),
            f"{e['seconds']:.2f}",
            f"{e['run_rate']:.1f}",
            f"{e['efficiency']:.2f}",
        ]
        for e in found["scaling"]
    ]
    head = ["law", "on", "runs", "seconds", "runs/s", f"efficiency (of {cores()} cores)"]
    return [("launching a sweep", ["", ""], rows), ("scaling", head, scaled)]


def show(found: dict[str, Any], console: Console) -> None:
    """Print the tables of launching and scaling."""
    for title, head, rows in tables(found):
        table = Table(title=title, title_justify="left")
        for name in head:
            table.add_column(name)
        for row in rows:
            table.add_row(*row)
        console.print(table)


def save(found: dict[str, Any], about: dict[str, Any], folder: Path) -> list[Path]:
    """Write `sweeps.json` and `sweeps.md`; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    text = [f"{about['cpu']}, {about['cores']} cores, {about['date'][:10]}, jax {about['versions']['jax']}"]
    for title, head, rows in tables(found):
        text += [
            "",
            f"**{title}**",
            "",
            f"| {' | '.join(head)} |",
            f"|{'---|' * len(head)}",
            *(f"| {' | '.join(r)} |" for r in rows),
        ]
    files = [folder / "sweeps.json", folder / "sweeps.md"]
    files[0].write_text(json.dumps({**about, **found}, indent=1) + "\n")
    files[1].write_text("\n".join(text) + "\n")
    return files
