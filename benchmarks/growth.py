"""Measure how our cost grows with ensemble size, width, n, d, steps and devices: log-log plots, fitted exponents.

The rest is as in `BASE`. What counts is the time of a whole plan once compiled: drawing the data, stepping, fetching
records. An exponent is fitted to the upper half of an axis, where the work is;
the same over the whole axis stands beside it.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import cores, describe_environment
from problems import Problem
from rich.console import Console
from scipy import stats
from tables import markdown_table
from worker import ROOT, Worker

BASE = Problem("growth", num_samples=128, width=256, input_dim=5, runs=8, learning_rate=1e-4)
STEPS = 1000
LARGE = [2**k for k in range(8, 15)]
# by axis: the sizes, and what else differs from the base so that the largest takes about a second
AXES: dict[str, tuple[list[int], dict[str, int]]] = {
    "runs": ([1, 4, 16, 64, 256, 512, 1024, 2048, 4096], {"num_samples": 32, "width": 128, "steps": 200}),
    "width": ([16, 64, *LARGE], {"runs": 2}),
    "num_samples": ([16, 64, *LARGE], {"runs": 2}),
    "input_dim": ([1, 4, 16, 64, 128, 256, 512, 1024], {"runs": 2}),
    "steps": ([20 * 4**k for k in range(7)], {}),
    "devices": ([1, 2, 4], {"runs": 16, "width": 1024}),
}
NAMES = {
    "runs": "ensemble size",
    "width": "width",
    "num_samples": "n",
    "input_dim": "d",
    "steps": "steps",
    "devices": "devices",
}


@dataclass(frozen=True)
class Curve:
    """Median seconds at each size along one axis; `others` are the values that differ from `BASE`."""

    axis: str
    sizes: list[int]
    seconds: list[float]
    others: dict[str, int]

    @property
    def fitted(self) -> slice:
        """Return the part of the axis used for the fit: the upper half; for devices, at most the number of cores."""
        if self.axis == "devices":
            return slice(0, sum(size <= cores() for size in self.sizes))
        return slice((len(self.sizes) - 1) // 2, None)

    def exponent(self, part: slice | None = None) -> tuple[float, float, float]:
        """Return the least-squares slope of log seconds on log size and its 95 % interval; NaN from too few sizes."""
        part = self.fitted if part is None else part
        x, y = np.log(self.sizes[part]), np.log(self.seconds[part])
        if len(x) < 2:
            return math.nan, math.nan, math.nan
        slope, _, _, _, error = map(float, stats.linregress(x, y))
        half = error * float(stats.t.ppf(0.975, len(x) - 2)) if len(x) > 2 else math.nan
        return slope, slope - half, slope + half


def measure(quick: bool, device: str, say: Callable[[str], None]) -> list[Curve]:
    """Return a curve per axis; CPU devices are forced in separate processes, so a GPU has no devices axis."""
    with tempfile.TemporaryDirectory() as folder:
        axes = [a for a in AXES if a != "devices"]
        with_devices = [] if device == "gpu" else [measure_devices(Path(folder), quick, say)]
        worker = Worker("growing", BASE, Path(folder), device).ready()
        try:
            return [measure_axis(worker, axis, quick, say) for axis in axes] + with_devices
        finally:
            worker.close()


def measure_axis(worker: Worker, axis: str, quick: bool, say: Callable[[str], None]) -> Curve:
    """Return the curve of median seconds along one axis."""
    sizes, others = AXES[axis]
    sizes = sizes[::2] if quick else sizes
    seconds = []
    for size in sizes:
        say(f"growth: {NAMES[axis]} {size}")
        seconds.append(median_seconds(worker, {**others, axis: size}, quick))
    return Curve(axis, sizes, seconds, others)


def measure_devices(folder: Path, quick: bool, say: Callable[[str], None]) -> Curve:
    """Return the strong-scaling curve over CPU devices; more devices than cores cannot be faster."""
    sizes, others = AXES["devices"]
    seconds = []
    for size in sizes:
        say(f"growth: {size} devices")
        flags = f"--xla_force_host_platform_device_count={size} {os.environ.get('XLA_FLAGS', '')}"
        worker = Worker("growing", BASE, folder, XLA_FLAGS=flags).ready()
        try:
            assert worker.call("devices") == size
            seconds.append(median_seconds(worker, others, quick))
        finally:
            worker.close()
    return Curve("devices", sizes, seconds, others)


def median_seconds(worker: Worker, sizes: dict[str, int], quick: bool) -> float:
    """Return the median seconds of a plan; in quick mode one repetition of a quarter of the steps."""
    sizes = {"steps": STEPS, **sizes}
    steps = sizes.pop("steps") // (4 if quick else 1)
    return median(worker.call("times", sizes=sizes, steps=steps, repetitions=1 if quick else 3))


HEAD = ("axis", "from", "to", "at the rest", "exponent, upper half of the axis", "95 % interval", "over the whole axis")


def rows(curves: list[Curve]) -> list[tuple[str, ...]]:
    """Return one table row per curve."""
    found = []
    for c in curves:
        own = {**asdict(BASE), "steps": STEPS, **c.others}
        rest = ", ".join(f"{NAMES[a]} {own[a]}" for a in NAMES if a in own and a != c.axis)
        (slope, low, high), (whole, _, _) = c.exponent(), c.exponent(slice(None))
        interval = "-" if math.isnan(low) else f"{low:.2f} to {high:.2f}"
        ends = f"{c.sizes[0]} ({1e3 * c.seconds[0]:.3g} ms)", f"{c.sizes[-1]} ({1e3 * c.seconds[-1]:.4g} ms)"
        found.append((NAMES[c.axis], *ends, rest, f"{slope:.2f}", interval, f"{whole:.2f}"))
    return found


def show(curves: list[Curve], console: Console) -> None:
    """Print the table of exponents."""
    console.print("\n".join(markdown_table(HEAD, rows(curves))), highlight=False, markup=False, soft_wrap=True)


def save(curves: list[Curve], about: dict[str, Any], folder: Path) -> list[Path]:
    """Write `growth.json`, `growth.md` and the figure in `docs/images`; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    on_gpu = "-gpu" * (about["device"] == "gpu")
    files = [folder / f"growth{on_gpu}.json", folder / f"growth{on_gpu}.md", ROOT / "docs" / "images" / f"growth{on_gpu}.png"]
    told = [{**asdict(c), "exponent": c.exponent(), "exponent_whole": c.exponent(slice(None))} for c in curves]
    files[0].write_text(json.dumps({**about, "curves": told}, indent=1) + "\n")
    text = [f"{describe_environment(about)}.", "", f"Seconds of a plan against one size at a time ({cores()} cores).", ""]
    files[1].write_text("\n".join([*text, *markdown_table(HEAD, rows(curves))]) + "\n")
    draw(curves, files[2])
    return files


def draw(curves: list[Curve], file: Path) -> None:
    """Draw one panel per axis: the times, the line fitted to the upper half,
    and slope 1 (-1 for devices) to compare."""
    from dynamics.analysis.figures import new_axes, style

    with style():
        fig, axes = new_axes(2, 3, (9.5, 5.6))
        for ax in axes.flat[len(curves) :]:
            ax.set_axis_off()
        for ax, c in zip(axes.flat, curves, strict=False):
            x, y = np.array(c.sizes, float), np.array(c.seconds)
            (slope, low, high), fitted = c.exponent(), x[c.fitted]
            middle = np.exp(np.log(fitted).mean()), np.exp(np.log(y[c.fitted]).mean())
            interval = "" if math.isnan(low) else f" ({low:.2f} to {high:.2f})"
            guide = -1 if c.axis == "devices" else 1
            ax.loglog(x, y, "o")
            ax.loglog(fitted, middle[1] * (fitted / middle[0]) ** slope, "-", label=f"slope {slope:.2f}{interval}")
            ax.loglog(fitted, middle[1] * (fitted / middle[0]) ** guide, "--", color="0.6", lw=0.9, label=f"slope {guide}")
            ax.set(title=f"{NAMES[c.axis]}", xlabel=NAMES[c.axis], ylabel="seconds")
            if c.axis == "devices":
                ax.set_xticks(c.sizes, [str(size) for size in c.sizes], minor=False)
                ax.minorticks_off()
            ax.legend(loc="upper center" if c.axis == "devices" else "upper left")
        fig.savefig(file, metadata={"Software": None})
