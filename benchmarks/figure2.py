"""Wall time of Figure 2's whole grid, from the command to the figure, and that of the eager loop, extrapolated.

The command is the user's own, in a process of its own with empty folders for results and compiled programs; and once
more with the programs there but no results, so that what compiling cost is the difference. The eager loop
would take hours: a few of its steps are timed at every shape of the grid, without any measure, and multiplied.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from machine import cores
from problems import Problem, draw
from tables import markdown_table
from worker import ROOT, Worker

EXPERIMENT = "stable_minima/rates"
STEP_SECONDS = 0.3  # of eager steps timed at each shape, for each number of threads
SHAPE = ["data.num_samples", "data.input_dim", "model.width", "steps"]


@dataclass(frozen=True)
class Figure2:
    """Wall times of Figure 2: of the command, of the same with compiled programs, and of waiting for compilation.

    eager: seconds extrapolated from `shapes`, by how it is run; empty without PyTorch
    """

    size: str
    device: str
    seconds: float
    warm_seconds: float
    waited_seconds: float
    programs: int
    runs: int
    steps: int
    eager: dict[str, float]
    shapes: list[dict[str, Any]]


def measure(size: str, device: str, say: Callable[[str], None]) -> Figure2:
    """Time the command with and without compiled programs, and extrapolate the eager loop."""
    with tempfile.TemporaryDirectory() as folder:
        say(f"figure2: dynamics experiment={EXPERIMENT} size={size}")
        seconds = time_command(size, device, Path(folder), "cold")
        say("figure2: again, with compiled programs")
        warm = time_command(size, device, Path(folder), "warm")
        runs = pl.concat([pl.read_parquet(f) for f in Path(folder).glob("cold/results/**/runs.parquet")], how="diagonal")
    programs = runs.unique(["group", "created", "compile_seconds"]).filter(pl.col("compile_seconds") > 0)
    shapes = runs.group_by(SHAPE).len("runs").sort(SHAPE).to_dicts()
    shapes = [{"num_samples": s[SHAPE[0]], "input_dim": s[SHAPE[1]], "width": s[SHAPE[2]], **s} for s in shapes]
    eager = extrapolate_eager_loop(shapes, device, say) if importlib.util.find_spec("torch") else {}
    steps = int(runs["steps"].max())  # type: ignore[arg-type]
    compiling = float(programs["compile_seconds"].sum())
    return Figure2(size, device, seconds, warm, compiling, len(programs), len(runs), steps, eager, shapes)


def time_command(size: str, device: str, folder: Path, name: str) -> float:
    """Return the wall seconds of the whole command; exit code 3 (some runs failed or diverged) is accepted."""
    arguments = [
        sys.executable,
        "-m",
        "dynamics",
        f"experiment={EXPERIMENT}",
        f"size={size}",
        f"output={folder / name}",
    ]
    own = {"JAX_PLATFORMS": "cuda" if device == "gpu" else "cpu", "JAX_COMPILATION_CACHE_DIR": str(folder / "xla")}
    begun = time.perf_counter()
    done = subprocess.run(arguments, cwd=ROOT, env={**os.environ, **own}, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode not in (0, 3):
        raise SystemExit(f"figure2: {' '.join(arguments[2:])} failed:\n{done.stderr}")
    assert list((folder / name / "figures").rglob("rates.png")), "the command drew no figure"
    return seconds


def extrapolate_eager_loop(shapes: list[dict[str, Any]], device: str, say: Callable[[str], None]) -> dict[str, float]:
    """Return the extrapolated seconds of all runs in turn, with all threads and with one process per core.

    Adds to each shape the seconds of a step that were measured.
    """
    ways = {"all threads": (None, 1)} if device == "gpu" else {"all threads": (None, 1), "a process a core": (1, cores())}
    total = dict.fromkeys(ways, 0.0)
    for i, shape in enumerate(shapes):
        sizes = {name: int(shape[name]) for name in ("num_samples", "input_dim", "width")}
        say(f"figure2: eager steps at shape {i + 1} of {len(shapes)}: {sizes}")
        problem = Problem("shape", **sizes, runs=1, learning_rate=1e-3)
        with tempfile.TemporaryDirectory() as folder:
            draw(problem).save(Path(folder) / "shape.npz")
            with ExitStack() as stack:
                workers = {name: Worker("torch_eager", problem, Path(folder), device, ways[name][0]) for name in ways}
                for worker in workers.values():
                    stack.callback(worker.close)
                    worker.ready()
                for name, worker in workers.items():
                    shape[f"step_seconds, {name}"] = seconds = measure_step_seconds(worker)
                    total[name] += seconds * shape["runs"] * shape["steps"] / ways[name][1]
    return total


def measure_step_seconds(worker: Worker) -> float:
    """Return the seconds of one step of the eager loop after warm-up."""
    steps = 8
    worker.call("seconds", steps=steps)
    while (taken := worker.call("seconds", steps=steps)) < STEP_SECONDS:
        steps = max(2 * steps, int(1.2 * steps * STEP_SECONDS / taken))
    return taken / steps


def rows(found: Figure2) -> list[tuple[str, ...]]:
    """Return the rows of the table of wall times."""
    cost = found.seconds - found.warm_seconds
    share = f"{100 * cost / found.seconds:.0f} %"
    compiling = f"{cost:.1f} s of wall time ({share}) for {found.programs} groups, {found.waited_seconds:.1f} s waited"
    told = [
        ("ours, measured: simulate, analyse, draw", format_duration(found.seconds), "", compiling),
        (
            "ours, programs compiled before",
            format_duration(found.warm_seconds),
            f"{found.warm_seconds / found.seconds:.2g}",
            "-",
        ),
    ]
    for name, seconds in found.eager.items():
        told.append(
            (
                f"PyTorch eager, {name}, **extrapolated**, steps alone",
                format_duration(seconds),
                f"{seconds / found.seconds:.2g}",
                "-",
            )
        )
    return told


HEAD = ("", "wall time", "x ours", "compile")


def markdown(found: Figure2) -> list[str]:
    """Return the section on Figure 2 as lines of Markdown."""
    runs = f"`experiment={EXPERIMENT} size={found.size}`: {found.runs} runs of {found.steps} steps"
    note = (
        f"{runs}. The eager loop is extrapolated, not run: steps/s measured over a few steps at each of the {len(found.shapes)}"
        " shapes, times runs and steps; it looks at nothing, ours records every measure of the figure. A process a core is"
        " taken to be as fast as one alone, which favours it."
    )
    return [note, "", *markdown_table(HEAD, rows(found))]


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, whichever reads best."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def payload(found: Figure2) -> dict[str, Any]:
    """Return the measurements for JSON."""
    return asdict(found)
